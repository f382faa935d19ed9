# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""A licence that forbids commercial use goes with the weights, wherever they and their sources have gone since."""

import hashlib
import json
import shutil

import pytest

from tests.hub.hub_state import REPO, Repository
from tests.hub.published_folders import call, read
from tests.oracle import TEST_SIZES
from tests.original_format import write_checkpoint
from training import convert_original_checkpoint, finetune, publish, release
from training.publishing.checks import check_folder

FREE = ["--license", "apache-2.0"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """What convert_original_checkpoint.py makes of a checkpoint in the authors' format, under CC BY-NC 4.0."""
    root = tmp_path_factory.mktemp("converted")
    file, config, _ = write_checkpoint(root, TEST_SIZES)
    flags = ["--model_config", config, "--dtype", "float32"]
    call(convert_original_checkpoint, file, root / "official", *flags)
    return root / "official"


@pytest.fixture
def tune(faces, tmp_path):
    """tune(*flags) -> the folder of a fine-tuned run of two steps."""

    def run(*flags):
        common = ["--dataset", faces, "--num_workers", 0, "--num_train_epochs", 1]
        common += ["--per_device_train_batch_size", 20, "--view_size", 64, "--output_dir", tmp_path / "tuned"]
        call(finetune, *flags, *common)
        return tmp_path / "tuned"

    return run


def assert_kept(run, faces, tmp_path, source, licence="cc-by-nc-4.0"):
    """release.py and publish.py refuse a looser licence, naming the source, and take the source's own by default."""
    flags = ["--dataset", faces, "--num_workers", 0]
    with pytest.raises(ValueError, match=rf"licence apache-2\.0 may allow more than .*{source}"):
        call(release, run, tmp_path / "no", *flags, *FREE)
    call(release, run, tmp_path / "released", *flags)
    card = tmp_path / "released" / "README.md"
    assert licence in card.read_text()
    (tmp_path / "released" / "LICENSE").unlink(missing_ok=True)
    head = card.read_text().partition("\n---\n")[0].splitlines()
    head = [line for line in head if not line.startswith(("license_name", "license_link"))]
    head = ["license: apache-2.0" if line.startswith("license:") else line for line in head]
    card.write_text("\n".join(head) + "\n---\n")
    with pytest.raises(ValueError, match=r"licence apache-2\.0 may allow more than"):
        publish.main([str(card.parent), "--repo_id", REPO])


def test_converted_weights_moved_and_fine_tuned(converted, tune, faces, tmp_path):
    moved = shutil.copytree(converted, tmp_path / "moved")
    run = tune("--model", moved)
    shutil.rmtree(moved)
    run = run.rename(tmp_path / "renamed")
    lineage = read(run / "run.json")["lineage"]
    assert [entry.get("method") for entry in lineage] == [None, "conversion", "fine-tuning"]
    assert_kept(run, faces, tmp_path, "checkpoint_100")


def test_the_same_from_the_hub_by_id(converted, tune, faces, client, tmp_path):
    repository = client.repositories["org/official"] = Repository(False)
    sha = repository.commit("main", {path.name: path.read_bytes() for path in converted.iterdir()})
    weights = (converted / "model.safetensors").read_bytes()
    client.blobs[hashlib.sha256(weights).hexdigest()] = weights
    run = tune("--model", "org/official")
    source = read(run / "run.json")["lineage"][-2]
    assert (source["name"], source["revision"], source["license"]) == ("org/official", sha, {"license": "cc-by-nc-4.0"})
    # The repository's card alone, without a run's list beside it.
    files = {name: content for name, content in client.files("org/official").items() if name != "run.json"}
    repository.commit("main", files)
    shutil.rmtree(run)
    run = tune("--model", "org/official")
    assert_kept(run, faces, tmp_path, "org/official")


def test_a_teacher_and_a_source_that_was_renamed_since(released, tune, faces, tmp_path):
    teacher = shutil.copytree(released["classifier"], tmp_path / "teacher")
    run = tune("--teacher", teacher, "--model", released["encoder"])
    teacher.rename(tmp_path / "elsewhere")
    names = {
        entry.get("name", "").rpartition("/")[2]: entry.get("license") for entry in read(run / "run.json")["lineage"]
    }
    assert names["teacher"]["license_name"] == "research-use-only"
    assert names["encoder"] == {"license": "cc-by-nc-4.0"}
    assert_kept(run, faces, tmp_path, "encoder|teacher", "research-use-only")


def test_a_source_without_list_and_card(pretrained, tune, faces, tmp_path, capsys):
    bare = shutil.copytree(pretrained[0], tmp_path / "bare", ignore=shutil.ignore_patterns("run.json", "checkpoints"))
    run = tune("--model", bare)
    assert "The licence of bare is unknown" in capsys.readouterr().err
    assert_kept(run, faces, tmp_path, "bare, which is unknown", "research-use-only")


def test_ferplus_images_take_no_free_licence(copied):
    """Whichever of the trainings was on FER+."""
    metrics = read(copied / "metrics.json")
    metrics["lineage"][0]["data"]["format"] = "ferplus"
    for entry in metrics["lineage"]:
        entry.pop("license", None)
    (copied / "metrics.json").write_text(json.dumps(metrics))
    (copied / "LICENSE").unlink()
    text = (copied / "README.md").read_text()
    stated = "license: other\nlicense_name: research-use-only\nlicense_link: LICENSE"
    assert stated in text
    (copied / "README.md").write_text(text.replace(stated, "license: mit"))
    with pytest.raises(ValueError, match=r"licence mit may allow more than the images of FER\+ do"):
        check_folder(copied)
