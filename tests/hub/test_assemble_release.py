# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""assemble_release.py: what the folders hold that it makes of runs and exports, and what it refuses."""

import json
import os
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from modeling_simfle import SimFLEModel
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.hub.published_folders import call, read
from training import assemble_release, evaluate_classifier, linear_probe, make_card
from training.data.drawn_faces import write_image_folder
from training.export import FILES
from training.publishing.card_checks import check_card
from training.publishing.card_sections import read_section
from training.publishing.weight_licences import source_license

METRICS = "metrics.json"


def test_what_the_classifiers_folder_holds(assembled, tuned_run):
    folder = assembled["classifier"]
    names = {"config.json", "preprocessor_config.json", "model.safetensors", "metrics.json", "README.md", *CODE_FILES}
    assert {path.name for path in folder.iterdir()} == names | {"example_face.png", "LICENSE"}
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("classifier")] == ["classifier"]
    metrics = read(folder / "metrics.json")
    assert [training["method"] for training in metrics["recipe"]] == ["pretraining", "fine-tuning"]
    assert all(training["hours"] > 0 for training in metrics["recipe"])
    assert metrics["choices"] == read(tuned_run / "metrics.json")["choices"] + 2
    assert (metrics["method"], metrics["model"]) == ("evaluation", "classifier")
    assert metrics["command"].startswith("python training/evaluate_classifier.py --")
    assert metrics["num_images"] == 16
    for name in ("metrics.json", "README.md"):
        assert str(folder.parent.parent.parent) not in (folder / name).read_text()
    energy = read_section((folder / "README.md").read_text(), "Environmental impact")
    assert "h x 30 W" in energy and "two cores" in energy
    images = [Image.open(folder / "example_face.png")]
    ours = pipeline("image-classification", model=str(folder), top_k=8)(images)[0]
    theirs = pipeline("image-classification", model=str(tuned_run), top_k=8)(images)[0]
    theirs = {row["label"]: row["score"] for row in theirs}
    assert all(abs(row["score"] - theirs[row["label"]]) < 5e-3 for row in ours)


def test_an_encoder_alone(assembled):
    folder = assembled["encoder"]
    assert read(folder / "config.json")["architectures"] == ["SimFLEModel"]
    assert not any(name.startswith("facemae") for name in load_file(folder / "model.safetensors"))
    card = (folder / "README.md").read_text()
    assert "similarity loss" in read_section(card, "Evaluation")
    assert "license: cc-by-nc-4.0" in card
    assert not (folder / "LICENSE").exists()


def test_snippets_are_of_the_folder_that_is_made(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr("training.runtime.public_paths.ROOT", tmp_path)
    call(assemble_release, pretrained[0], tmp_path / "cards" / "encoder", "--encoder_only")
    usage = read_section((tmp_path / "cards" / "encoder" / "README.md").read_text(), "How to use")
    assert 'model="cards/encoder"' in usage and '"cards/encoder/example_face.png"' in usage


def test_what_the_plain_folder_holds(assembled):
    simfle, folder = assembled["gray"], assembled["plain"]
    names = {"config.json", "preprocessor_config.json", "metrics.json", "exports.json", "README.md", *FILES.values()}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == names | {"example_face.png", "LICENSE"}
    metrics, base, exports = read(folder / "metrics.json"), read(simfle / "metrics.json"), read(folder / "exports.json")
    assert metrics["recipe"] == base["recipe"]
    assert metrics["choices"] == base["choices"] == read(assembled["run"] / "metrics.json")["choices"] + 2
    assert metrics["accuracy"] == exports["eager"]["accuracy"]
    assert metrics["model"] == "gray-plain" and "--model gray-plain" in metrics["command"]
    for name in ("metrics.json", "exports.json", "README.md"):
        assert str(folder.parent.parent.parent) not in (folder / name).read_text()
    assert ".py" not in (folder / "LICENSE").read_text() and ".py files" in (simfle / "LICENSE").read_text()


def test_shards_have_at_most_the_size_that_is_asked_for(tmp_path):
    from modeling_simfle import SimFLEConfig
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.models.half_weights import save_halves

    torch.manual_seed(0)
    model = SimFLEModel(SimFLEConfig(hidden_sizes=[64, 128, 256, 512], depths=[1, 1, 1, 1], use_local_branch=False))
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_halves(model, tmp_path, 1_000_000)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert len(sizes) > 1 and max(sizes) <= 1_000_000
    assert len(weights_sha256(tmp_path)) == len(sizes) + 1  # and the index
    loaded = SimFLEModel.from_pretrained(tmp_path).state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="give at least 1MB"):
        save_halves(model, tmp_path, 1000)
    wide = SimFLEModel(SimFLEConfig(hidden_sizes=[64, 1024], depths=[1, 1], use_local_branch=False))
    with pytest.raises(ValueError, match=r"is larger than 1000000 bytes: .* give larger shards"):
        save_halves(wide, tmp_path / "wide", 1_000_000)


def test_metrics_measured_before(assembled, tuned_run, faces, pretrained, classifier, tmp_path):
    call(evaluate_classifier, "--model", assembled["classifier"], "--dataset", faces, "--output_dir", tmp_path / "eval")
    call(assemble_release, tuned_run, tmp_path / "again", "--metrics", tmp_path / "eval" / "metrics.json")
    ours, theirs = (read(path / "metrics.json") for path in (tmp_path / "again", assembled["classifier"]))
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    assert ours["confusion_matrix"] == theirs["confusion_matrix"]
    for metrics in (tuned_run, classifier[0]):  # of float32 weights, of another model
        with pytest.raises(ValueError, match="was not measured on these float16 weights"):
            call(assemble_release, tuned_run, tmp_path / "no", "--metrics", metrics / "metrics.json")
    flags = ["--encoder_only", "--metrics", classifier[0] / "metrics.json"]
    call(assemble_release, pretrained[0], tmp_path / "probed", *flags)
    evaluation = read_section((tmp_path / "probed" / "README.md").read_text(), "Evaluation")
    assert "linear probe" in evaluation and "training/linear_probe.py" in evaluation
    assert "--model probed --output_dir runs/probe_probed" in evaluation.replace("\\\n    ", "")
    assert sorted(os.listdir(tmp_path)) == ["again", "eval", "probed"]


def test_the_probe_of_another_encoder_is_refused(pretrained, classifier, tuned_run, faces, config_file, tmp_path):
    flags = ["--dataset", faces, "--cache_features", "--num_workers", 0, "--num_train_epochs", 1]
    release = [pretrained[0], tmp_path / "no", "--encoder_only", "--metrics"]
    untrained = ["--model_config", config_file, "--view_size", 64]
    probes = {
        "untrained": (untrained, "was measured on another encoder than that of"),
        "target": (["--model", pretrained[0], "--which", "target"], "was measured with the target encoder"),
        "estimated": (["--model", pretrained[0], "--estimate_batch_norm"], "was measured with BatchNorm estimated"),
    }
    for name, (more, sentence) in probes.items():
        call(linear_probe, *flags, *more, "--output_dir", tmp_path / name)
        with pytest.raises(ValueError, match=f"{name}.metrics.json {sentence}"):
            call(assemble_release, *release, tmp_path / name / METRICS)
    shutil.copyfile(classifier[0] / METRICS, tmp_path / METRICS)  # without the weights that it tells of
    for path in (tmp_path / METRICS, tuned_run / METRICS):
        with pytest.raises(ValueError, match="does not lie in the folder of a linear probe; give that of one of"):
            call(assemble_release, *release, path)
    assert not (tmp_path / "no").exists()


def test_choices_count_where_they_were_made(tuned_run, assembled, faces, tmp_path, monkeypatch):
    chosen = read(tuned_run / METRICS)["choices"]
    other = shutil.copytree(faces, tmp_path / "faces")
    write_image_folder(other / "test", 8, seed=2, size=40)
    flags = ["--dataset", other, "--num_workers", 0, "--eval_split", "test", "--more_choices", 3]
    call(assemble_release, tuned_run, tmp_path / "measured", *flags)
    metrics = read(tmp_path / "measured" / METRICS)
    assert metrics["choices"] == 3
    (place,) = metrics["choices_elsewhere"]
    assert (place["split"], place["source"], place["choices"]) == ("validation", "faces", chosen)
    section = read_section((tmp_path / "measured" / "README.md").read_text(), "Evaluation")
    assert f"(epochs, recipes): 3. Choices made on split `validation` of faces: {chosen}." in section
    assert "held back" not in section
    # An export of it, measured on the split that its epochs were chosen on.
    trained_by = metrics["recipe"][-1:]
    trained = [{"split": "validation", "dataset": metrics["dataset"] | {"fingerprint": place["fingerprint"]}}]
    before = assemble_release.choices_before(tmp_path / "measured", metrics["recipe"])
    assert [entry["choices"] for entry in before if assemble_release.is_same_split(entry, trained[0])] == [chosen]
    assert "choices_elsewhere" not in read(assembled["classifier"] / METRICS)
    # Those of a teacher, on its own split.
    taught = [training | {"arguments": training["arguments"] | {"teacher": str(tuned_run)}} for training in trained_by]
    before = assemble_release.choices_before(None, taught)
    assert [entry["choices"] for entry in before] == [chosen, chosen]
    # Those of the published folder that a training started from: more than its trainings'.
    later = [*metrics["recipe"], trained_by[0] | {"arguments": trained_by[0]["arguments"] | {"model": "measured"}}]
    monkeypatch.chdir(tmp_path)
    assert [entry["choices"] for entry in assemble_release.choices_before(None, later)] == [3, chosen, chosen]
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    later[-1] = trained_by[0] | {"arguments": trained_by[0]["arguments"] | {"model": "encoder"}}
    for measured in ({}, {"method": "linear probe", "choices": 600}):  # a probe's made no weights: its trainings' stay
        (encoder / METRICS).write_text(json.dumps({"recipe": metrics["recipe"], **measured}))
        assert [entry["choices"] for entry in assemble_release.choices_before(None, later)] == [chosen, chosen]
    taught[0]["arguments"]["teacher"] = str(tmp_path / "measured")  # a published one has its own beside the run's
    assert [entry["choices"] for entry in assemble_release.choices_before(None, taught)] == [chosen, 3, chosen]


def test_the_licence_of_the_source_goes_with_runs_and_exports(assembled, tuned_run, faces, tmp_path):
    base, run = shutil.copytree(tuned_run, tmp_path / "base"), shutil.copytree(tuned_run, tmp_path / "run")
    (base / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\nTheirs.\n")
    about = read(run / "run.json")
    (run / "run.json").write_text(json.dumps({**about, "arguments": about["arguments"] | {"teacher": str(base)}}))
    assert source_license(run)["license"] == "cc-by-nc-4.0"
    (run / "run.json").write_text(json.dumps({**about, "arguments": about["arguments"] | {"model": str(base)}}))
    call(assemble_release, run, tmp_path / "out" / "encoder", "--encoder_only")
    shutil.rmtree(base)
    card = tmp_path / "out" / "encoder" / "README.md"
    assert "license: cc-by-nc-4.0\n" in card.read_text() and not card.with_name("LICENSE").exists()
    make_card.main([str(card.parent)])  # the folder says it by itself
    assert "license: cc-by-nc-4.0\n" in card.read_text()
    with pytest.raises(ValueError, match=r"the licence mit may allow more than cc-by-nc-4\.0"):
        make_card.main([str(card.parent), "--license", "mit"])
    card.write_text(card.read_text().replace("license: cc-by-nc-4.0\n", "license: mit\n"))
    with pytest.raises(ValueError, match=r"the licence mit may allow more than cc-by-nc-4\.0"):
        check_card(card.parent)
    plain = assembled["plain"]
    stated = {"license": "other", "license_name": "research-use-only", "license_link": "LICENSE"}
    assert read(plain / METRICS)["source_license"] == stated
    assert "Drawn by code." in (plain / "LICENSE").read_text()  # as its folder's has it
    with pytest.raises(ValueError, match="the licence mit may allow more than research-use-only"):
        call(assemble_release, assembled["export"], tmp_path / "no", "--dataset", faces, "--license", "mit")


def test_the_card_of_an_export_that_is_published_as_it_lies(assembled, tmp_path):
    make_card.main([str(assembled["export"]), "--output", str(tmp_path / "README.md")])
    text = (tmp_path / "README.md").read_text()
    assert read_section(text, "Evaluation") == "It was not measured in this folder; see Exports."
    assert "was not counted." in read_section(text, "Bias, risks and limitations")
    assert "without labels" not in text.replace("pretrained without labels", "")


def test_exports_that_cannot_be_assembled(assembled, faces, tmp_path):
    flags = ["--dataset", faces, "--num_workers", 0]
    with pytest.raises(ValueError, match="is an export, whose files stay as they are"):
        call(assemble_release, assembled["export"], tmp_path / "out", *flags, "--max_shard_size", "15MB")
    copy = shutil.copytree(assembled["export"], tmp_path / "copy")
    exports = read(copy / "exports.json")
    (copy / "exports.json").write_text(json.dumps({**exports, "model": str(assembled["classifier"])}))
    with pytest.raises(ValueError, match="was exported from other weights"):
        call(assemble_release, copy, tmp_path / "out", *flags)
    (copy / "exports.json").write_text(json.dumps({**exports, "model": "nowhere"}))
    with pytest.raises(ValueError, match="was exported from nowhere, which is not here"):
        call(assemble_release, copy, tmp_path / "out", *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize(
    "more,sentence",
    [
        ([], "give --dataset, to measure the saved weights, or --metrics"),
        (["--metrics", "no.json"], r"no\.json does not exist"),
        (["--more_choices", -1], r"--more_choices -1 must be in \[0"),
        (["--max_shard_size", "15 kB"], "must be whole megabytes, such as 15MB"),
        (["--license_name", ""], "--license other needs --license_name and --license_link"),
        (["--license_link", "TERMS"], "--license_link TERMS must be a URL, or LICENSE"),
        (["--assumed_watts", 0], r"--assumed_watts 0.0 must be in \(0"),
    ],
)
def test_bad_input(more, sentence, tuned_run, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(assemble_release, tuned_run, tmp_path / "out", *more)
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_run_or_not_empty(tuned_run, assembled, tmp_path):
    with pytest.raises(ValueError, match="not empty; give a new folder"):
        call(assemble_release, tuned_run, assembled["classifier"])
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        call(assemble_release, tmp_path, tmp_path / "out")
