"""
Cuts the faces of an expression set out of its pictures, into a folder of images that every script reads.

    python training/prepare_faces.py --dataset FOLDER --output_dir OUT --size 224 --margin 0.1

OUT/<split>/<class>/<name>.png. With the owners' landmarks (AffectNet, RAF-DB's original images) the face is turned
until the eyes are level and scaled until they lie at fixed places; with a box alone, its square is cut out; with
neither (FER+, SFEW, RAF-DB's aligned images, class folders) the whole picture becomes a square. Splits and labels are
those of `training.data.fer_datasets`; pictures without an expression are left out.

A stopped run goes on when it is started again: a picture that is there is done. OUT/preparation.json holds what was
asked for and what came of it.
"""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from training.data.images import BadImage, BadImages, read_image
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.run_folder import replaced

CHUNK = 512  # pictures read from the list at once
REPORT = "preparation.json"


@dataclass
class PreparationArguments:
    """What is cut out of what."""

    dataset: str = field(default="", metadata={"help": "folder of an expression set, as its owners pack it"})
    data_format: Literal["auto", "imagefolder", "ferplus", "affectnet8", "affectnet7", "rafdb", "sfew"] = field(
        default="auto", metadata={"help": "guessed when it is plain; AffectNet is then affectnet8"}
    )
    splits: list[str] | None = field(default=None, metadata={"help": "of train, validation, test; default all"})
    output_dir: str = field(default="", metadata={"help": "new folder, or that of a run that was stopped"})
    size: int = field(default=224, metadata={"help": "side of the written pictures in pixels"})
    margin: float = field(default=0.0, metadata={"help": "added around a face on every side, as a share of its side"})
    max_bad_images: int = field(
        default=0, metadata={"help": "pictures that may fail (each is named) before the run stops"}
    )
    num_workers: int = field(default=2, metadata={"help": "threads"})

    def __post_init__(self):
        check_range("size", self.size, 8)
        check_range("margin", self.margin, 0, 2)
        check_range("num_workers", self.num_workers, 1)
        check_range("max_bad_images", self.max_bad_images, 0)
        for split in self.splits or []:
            if split not in ("train", "validation", "test"):
                raise InputError(f"--splits {split} is not known; use train, validation, test.")


def main(argv=None) -> None:
    (arguments,) = parse_arguments((PreparationArguments,), argv, __doc__)
    from training.runtime.run_folder import prepare_output_dir, write_json

    if not arguments.dataset:
        raise InputError("--dataset is missing; give the folder of an expression set.")
    report = Path(arguments.output_dir) / REPORT
    output_dir = prepare_output_dir(arguments.output_dir, resume=report.is_file())
    asked = {name: getattr(arguments, name) for name in ("dataset", "data_format", "splits", "size", "margin")}
    check_resumed(report, asked)
    found = load_owners_set(arguments)
    write_json(report, {"asked": asked})
    counts, bad_images = cut_faces(found, arguments, output_dir)
    images = {split: count_classes(output_dir / split) for split in found}
    bad = sorted(bad_images.known)
    write_json(report, {"asked": asked, "arguments": asdict(arguments), "images": images, "bad_images": bad})
    say_what_is_lost(found)
    print(f"{counts['written']} pictures written, {counts['there']} there already, {len(bad)} bad; {output_dir}")
    for split, classes in images.items():
        print(f"{split}: {sum(classes.values())} ({', '.join(f'{name} {count}' for name, count in classes.items())})")


def say_what_is_lost(found) -> None:
    """FER+'s marks and votes have no place in a folder of pictures."""
    for split, rows in found.items():
        repeats = sum(rows["repeats_training"]) if "repeats_training" in rows.column_names else 0
        if repeats:
            print(
                f"{split}: {repeats} of the {len(rows)} pictures equal a training one, which this folder does not say;"
                " evaluate on the owners' files to have the accuracy without them",
                file=sys.stderr,
            )
        if "soft_label" in rows.column_names:
            print(
                f"{split}: the votes are left behind; finetune's --labels soft needs the owners' files",
                file=sys.stderr,
            )


def check_resumed(report: Path, asked: dict) -> None:
    """Raises ValueError where the folder holds pictures made otherwise."""
    before = json.loads(report.read_text(encoding="utf-8"))["asked"] if report.is_file() else asked
    for name, value in asked.items():
        if before[name] != value:
            raise InputError(
                f"--output_dir {report.parent} holds pictures made with --{name} {before[name]}, not {value}; give a"
                " new folder."
            )


def load_owners_set(arguments: PreparationArguments):
    """The set's `DatasetDict`, with landmarks where its owners give them."""
    from training.data.fer_datasets import load_affectnet, load_class_folders, load_ferplus, load_rafdb, load_sfew
    from training.data.formats import guess_format

    path, splits = Path(arguments.dataset).expanduser(), arguments.splits
    data_format: str = arguments.data_format
    if data_format == "auto":
        data_format = guess_format(path, arguments.dataset)
    if data_format == "ferplus":
        return load_ferplus(path, splits=splits)
    if data_format == "rafdb":
        has_landmarks = (path / "Image" / "original").is_dir() and (path / "Annotation" / "manual").is_dir()
        return load_rafdb(path, splits=splits, images="original" if has_landmarks else None)
    if data_format == "sfew":
        return load_sfew(path, splits=splits)
    if data_format == "imagefolder":
        return load_class_folders(path, splits=splits)
    if data_format in ("affectnet8", "affectnet7"):
        return load_affectnet(path, int(data_format.removeprefix("affectnet")), splits)
    raise InputError(f"{arguments.dataset} looks like {data_format}, which has no faces to cut; see --data_format.")


def cut_faces(found, arguments: PreparationArguments, output_dir: Path) -> tuple[Counter, BadImages]:
    """Writes every face that is not there yet. Returns counts ("written", "there") and the bad pictures."""
    import datasets
    from tqdm import tqdm

    counts, bad_images = Counter[str](), BadImages(arguments.max_bad_images)
    total = sum(len(rows) for rows in found.values())
    with tqdm(total=total, desc="cutting", disable=not sys.stderr.isatty(), unit="image") as bar:
        for split, rows in found.items():
            rows = rows.with_format(None).cast_column("image", datasets.Image(decode=False))
            class_names = rows.features["label"].names
            for name in class_names:
                (output_dir / split / name).mkdir(parents=True, exist_ok=True)
            targets = target_paths(rows, output_dir / split, class_names)
            first = {target: index for index, target in reversed(list(enumerate(targets)))}  # lists name some twice
            waiting = sorted(index for target, index in first.items() if not target.is_file())
            counts["there"] += len(first) - len(waiting)
            bar.update(len(targets) - len(waiting))
            for start in range(0, len(waiting), CHUNK):
                chunk = waiting[start : start + CHUNK]
                fresh = write_chunk(rows.select(chunk), [targets[index] for index in chunk], arguments)
                bad_images.add({problem: problem for problem in fresh})
                counts["written"] += len(chunk) - len(fresh)
                bar.update(len(chunk))
    return counts, bad_images


def target_paths(rows, folder: Path, class_names: list[str]) -> list[Path]:
    """folder/<class>/<name>.png of every row. Raises ValueError: two pictures that would be one file."""
    names = rows["name"][:] if "name" in rows.column_names else [f"{index:06d}" for index in range(len(rows))]
    stems = [name.rsplit(".", 1)[0].replace("/", "_") for name in names]
    paths = [folder / class_names[label] / f"{stem}.png" for stem, label in zip(stems, rows["label"])]
    boxes = map(str, rows["box"][:]) if "box" in rows.column_names else names
    made = Counter(path for path, *_ in set(zip(paths, names, boxes)))  # a list may have one face twice
    path, times = made.most_common(1)[0] if paths else (None, 1)
    if times > 1:
        raise InputError(f"{times} pictures would be written to {path}; give the files of a class different names.")
    return paths


def write_chunk(rows, targets: list[Path], arguments: PreparationArguments) -> list[str]:
    """Cuts and writes some rows, in threads (Pillow lets go of the GIL). Returns the bad pictures' sentences."""
    from multiprocessing.pool import ThreadPool

    def write(index: int) -> str:
        try:
            picture = cut_face(rows[index], targets[index], arguments.size, arguments.margin)
        except BadImage as error:
            return str(error)
        with replaced(targets[index]) as temporary:
            picture.save(temporary, format="PNG")
        return ""

    with ThreadPool(arguments.num_workers) as pool:
        return [problem for problem in pool.map(write, range(len(targets))) if problem]


def cut_face(row: dict, target: Path, size: int, margin: float):
    """One row's face as a (size, size) RGB picture. Raises BadImage, naming the picture."""
    import numpy as np

    from modeling_simfle.image_processing_simfle import resize_face
    from training.data.face_squares import cut_square, square_of_box, square_of_landmarks

    name = row["image"]["path"] or str(target)
    image = read_image(row["image"], name)
    try:
        if row.get("landmarks") is not None:
            return cut_square(image, square_of_landmarks(np.array(row["landmarks"])), size, margin)
        if row.get("box") is not None:
            return cut_square(image, square_of_box(row["box"]), size, margin)
    except ValueError as error:
        raise BadImage(f"{name}: {error}") from error
    return resize_face(image, size)


def count_classes(folder: Path) -> dict[str, int]:
    """Class to number of pictures, of the classes in the folder."""
    return {path.name: sum(1 for _ in path.glob("*.png")) for path in sorted(folder.iterdir()) if path.is_dir()}


if __name__ == "__main__":
    run_main("prepare_faces", main)
