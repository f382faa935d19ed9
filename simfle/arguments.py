# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The arguments of `simfle`, checked before any heavy import."""

import argparse
import importlib.metadata
import importlib.util
import math
import os
from pathlib import Path

from simfle.errors import InputError

DESCRIPTION = """\
Find the faces in photographs and videos, and name their expressions.

  simfle photo.jpg --model FOLDER                              print a table
  simfle FOLDER video.mp4 --model FOLDER --output faces.csv    write one row a face
  simfle photo.jpg --model FOLDER --annotate OUT               draw boxes and labels into copies
  simfle FACES --model FOLDER --already_cropped                classify pictures that are faces already
"""
EPILOG = """\
A row has the columns image, face (0 is the largest), box (xmin ymin xmax ymax, pixels), detection_score, label, score,
one probability a class, and error. A video adds time (seconds) and track. An image without a face is a row with an
empty label.
Exit status: 0 if any image was read, 1 if none was or the disk is full, 2 for bad arguments, 130 after an interrupt.
"""
TABLES = (".csv", ".jsonl", ".parquet")


class Parser(argparse.ArgumentParser):
    """A bad flag or value is one sentence, without the usage of every flag."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; --help lists every flag\n")


def number(low: float, high: float = math.inf, whole: bool = False, open_low: bool = False):
    """A type for argparse: a number in [low, high], or in (low, high] with `open_low`."""

    def convert(text: str):
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not (low < value <= high or (value == low and not open_low)) or math.isinf(value):
            kind, upper = (
                ("a whole number" if whole else "a number"),
                f" and at most {high:g}" if high < math.inf else "",
            )
            raise argparse.ArgumentTypeError(
                f"{text} is not {kind} {'above' if open_low else 'of at least'} {low:g}{upper}"
            )
        return value

    return convert


def path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: there is no such user; give the whole path") from error


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="simfle",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", type=path, help="an image, a video, or a folder of them")
    add("--model", required=True, metavar="FOLDER_OR_HUB_ID", help="the classifier")
    add("--version", action="version", version=f"simfle {importlib.metadata.version('simfle')}")
    _add_outputs(parser.add_argument_group("results").add_argument)
    _add_detection(parser.add_argument_group("faces").add_argument)
    _add_video(parser.add_argument_group("videos").add_argument)
    _add_computing(parser.add_argument_group("computing").add_argument)
    return parser


def _add_outputs(add) -> None:
    add(
        "--output",
        metavar="FILE",
        type=path,
        help="the rows, as .csv, .jsonl or .parquet; a table is printed otherwise",
    )
    add("--annotate", metavar="OUT", type=path, help="folder (or one file) for copies with boxes, labels and bars")
    add("--summary", metavar="FILE", nargs="?", const="-", help="one row a track of a video: to FILE, else printed")
    add("--plot", metavar="FILE.png", type=path, help="the expressions of each track over time")
    add("--resume", action="store_true", help="go on where an earlier run into --output stopped")
    add("--overwrite", action="store_true", help="replace results that exist")


def _add_detection(add) -> None:
    add("--already_cropped", action="store_true", help="every image is one face; detect nothing")
    add("--detection_threshold", type=number(0, 1, open_low=True), help="lowest score of a face (default 0.7)")
    add(
        "--min_face_size",
        type=number(10, whole=True),
        help="larger side of the smallest face to look for, pixels (default 48)",
    )
    add("--max_faces", type=number(1, whole=True), help="keep at most so many faces of an image, the largest")
    add("--margin", type=number(-0.3, 10), help="widen the crop by this share of its side, all around (default 0)")
    add("--align", action="store_true", help="rotate each face until its eyes are level")
    add("--calibrated", action="store_true", help="apply the temperature that the model's config.json holds")
    add("--face_detector", metavar="FILE.onnx", type=path, help="the weights of a YuNet face detector")


def _add_video(add) -> None:
    add(
        "--frames_per_second",
        metavar="N",
        type=number(0, 1000, open_low=True),
        help="look at so many frames (default: all)",
    )
    add(
        "--smooth",
        metavar="SECONDS",
        type=number(0, 3600),
        help="average a track's probabilities over its last SECONDS",
    )


def _add_computing(add) -> None:
    add("--device", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    add("--batch_size", type=number(1, 65536, whole=True), default=16, help="faces a forward pass (default 16)")
    add(
        "--backend",
        choices=("torch", "onnx"),
        default="torch",
        help="onnx runs onnx/model_quantized.onnx or onnx/model.onnx",
    )


def parse_arguments(argv=None) -> argparse.Namespace:
    """
    Args:
        argv: the arguments, sys.argv's when None.
    Raises:
        SystemExit: status 2 and one sentence for a bad flag; 0 after --help and --version.
        InputError: values that do not fit together, or paths that cannot be used.
    """
    arguments = make_parser().parse_args(argv)
    if arguments.summary not in (None, "-"):
        arguments.summary = Path(os.path.expanduser(arguments.summary))
    expanded = Path(os.path.expanduser(arguments.model))
    if arguments.model.startswith("~") or expanded.exists():
        arguments.model = str(expanded)
    check_arguments(arguments)
    return arguments


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises InputError: a value that cannot be used."""
    for place in arguments.inputs:
        if not place.exists():
            raise InputError(f"{place} does not exist; give images, videos or folders of them.")
    for flag, endings in (("output", TABLES), ("summary", TABLES), ("plot", (".png",))):
        file = getattr(arguments, flag)
        if isinstance(file, Path):
            check_file(f"--{flag}", file, endings)
            if file.exists() and any(file.samefile(place) for place in arguments.inputs):
                raise InputError(f"--{flag} {file} is an input; give another file.")
            if file.exists() and not (arguments.overwrite or arguments.resume):
                raise InputError(f"--{flag} {file} exists; give --overwrite{' or --resume' * (flag == 'output')}.")
    if not Path(arguments.model).exists() and Path(arguments.model).is_absolute():
        raise InputError(f"--model {arguments.model} does not exist; give a folder with config.json, or a Hub id.")
    if arguments.resume and not arguments.output:
        raise InputError("--resume goes on with the file of --output; give --output too.")
    if arguments.resume and arguments.overwrite:
        raise InputError("--resume keeps what --overwrite would replace; give one of them.")
    if arguments.backend == "onnx" and arguments.device not in (None, "cpu"):
        raise InputError(f"--backend onnx runs on the CPU; leave out --device {arguments.device}.")
    if arguments.face_detector and not arguments.face_detector.is_file():
        raise InputError(
            f"--face_detector {arguments.face_detector} is no file; give the .onnx file of a YuNet detector."
        )
    if arguments.annotate:
        check_annotations(arguments)
    tables = [file.suffix.lower() for file in (arguments.output, arguments.summary) if isinstance(file, Path)]
    check_libraries({"matplotlib": arguments.plot, "pyarrow": ".parquet" in tables})


def check_libraries(needed: dict) -> None:
    """needed: the name of a library to whether it is used. Raises InputError: one that is used is not installed."""
    for name, is_needed in needed.items():
        if is_needed and importlib.util.find_spec(name) is None:
            raise InputError(f'{name} is missing; pip install "simfle[photos]".')


def check_file(flag: str, file: Path, endings: tuple[str, ...]) -> None:
    """Raises InputError: an ending that is not known, or no folder to write to."""
    if file.suffix.lower() not in endings:
        raise InputError(f"{flag} {file} must end in {' or '.join(endings)}.")
    if file.is_dir():
        raise InputError(f"{flag} {file} is a folder; give a file.")
    if not file.absolute().parent.is_dir():
        raise InputError(f"{flag} {file}: there is no folder {file.parent}; make it first.")


def check_annotations(arguments: argparse.Namespace) -> None:
    """Raises InputError where --annotate would write over what is there."""
    target = arguments.annotate
    if any(target.exists() and target.samefile(place) for place in arguments.inputs):
        raise InputError(
            f"--annotate {target} is an input, and copies would replace the originals; give another folder."
        )
    used = any(target.iterdir()) if target.is_dir() else target.exists()
    if used and not (arguments.overwrite or arguments.resume):
        raise InputError(
            f"--annotate {target} {'is not empty' if target.is_dir() else 'exists'}; give --overwrite or another."
        )
