# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The list of what weights come from, as a training writes it and as the next one reads it."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from training.runtime.errors import InputError
from training.runtime.lineage import UNKNOWN, make_lineage, read_lineage

CC = {"license": "cc-by-nc-4.0"}


def save(folder, value, card=None, **files):
    """A folder with one weight, a card of this licence, and JSON files by name."""
    folder.mkdir(parents=True)
    save_file({"weight": np.full(1, value, dtype=np.float32)}, folder / "model.safetensors")
    if card:
        (folder / "README.md").write_text(f"---\nlicense: {card}\n---\n")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_training_from_scratch_has_its_own_entry_alone():
    data = {"format": "ferplus", "name": "ferplus", "fingerprint": "f"}
    lineage = make_lineage("pretraining", "python training/pretrain.py --dataset /home/ada/ferplus", data, [None])
    assert lineage == [
        {"method": "pretraining", "command": "python training/pretrain.py --dataset ferplus", "data": data}
    ]


def test_a_licence_comes_along_over_three_trainings_and_a_moved_folder(tmp_path, capsys):
    first = save(tmp_path / "first", 1, card="cc-by-nc-4.0")
    lineage = make_lineage("pretraining", "first", None, [first])
    moved = save(tmp_path / "second", 2, run={"lineage": lineage, "arguments": {}}).rename(tmp_path / "moved")
    lineage = make_lineage("fine-tuning", "second", None, [str(moved)])
    assert [entry.get("license") for entry in lineage] == [CC, None, None]
    assert [entry.get("name", "").rpartition("/")[2] for entry in lineage] == ["first", "moved", ""]
    assert capsys.readouterr().err == ""


def test_model_and_teacher_come_each_once_by_their_weights(tmp_path):
    model = save(tmp_path / "model", 1, card="mit")
    copied = save(tmp_path / "copy", 1, card="mit")
    teacher = save(tmp_path / "teacher", 2, card="cc-by-nc-4.0")
    lineage = make_lineage("fine-tuning", "c", None, [model, copied, teacher])
    assert [entry.get("license", {}).get("license") for entry in lineage] == ["mit", "cc-by-nc-4.0", None]


def test_the_same_weights_under_two_licences_are_two_entries(tmp_path):
    published = save(tmp_path / "published", 1)
    hashes = read_lineage(published)[-1]["weights_sha256"]
    last = {"name": "org/name", "weights_sha256": hashes, "license": CC}
    (published / "metrics.json").write_text(json.dumps({"lineage": [last]}))
    (published / "README.md").write_text("---\nlicense: MIT\n---\n")
    assert [entry["license"] for entry in read_lineage(published)] == [CC, {"license": "mit"}]


def test_a_source_without_list_and_card_is_unknown_and_said(tmp_path, capsys):
    bare = save(tmp_path / "bare", 1, run={"arguments": {}})
    lineage = make_lineage("fine-tuning", "c", None, [bare])
    assert lineage[0]["license"] == UNKNOWN
    assert "The licence of bare is unknown" in capsys.readouterr().err


def test_a_list_of_other_weights_vouches_for_nothing(tmp_path):
    last = {"name": "org/name", "weights_sha256": {"model.safetensors": "0" * 64}, "license": {"license": "mit"}}
    swapped = save(tmp_path / "swapped", 1, metrics={"lineage": [last]})
    assert read_lineage(swapped)[-1]["license"] == UNKNOWN


def test_a_finished_run_brings_its_settings_and_results(tmp_path):
    own = {"method": "pretraining", "command": "c", "data": {"num_images": 20}}
    about = {"lineage": [own], "arguments": {"seed": 3}, "versions": {"torch": "2"}, "global_batch_size": 8}
    run = save(tmp_path / "run", 1, run={**about, "num_images": 20})
    lines = [{"step": step, "loss": 1.0, "images_per_second": 8 / 3600} for step in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    last = read_lineage(run)[-1]
    assert (last["arguments"], last["results"]["hours"], last["results"]["epochs"]) == ({"seed": 3}, 2.0, 1.0)
    assert last["results"]["losses"] == {"step": 2, "loss": 1.0}


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    spoilt = save(tmp_path / "spoilt", 1)
    (spoilt / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_lineage(spoilt)
    (spoilt / "README.md").unlink()
    (spoilt / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_lineage(spoilt)
