# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
What strange bytes are made of, and who reads them: by kind, small valid files and the functions that scripts call.

A reader gives (status, what was said on stderr), as the script would end. `Workplace` has the folders of a child.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tarfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors import SafetensorError
from transformers.models.auto.modeling_auto import AutoModelForImageClassification

import simfle.__main__
import simfle.classify
from modeling_simfle import (
    FaceExpressionPipeline,
    SimFLEForImageClassification,
    SimFLEForPreTraining,
    SimFLEImageProcessor,
)
from modeling_simfle.hub_folder_simfle import weights_sha256
from modeling_simfle.image_processing_simfle import read_image as read_photo
from tests import official_layouts as layouts
from tests.drawn_dataset import make_dataset
from tests.faults import mutations
from tests.oracle import TEST_SIZES
from tests.original_format import write_checkpoint
from tests.tiny import tiny_config
from training.data.drawn_faces import draw_face
from training.data.expressions import EXPRESSIONS
from training.data.faces import DatasetArguments, open_faces
from training.data.formats import guess_format, load_data_set
from training.data.images import BadImage, image_hash, read_image
from training.data.landmarks import LandmarkArguments, read_landmarks
from training.data.preparation import PreparationArguments, write_face
from training.data.stream_index import open_index, write_index
from training.data.streams import open_stream
from training.finetuning.arguments import FineTuningArguments
from training.measuring.classification import classification_measures, write_metrics
from training.measuring.finished_runs import find_runs
from training.models.arguments import ModelArguments, ProcessorArguments, is_of_transformers, read_config
from training.models.label_map import map_outputs, read_label_map
from training.models.loading import load_classifier, load_encoder, load_weights
from training.models.original_checkpoint import ConversionArguments, convert
from training.models.output_store import stored_tensors
from training.pretraining.arguments import PretrainingArguments
from training.publishing.file_kinds import check_file
from training.publishing.record import read_record
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from training.runtime.errors import InputError
from training.runtime.lineage import make_lineage, read_lineage
from training.runtime.run_folder import write_json

ROOT = Path(__file__).parents[2]
# What modeling_simfle and Transformers raise on bad files, Transformers on a type in config.json and on weights.
LIBRARY_ERRORS = (ValueError, OSError, ImportError, StrictDataclassError, SafetensorError)
CANARY = "import os\nos.system('true')\nos.mkdir('/tmp/simfle_canary')\n"  # in place of the code of a model's folder
HOSTILE = b"cos\nsystem\n(S'true'\ntR."  # a pickle that calls os.system


@dataclass
class Case:
    """file: holds valid bytes. mutate: (bytes, dice) -> bytes. readers: take `file`; one of them is drawn a trial."""

    file: Path
    mutate: Callable
    readers: list[Callable]
    weight: int = 1
    hostile: list[bytes] = field(default_factory=list)  # bytes to try as they are, now and then
    is_valid: bool = True


class Workplace:
    """data: valid files, which nobody may change. out: where the readers may write."""

    def __init__(self, root: Path):
        self.data, self.out = root / "data", root / "out"
        for folder in (self.data, self.out):
            folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.face = draw_face(0, 0, 48).image

    def empty_out(self) -> None:
        shutil.rmtree(self.out)
        self.out.mkdir()

    def classifier(self, name: str, **options) -> Path:
        """A tiny classifier's folder with metrics.json and run.json. Its code files call os.system."""
        folder = self.data / name
        config = tiny_config(id2label=dict(enumerate(EXPRESSIONS)), label2id={n: i for i, n in enumerate(EXPRESSIONS)})
        SimFLEForImageClassification(config).save_pretrained(folder, **options)
        processor = SimFLEImageProcessor(size={"height": 32, "width": 32})
        processor.save_pretrained(folder)
        for code in folder.glob("*.py"):
            code.write_text(CANARY)
        labels = np.arange(16) % 8
        about = {"split": "validation", "protocol": "none", "model": "encoder", "seed": 0, "method": "fine-tuning"}
        about |= {"label_percent": 100, "dataset": {"source": "faces", "fingerprint": "0"}, "choices": 3}
        about |= {"num_bad_images": 0, "arguments": {"seed": 0, "base_learning_rate": 0.1}}
        data = {"format": "ferplus", "name": "ferplus", "split": "train", "num_images": 16}
        about["lineage"] = make_lineage("fine-tuning", "python training/finetune.py", data, [])
        measures = classification_measures(labels, labels[::-1], EXPRESSIONS, np.eye(8)[labels])
        write_metrics(folder / "metrics.json", measures, processor=processor, **about)
        metrics = json.loads((folder / "metrics.json").read_text())
        write_json(folder / "metrics.json", {**metrics, "weights_sha256": weights_sha256(folder)})
        write_json(folder / "run.json", {"lineage": about["lineage"], "arguments": about["arguments"], "versions": {}})
        return folder


# ---------------------------------------------------------------------------------------------------------------------
# How a reader ends
# ---------------------------------------------------------------------------------------------------------------------


def as_script(read: Callable, *arguments) -> tuple[int, str]:
    """As a script of training/ ends."""
    said, status = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            run_main("script", lambda: (read(*arguments), 0)[1])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return status, said.getvalue()


def as_command(*words) -> tuple[int, str]:
    """As the command simfle ends."""
    said, status = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = simfle.__main__.main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        except Exception:
            traceback.print_exc()
    return status, said.getvalue()


def as_library(read: Callable, *arguments) -> tuple[int, str]:
    """As a call from somebody's own program ends: what it says is the error's text."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            read(*arguments)
        except Exception as error:
            if isinstance(error, LIBRARY_ERRORS) or is_of_transformers(error):
                return 2, f"script: {' '.join(str(error).split())[:999]}"
            return 1, traceback.format_exc()
    return 0, ""


# ---------------------------------------------------------------------------------------------------------------------
# Pictures and videos
# ---------------------------------------------------------------------------------------------------------------------


def process_opened(processor, file: Path) -> None:
    """What Pillow says when the caller opens a file is not the processor's answer."""
    try:
        image = Image.open(file)
    except (*LIBRARY_ERRORS, Image.DecompressionBombError):
        return
    processor(image, return_tensors="pt")


ENDINGS = {"JPEG": ".jpg", "TIFF": ".tiff", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TGA": ".tga", "PPM": ".ppm"}


def pictures(place: Workplace) -> list[Case]:
    """Every format that Pillow writes, in every mode that the format takes, and two videos."""
    model = SimFLEForImageClassification(tiny_config(id2label=dict(enumerate(EXPRESSIONS)))).eval()
    processor = SimFLEImageProcessor(size={"height": 32, "width": 32})
    pipeline = FaceExpressionPipeline(model=model, image_processor=processor, on_error="skip", device="cpu")
    direct = FaceExpressionPipeline(model=model, image_processor=simfle.classify.DirectProcessor(processor))
    cropped = simfle.classify.FaceClassifier(direct, "hash")
    preset = lambda arguments: (  # noqa: E731 - the model is loaded once
        direct._preprocess_params.update(already_cropped=arguments.already_cropped),
        cropped,
    )[1]
    simfle.classify.load_face_classifier = preset
    readers = [
        partial(run_command, place, "rows.csv"),
        partial(run_command, place, "rows.parquet", "--annotate", place.out / "copies"),
        partial(as_script, lambda file: read_image({"bytes": file.read_bytes(), "path": None}, "row 0")),
        partial(as_script, lambda file: read_image({"bytes": None, "path": str(file)}, str(file))),
        partial(as_script, lambda file: image_hash({"bytes": None, "path": str(file)})),
        partial(as_script, partial(cut_out, place)),
        partial(as_library, lambda file: processor([str(file)], return_tensors="np")),
        partial(as_library, partial(process_opened, processor)),
        partial(as_library, lambda file: pipeline(str(file), already_cropped=True)),
        partial(as_library, read_photo),
    ]
    cases = []
    for name, content in picture_files(place.face.resize((20, 24))):
        file = place.data / f"{name}{ENDINGS.get(name.split('_')[0], '.png')}"
        file.write_bytes(content)
        change = mutations.mutate_png if name.startswith("PNG") else mutations.mutate_bytes
        cases.append(
            Case(file, change, readers, 9 if name.startswith("EPS") else 1, is_valid=not name.startswith("EPS"))
        )
    looking = [partial(run_command, place, "rows.jsonl", detect=True)]
    large = place.data / "large.jpg"
    place.face.save(large)
    cases.append(Case(large, mutations.mutate_bytes, looking))
    for name, code in (("clip.avi", "MJPG"), ("clip.mp4", "mp4v")):
        write_video(place.data / name, code, place.face)
        cases.append(Case(place.data / name, mutations.mutate_bytes, readers[:1]))
    return cases


def picture_files(face: Image.Image):
    """(name, bytes) of each."""
    Image.init()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a face"
    for kind in sorted(set(Image.SAVE) - {"PDF", "EPS"}):
        for mode in ("RGB", "RGBA", "L", "P", "LA", "1", "I;16", "I", "F", "CMYK", "YCbCr"):
            target = io.BytesIO()
            with contextlib.suppress(Exception):  # Pillow's own ways to refuse a mode
                image = face.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(face.convert("L"), "u2"))
                more = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") and mode == "RGB" else {}
                more |= {"compression": "tiff_lzw"} if kind == "TIFF" and mode in ("RGBA", "L") else {}
                image.save(target, kind, **more)
                with Image.open(io.BytesIO(target.getvalue())) as again:
                    again.load()
                yield f"{kind}_{mode.replace(';', '')}", target.getvalue()
    yield "EPS_RGB", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 24\n%%EndComments\nshowpage\n%%EOF\n"


def write_video(file: Path, code: str, face: Image.Image) -> None:
    import cv2

    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*code), 5, (48, 48))
    for number in range(4):
        writer.write(np.roll(np.asarray(face), number, 1))
    writer.release()


def run_command(place: Workplace, name: str, *words, detect: bool = False) -> tuple[int, str]:
    """simfle WORD... --output NAME"""
    flags = [] if detect else ["--already_cropped"]
    return as_command(*words, "--model", "org/model", "--output", place.out / name, *flags)


def cut_out(place: Workplace, file: Path) -> None:
    problem = write_face({"image": {"bytes": None, "path": str(file)}}, place.out / "face.png", PreparationArguments())
    if problem:
        raise InputError(problem)


# ---------------------------------------------------------------------------------------------------------------------
# Tables, streams, lists
# ---------------------------------------------------------------------------------------------------------------------


def tables(place: Workplace) -> list[Case]:
    """Parquet of any kind, WebDataset, and the index of a stream."""
    table, tar, ferplus = (place.data / name for name in ("table", "tar", "ferplus"))
    faces = make_dataset(6, 0, 16)
    faces = faces.add_column("person", [f"p{i}" for i in range(6)])
    faces.to_parquet(table / "train.parquet")
    tar.mkdir()
    with tarfile.open(tar / "train.tar", "w") as shard:
        for number, kind in enumerate(("png", "jpg", "bmp", "png")):
            target = io.BytesIO()
            place.face.save(target, "JPEG" if kind == "jpg" else kind)
            for ending, content in ((kind, target.getvalue()), ("cls", b"3")):
                member = tarfile.TarInfo(f"faces/{number}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    layouts.write_ferplus_parquet(ferplus)
    indexes = [place.data / f"{folder.name}.json" for folder in (table, tar)]
    for folder, index in zip((table, tar), indexes):
        write_index(index, open_index(DatasetArguments(), str(folder), "train"))
    stream, rows = partial(as_script, read_stream), partial(as_script, read_rows)
    points = partial(as_script, read_points)
    parquet, change = table / "train.parquet", mutations.mutate_bytes
    return [
        Case(parquet, change, [stream, stream, rows, points], weight=3),
        Case(tar / "train.tar", mutations.mutate_tar, [stream], weight=3),
        Case(ferplus / "train.parquet", change, [partial(as_script, read_layout, "ferplus", ferplus, "train", True)]),
        *(
            Case(index, mutations.mutate_json, [partial(as_script, read_stream, folder)], weight=2)
            for folder, index in zip((table, tar), indexes)
        ),
    ]


def read_stream(place: Path, index: Path | None = None) -> None:
    folder = place if place.is_dir() else place.parent
    faces = open_stream(DatasetArguments(), str(folder), "train", index)
    for cell in faces.cells():
        with contextlib.suppress(BadImage):
            faces.image(cell)
    faces.fingerprint()


def read_rows(file: Path) -> None:
    look_at(open_faces(DatasetArguments(), str(file), "train", with_labels=True))


def look_at(faces) -> None:
    faces.fingerprint()
    for _ in faces.readable(range(min(len(faces), 8))):
        pass


def read_points(file: Path) -> None:
    read_landmarks(open_faces(DatasetArguments(), str(file), "train", with_labels=False), LandmarkArguments())


def read_layout(name: str, folder: Path, split: str, with_labels: bool, _: Path) -> None:
    guess_format(folder, str(folder))
    load_data_set(name, folder, [split], with_labels)
    look_at(open_faces(DatasetArguments(data_format=name), str(folder), split, with_labels))


def lists(place: Workplace) -> list[Case]:
    """The lists and annotations of the official layouts."""
    layouts.NUM_TRAIN, layouts.NUM_TEST = 3, 1
    roots = {
        "affectnet8 lists": layouts.write_affectnet_lists(place.data / "lists"),
        "affectnet7 sets": layouts.write_affectnet_sets(place.data / "sets"),
        "rafdb": layouts.write_rafdb(place.data / "original", "original"),
        "ferplus": layouts.write_ferplus_csv(place.data / "csv"),
    }
    files = {
        "affectnet8 lists": [
            "Manually_Annotated_file_lists/training.csv",
            "Manually_Annotated_file_lists/validation.csv",
        ],
        "affectnet7 sets": ["train_set/annotations/0_exp.npy", "train_set/annotations/1_lnd.npy"],
        "rafdb": ["EmoLabel/list_patition_label.txt", "Annotation/manual/train_00001_manu_attri.txt"],
        "ferplus": ["fer2013.csv", "fer2013new.csv"],
    }
    cases = []
    for name, root in roots.items():
        for file in files[name]:
            split = "test" if "validation" in file else "train"
            read = partial(as_script, read_layout, name.split()[0], root, split)
            readers = [partial(read, True), partial(read, True), partial(read, False)]
            change = mutations.mutate_bytes if file.endswith(".npy") else mutations.mutate_list
            cases.append(Case(root / file, change, readers, 2 if file.endswith(".npy") else 1, hostile_arrays()))
    return cases


def hostile_arrays() -> list[bytes]:
    """An array file whose values are a pickle that calls os.system, and the pickle alone."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    return [b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + HOSTILE, HOSTILE]


# ---------------------------------------------------------------------------------------------------------------------
# Models, recipes, weights, checkpoints
# ---------------------------------------------------------------------------------------------------------------------


def model_folders(place: Workplace) -> list[Case]:
    """config.json, preprocessor_config.json, metrics.json, run.json and the index of shards."""
    folder = place.classifier("classifier", max_shard_size="20KB")
    place.face.save(place.data / "face.png")
    label_map = place.data / "label_map.json"
    write_json(label_map, {"neutral": "happiness", "1": None})
    loading = [
        lambda file: as_script(use_classifier, place, file.parent),
        lambda file: as_command(place.data / "face.png", "--model", file.parent, "--already_cropped", "--calibrated"),
        lambda file: as_library(AutoModelForImageClassification.from_pretrained, file.parent),
        lambda file: as_script(load_encoder, ModelArguments(model=str(file.parent)), ProcessorArguments(), None, 32),
    ]
    about = [lambda file: as_script(read_record, file.parent), lambda file: as_script(read_lineage, file.parent)]
    report = [lambda file: as_script(find_runs, [str(file.parent)])]
    config = lambda file: as_script(read_config, ModelArguments(model_config=str(file)))  # noqa: E731
    processor = lambda file: as_library(SimFLEImageProcessor.from_pretrained, file.parent)  # noqa: E731
    labels = lambda file: as_script(  # noqa: E731
        lambda: map_outputs(dict(enumerate(EXPRESSIONS)), EXPRESSIONS, read_label_map(str(file)))
    )
    change = mutations.mutate_json
    return [
        Case(folder / "config.json", change, [*loading, *about, config], weight=6),
        Case(folder / "preprocessor_config.json", change, [*loading[:2], *about, processor, processor], weight=3),
        Case(folder / "metrics.json", change, [loading[2], *about, *about, *report, *report], weight=3),
        Case(folder / "run.json", change, [*about, *report]),
        Case(folder / "model.safetensors.index.json", change, loading, weight=2),
        Case(label_map, change, [labels]),
    ]


def use_classifier(place: Workplace, folder: Path) -> None:
    model, processor, _ = load_classifier(str(folder))
    pixel_values = processor(Image.open(place.data / "face.png"), return_tensors="pt")["pixel_values"]
    model.config.id2label[int(model(pixel_values=pixel_values).logits.argmax())]


def recipes(place: Workplace) -> list[Case]:
    kinds = {
        "pretrain": (DatasetArguments, ModelArguments, ProcessorArguments, PretrainingArguments),
        "finetune": (DatasetArguments, ModelArguments, ProcessorArguments, FineTuningArguments),
    }
    cases = []
    for recipe in sorted((ROOT / "training" / "recipes").glob("*.yaml")):
        name = recipe.name.partition("_")[0]
        if name in kinds:
            file = place.data / recipe.name
            file.write_bytes(recipe.read_bytes())
            read = partial(lambda types, file: parse_arguments(types, ["--recipe", str(file)]), kinds[name])
            cases.append(Case(file, mutations.mutate_yaml, [partial(as_script, read)]))
    return cases


def weights(place: Workplace) -> list[Case]:
    """Safetensors of a classifier, of a checkpoint (with training_state.json), and of stored outputs."""
    folder, output_dir = place.classifier("classifier"), place.data / "run"
    (folder / "metrics.json").unlink()
    model = SimFLEForPreTraining(tiny_config())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in optimizer.param_groups[0]["params"]:
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    state = {"step": 4, "global_batch_size": 8, "seed": 0, "num_processes": 1}
    save_checkpoint(output_dir, state, model, SimFLEImageProcessor(), optimizer, 2)
    checkpoint = output_dir / "checkpoints" / "step_00000004"
    stored_tensors(place.data, "outputs", {"a": 1}, lambda: {"x": torch.zeros(3, 4)})
    loading = [
        lambda file: as_script(load_weights, SimFLEForImageClassification, str(folder)),
        lambda file: as_command(place.data / "face.png", "--model", folder, "--already_cropped"),
        lambda file: as_library(SimFLEForImageClassification.from_pretrained, folder),
        lambda file: as_script(check_file, file),
    ]
    place.face.save(place.data / "face.png")

    def resume(file):
        found = find_checkpoint(output_dir, "latest")
        load_checkpoint(found, model, optimizer, state)

    change, resuming = mutations.mutate_safetensors, [partial(as_script, resume)]
    stored = next(place.data.glob("outputs_*.safetensors"))
    return [
        Case(folder / "model.safetensors", change, loading, 4, [HOSTILE]),
        Case(checkpoint / "model.safetensors", change, resuming, 1, [HOSTILE]),
        Case(checkpoint / "momentum.safetensors", change, resuming),
        Case(checkpoint / "training_state.json", mutations.mutate_json, resuming),
        Case(stored, change, [lambda file: as_script(stored_tensors, place.data, "outputs", {"a": 1}, dict)]),
    ]


def original_checkpoints(place: Workplace) -> list[Case]:
    file, config, state_dict = write_checkpoint(place.data, TEST_SIZES, 0, torch.float32)
    old = file.with_name("old.pth.tar")
    content = {"epoch": 100, "state_dict": state_dict}
    torch.save(content, old, _use_new_zipfile_serialization=False)

    def read(file):
        target = place.out / "converted"
        status, said = as_script(convert, file, target, ConversionArguments(model_config=str(config)), "python")
        if status and os.listdir(place.out):
            return 1, f"Traceback: {sorted(os.listdir(place.out))} was written"
        return status, said

    return [
        Case(file, mutations.mutate_zip, [read], 2, hostile_checkpoints()),
        Case(old, mutations.mutate_bytes, [read], 1, hostile_checkpoints()),
    ]


def hostile_checkpoints() -> list[bytes]:
    """Pickles that call os.system: bare, and as torch.save packs them."""
    packed = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, packed)
    files = mutations.unzip(packed.getvalue())
    return [HOSTILE, mutations.zip_up({name: HOSTILE if "pkl" in name else files[name] for name in files})]


def results(place: Workplace) -> list[Case]:
    """What `simfle --resume` reads: its record and the rows so far."""
    pictures(place)
    face, kept, cases = place.data / "face.png", place.data / "results", []
    place.face.save(face)
    kept.mkdir()
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        run_command(place, name, face)
        for path in place.out.iterdir():
            os.replace(path, kept / path.name)
        files = [kept / f"{name}.progress.jsonl", kept / name]
        read = partial(go_on, place, name, files, face)
        changes = (
            mutations.mutate_json_lines,
            mutations.mutate_list if name.endswith("csv") else mutations.mutate_bytes,
        )
        cases += [Case(file, change, [read]) for file, change in zip(files, changes)]
    return cases


def go_on(place: Workplace, name: str, files: list[Path], face: Path, _) -> tuple[int, str]:
    for file in files:
        shutil.copy(file, place.out)
    more = place.data / "large.jpg"
    return run_command(place, name, face, more, "--resume", "--summary", place.out / "summary.csv")


KINDS = {
    "pictures": pictures,
    "tables": tables,
    "lists": lists,
    "models": model_folders,
    "recipes": recipes,
    "weights": weights,
    "checkpoints": original_checkpoints,
    "results": results,
}
sys.argv = ["script.py"]  # the name in argparse's sentences
