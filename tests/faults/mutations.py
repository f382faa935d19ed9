# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Strange bytes made from valid ones. Every change is a function of a `random.Random`, so that its seed brings it back.

    mutate_bytes   any file: bits flipped, parts cut, doubled, swapped, replaced by numbers that break arithmetic
    mutate_png, mutate_tar, mutate_safetensors, mutate_zip    the same behind a checksum or a header, which is made new
    mutate_json, mutate_yaml, mutate_list    values of other types, keys gone or doubled, deep nesting, endless texts
"""

import copy
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib

NUMBERS = (0, 1, -1, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TEXTS = ("", " ", "nan", "-inf", "1e999", "-0", "None", "~", "../../../etc/passwd", "/dev/zero", "\0", "\x1b[2J")
TEXTS += ("é" * 300, "x" * 100_000, "%s%n", "{0.__class__}", "a,b\n", "'\"", "0x10", "1_0", "\u202e", "9" * 5000)
VALUES = (None, True, False, 0, -1, 3, 10**6, 2**31, 2**63, 10**30, 1e308, -1e308, 5e-324, 0.5, *TEXTS[:12], TEXTS[13])
FLOATS = (float("nan"), float("inf"), float("-inf"))
CONTAINERS = ([], {}, [[]], [{}], {"": None}, [None] * 3, list(range(50)), {str(i): i for i in range(50)})
DEPTH = 100_000  # deeper than any recursive parser goes
PYTHON_TAGS = (
    "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "!!binary AAAA",
    "&a [*a]",
    "<<: 3",
)


def mutate_bytes(content: bytes, dice: random.Random) -> bytes:
    """One to four changes."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        content = dice.choice(BYTE_CHANGES)(bytearray(content), dice)
    return bytes(content)


def place(content, dice) -> int:
    """The head and the end of a file hold what its readers trust: a third of the places each."""
    size = max(1, len(content))
    return dice.choice((dice.randrange(min(size, 64)), size - 1 - dice.randrange(min(size, 64)), dice.randrange(size)))


def flip_bits(content, dice):
    for _ in range(dice.choice((1, 1, 2, 8, 64)) if content else 0):
        content[place(content, dice)] ^= 1 << dice.randrange(8)
    return content


def cut(content, dice):
    return content[: place(content, dice)]


def remove(content, dice):
    start = place(content, dice)
    del content[start : start + dice.choice((1, 2, 4, 16, 512))]
    return content


def double(content, dice):
    start = place(content, dice)
    part = content[start : start + dice.choice((1, 4, 64, 512))]
    return content[:start] + part * dice.choice((2, 2, 3, 50)) + content[start:]


def swap(content, dice):
    first, second, size = place(content, dice), place(content, dice), dice.choice((1, 4, 16, 128))
    one, other = content[first : first + size], content[second : second + size]
    content[first : first + size], content[second : second + size] = other, one
    return content


def put_number(content, dice):
    number, size = dice.choice(NUMBERS), dice.choice((1, 2, 4, 8))
    start = place(content, dice)
    content[start : start + size] = (number % 256**size).to_bytes(size, dice.choice(("little", "big")))
    return content


def put_text(content, dice):
    start = place(content, dice)
    content[start : start + dice.choice((0, 1, 8))] = dice.choice(TEXTS).encode("utf-8")
    return content


def put_noise(content, dice):
    start = place(content, dice)
    content[start : start + dice.choice((0, 4, 32))] = dice.randbytes(dice.choice((1, 4, 32, 300)))
    return content


def fill(content, dice):
    start, size = place(content, dice), dice.choice((4, 32, 256))
    content[start : start + size] = bytes([dice.choice((0, 0x20, 0xFF))]) * size
    return content


def put_nothing(content, dice):
    return dice.choice((b"", b"\0", b"\xef\xbb\xbf" + content, b"\xff\xfe", content * 2))


BYTE_CHANGES = (flip_bits, flip_bits, cut, remove, double, swap, put_number, put_number, put_text, put_noise, fill)
BYTE_CHANGES += (put_nothing,)


# ---------------------------------------------------------------------------------------------------------------------
# Behind checksums and headers
# ---------------------------------------------------------------------------------------------------------------------


def mutate_png(content: bytes, dice: random.Random) -> bytes:
    """Half of the changes lie inside of a chunk, whose checksum is made new."""
    if dice.random() < 0.5 or not content.startswith(b"\x89PNG"):
        return mutate_bytes(content, dice)
    chunks, start = [], 8
    while start < len(content):
        (size,) = struct.unpack(">I", content[start : start + 4])
        chunks.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + size]))
        start += size + 12
    chosen = dice.randrange(len(chunks))
    if dice.random() < 0.2:
        chunks.insert(dice.randrange(len(chunks)), chunks[chosen])
    else:
        chunks[chosen] = chunks[chosen][0], mutate_bytes(chunks[chosen][1], dice)
    sums = (zlib.crc32(kind + body) for kind, body in chunks)
    parts = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", s) for (k, b), s in zip(chunks, sums))
    return content[:8] + b"".join(parts)


def mutate_tar(content: bytes, dice: random.Random) -> bytes:
    """Half of the changes lie in the header of a file, whose checksum is made new."""
    if dice.random() < 0.5:
        return mutate_bytes(content, dice)
    with tarfile.open(fileobj=io.BytesIO(content)) as shard:
        start = dice.choice(shard.getmembers()).offset
    header = bytearray(content[start : start + 512])
    fields = ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
    first, size = dice.choice(fields)
    header[first : first + size] = mutate_bytes(bytes(header[first : first + size]), dice)[:size].ljust(size, b"\0")
    if first == 124 and dice.random() < 0.5:
        header[124:136] = dice.choice((b"77777777777\0", b"\x80" + b"\xff" * 11, b"-0000000001\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:start] + bytes(header) + content[start + 512 :]


def mutate_safetensors(content: bytes, dice: random.Random) -> bytes:
    """Half of the changes lie in the header, whose length is made new."""
    if dice.random() < 0.5:
        return mutate_bytes(content, dice)
    (size,) = struct.unpack("<Q", content[:8])
    header = mutate_json(content[8 : 8 + size], dice)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def mutate_zip(content: bytes, dice: random.Random) -> bytes:
    """Half of the changes lie inside of a file of the archive, whose checksum is made new."""
    if dice.random() < 0.5:
        return mutate_bytes(content, dice)
    files = unzip(content)
    chosen = dice.choice([name for name in files if name.endswith("data.pkl")] * 5 + list(files))
    if dice.random() < 0.1:
        del files[chosen]
    else:
        files[chosen] = mutate_bytes(files[chosen], dice)
    return zip_up(files)


def unzip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_up(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return target.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------


def mutate_json(content: bytes, dice: random.Random) -> bytes:
    """Changes of values; now and then of bytes."""
    if dice.random() < 0.25:
        return mutate_bytes(content, dice)
    if dice.random() < 0.05:
        return deep(dice)
    text = json.dumps(mutate_value(json.loads(content), dice), indent=dice.choice((None, 2)))
    if dice.random() < 0.15 and '"' in text:  # a key twice
        start = text.find("{") + 1
        end = text.find(":", start)
        text = f"{text[:start]}{text[start:end]}: {json.dumps(dice.choice(VALUES))}, {text[start:]}"
    return text.encode("utf-8")


def mutate_json_lines(content: bytes, dice: random.Random) -> bytes:
    lines = content.splitlines()
    number = dice.randrange(len(lines))
    lines[number] = mutate_json(lines[number], dice).replace(b"\n", b"")
    if dice.random() < 0.2:
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
    return b"\n".join(lines) + b"\n"


def mutate_yaml(content: bytes, dice: random.Random) -> bytes:
    """As `mutate_json`, and what YAML alone has: tags, anchors, several documents."""
    import yaml

    chance = dice.random()
    if chance < 0.3:
        return mutate_bytes(content, dice)
    if chance < 0.35:
        return deep(dice)
    if chance < 0.5:
        lines = content.decode().splitlines()
        number = dice.randrange(len(lines))
        lines[number] = f"{lines[number].partition(':')[0]}: {dice.choice(PYTHON_TAGS)}"
        lines.insert(dice.randrange(len(lines)), dice.choice(("---", "...", "%YAML 9.9", "\t", "? [a]", lines[number])))
        return "\n".join(lines).encode("utf-8")
    value = mutate_value(yaml.safe_load(content), dice)
    if dice.random() < 0.3:
        return json.dumps(value).encode("utf-8")  # YAML too, nearly always
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def deep(dice: random.Random) -> bytes:
    opening = dice.choice((b"[", b'{"a":', b"[{}, [", b"- ", b"((", b'"\\'))
    return dice.choice((b"", b'{"a": 1, "b": ', b"a: ")) + opening * dice.choice((200, 2000, DEPTH))


def mutate_value(value, dice: random.Random):
    """A copy of a tree of mappings and lists with one to three changes."""
    tree = [json.loads(json.dumps(value))]
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        places = [(tree, 0)]
        for holder, key in places:
            below = holder[key]
            keys = below if isinstance(below, dict) else range(len(below)) if isinstance(below, list) else ()
            places.extend((below, key) for key in list(keys)[:40])
        holder, key = dice.choice(places)
        change_at(holder, key, [places[i][0][places[i][1]] for i in range(len(places))], dice)
    return tree[0]


def change_at(holder, key, others: list, dice: random.Random) -> None:
    old, chance = holder[key], dice.random()
    if chance < 0.12 and isinstance(holder, dict):
        del holder[key]
    elif chance < 0.2 and isinstance(holder, dict):
        holder[dice.choice(TEXTS)] = holder.pop(key)
    elif chance < 0.25 and isinstance(old, dict):
        old[dice.choice((*TEXTS, "unknown"))] = dice.choice(VALUES)
    elif chance < 0.35 and isinstance(old, list | str) and old:
        holder[key] = copy.deepcopy(dice.choice((old[:-1], old + old, old[::-1], [old], old * 1000)))
    elif chance < 0.45 and isinstance(old, int | float):
        holder[key] = dice.choice((-old, old + 1, old * 2, old * 1000, str(old), [old], float(old), old / 3))
    elif chance < 0.55:
        holder[key] = copy.deepcopy(dice.choice([each for each in others if each is not old] or [0]))
    else:
        holder[key] = copy.deepcopy(dice.choice(dice.choice((VALUES, VALUES, TEXTS, FLOATS, CONTAINERS))))


def mutate_list(content: bytes, dice: random.Random) -> bytes:
    """A list of lines with cells (commas, blanks or tabs between them): cells and lines changed, gone, twice."""
    if dice.random() < 0.3:
        return mutate_bytes(content, dice)
    lines = content.decode("utf-8").splitlines()
    for _ in range(dice.choice((1, 1, 2, 5))):
        number = dice.randrange(len(lines))
        between = next((mark for mark in (",", "\t", ";", " ") if mark in lines[number]), ",")
        cells = lines[number].split(between)
        cell, chance = dice.randrange(len(cells)), dice.random()
        if chance < 0.5:
            cells[cell] = dice.choice((*TEXTS, *map(str, NUMBERS), '"', cells[cell] * 2, f'"{cells[cell]}"'))
        elif chance < 0.6:
            del cells[cell]
        elif chance < 0.7:
            cells.insert(cell, dice.choice(TEXTS))
        elif chance < 0.8:
            lines.insert(dice.randrange(len(lines)), lines[number])
        elif chance < 0.9:
            other = dice.randrange(len(lines))
            lines[number], lines[other] = lines[other], lines[number]
            continue
        else:
            cells = [""]
        lines[number] = between.join(cells)
    end = dice.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    return end.join(lines).encode(dice.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")))
