"""Cutting the faces of an expression set out of its images, into a folder of class folders."""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.face_squares import cut_square, square_of_box, square_of_landmarks
from training.data.faces import DETECTED
from training.data.formats import guess_format, load_data_set
from training.data.images import BadImage, BadImages, read_image
from training.runtime.arguments import check_ranges, flag
from training.runtime.errors import InputError
from training.runtime.run_folder import prepare_output_dir, replaced, write_json

CHUNK = 512  # images taken from the list at once
REPORT = "preparation.json"
FIXED_ON_RESUME = ("dataset", "data_format", "splits", "size", "margin")


@dataclass
class PreparationArguments:
    """The faces, and how they are cut out."""

    dataset: str = flag("", "Folder of an expression set, as its owners pack it.")
    data_format: Literal["auto", "imagefolder", "ferplus", "affectnet8", "affectnet7", "rafdb", "sfew"] = flag(
        "auto", DETECTED
    )
    splits: list[str] | None = flag(None, "Some of train, validation and test. The default is all.")
    output_dir: str = flag("", "New folder, or the folder of a stopped run.")
    size: int = flag(224, "Side of the written images in pixels.", low=8)
    margin: float = flag(0.0, "Margin on every side of a face, as a share of the face's side.", 0, 2)
    max_bad_images: int = flag(0, "Stop when more images than this cannot be used; each is named.", low=0)
    num_workers: int = flag(2, "Number of threads.", low=1)

    def __post_init__(self):
        check_ranges(self)


def prepare(arguments: PreparationArguments) -> None:
    """
    Cuts out the faces that are not in the output folder yet, writes preparation.json, and prints counts.

    Raises:
        InputError: a data set or an output folder that cannot be used, or too many bad images.
    """
    if not arguments.dataset:
        raise InputError("--dataset is missing; give the folder of an expression set.")
    report = Path(arguments.output_dir) / REPORT
    output_dir = prepare_output_dir(arguments.output_dir, resume=report.is_file())
    asked = {name: getattr(arguments, name) for name in FIXED_ON_RESUME}
    before = json.loads(report.read_text(encoding="utf-8"))["asked"] if report.is_file() else asked
    for name, value in asked.items():
        if before[name] != value:
            raise InputError(
                f"--output_dir {output_dir} holds images made with --{name} {before[name]}, not {value}; give a new"
                " folder."
            )
    path = Path(arguments.dataset).expanduser()
    is_auto = arguments.data_format == "auto"
    data_format = guess_format(path, arguments.dataset) if is_auto else arguments.data_format
    data_set = load_data_set(data_format, path, arguments.splits)
    write_json(report, {"asked": asked})
    bad_images, images = BadImages(arguments.max_bad_images), {}
    for split, rows in data_set.items():
        cut_faces(rows, output_dir / split, arguments, bad_images)
        say_what_is_lost(split, rows)
        folders = sorted((output_dir / split).iterdir())
        images[split] = {folder.name: len(list(folder.glob("*.png"))) for folder in folders}
        print(f"{split}: {', '.join(f'{name} {count}' for name, count in images[split].items())}")
    bad = sorted(bad_images.known)
    write_json(report, {"asked": asked, "arguments": asdict(arguments), "images": images, "bad_images": bad})
    total = sum(sum(classes.values()) for classes in images.values())
    print(f"{output_dir} holds {total} images; {len(bad)} were bad")


def say_what_is_lost(split: str, rows) -> None:
    """Names what a folder of images cannot hold: FER+'s votes and its marks of repeated images."""
    if repeats := sum(rows["repeats_training"]) if "repeats_training" in rows.column_names else 0:
        print(
            f"{split}: {repeats} of the {len(rows)} images equal a training image, which this folder does not say;"
            " evaluate on the owners' files to have the accuracy without them",
            file=sys.stderr,
        )
    if "soft_label" in rows.column_names:
        lost = "the votes are left behind; finetune's --labels soft needs the owners' files"
        print(f"{split}: {lost}", file=sys.stderr)


def cut_faces(rows, folder: Path, arguments: PreparationArguments, bad_images: BadImages) -> None:
    """Writes every face of a split that is not there yet."""
    import datasets
    from tqdm import tqdm

    rows = rows.cast_column("image", datasets.Image(decode=False))
    for name in rows.features["label"].names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    targets = target_paths(rows, folder)
    first = {target: index for index, target in reversed(list(enumerate(targets)))}  # lists name some twice
    waiting = sorted((index, target) for target, index in first.items() if not target.is_file())
    bar = tqdm(total=len(waiting), desc=folder.name, disable=not sys.stderr.isatty(), unit="image")
    with bar, ThreadPool(arguments.num_workers) as pool:  # Pillow releases the interpreter's lock
        for start in range(0, len(waiting), CHUNK):
            chunk = [(rows[index], target, arguments) for index, target in waiting[start : start + CHUNK]]
            problems = filter(None, pool.starmap(write_face, chunk))
            bad_images.add({problem: problem for problem in problems})
            bar.update(len(chunk))


def target_paths(rows, folder: Path) -> list[Path]:
    """folder/<class>/<name>.png of every row. Raises InputError: two images that would be one file."""
    class_names, numbers = rows.features["label"].names, [f"{index:06d}" for index in range(len(rows))]
    names = rows["name"][:] if "name" in rows.column_names else numbers
    stems = [name.rsplit(".", 1)[0].replace("/", "_") for name in names]
    paths = [folder / class_names[label] / f"{stem}.png" for stem, label in zip(stems, rows["label"])]
    boxes = map(str, rows["box"][:]) if "box" in rows.column_names else names
    faces_of = Counter(path for path, *_ in set(zip(paths, names, boxes)))  # a list may hold one face twice
    path, times = faces_of.most_common(1)[0] if paths else (None, 1)
    if times > 1:
        raise InputError(f"{times} images would be written to {path}; give the files of a class different names.")
    return paths


def write_face(row: dict, target: Path, arguments: PreparationArguments) -> str:
    """Cuts and writes one row's face. Returns the sentence about a bad image, "" for a good one."""
    name = row["image"]["path"] or str(target)
    try:
        face = cut_face(row, read_image(row["image"], name), arguments.size, arguments.margin)
    except InputError as error:  # an unreadable image, or landmarks or a box that do not fit the image
        return str(error) if isinstance(error, BadImage) else f"{name}: {error}"
    with replaced(target) as temporary:
        face.save(temporary, format="PNG")
    return ""


def cut_face(row: dict, image, size: int, margin: float):
    """The row's face as a (size, size) RGB image, by its landmarks, else by its box, else the whole image."""
    from modeling_simfle.image_processing_simfle import resize_face

    if row.get("landmarks") is not None:
        return cut_square(image, square_of_landmarks(np.array(row["landmarks"])), size, margin)
    if row.get("box") is not None:
        return cut_square(image, square_of_box(row["box"]), size, margin)
    return resize_face(image, size)
