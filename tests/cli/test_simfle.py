# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Tier: `make test`; the kills, `make test-all`. The command with the published weights on photographs.

The photographs hold scikit-image's astronaut (NASA, public domain), whose expression is happiness.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from modeling_simfle import FaceExpressionPipeline, SimFLEImageProcessor
from simfle.__main__ import main
from simfle.arguments import parse_arguments
from simfle.classify import DirectProcessor, load_face_classifier
from simfle.models import load_classifier
from simfle.run import run
from simfle.writers import read_rows
from tests.fork_server import forking_python
from tests.new_process import ROOT

MODEL = ROOT / "hub_cards" / "simfle-resnet18-ferplus"
PLAIN = ROOT / "hub_cards" / "simfle-resnet18-ferplus-plain"
FACE = (178, 63, 269, 174)  # of the astronaut


@pytest.fixture(scope="module")
def astronaut():
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def photos(astronaut, tmp_path_factory):
    """Twenty photographs, a broken JPEG, a text, a HEIC, one without faces and a group of four."""
    root = tmp_path_factory.mktemp("photos")
    for index in range(20):
        astronaut.resize((400 + 8 * index,) * 2).save(root / f"photo{index + 1}.jpg")
    astronaut.save(root / "broken.jpg")
    (root / "broken.jpg").write_bytes((root / "broken.jpg").read_bytes()[:9000])
    (root / "notes.txt").write_text("no picture")
    (root / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    Image.new("RGB", (300, 200), "gray").save(root / "landscape.png")
    group = Image.new("RGB", (1024, 1024))
    for left, top in ((0, 0), (512, 0), (0, 512), (512, 512)):
        group.paste(astronaut, (left, top))
    group.save(root / "group.png")
    return root


class Command:
    """The command in this process, each classifier loaded once."""

    def __init__(self):
        self._classifiers = {}

    def __call__(self, *arguments, model=MODEL) -> int:
        parsed = parse_arguments([str(argument) for argument in (*arguments, "--model", model)])
        names = ("backend", "model", "already_cropped", "margin", "align", "calibrated", "max_faces", "min_face_size")
        names += ("detection_threshold",)
        key = tuple(getattr(parsed, name) for name in names)
        if key not in self._classifiers:
            self._classifiers[key] = load_face_classifier(parsed)
        return run(parsed, self._classifiers[key])


@pytest.fixture(scope="module")
def command():
    return Command()


def start(*arguments, python=None, **options):
    """The command as a process of its own, by its entry point; forked, unless its end must be waited for."""
    argv = [str(argument) for argument in arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    # A shell's background job ignores SIGINT, and whatever it starts does too.
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        [python or forking_python(), "-m", "simfle", *argv], text=True, cwd=ROOT, env=environment, **pipes
    )


def names_of(rows):
    return [os.path.basename(row["image"]) for row in rows]


def test_a_folder_of_photographs(command, photos, tmp_path, capsys):
    assert command(photos, "--output", tmp_path / "faces.csv", "--annotate", tmp_path / "out") == 0
    rows = list(csv.DictReader((tmp_path / "faces.csv").open()))
    photographs = [f"photo{index}.jpg" for index in range(1, 21)]
    assert names_of(rows) == ["broken.jpg", *4 * ["group.png"], "landscape.png", "phone.heic", *photographs]
    assert {row["label"] for row in rows if row["score"]} == {"happiness"}
    assert names_of([row for row in rows if row["error"]]) == ["broken.jpg", "phone.heic"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("simfle: 22 images, 24 faces; 2 could not be read (")
    assert line.endswith("; 1 other file left out.")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*photographs, "group.png", "landscape.png"]
    )


def test_the_rows_are_what_the_pipeline_answers(command, photos, tmp_path):
    command(photos / "group.png", photos / "landscape.png", "--output", tmp_path / "f.jsonl", "--margin", 0.1)
    *rows, landscape = read_rows(tmp_path / "f.jsonl")
    assert landscape["label"] is None
    classify = FaceExpressionPipeline(**parts_of(command), top_k=None, margin=0.1)
    answers = classify(str(photos / "group.png"))
    assert len(rows) == len(answers) == 4
    for row, answer in zip(rows, answers):
        assert (row["box"], row["label"]) == (answer["box"], answer["label"])
        assert row["detection_score"] == pytest.approx(answer["detection_score"], abs=1e-5)
        assert {name: row[name] for name in answer["scores"]} == pytest.approx(answer["scores"], abs=1e-5)


def parts_of(command):
    """The model and the processor of the command's PyTorch classifier."""
    faces = next(c.pipeline for key, c in command._classifiers.items() if key[0] == "torch")
    return {"model": faces.model, "image_processor": faces.image_processor, "device": "cpu"}


@pytest.mark.parametrize("hidden", [(), ("model_quantized.onnx",)])
def test_onnx_agrees_with_torch(command, photos, tmp_path, hidden):
    plain = tmp_path / "plain"
    (plain / "onnx").mkdir(parents=True)
    for file in (*PLAIN.glob("*.json"), *PLAIN.glob("onnx/*.onnx")):
        if file.name not in hidden:
            (plain / file.relative_to(PLAIN)).symlink_to(file)
    command(photos / "group.png", "--output", tmp_path / "torch.jsonl")
    command(photos / "group.png", "--output", tmp_path / "onnx.jsonl", "--backend", "onnx", model=plain)
    one, other = (list(read_rows(tmp_path / f"{name}.jsonl")) for name in ("torch", "onnx"))
    assert [row["box"] for row in one] == [row["box"] for row in other]
    difference = max(abs(a["happiness"] - b["happiness"]) for a, b in zip(one, other))
    assert difference < (0.05 if not hidden else 0.002)
    record = json.loads((tmp_path / "onnx.jsonl.progress.jsonl").read_text().splitlines()[0])
    file = "model.onnx" if hidden else "model_quantized.onnx"
    exports = json.loads((PLAIN / "exports.json").read_text())
    assert record["model"] == next(e["sha256"] for e in exports.values() if e.get("file") == f"onnx/{file}")


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_temperature_of_a_plain_folder_is_read(backend, tmp_path):
    plain = shutil.copytree(PLAIN, tmp_path / "plain")
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps({**config, "temperature": 2.0}))
    assert load_classifier(str(plain), backend)[0].config.temperature == 2.0


def test_pictures_that_are_faces_already(command, astronaut, tmp_path):
    (tmp_path / "faces").mkdir()
    for index in range(3):
        astronaut.crop(FACE).resize((48 + index,) * 2).save(tmp_path / "faces" / f"{index}.png")
    Image.new("L", (48, 48), 128).save(tmp_path / "faces" / "gray.png")
    command(tmp_path / "faces", "--already_cropped", "--output", tmp_path / "f.csv")
    rows = list(read_rows(tmp_path / "f.csv"))
    assert names_of(rows) == ["0.png", "1.png", "2.png", "gray.png"]
    assert [row["label"] for row in rows[:3]] == 3 * ["happiness"]
    assert rows[3]["label"] and rows[3]["detection_score"] is None
    command(tmp_path / "faces", "--already_cropped", "--output", tmp_path / "one.csv", "--batch_size", 1)
    assert [row["label"] for row in read_rows(tmp_path / "one.csv")] == [row["label"] for row in rows]


@pytest.mark.parametrize("flags,faces", [(["--max_faces", 2], 2), (["--min_face_size", 400], 0), (["--align"], 4)])
def test_options_of_the_pipeline_reach_it(command, photos, tmp_path, flags, faces):
    command(photos / "group.png", "--output", tmp_path / "f.jsonl", *flags)
    assert len([row for row in read_rows(tmp_path / "f.jsonl") if row["label"]]) == faces


def test_calibrated_probabilities(command, tmp_path):
    Image.new("L", (48, 48), 128).save(tmp_path / "gray.png")
    model = tmp_path / "model"
    model.mkdir()
    for file in MODEL.iterdir():
        if file.name != "config.json":
            (model / file.name).symlink_to(file)
    config = {**json.loads((MODEL / "config.json").read_text()), "temperature": 4.0}
    (model / "config.json").write_text(json.dumps(config))
    rows = []
    for flags in ([], ["--calibrated"]):
        output = tmp_path / f"{len(flags)}.jsonl"
        command(tmp_path / "gray.png", "--already_cropped", "--output", output, *flags, model=model)
        (row,) = read_rows(output)
        rows.append(np.array([row[name] for name in config["label2id"]]))
    expected = rows[0] ** (1 / 4)
    assert rows[1] == pytest.approx(expected / expected.sum(), abs=1e-3)


def test_a_video_of_three_people_one_of_whom_leaves(command, astronaut, tmp_path):
    face = astronaut.crop((150, 30, 300, 200)).resize((180, 204))
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (640, 480))
    for index in range(20):
        frame = Image.new("RGB", (640, 480), "gray")
        for left, top in ((10 + index, 20), (230, 250), (430, 30))[: 2 if 5 <= index < 12 else 3]:
            frame.paste(face, (left, top))
        writer.write(np.ascontiguousarray(np.asarray(frame)[:, :, ::-1]))
    writer.release()
    flags = ["--backend", "onnx", "--output", tmp_path / "v.parquet", "--summary", tmp_path / "s.csv"]
    flags += ["--plot", tmp_path / "p.png", "--annotate", tmp_path / "copy.mp4", "--smooth", 1]
    assert command(tmp_path / "v.mp4", *flags, model=PLAIN) == 0
    rows = list(read_rows(tmp_path / "v.parquet"))
    assert len(rows) == 20 * 2 + 13
    assert {row["label"] for row in rows} == {"happiness"}
    tracks = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert sorted(int(row["frames"]) for row in tracks) == [5, 8, 20, 20]
    assert Image.open(tmp_path / "p.png").size[0] > 500
    assert cv2.VideoCapture(str(tmp_path / "copy.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 20


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["/no/such.png", "--model", MODEL], "/no/such.png does not exist; give images, videos or folders"),
        (["{photo}"], "the following arguments are required: --model"),
        (["{photo}", "--model", "/no/such/model"], "--model /no/such/model does not exist"),
        (["{photo}", "--model", "{out}"], "cannot be loaded"),
        (["{photo}", "--model", ROOT / "hub_cards" / "simfle-resnet50-ferplus-ssl"], "not a classifier"),
        (
            ["{photo}", "--model", MODEL, "--backend", "onnx"],
            "has neither onnx/model_quantized.onnx nor onnx/model.onnx",
        ),
        (["{photo}", "--model", PLAIN, "--backend", "onnx", "--device", "cuda"], "leave out --device cuda"),
        (["{photo}", "--model", MODEL, "--device", "nonsense"], "--device nonsense"),
        (["{photo}", "--model", MODEL, "--output", "{out}/x.xml"], "must end in .csv or .jsonl or .parquet"),
        (["{photo}", "--model", MODEL, "--output", "{out}/no/x.csv"], "there is no folder"),
        (["{photo}", "--model", MODEL, "--plot", "{out}/x.jpg"], "must end in .png"),
        (["{photo}", "--model", MODEL, "--plot", "{photo}", "--overwrite"], "is an input; give another file"),
        (["{photo}", "--model", MODEL, "--resume"], "give --output too"),
        (["{photo}", "--model", MODEL, "--batch_size", "0"], "0 is not a whole number of at least 1"),
        (["{photo}", "--model", MODEL, "--detection_threshold", "0"], "0 is not a number above 0 and at most 1"),
        (["{photo}", "--model", MODEL, "--frames_per_second", "nan"], "nan is not a number above 0"),
        (["{photo}", "--model", MODEL, "--face_detector", "/no/x.onnx"], "--face_detector /no/x.onnx is no file"),
        (["{photo}", "--model", MODEL, "--output_file", "x.csv"], "unrecognized arguments: --output_file"),
        (["{photo}", "--mod", MODEL], "--mod"),
    ],
)
def test_bad_arguments_are_one_sentence_and_status_2(arguments, sentence, photos, tmp_path, capsys):
    places = {"photo": photos / "group.png", "out": tmp_path}
    try:
        status = main([str(argument).format(**places) for argument in arguments])
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert status == 2
    assert said.err.startswith("simfle: ") and len(said.err.splitlines()) == 1
    assert sentence in said.err
    assert not said.out
    assert not list(tmp_path.iterdir())


def test_paths_from_the_home_folder(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.png").write_bytes((photos / "landscape.png").read_bytes())
    (tmp_path / "model").symlink_to(MODEL)
    flags = ["--output", "~/f.csv", "--annotate", "~/out", "--summary", "~/s.csv", "--plot", "~/p2.png"]
    arguments = parse_arguments(["~/p.png", "--model", "~/model", *flags])
    assert arguments.inputs == [tmp_path / "p.png"]
    assert arguments.model == str(tmp_path / "model")
    assert [arguments.output, arguments.annotate, arguments.summary, arguments.plot] == [
        tmp_path / name for name in ("f.csv", "out", "s.csv", "p2.png")
    ]


@pytest.mark.parametrize("flag", ["--help", "--version", "--bad"])
def test_answers_before_any_heavy_import(flag):
    code = (
        "import runpy, sys; sys.argv = ['simfle', sys.argv[1]]\n"
        "try: runpy.run_module('simfle', run_name='__main__')\n"
        "except SystemExit as end: status = end.code\n"
        "heavy = {'torch', 'transformers', 'modeling_simfle', 'cv2', 'matplotlib', 'pyarrow', 'numpy', 'PIL'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == (2 if flag == "--bad" else 0), done.stderr
    if flag == "--help":
        assert "photo.jpg --model" in done.stdout


def test_without_opencv_one_sentence(photos):
    code = "import sys; sys.modules['cv2'] = None\nfrom simfle.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    argv = [str(photos / "group.png"), "--model", str(MODEL)]
    done = subprocess.run([forking_python(), "-c", code, *argv], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert 'pip install "simfle[photos]"' in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_closed_pipe_is_status_0(photos):
    process = start(photos, "--model", PLAIN, "--backend", "onnx", "--batch_size", 1)
    assert process.stdout.readline().startswith("image")
    process.stdout.close()
    assert process.wait(200) == 0
    assert not process.stderr.read()


def test_a_full_disk_is_status_1(photos):
    with open("/dev/full", "w") as full:
        process = start(photos / "group.png", "--model", PLAIN, "--backend", "onnx", stdout=full)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert said == "simfle: No space left on device.\n"


def wait_for_files(output, count, process):
    """Until the record of the output holds so many files."""
    record = output.with_name(output.name + ".progress.jsonl")
    while not record.exists() or len(record.read_bytes().splitlines()) < 1 + count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle_and_resumed_it_is_the_same(command, photos, tmp_path, how, ending):
    """Copies of the folder make it long enough to be stopped."""
    root = tmp_path / "many"
    for index in range(20):
        (root / str(index)).mkdir(parents=True)
        for file in photos.iterdir():
            (root / str(index) / file.name).symlink_to(file)
    output, whole = tmp_path / ("f" + ending), tmp_path / ("whole" + ending)
    flags = ["--backend", "onnx", "--model", PLAIN]
    process = start(root, *flags, "--output", output, python=sys.executable)
    wait_for_files(output, 30, process)
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert said.startswith("simfle: interrupted; ") and said.endswith("and --resume goes on.\n")
        assert len(said.splitlines()) == 1
    assert command(root, *flags[:2], "--output", output, "--resume", model=PLAIN) == 0
    assert command(root, *flags[:2], "--output", whole, model=PLAIN) == 0
    assert list(read_rows(output)) == list(read_rows(whole))
    if ending == ".csv":
        assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("folder", [MODEL, PLAIN])
def test_faces_become_the_processors_own_pixels(astronaut, folder):
    processor = SimFLEImageProcessor.from_pretrained(folder)
    for face in (astronaut.crop(FACE), astronaut.crop(FACE).resize((48, 48))):
        ours, theirs = (
            call(face, return_tensors="pt")["pixel_values"] for call in (DirectProcessor(processor), processor)
        )
        assert torch.equal(ours, theirs)
