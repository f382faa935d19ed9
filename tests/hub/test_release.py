# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""release.py: what it makes of runs, of an encoder and of an export, and what it refuses."""

import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from modeling_simfle import SimFLEModel
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.hub.published_folders import call, read
from training import linear_probe, release
from training.data.drawn_faces import write_image_folder
from training.exporting.exports import FILES

METRICS = "metrics.json"


def test_a_fine_tuned_run(released, tuned_run):
    folder = released["classifier"]
    names = {"config.json", "preprocessor_config.json", "model.safetensors", METRICS, "README.md", *CODE_FILES}
    assert {path.name for path in folder.iterdir()} == names | {"example_photo.png", "LICENSE", "card_notes.md"}
    metrics = read(folder / METRICS)
    assert [entry["method"] for entry in metrics["lineage"]] == ["pretraining", "fine-tuning"]
    assert all(entry["results"]["hours"] > 0 for entry in metrics["lineage"])
    assert metrics["choices"] == read(tuned_run / METRICS)["choices"] + 2
    assert (metrics["method"], metrics["model"], metrics["num_images"]) == ("evaluation", "classifier", 16)
    assert "--model classifier" in metrics["command"]
    text = (folder / "README.md").read_text()
    assert "This sentence was written by hand." in text and "- hardware: two cores" in text
    assert "Accuracy by age, by skin tone and by gender was not measured" in text
    for name in (METRICS, "README.md"):  # no path of this machine
        assert str(folder.parent.parent.parent) not in (folder / name).read_text()
        assert f"{folder.name}.tmp" not in (folder / name).read_text()
    assert {t.dtype for t in load_file(folder / "model.safetensors").values() if t.is_floating_point()} == {
        torch.float16
    }
    assert read(folder / "config.json")["dtype"] == "float32"


def test_figures_of_the_card_are_those_of_metrics_json(released):
    metrics, text = (read(released["classifier"] / METRICS), (released["classifier"] / "README.md").read_text())
    results = {result.metric_type: result.metric_value for result in ModelCard(text).data.eval_results}
    assert results["accuracy"] == round(metrics["accuracy"], 6)
    section = text.partition("## Evaluation")[2].partition("## Exports")[0]
    found = [float(number) for number in re.findall(r"(\d+\.\d\d) %", section)]
    wanted = [metrics["accuracy"], *metrics["accuracy_interval"], metrics["mean_class_accuracy"], metrics["macro_f1"]]
    wanted += [metrics[name] for name in ("expected_calibration_error", "calibrated_expected_calibration_error")]
    for row in metrics["per_class"].values():
        wanted += [row["precision"], row["recall"], *row.get("recall_interval", ()), row["f1"]]
    assert found == pytest.approx([100 * value for value in wanted], abs=0.0051)
    for row in metrics["confusion_matrix"]:
        assert f"| {' | '.join(map(str, row))} |" in section


def test_an_encoder_alone_and_its_probe(released, pretrained, classifier, tmp_path):
    folder = released["encoder"]
    assert read(folder / "config.json")["architectures"] == ["SimFLEModel"]
    assert not any(name.startswith("facemae") for name in load_file(folder / "model.safetensors"))
    card = (folder / "README.md").read_text()
    assert "| similarity loss |" in card and "license: cc-by-nc-4.0" in card
    assert not (folder / "LICENSE").exists()
    flags = ["--encoder_only", "--metrics", classifier[0] / METRICS]
    call(release, pretrained[0], tmp_path / "probed", *flags)
    assert "With a linear probe, the encoder names" in (tmp_path / "probed" / "README.md").read_text()
    assert "training/linear_probe.py" in read(tmp_path / "probed" / METRICS)["command"]


def test_a_plain_folder(released):
    simfle, folder = released["classifier"], released["plain"]
    names = {"config.json", "preprocessor_config.json", METRICS, "exports.json", "README.md", *FILES.values()}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == names | {"example_photo.png", "LICENSE"}
    metrics, base = read(folder / METRICS), read(simfle / METRICS)
    assert metrics["lineage"][:-1] == base["lineage"]
    assert (metrics["lineage"][-1]["method"], metrics["choices"]) == ("export", base["choices"])
    assert metrics["accuracy"] == read(folder / "exports.json")["eager"]["accuracy"]
    text = (folder / "README.md").read_text()
    assert "trust_remote_code" not in text and ".py files" not in (folder / "LICENSE").read_text()
    for name in (METRICS, "exports.json", "README.md"):
        assert str(folder.parent.parent.parent) not in (folder / name).read_text()


def test_choices_count_where_they_were_made(tuned_run, faces, tmp_path):
    chosen = read(tuned_run / METRICS)["choices"]
    other = shutil.copytree(faces, tmp_path / "faces")
    write_image_folder(other / "test", 8, seed=2, size=40)
    flags = ["--dataset", other, "--num_workers", 0, "--eval_split", "test", "--more_choices", 3]
    call(release, tuned_run, tmp_path / "measured", *flags)
    metrics = read(tmp_path / "measured" / METRICS)
    assert metrics["choices"] == 3
    (place,) = metrics["choices_elsewhere"]
    assert (place["split"], place["source"], place["number"]) == ("validation", "faces", chosen)


def test_metrics_of_other_weights_are_refused(pretrained, tuned_run, classifier, faces, config_file, tmp_path):
    for metrics in (tuned_run, classifier[0]):  # of float32 weights, of another model
        with pytest.raises(ValueError, match="was not measured on these float16 weights"):
            call(release, tuned_run, tmp_path / "no", "--metrics", metrics / METRICS)
    flags = ["--dataset", faces, "--cache_features", "--num_workers", 0, "--num_train_epochs", 1]
    encoder = [pretrained[0], tmp_path / "no", "--encoder_only", "--metrics"]
    for name, more, sentence in (
        ("untrained", ["--model_config", config_file, "--view_size", 64], "was measured on another encoder than"),
        ("target", ["--model", pretrained[0], "--which", "target"], "was measured with the target encoder"),
    ):
        call(linear_probe, *flags, *more, "--output_dir", tmp_path / name)
        with pytest.raises(ValueError, match=f"{name}.metrics.json {sentence}"):
            call(release, *encoder, tmp_path / name / METRICS)
    with pytest.raises(ValueError, match="does not lie in the folder of a linear probe"):
        call(release, *encoder, tuned_run / METRICS)
    assert not (tmp_path / "no").exists()


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


@pytest.mark.parametrize(
    "more,sentence",
    [
        ([], "Give --dataset, to measure the saved weights, or --metrics"),
        (["--metrics", "no.json"], r"no\.json does not exist"),
        (["--more_choices", -1], r"--more_choices -1 must be in \[0"),
        (["--max_shard_size", "15 kB"], "must be whole megabytes, such as 15MB"),
        (["--license_name", ""], "--license other needs --license_name and --license_link"),
        (["--license_link", "TERMS"], "--license_link TERMS must be a URL, or LICENSE"),
        (["--license", "foo"], "licence 'foo' is no id of the Hub"),
        (["--license_name", "MIT"], "MIT is an id of the Hub and no licence's own name"),
        (["--notes", "no.md"], r"--notes no\.md does not exist"),
    ],
)
def test_bad_input(more, sentence, tuned_run, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(release, tuned_run, tmp_path / "out", *more)
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_run_or_not_empty(tuned_run, released, tmp_path):
    with pytest.raises(ValueError, match="not empty; give a new folder"):
        call(release, tuned_run, released["classifier"])
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        call(release, tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="is an export, whose files stay as they are"):
        call(release, released["export"], tmp_path / "out", "--max_shard_size", "15MB")
    old = shutil.copytree(tuned_run, tmp_path / "old")
    (old / "run.json").unlink()
    with pytest.raises(ValueError, match="has no lineage"):
        call(release, old, tmp_path / "out")
