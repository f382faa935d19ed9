# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What is published of the paths of a machine."""

import pytest

from tests.new_process import ROOT
from training.runtime.public_paths import public


def test_paths_of_the_machine_are_taken_out():
    command = f"python a.py --dataset /nowhere/at/faces --model {ROOT}/runs/x ../z ~/.cache 1 / 2 https://a.b/c"
    expected = "python a.py --dataset faces --model runs/x ../z ~/.cache 1 / 2 https://a.b/c"
    assert public([{"command": command}]) == [{"command": expected}]


@pytest.mark.parametrize(
    "text,expected",
    [
        ("/home/john doe/faces", "faces"),
        ("/home/bob/#1/secret", "secret"),
        ("/home/bob", "~"),
        ("~bob/faces", "faces"),
        ("../../home/bob/faces", "faces"),
        ("file:///home/bob/x", "x"),
        ("file:///home/bob%20b/x", "x"),
        ("C:\\Users\\bob\\x", "x"),
        ("C:/Users/bob", "~"),
        ("\\\\server\\bob\\x", "x"),
        (f"{ROOT}/runs/x", "runs/x"),
        ("untrained /home/john doe/tiny.json", "untrained tiny.json"),
        ("row 3 of '/home/bob/Bilder (privat)/faces', split 'a'", "row 3 of 'faces', split 'a'"),
        ("python a.py --dataset '/home/bob/Bilder (privat)/faces' 'a b'", "python a.py --dataset faces 'a b'"),
        ("python a.py --dataset='/home/john doe/faces'", "python a.py --dataset=faces"),
        ("python a.py --dataset 'C:\\Users\\bob b\\x' D:\\bob\\y", "python a.py --dataset x y"),
        ("python a.py --note 'not closed /home/bob/x", "python a.py --note 'not closed x"),
        ("one of a/b, 1 / 2 or ~5 at https://a.b/home/c", "one of a/b, 1 / 2 or ~5 at https://a.b/home/c"),
        ("~/.cache/simfle", "~/.cache/simfle"),
        ("org/name", "org/name"),
    ],
)
def test_no_name_of_a_user_is_left(text, expected):
    assert public({"text": [text]}) == {"text": [expected]}
    assert public(expected) == expected
