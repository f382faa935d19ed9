# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Streams: every image once an epoch, over processes and after a resume; Parquet and WebDataset; errors."""

import io
import json
import shutil
import tarfile
from types import SimpleNamespace

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests import official_layouts as layouts
from tests.drawn_dataset import make_dataset
from training import pretrain
from training.data import stream_index
from training.data.drawn_faces import write_image_folder
from training.data.faces import DatasetArguments
from training.data.images import BadImage
from training.data.streams import open_stream
from training.pretraining.arguments import PretrainingArguments
from training.pretraining.samplers import StepShape, StreamSampler
from training.pretraining.setup import open_monitored
from training.runtime.errors import RunError


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """48 faces in three shards of uneven length."""
    folder, faces = tmp_path_factory.mktemp("parquet"), make_dataset(48, seed=0, size=40)
    for number, part in enumerate((range(10), range(10, 30), range(30, 48))):
        faces.select(part).to_parquet(folder / f"train-{number:05d}.parquet")
    return folder


@pytest.fixture(scope="module")
def webdataset(tmp_path_factory):
    folder, faces = tmp_path_factory.mktemp("webdataset"), make_dataset(24, seed=0, size=40)
    for shard in range(2):
        with tarfile.open(folder / f"train-{shard:03d}.tar", "w") as file:
            for index in range(12 * shard, 12 * shard + 12):
                buffer = io.BytesIO()
                faces[index]["image"].save(buffer, "PNG")
                for name, content in ((f"{index:04d}.png", buffer.getvalue()), (f"{index:04d}.json", b"{}")):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))
    return folder


def sample(faces, num_processes=1, rank=0, batch_size=4, accumulation=1, first=0, last=24):
    sampler = StreamSampler(faces, StepShape(batch_size, accumulation, num_processes, rank), 0, 16)
    sampler.first_step, sampler.last_step = first, last
    return [[(e, row, cell["bytes"]) for e, row, cell in batch] for batch in sampler]


def test_every_image_once_an_epoch_in_an_order_of_its_own(parquet):
    faces = open_stream(DatasetArguments(), str(parquet), "train")
    assert len(faces) == 48
    batches = sample(faces)
    epochs = [[key for batch in batches[start : start + 12] for key in batch] for start in (0, 12)]
    for number, epoch in enumerate(epochs):
        assert sorted(row for _, row, _ in epoch) == list(range(48))
        assert {e for e, *_ in epoch} == {number}
        assert len({content for *_, content in epoch}) == 48
    assert [c for *_, c in epochs[0]] != [c for *_, c in epochs[1]]
    assert {row: c for _, row, c in epochs[0]} == {row: c for _, row, c in epochs[1]}
    assert batches == sample(faces)


@pytest.mark.parametrize("num_processes", [2, 3, 5])
def test_processes_share_the_stream_without_repeats(parquet, num_processes):
    """Also more processes than shards. A resumed process goes on with the same batches."""
    faces = open_stream(DatasetArguments(), str(parquet), "train")
    last = 48 // (4 * num_processes)
    shares = [sample(faces, num_processes, rank, last=last) for rank in range(num_processes)]
    rows = [row for batches in shares for batch in batches for _, row, _ in batch]
    assert len(rows) == len(set(rows)) == 4 * num_processes * last
    for rank, batches in enumerate(shares):
        assert sample(faces, num_processes, rank, first=1, last=last) == batches[1:]
    halves = sample(faces, num_processes, 0, batch_size=2, accumulation=2, last=last)
    assert [[*a, *b] for a, b in zip(halves[::2], halves[1::2], strict=True)] == shares[0]


def test_another_number_of_processes_goes_on_with_what_is_left(parquet):
    faces = open_stream(DatasetArguments(), str(parquet), "train")
    taken = [row for rank in (0, 1) for batch in sample(faces, 2, rank, last=2) for _, row, _ in batch]
    checkpoint = {"step": 2, "num_processes": 2, "global_batch_size": 8}
    checkpoint["stream"] = {"epoch": 0, "first_step": 0, "parts": []}
    for num_processes in (1, 3):
        rest, skipped, first = [], set(), set()
        for rank in range(num_processes):
            sampler = StreamSampler(faces, StepShape(4, 1, num_processes, rank), 0, 16)
            skipped.add(sampler.go_on(checkpoint))
            first.add(sampler.first_step)
            sampler.last_step = sampler.steps_per_epoch
            rest += [row for batch in sampler for _, row, _ in batch]
        assert skipped == {16} and len(first) == 1  # 8 images of a block of 16 were left in each of 2 processes
        assert len({*taken, *rest}) == len(taken) + len(rest) == 48 - 16 - (48 - 16 - 16) % (4 * num_processes)
        again = StreamSampler(faces, StepShape(4, 1, num_processes, 0), 0, 16)
        state = {"step": sampler.first_step, "num_processes": num_processes, "global_batch_size": 4 * num_processes}
        assert again.go_on(state | sampler.state()) == 0 and again.first_step == sampler.first_step


def test_webdataset_shards(webdataset):
    faces = open_stream(DatasetArguments(), str(webdataset), "train")
    keys = [key for batch in sample(faces, last=6) for key in batch]
    assert len({content for *_, content in keys}) == len(faces) == 24
    assert faces.sample(3)[0].size == (40, 40)


def write_tar(path, names):
    with tarfile.open(path, "w") as file:
        for number, name in enumerate(names):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
            member = tarfile.TarInfo(name)
            member.size = buffer.tell()
            file.addfile(member, io.BytesIO(buffer.getvalue()))


def test_dots_in_the_names_of_a_webdataset(tmp_path):
    """WebDataset ends a sample at its first dot; `datasets` would make one sample with many fields of these."""
    names = [f"a/face.{number:04d}.png" for number in range(12)] + ["a/.hidden.png", "a/@eaDir.json"]
    write_tar(tmp_path / "train-0.tar", names)
    faces = open_stream(DatasetArguments(), str(tmp_path), "train")
    assert len(faces) == 12 and len({cell["bytes"] for cell in faces.cells()}) == 12
    kin = ["./face.0001.JPG", "my face.2.png", "v1.2/face.0003.jpeg", "a/f.0001.v2.webp", "b" * 150 + "/face.0001.png"]
    leftovers = ["@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "a/@eaDir/b.png", "__MACOSX/a/._b.png", ".Trash-1000/c.png"]
    write_tar(tmp_path / "train-0.tar", kin + leftovers)
    assert [cell["path"] for cell in open_stream(DatasetArguments(), str(tmp_path), "train").cells()] == kin
    write_tar(tmp_path / "train-0.tar", [f"{n:04d}.{end}" for n in range(4) for end in ("png", "mask.png")])
    with pytest.raises(ValueError, match=r"0000\.mask\.png is a second image of the sample '0000'.*--image_column png"):
        open_stream(DatasetArguments(), str(tmp_path), "train")
    masks = open_stream(DatasetArguments(image_column="mask.png"), str(tmp_path), "train")
    assert [cell["path"] for cell in masks.cells()] == [f"{n:04d}.mask.png" for n in range(4)]
    write_tar(tmp_path / "train-0.tar", ["face.anna.png", "face.bert.png"])
    with pytest.raises(ValueError, match="rename files whose names have a dot before the ending"):
        open_stream(DatasetArguments(), str(tmp_path), "train")


def test_an_index_made_by_the_command(parquet, tmp_path, capsys):
    stream_index.main(["--dataset", str(parquet), "--output", str(tmp_path / "index.json")])
    assert "48 images in 3 shards" in capsys.readouterr().out
    faces = open_stream(DatasetArguments(), str(parquet), "train", str(tmp_path / "index.json"))
    assert faces.fingerprint() == open_stream(DatasetArguments(), str(parquet), "train").fingerprint()
    (tmp_path / "index.json").write_text('{"shards": []}')
    with pytest.raises(ValueError, match=r"--stream_index .* cannot be read"):
        open_stream(DatasetArguments(), str(parquet), "train", str(tmp_path / "index.json"))


def test_a_shard_that_changed_after_it_was_indexed(parquet, tmp_path):
    shutil.copytree(parquet, tmp_path / "faces")
    faces = open_stream(DatasetArguments(), str(tmp_path / "faces"), "train")
    make_dataset(8, seed=0, size=16).to_parquet(tmp_path / "faces" / "train-00001.parquet")
    with pytest.raises(ValueError, match=r"train-00001\.parquet is not the shard that was indexed"):
        list(faces.cells())
    (tmp_path / "faces" / "train-00001.parquet").unlink()
    with pytest.raises(RunError, match=r"train-00001\.parquet cannot be read"):
        list(faces.cells())


def test_a_data_set_of_the_hub(parquet, monkeypatch):
    """The builder of `datasets` says which files a split has; they are read where they lie."""
    files = {"train": [f"file://{path}" for path in sorted(parquet.iterdir())]}
    builder = SimpleNamespace(config=SimpleNamespace(data_files=files))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: builder)
    faces = open_stream(DatasetArguments(), "someone/faces", "train")
    assert len({cell["bytes"] for cell in faces.cells()}) == 48
    with pytest.raises(ValueError, match="the Hub gave no split 'test'"):
        open_stream(DatasetArguments(), "someone/faces", "test")


def test_what_is_wrong_is_said(tmp_path, parquet):
    with pytest.raises(ValueError, match=r"holds no \.parquet or \.tar shards"):
        open_stream(DatasetArguments(), str(tmp_path), "train")
    with pytest.raises(ValueError, match="is no local folder, and the Hub gave no split"):
        open_stream(DatasetArguments(), "nobody/nothing", "train")
    with pytest.raises(ValueError, match="reads Parquet or WebDataset shards, not --data_format ferplus"):
        open_stream(DatasetArguments(data_format="ferplus"), str(parquet), "train")


def test_a_stream_of_ferplus_would_take_validation_images(tmp_path):
    layouts.write_ferplus_parquet(tmp_path)
    with pytest.raises(ValueError, match="looks like FER"):
        open_stream(DatasetArguments(), str(tmp_path), "train")
    assert len(open_stream(DatasetArguments(data_format="parquet"), str(tmp_path), "train")) > 0


def test_pretraining_from_a_stream_resumes_bit_for_bit(parquet, pretraining_flags, tmp_path):
    """With data workers: tests/faults/test_faults.py."""
    flags = ["--dataset", str(parquet), "--streaming", "true", "--shuffle_block", "16"]
    flags = [*pretraining_flags, *flags, "--num_train_epochs", "2"]
    pretrain.main([*flags, "--output_dir", str(tmp_path / "straight")])
    pretrain.main([*flags, "--max_train_steps", "8", "--output_dir", str(tmp_path / "resumed")])
    pretrain.main([*flags, "--resume_from_checkpoint", "latest", "--output_dir", str(tmp_path / "resumed")])
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("resumed", "straight"))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    looks = [json.loads(line) for line in (tmp_path / "resumed" / "monitor.jsonl").read_text().splitlines()]
    assert [look["step"] for look in looks] == [0, 6, 8, 12]  # 8: where it was stopped
    flags = [*flags, "--resume_from_checkpoint", "latest", "--output_dir", str(tmp_path / "resumed")]
    with pytest.raises(ValueError, match="was made with shuffle_block 16, not 8"):  # it decides what comes next
        pretrain.main([*flags, "--shuffle_block", "8"])


def write_sixteen(path, bad):
    """A Parquet file of the bad cells first, then of readable images without names, 16 in all."""
    cells = list(bad)
    for value in range(16 - len(bad)):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 20), (value, 0, 9)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    rows.to_parquet(path)
    return path


def test_an_unreadable_image_of_a_stream_is_named(pretraining_flags, tmp_path, capsys):
    shard = write_sixteen(tmp_path / "train.parquet", [{"bytes": b"no image", "path": "bad.png"}])
    flags = [*pretraining_flags, "--dataset", str(shard), "--streaming", "true"]
    pretrain.main([*flags, "--max_bad_images", "1", "--output_dir", str(tmp_path / "o")])
    assert "train.parquet) is not a readable image" in capsys.readouterr().err
    state = json.loads((tmp_path / "o" / "checkpoints" / "step_00000002" / "training_state.json").read_text())
    assert len(state["bad_images"]) == 1


def test_a_bad_image_of_a_stream_counts_once_and_others_beside_it(pretraining_flags, tmp_path, capsys):
    """Three epochs, two bad images without names: known by their bytes."""
    bad = [{"bytes": content, "path": None} for content in (b"no image", b"nor this")]
    shard = write_sixteen(tmp_path / "train.parquet", bad)
    flags = [*pretraining_flags, "--dataset", str(shard), "--streaming", "true"]
    flags += ["--num_train_epochs", "3", "--output_dir", str(tmp_path / "o")]
    pretrain.main([*flags, "--max_bad_images", "2"])
    assert capsys.readouterr().err.count("bad image ") == 2


def test_a_row_without_a_image_is_a_bad_image(tmp_path):
    cells = [{"bytes": b"no image", "path": "a.png"}, None]
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    rows.to_parquet(tmp_path / "train.parquet")
    stream = open_stream(DatasetArguments(), str(tmp_path), "train")
    for cell, why in zip(
        stream.cells(), (r"a\.png \(image 0 of .* is not a readable image", "image 1 of .* has no image"), strict=True
    ):
        with pytest.raises(BadImage, match=why):
            stream.image(cell)
    assert stream.sample(2) == []


@pytest.mark.parametrize("name", ["half", "a member's half", "empty", "noise", "parquet"])
def test_a_shard_that_is_cut_off_is_a_sentence(name, webdataset, pretraining_flags, tmp_path):
    whole = sorted(webdataset.glob("*.tar"))[0].read_bytes()
    content = {"half": whole[: len(whole) // 2 + 100], "a member's half": whole[:600], "empty": b""}
    ending = "parquet" if name == "parquet" else "tar"
    (tmp_path / f"train-0.{ending}").write_bytes(content.get(name, bytes(range(256)) * 8))
    flags = [*pretraining_flags, "--dataset", str(tmp_path), "--streaming", "true"]
    with pytest.raises(ValueError, match=r"shard is cut off or damaged"):
        pretrain.main([*flags, "--output_dir", str(tmp_path / "o")])


def test_a_stream_may_be_monitored_on_faces_that_are_none(parquet, tmp_path):
    for split, count in (("train", 16), ("validation", 8)):
        write_image_folder(tmp_path / "labelled" / split, count, seed=0, size=16)
    data = DatasetArguments(dataset=str(parquet))
    labelled = str(tmp_path / "labelled")
    run = PretrainingArguments(view_size=32, streaming=True, monitor_dataset=labelled)
    assert [len(faces) for faces in open_monitored(data, run)] == [16, 8]
