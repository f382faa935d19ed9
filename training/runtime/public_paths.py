"""
Paths as they are published: without the folders of the machine, whose names may be those of people.

A path in the repository becomes relative to its root, and any other absolute path its last component. A home folder
becomes ~, because its last component is a person's name. Relative paths, ~/... and URLs stay.
"""

import os
import re
import shlex
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
# How an absolute path begins: file:, a drive, a network folder, a slash, another user's ~name, or a way up to /home.
START = (
    r"(?:file:/*|[A-Za-z]:[\\/]|\\\\|/(?=[^\s/])|~(?=[A-Za-z_][\w.-]*(?:[\\/]|$))"
    r"|(?:\.\.[\\/])+(?=(?:home|Users|root)[\\/]))"
)
# In a sentence a path may hold spaces: it is taken to end in the word after the last slash before a quote or comma.
IN_TEXT = re.compile(rf"(?<![\w./~<\\]){START}(?:[^'\"\n,;]*[\\/])?[^\s'\",;\\/]*")
UNQUOTED_WINDOWS = re.compile(r"(?<![\w'\"])[A-Za-z]:\\\S+")  # the shell's rules would take its backslashes out
HOME_FOLDER = re.compile(r"/?(?:[A-Za-z]:)?/(?:home|Users)/[^/]+|~[^/]+")
COMMANDS = ("python ", "accelerate ", "torchrun ")
MACHINE_PATH = re.compile(
    r"file:/\S*|(?<![\w./~<])/(?:home|root|tmp|Users|work|mnt|opt|var|usr|data)/[\w./-]*|\b[A-Za-z]:[\\/]+Users\S*"
)


def public(value):
    """A JSON value with its absolute paths made public, inside of commands and sentences too."""
    if isinstance(value, dict):
        return {name: public(item) for name, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    return public_text(value) if isinstance(value, str) else value


def public_text(text: str) -> str:
    """A path as a whole, a command word by word, or a sentence with paths in it."""
    if re.match(START, text):
        return public_path(text)
    if text.startswith(COMMANDS):
        try:
            return public_command(text)
        except ValueError:  # a quote without its other one: no command after all
            pass
    return IN_TEXT.sub(lambda match: public_path(match[0]), text)


def public_command(command: str) -> str:
    """Raises ValueError: a command with a quote that is not closed."""
    words = shlex.split(UNQUOTED_WINDOWS.sub(lambda match: public_path(match[0]), command))
    made = [public_word(word) for word in words]
    return command if shlex.split(command) == made else join_words(made)


def public_word(word: str) -> str:
    """Makes one word of a command public: a path, or --flag=PATH."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{public_path(value)}"


def join_words(words: list[str]) -> str:
    """As shlex.join, but ~/... stays for the shell to expand."""
    return " ".join(word if re.fullmatch(r"~/[\w@%+=:,./-]*", word) else shlex.quote(word) for word in words)


def public_path(path: str) -> str:
    """A path without the machine's folders; what is no absolute path comes back as it is."""
    if not re.match(START, path):
        return path
    if path.startswith("file:"):
        path = unquote(re.sub(r"file:(?://[^/]*)?", "", path))
    if Path(path).is_absolute() and Path(path).is_relative_to(ROOT):
        return os.path.relpath(path, ROOT)
    slashed = path.replace("\\", "/").rstrip("/")
    return "~" if HOME_FOLDER.fullmatch(slashed) else PurePosixPath(slashed).name


def strings(value):
    """Every string in a JSON value."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
