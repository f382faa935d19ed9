"""Cutting the faces of an expression set out of its images, into a folder of class folders."""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.face_squares import cut_square, square_of_box, square_of_landmarks
from training.data.formats import guess_format, load_data_set
from training.data.images import BadImage, BadImages, read_image
from training.data.splits import SPLITS
from training.runtime.arguments import check_range
from training.runtime.errors import InputError
from training.runtime.run_folder import prepare_output_dir, replaced, write_json

CHUNK = 512  # images taken from the list at once
REPORT = "preparation.json"
FIXED_ON_RESUME = ("dataset", "data_format", "splits", "size", "margin")


@dataclass
class PreparationArguments:
    """The faces, and how they are cut out."""

    dataset: str = field(default="", metadata={"help": "Folder of an expression set, as its owners pack it."})
    data_format: Literal["auto", "imagefolder", "ferplus", "affectnet8", "affectnet7", "rafdb", "sfew"] = field(
        default="auto",
        metadata={"help": "Detected automatically when the layout is unambiguous; AffectNet is then affectnet8."},
    )
    splits: list[str] | None = field(
        default=None, metadata={"help": "Some of train, validation and test. The default is all."}
    )
    output_dir: str = field(default="", metadata={"help": "New folder, or the folder of a stopped run."})
    size: int = field(default=224, metadata={"help": "Side of the written images in pixels."})
    margin: float = field(
        default=0.0, metadata={"help": "Margin on every side of a face, as a share of the face's side."}
    )
    max_bad_images: int = field(
        default=0, metadata={"help": "Stop when more images than this cannot be used; each is named."}
    )
    num_workers: int = field(default=2, metadata={"help": "Number of threads."})

    def __post_init__(self):
        check_range("size", self.size, 8)
        check_range("margin", self.margin, 0, 2)
        check_range("num_workers", self.num_workers, 1)
        check_range("max_bad_images", self.max_bad_images, 0)
        for split in self.splits or []:
            if split not in SPLITS:
                raise InputError(f"--splits {split} is not known; use {', '.join(SPLITS)}.")


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
    data_format: str = arguments.data_format
    if data_format == "auto":
        data_format = guess_format(path, arguments.dataset)
    data_set = load_data_set(data_format, path, arguments.splits, details=True)
    write_json(report, {"asked": asked})
    counts, bad_images = cut_faces(data_set, arguments, output_dir)
    images = {split: count_classes(output_dir / split) for split in data_set}
    bad = sorted(bad_images.known)
    write_json(report, {"asked": asked, "arguments": asdict(arguments), "images": images, "bad_images": bad})
    say_what_is_lost(data_set)
    print(f"{counts['written']} images written, {counts['present']} there already, {len(bad)} bad; {output_dir}")
    for split, classes in images.items():
        print(f"{split}: {sum(classes.values())} ({', '.join(f'{name} {count}' for name, count in classes.items())})")


def say_what_is_lost(data_set) -> None:
    """Names what a folder of images cannot hold: FER+'s votes and its marks of repeated images."""
    for split, rows in data_set.items():
        if repeats := sum(rows["repeats_training"]) if "repeats_training" in rows.column_names else 0:
            print(
                f"{split}: {repeats} of the {len(rows)} images equal a training image, which this folder does not say;"
                " evaluate on the owners' files to have the accuracy without them",
                file=sys.stderr,
            )
        if "soft_label" in rows.column_names:
            lost = "the votes are left behind; finetune's --labels soft needs the owners' files"
            print(f"{split}: {lost}", file=sys.stderr)


def cut_faces(data_set, arguments: PreparationArguments, output_dir: Path) -> tuple[Counter, BadImages]:
    """Writes every face that is not there yet. Returns counts ("written", "present") and the bad images."""
    import datasets
    from tqdm import tqdm

    counts, bad_images = Counter[str](), BadImages(arguments.max_bad_images)
    total = sum(len(rows) for rows in data_set.values())
    bar = tqdm(total=total, desc="cutting", disable=not sys.stderr.isatty(), unit="image")
    with bar, ThreadPool(arguments.num_workers) as pool:  # Pillow releases the interpreter's lock
        for split, rows in data_set.items():
            rows = rows.cast_column("image", datasets.Image(decode=False))
            class_names = rows.features["label"].names
            for name in class_names:
                (output_dir / split / name).mkdir(parents=True, exist_ok=True)
            targets = target_paths(rows, output_dir / split, class_names)
            first = {target: index for index, target in reversed(list(enumerate(targets)))}  # lists name some twice
            waiting = sorted((index, target) for target, index in first.items() if not target.is_file())
            counts["present"] += len(first) - len(waiting)
            bar.update(len(targets) - len(waiting))
            for start in range(0, len(waiting), CHUNK):
                chunk = [(rows, index, target, arguments) for index, target in waiting[start : start + CHUNK]]
                problems = [problem for problem in pool.starmap(write_face, chunk) if problem]
                bad_images.add({problem: problem for problem in problems})
                counts["written"] += len(chunk) - len(problems)
                bar.update(len(chunk))
    return counts, bad_images


def target_paths(rows, folder: Path, class_names: list[str]) -> list[Path]:
    """folder/<class>/<name>.png of every row. Raises InputError: two images that would be one file."""
    names = rows["name"][:] if "name" in rows.column_names else [f"{index:06d}" for index in range(len(rows))]
    stems = [name.rsplit(".", 1)[0].replace("/", "_") for name in names]
    paths = [folder / class_names[label] / f"{stem}.png" for stem, label in zip(stems, rows["label"])]
    boxes = map(str, rows["box"][:]) if "box" in rows.column_names else names
    faces_of = Counter(path for path, *_ in set(zip(paths, names, boxes)))  # a list may hold one face twice
    path, times = faces_of.most_common(1)[0] if paths else (None, 1)
    if times > 1:
        raise InputError(f"{times} images would be written to {path}; give the files of a class different names.")
    return paths


def write_face(rows, index: int, target: Path, arguments: PreparationArguments) -> str:
    """Cuts and writes one row's face. Returns the sentence about a bad image, "" for a good one."""
    row = rows[index]
    name = row["image"]["path"] or str(target)
    try:
        face = cut_face(row, read_image(row["image"], name), arguments.size, arguments.margin)
    except BadImage as error:
        return str(error)
    except InputError as error:  # landmarks or a box that do not fit the image
        return f"{name}: {error}"
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


def count_classes(folder: Path) -> dict[str, int]:
    """The number of images of every class folder."""
    return {path.name: sum(1 for _ in path.glob("*.png")) for path in sorted(folder.iterdir()) if path.is_dir()}
