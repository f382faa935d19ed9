# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What all processes must have in common: each sentence, with other processes' answers put in. Tier: `make check`."""

import accelerate.utils
import pytest

from training.runtime import agreement
from training.runtime.agreement import check_alike, code_hash, raised_in_all
from training.runtime.errors import InputError


@pytest.fixture
def others(monkeypatch):
    """others(*answers): the further processes answer so when a process gathers."""

    def answer(*answers):
        monkeypatch.setattr(agreement.socket, "gethostname", lambda: "first")
        monkeypatch.setattr(accelerate.utils, "gather_object", lambda own: [*own, *answers])

    return answer


def test_alike(others):
    others(("second", {"simfle": "0.1.0", "logging_steps": "10"}))
    check_alike({"simfle": "0.1.0", "logging_steps": 10, "num_workers": 3})


def test_what_differs_is_named_with_the_machines(others):
    others(("second", {"simfle": "0.2.0", "torch": "2"}), ("third", {"simfle": "0.1.0", "torch": "2"}))
    with pytest.raises(InputError) as error:
        check_alike({"simfle": "0.1.0", "torch": "1"})
    assert str(error.value) == (
        "the processes differ in simfle (and torch): 0.1.0 on first (process 0) and 1 more, 0.2.0 on second (process"
        " 1); every machine must have the same program, data and flags."
    )


def test_a_setting_that_only_another_process_has(others):
    others(("second", {"shuffle_block": "8"}))
    with pytest.raises(InputError, match=r"shuffle_block: nothing on first \(process 0\), 8 on second \(process 1\)"):
        check_alike({})


def test_a_long_value_is_shown_by_its_hash(others):
    others(("second", {"sizes": "8"}))
    with pytest.raises(InputError, match=r"sizes: [0-9a-f]{16} on first"):
        check_alike({"sizes": list(range(100))})


def test_bad_input_of_one_process_stops_all(others):
    others(("second", None), ("third", "--dataset X holds no images."))
    with pytest.raises(InputError, match=r"on third: --dataset X holds no images\."):
        raised_in_all(lambda: 1)

    def refuse():
        raise InputError("mine")

    with pytest.raises(InputError, match=r"^mine$"):
        raised_in_all(refuse)


def test_one_process_agrees_with_itself():
    check_alike({"simfle": "0.1.0"})
    assert raised_in_all(lambda: 7) == 7


def test_the_hash_of_the_code_follows_every_file(tmp_path, monkeypatch):
    for name in ("modeling_simfle/__init__.py", "training/runtime/agreement.py", "training/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(agreement, "__file__", str(tmp_path / "training" / "runtime" / "agreement.py"))
    spec = type("Spec", (), {"origin": str(tmp_path / "modeling_simfle" / "__init__.py")})
    monkeypatch.setattr(agreement.importlib.util, "find_spec", lambda name: spec)
    hashes = {code_hash()}
    for name in ("modeling_simfle/__init__.py", "training/x.py"):
        (tmp_path / name).write_text("# changed")
        hashes.add(code_hash())
    assert len(hashes) == 3
