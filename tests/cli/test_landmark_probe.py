# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""landmark_probe.py from the command line, over drawn faces whose landmarks are known."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from modeling_simfle import SimFLEForPreTraining, SimFLEModel
from tests.tiny import tiny_config
from training import landmark_probe, report
from training.data.drawn_faces import draw_faces
from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.measuring.landmark_errors import normalized_distances
from training.models.loading import ProcessorArguments, load_processor, make_processor
from training.models.outputs import ImagePass, compute_outputs
from training.probing.ridge_map import centred_products, ridge


def call(*arguments):
    landmark_probe.main([str(argument) for argument in arguments])


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


def rows_of(num_images, seed, first_person, faces_each=3):
    """Drawn faces of 40 px; every third one is made twice as wide. The 68 points stay as they are, being fractions."""
    rows = {"image": [], "landmarks": [], "person": []}
    for index, face in enumerate(draw_faces(num_images, seed, 40)):
        image = face.image.resize((80, 40)) if index % 3 == 2 else face.image
        encoded = io.BytesIO()
        image.save(encoded, format="PNG")
        rows["image"].append({"bytes": encoded.getvalue(), "path": None})
        rows["landmarks"].append(face.landmarks.tolist())
        rows["person"].append(f"person {first_person + index // faces_each}")
    return rows


def write(folder, **splits):
    folder.mkdir()
    for name, rows in splits.items():
        Dataset.from_dict(rows).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    """240 training faces of 80 people, 15 validation faces of 5 others."""
    folder = tmp_path_factory.mktemp("landmarks") / "faces"
    return write(folder, train=rows_of(240, 0, 0), validation=rows_of(15, 1, 100))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A pretraining folder whose target is another encoder."""
    folder = tmp_path_factory.mktemp("model") / "simfle"
    torch.manual_seed(0)
    made = SimFLEForPreTraining(tiny_config())
    made.target_encoder.load_state_dict(SimFLEModel(tiny_config()).state_dict())
    made.save_pretrained(folder)
    make_processor(ProcessorArguments(), 64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flags(model, landmarks):
    return ["--model", model, "--dataset", landmarks, "--num_workers", 0]


@pytest.fixture(scope="module")
def run(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "probe"
    call(*flags, "--output_dir", folder)
    return folder


def test_what_a_run_leaves(run, landmarks):
    metrics, about = read(run), read(run, "run.json")
    assert {path.name for path in run.iterdir()} == {
        *("metrics.json", "errors.csv", "run.json", "cumulative_errors.png")
    }
    assert (metrics["method"], metrics["split"], metrics["choices"]) == ("landmark probe", "validation", 0)
    assert (metrics["num_images"], metrics["num_persons"], metrics["num_bad_images"]) == (15, 5, 0)
    assert (metrics["num_training_images"], metrics["num_training_persons"]) == (240, 80)
    assert metrics["feature_map"] == [32, 2, 2]
    assert metrics["dataset"]["source"] == str(landmarks)
    assert metrics["dataset"]["fingerprint"] == about["dataset_fingerprint"]["eval"]
    assert about["arguments"]["folds"] == 5 and about["arguments"]["landmark_column"] == "landmarks"
    assert "nothing chosen on validation; encoder, BatchNorm as loaded" in metrics["protocol"]
    assert metrics["preprocessing"]["size"] == {"height": 64, "width": 64}
    ridge = metrics["ridge"]
    best = int(np.argmin(ridge["cross_validation_errors"]))
    assert ridge["relative_strength"] == ridge["relative_candidates"][best]
    assert set(metrics["by_region"]) == {"brows", "eyes", "nose", "mouth", "jaw"}
    rows = list(csv.DictReader((run / "errors.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(15))
    assert [row["person"] for row in rows] == [f"person {100 + i // 3}" for i in range(15)]
    errors = np.array([float(row["normalized_mean_error"]) for row in rows])
    assert errors.mean() == pytest.approx(metrics["normalized_mean_error"])
    assert metrics["failure_rate"] == np.mean(errors > 0.1)
    with Image.open(run / "cumulative_errors.png") as picture:
        assert picture.format == "PNG"


def test_the_error_is_that_of_the_encoders_map_solved_by_hand(run, model, landmarks):
    encoder, processor, maps = SimFLEModel.from_pretrained(model).eval(), load_processor(model), []
    for split in ("train", "validation"):
        faces = open_faces(DatasetArguments(), str(landmarks), split, False)
        function = lambda pixels: encoder(pixels).last_hidden_state.flatten(1)  # noqa: E731
        maps.append(compute_outputs(function, faces, processor, ImagePass(64, 0, BadImages(0), "cpu"))[1])
    train, validation = (np.array(rows_of(n, seed, 0)["landmarks"]) for n, seed in ((240, 0), (15, 1)))
    gram, cross = centred_products(*maps)
    predicted = ridge(read(run)["ridge"]["strength"]).fit(gram, train.reshape(240, -1)).predict(cross)
    sizes = np.array([(80, 40) if index % 3 == 2 else (40, 40) for index in range(15)], float)
    expected = normalized_distances(predicted.reshape(15, 68, 2), validation, sizes).mean()
    assert read(run)["normalized_mean_error"] == pytest.approx(expected, abs=1e-6)
    assert expected < read(run)["mean_shape_error"]  # the map reads something off the picture


def test_report_reads_it(run, flags, tmp_path, capsys):
    call(*flags, "--which", "target", "--output_dir", tmp_path / "target")
    capsys.readouterr()
    report.main([str(run), str(tmp_path / "target"), "--compare", str(run), str(tmp_path / "target")])
    text, metrics, other = capsys.readouterr().out, read(run), read(tmp_path / "target")
    low, high = metrics["auc_at_0.1_interval"]
    assert f"{100 * metrics['auc_at_0.1']:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in text
    low, high = metrics["normalized_mean_error_interval"]
    assert f"{100 * metrics['normalized_mean_error']:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in text
    difference = other["normalized_mean_error"] - metrics["normalized_mean_error"]
    assert f"{100 * difference:+.2f} [" in text and "15 images, by 5 persons" in text
    assert "Not in the tables" not in text


def test_an_untrained_encoder_repeats_itself_and_its_batch_norm_is_kept(config_file, landmarks, tmp_path, capsys):
    flags = ["--model_config", config_file, "--view_size", 64, "--dataset", landmarks, "--num_workers", 0]
    for name, more in (
        ("one", []),
        ("other", []),
        ("estimated", ["--estimate_batch_norm", "--features_dir", tmp_path / "features"]),
        ("again", ["--estimate_batch_norm", "--features_dir", tmp_path / "features"]),
        ("seed", ["--seed", 1]),
    ):
        call(*flags, *more, "--output_dir", tmp_path / name)
    assert capsys.readouterr().out.count(" from ") == 3  # statistics and two splits
    found = {name: read(tmp_path / name)["normalized_mean_error"] for name in ("one", "other", "estimated", "again")}
    assert found["one"] == found["other"] and found["estimated"] == found["again"]
    assert len({*found.values(), read(tmp_path / "seed")["normalized_mean_error"]}) == 3
    assert "BatchNorm estimated on the training faces" in read(tmp_path / "estimated")["protocol"]
    assert read(tmp_path / "one")["model"].startswith("untrained")


def test_unreadable_pictures_are_named_counted_and_left_out(model, tmp_path, capsys):
    train, validation = rows_of(30, 0, 0), rows_of(9, 1, 100)
    for rows, index in ((train, 4), (validation, 2)):
        rows["image"][index]["bytes"] = rows["image"][index]["bytes"][:-200]  # torn
    folder = write(tmp_path / "faces", train=train, validation=validation)
    flags = ["--model", model, "--dataset", folder, "--num_workers", 0, "--features_dir", tmp_path / "features"]
    call(*flags, "--max_bad_images", 2, "--output_dir", tmp_path / "run")
    assert capsys.readouterr().err.count("is not a readable image") == 2
    metrics = read(tmp_path / "run")
    assert (metrics["num_images"], metrics["num_training_images"], metrics["num_bad_images"]) == (8, 29, 2)
    indices = [int(row["index"]) for row in csv.DictReader((tmp_path / "run" / "errors.csv").open())]
    assert indices == [0, 1, *range(3, 9)]
    with pytest.raises(ValueError, match="2 bad images are more than --max_bad_images 1"):  # from the disk too
        call(*flags, "--max_bad_images", 1, "--output_dir", tmp_path / "strict")


@pytest.mark.parametrize(
    "more,sentence",
    [
        (["--folds", 1], r"--folds 1 must be in \[2"),
        (["--folds", 81], "--folds 81 needs as many training people, and there are 80; give fewer folds"),
        (["--eval_split", "train"], "80 of the evaluation split's 80 persons are in the training split too"),
        (["--landmark_column", "points"], "has no column 'points'; found image, landmarks, person; name one by"),
        (["--view_size", 0], r"--view_size 0 must be in \[1"),
        (["--eval_split", "test"], "has no file of split 'test'; found train.parquet, validation.parquet"),
    ],
)  # fmt: skip
def test_bad_values(more, sentence, flags, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        call(*flags, *more, "--output_dir", tmp_path / "out")


def test_folders_without_landmarks_and_rows_that_are_wrong(model, faces, tmp_path):
    flags = ["--model", model, "--num_workers", 0, "--output_dir", tmp_path / "out"]
    with pytest.raises(ValueError, match="has no column 'landmarks'; found image"):
        call(*flags, "--dataset", faces)
    train = rows_of(12, 0, 0)
    train["landmarks"][7][45] = train["landmarks"][7][36]
    folder = write(tmp_path / "twin", train=train, validation=rows_of(6, 1, 100))
    with pytest.raises(ValueError, match=r"row 7 of .*twin, split 'train' has points 36 and 45"):
        call(*flags, "--dataset", folder)


def test_as_a_process(script, flags, landmarks, tmp_path):
    done = script("landmark_probe", *flags, "--output_dir", tmp_path / "run", check=0)
    assert "normalised mean error" in done.stdout and "15 images of 5 persons, split validation" in done.stdout
    done = script("landmark_probe", *flags, "--eval_split", "train", "--output_dir", tmp_path / "no", check=2)
    assert done.stderr.startswith("landmark_probe: 80 of the evaluation split's") and "Traceback" not in done.stderr
