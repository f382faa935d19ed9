# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""report.py from the command line: rows, seeds, differences, and runs that are broken."""

import csv
import json
import shutil
import statistics

import numpy as np
import pytest

from tests.tiny import FIELDS
from training import evaluate_classifier, linear_probe, report
from training.data.drawn_faces import write_image_folder
from training.fer_metrics.fer_metrics import bootstrap_interval
from training.measuring.classification import classification_measures, write_metrics, write_predictions

NAMES = ("a", "b")


class Processor:
    do_resize = True


def call(*arguments):
    report.main([str(argument) for argument in arguments])


def write_run(folder, accuracy=0.5, seed=0, choices=0, images=100, model="m", names=NAMES, **more):
    """A drawn run of `images` images whose labels are the same for all; the accuracy is met as nearly as can be."""
    folder.mkdir(parents=True)
    labels = np.arange(images) % 2
    right = np.random.default_rng(seed).permutation(images) < round(accuracy * images)
    predictions = np.where(right, labels, 1 - labels)
    if names != NAMES:  # the same truth in another order
        labels, predictions = 1 - labels, 1 - predictions
    known = {"method": "linear probe", "label_percent": 100, "num_bad_images": 0, "split": "validation"}
    known |= {"dataset": {"source": "data/faces", "fingerprint": "f"}, "arguments": {"model": model, "seed": seed}}
    found = classification_measures(labels, predictions, names)
    common = {"protocol": "drawn", "processor": Processor(), "model": model, "seed": seed, "choices": choices}
    write_metrics(folder / "metrics.json", found, **{**known, **common, **more})
    write_predictions(folder / "predictions.csv", np.arange(images), labels, predictions)
    return labels == predictions


def write_landmark_run(folder, errors, persons, seed=0, model="m"):
    folder.mkdir(parents=True)
    metrics = {"normalized_mean_error": float(np.mean(errors)), "auc_at_0.1": 0.4, "failure_rate": 0.1, "seed": seed}
    metrics["normalized_mean_error_interval"] = bootstrap_interval(errors, persons)
    metrics |= {"model": model, "split": "validation", "method": "landmark probe", "protocol": "p", "choices": 0}
    metrics["dataset"] = {"source": "landmarks", "fingerprint": "l"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [f"{i},{person},{error}" for i, (person, error) in enumerate(zip(persons, errors, strict=True))]
    (folder / "errors.csv").write_text("\n".join(["index,person,normalized_mean_error", *lines]) + "\n")


def table_rows(text, heading="Expressions"):
    """The cells of the lines of a table by its columns' names."""
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_mean_and_deviation_over_seeds_and_an_interval_of_one(tmp_path, capsys):
    for seed, accuracy in enumerate((0.6, 0.7, 0.75)):
        write_run(tmp_path / "runs" / "many" / f"seed_{seed}", accuracy, seed, choices=30)
    right = write_run(tmp_path / "runs" / "one", 0.5, model="other")
    call(tmp_path / "runs", "--output_md", tmp_path / "out" / "t.md", "--output_csv", tmp_path / "t.csv")
    text = capsys.readouterr().out
    assert (tmp_path / "out" / "t.md").read_text() == text
    many, one = table_rows(text)
    deviation = statistics.stdev((60, 70, 75))
    assert (many["encoder"], many["seeds"], many["choices"]) == ("m", "3", "30")
    assert many["accuracy"] == f"{(60 + 70 + 75) / 3:.2f} ± {deviation:.2f}"
    low, high = bootstrap_interval(right)
    assert one["accuracy"] == f"50.00 [{100 * low:.2f}, {100 * high:.2f}]"
    assert one["without repeats"] == "-"
    assert (one["data set"], one["split"], one["labels"], one["runs"]) == ("faces", "validation", "100 %", "[2]")
    assert "- faces (fingerprint f), validation: choices made 90, runs 4." in text
    for seed in range(3):
        assert f"seed {seed}: `{tmp_path / 'runs' / 'many' / f'seed_{seed}' / 'metrics.json'}`" in text
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["num_runs"] for row in rows] == ["3", "1"]
    assert float(rows[0]["accuracy"]) == pytest.approx(0.6833, abs=1e-4)
    assert float(rows[0]["accuracy_deviation"]) == pytest.approx(deviation / 100)
    assert float(rows[1]["accuracy_low"]) == low
    assert rows[0]["accuracy_low"] == rows[1]["accuracy_deviation"] == rows[1]["accuracy_without_repeats"] == ""
    assert len(rows[0]["files"].split(";")) == 3


def test_rows_part_by_method_set_share_and_arguments(tmp_path, capsys):
    write_run(tmp_path / "base")
    write_run(tmp_path / "method", method="k-NN")
    write_run(tmp_path / "share", label_percent=10)
    write_run(tmp_path / "split", split="test")
    write_run(tmp_path / "set", dataset={"source": "data/faces", "fingerprint": "g"})
    write_run(tmp_path / "rate", arguments={"model": "m", "seed": 0, "rate": 0.1})
    write_run(tmp_path / "elsewhere", seed=1, arguments={"model": "m", "seed": 1, "output_dir": "x"})  # base's row
    call(*(tmp_path / name for name in ("base", "method", "share", "split", "set", "rate", "elsewhere")))
    rows = table_rows(capsys.readouterr().out)
    assert sorted(row["seeds"] for row in rows) == ["1"] * 5 + ["2"]


def test_names_pool_the_models_below_a_folder(tmp_path, capsys):
    for seed in range(2):
        write_run(tmp_path / "simfle" / str(seed), seed=seed, model=f"runs/simfle_{seed}")
    write_run(tmp_path / "simfle" / "special", model="x")
    call(tmp_path, "--labels", f"{tmp_path / 'simfle'}=Sim|FLE", "--labels", f"{tmp_path}/simfle/special=X=1")
    capsys.readouterr()
    call(tmp_path, "--labels", f"{tmp_path / 'simfle'}=SimFLE", "--labels", f"{tmp_path}/simfle/special=X")
    rows = table_rows(capsys.readouterr().out)
    assert [(row["encoder"], row["seeds"]) for row in rows] == [("SimFLE", "2"), ("X", "1")]


def test_what_is_broken_unfinished_or_there_twice_is_named(tmp_path, capsys):
    write_run(tmp_path / "good")
    shutil.copytree(tmp_path / "good", tmp_path / "twin")
    for name, content in (("half", '{"accuracy": 0.'), ("bare", '{"accuracy": 0.5}'), ("other", '{"loss": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(content)
    for name, file in (("killed", "metrics.json.tmp"), ("begun", "run.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    wrong = {"accuracy": "high", "macro_f1": float("nan"), "label_percent": "x", "accuracy_interval": [1]}
    wrong |= {"dataset": "x", "choices": "three", "arguments": "x"}
    for name, value in wrong.items():
        write_run(tmp_path / name)
        words = json.loads((tmp_path / name / "metrics.json").read_text()) | {name: value}
        (tmp_path / name / "metrics.json").write_text(json.dumps(words))
    call(tmp_path)
    text = capsys.readouterr().out
    assert len(table_rows(text)) == 1
    said = dict(line[2:].split(": ", 1) for line in text.split("## Not in the tables\n\n")[1].strip().splitlines())
    said = {path.split("/")[-2]: why for path, why in said.items()}
    assert set(said) == {"twin", "half", "bare", "other", "killed", "begun", *wrong}
    assert "metrics.json is not JSON" in said["half"]
    assert said["bare"].startswith("lacks mean_class_accuracy, macro_f1")
    assert said["other"] == "neither accuracy nor normalized_mean_error is in it"
    assert "not finished" in said["killed"] and "not finished" in said["begun"]
    assert said["accuracy"] == "'high' stands where a number is needed"
    assert said["macro_f1"] == "nan stands where a number is needed"
    assert said["twin"].endswith("counted once")


def test_difference_of_pairs_and_its_interval(tmp_path, capsys):
    right = {}
    for name, accuracy in (("base", 0.5), ("other", 0.7)):
        order = NAMES if name == "base" else NAMES[::-1]  # the numbers of the classes differ, the classes do not
        right[name] = [
            write_run(
                tmp_path / name / f"seed_{seed}", accuracy + seed / 100, seed + 10 * (name == "other"), names=order
            )
            for seed in range(2)
        ]
    for seed in range(2):  # drawn by other generators, but seeds 0 and 1
        path = tmp_path / "other" / f"seed_{seed}" / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": seed}))
    call(tmp_path, "--labels", f"{tmp_path}/other=O", "--compare", tmp_path / "base", tmp_path / "other")
    row = table_rows(capsys.readouterr().out, "Differences")[0]
    low, high = bootstrap_interval((np.stack(right["other"]).astype(float) - np.stack(right["base"])).mean(0))
    assert row["other - base, points"] == f"+20.00 [{100 * low:+.2f}, {100 * high:+.2f}]"
    assert (row["base"], row["other"], row["seeds"]) == ("m, linear probe", "O, linear probe", "0 1")
    assert (row["base, %"], row["other, %"], row["drawn"]) == ("50.50", "70.50", "100 images")


def test_a_run_against_itself_has_no_difference(tmp_path, capsys):
    write_run(tmp_path / "run", 0.6)
    call(tmp_path / "run", "--compare", tmp_path / "run", tmp_path / "run")
    assert table_rows(capsys.readouterr().out, "Differences")[0]["other - base, points"] == "+0.00 [+0.00, +0.00]"


def test_landmark_runs_have_their_own_table_and_are_drawn_by_person(tmp_path, capsys):
    generator = np.random.default_rng(0)
    persons = [f"p{i // 10}" for i in range(100)]
    base, other = generator.uniform(0.04, 0.1, 100), generator.uniform(0.04, 0.08, 100)
    write_landmark_run(tmp_path / "base", base, persons)
    write_landmark_run(tmp_path / "other", other, persons, model="n")
    write_run(tmp_path / "probe")
    call(tmp_path, "--compare", tmp_path / "base", tmp_path / "other")
    text = capsys.readouterr().out
    assert len(table_rows(text)) == 1
    rows = table_rows(text, "Landmarks")
    low, high = bootstrap_interval(base, persons)
    assert rows[0]["normalised mean error"] == f"{100 * base.mean():.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    assert (rows[0]["AUC at 0.1"], rows[0]["failure rate"]) == ("40.00", "10.00")
    low, high = bootstrap_interval(other - base, persons)
    difference = table_rows(text, "Differences")[0]
    assert difference["drawn"] == "100 images, by 10 persons"
    mean = 100 * (other - base).mean()
    assert difference["other - base, points"] == f"{mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


@pytest.mark.parametrize(
    "change,sentence",
    [
        ({"images": 98}, "did not see the same images: 2 images are in one alone, index 98 first"),
        ({"names": ("b", "c")}, "the same index has another label"),
        ({"dataset": {"source": "data/faces", "fingerprint": "g"}}, "fingerprints f and g"),
        ({"seed": 3}, "base has seed 0 at 100 % of the labels; .*other has seed 3 at 100 %"),
        ({"label_percent": 10}, "other has seed 0 at 10 % of the labels; the same of both"),
    ],
)
def test_runs_that_do_not_pair(change, sentence, tmp_path):
    write_run(tmp_path / "base")
    write_run(tmp_path / "other", **change)
    with pytest.raises(ValueError, match=sentence):
        call(tmp_path, "--compare", tmp_path / "base", tmp_path / "other")


def test_other_bad_comparisons(tmp_path):
    write_run(tmp_path / "base")
    write_landmark_run(tmp_path / "landmarks", [0.1, 0.2], ["p", "q"])
    write_run(tmp_path / "two" / "a")
    write_run(tmp_path / "two" / "b", model="n")
    write_run(tmp_path / "without")
    (tmp_path / "without" / "predictions.csv").unlink()
    for other, sentence in (
        ("landmarks", "one measures classes, the other landmarks"),
        ("two", "are two runs of seed 0; give a folder with one method"),
        ("without", "predictions.csv does not exist; measure the run again"),
        ("nowhere", "is no folder and no metrics.json"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call(tmp_path / "base", "--compare", tmp_path / "base", tmp_path / other)
    (tmp_path / "two" / "b" / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"b/metrics.json is not JSON"):
        call(tmp_path / "base", "--compare", tmp_path / "base", tmp_path / "two")


@pytest.mark.parametrize(
    "text,sentence",
    [
        (None, "errors.csv does not exist; measure the run again"),
        ("index,person\n0,p\n", "is not a table of index, person, normalized_mean_error"),
        ("index,person,normalized_mean_error\n", "is not a table of"),
        ("index,person,normalized_mean_error\n0,p\n", "is not a table of"),
        ("index,person,normalized_mean_error\n0,p,x\n", "is not a table of .*could not convert string to float"),
        ("index,person,normalized_mean_error\n0,p,nan\n", "is not a table of"),
        ("index,person,normalized_mean_error\n0,p,1\n0,p,1\n", "an index twice"),
    ],
)
def test_bad_errors_files(text, sentence, tmp_path):
    write_landmark_run(tmp_path / "run", [0.1, 0.2], ["p", "q"])
    path = tmp_path / "run" / "errors.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        call(tmp_path / "run", "--compare", tmp_path / "run", tmp_path / "run")


@pytest.mark.parametrize(
    "flags,sentence",
    [
        (["{t}/nowhere"], "nowhere is no folder and no metrics.json; give the folders of finished runs"),
        (["{t}/empty"], "empty holds no metrics.json"),
        (["{t}/half"], "no run can be reported; .*half/metrics.json is not JSON"),
        (["{t}/good", "--labels", "SimFLE"], "--labels SimFLE must be RUN=NAME"),
        (["{t}/good", "--labels", "{t}/empty=SimFLE"], "empty: none of the runs lies there"),
    ],
)
def test_bad_flags(flags, sentence, tmp_path):
    write_run(tmp_path / "good")
    for name in ("empty", "half"):
        (tmp_path / name).mkdir()
    (tmp_path / "half" / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=sentence):
        call(*(flag.format(t=tmp_path) for flag in flags))


def test_as_a_process_over_runs_of_the_scripts(script, tmp_path):
    """Probes of an untrained encoder with two seeds, and an evaluation of one, on faces of one's own."""
    write_image_folder(tmp_path / "faces" / "train", 24, seed=0, size=40)
    write_image_folder(tmp_path / "faces" / "validation", 11, seed=1, size=40)
    (tmp_path / "tiny.json").write_text(json.dumps(FIELDS))
    flags = ["--dataset", tmp_path / "faces", "--num_workers", 0]
    probe = ["--model_config", tmp_path / "tiny.json", "--view_size", 64, "--cache_features", "--num_train_epochs", 2]
    runs = tmp_path / "runs"
    linear_probe.main([str(f) for f in [*flags, *probe, "--seeds", "0", "1", "--output_dir", runs / "probe"]])
    one = ["--model", runs / "probe" / "seed_0", *flags, "--output_dir", runs / "evaluation" / "seed_0"]
    evaluate_classifier.main([str(f) for f in one])
    compared = ["--compare", runs / "probe" / "seed_0", runs / "evaluation"]
    done = script("report", runs, "--labels", f"{runs}=untrained", *compared, check=0)
    rows = {row["method"]: row for row in table_rows(done.stdout)}
    assert (rows["linear probe"]["seeds"], rows["linear probe"]["choices"]) == ("2", "12")
    assert (rows["evaluation"]["seeds"], rows["evaluation"]["choices"]) == ("1", "0")
    difference = table_rows(done.stdout, "Differences")[0]
    assert difference["other - base, points"] == "+0.00 [+0.00, +0.00]"
    assert difference["drawn"] == "11 images"
    done = script("report", tmp_path / "faces", check=2)
    assert "holds no metrics.json" in done.stderr and "Traceback" not in done.stderr
