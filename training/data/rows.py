"""Rows of images as a `datasets.Dataset`: of plain paths, or of one split of an owner's part with labels and boxes."""

from pathlib import Path

from training.data.splits import in_split


def rows_of_paths(paths: list[Path]):
    """A `datasets.Dataset` with one column, `image`, that is not decoded."""
    import datasets

    cells = [{"bytes": None, "path": str(path)} for path in paths]
    features = datasets.Features({"image": datasets.Image(decode=False)})
    return datasets.Dataset.from_dict({"image": cells}, features=features)


def split_rows(columns: dict[str, list], split: str, class_names, with_labels: bool, by_path: bool = False):
    """
    The rows of one split as a `datasets.Dataset`; an image with a `box` comes cropped to it.

    Args:
        columns: lists of one owners' part: path, name, label (-1: none of the classes), and, where the owners give
            them, box, landmarks, valence, arousal. class_names: in label order.
        with_labels: false takes images without a label too, and gives no label column. by_path: whether the fixed tenth
            goes by the whole name, and not by the file's name after the last slash.
    """
    import datasets

    names = [name if by_path else name.rsplit("/", 1)[-1] for name in columns["name"]]
    indices = [
        i
        for i, (name, label) in enumerate(zip(names, columns["label"], strict=True))
        if (label >= 0 or not with_labels) and in_split(name, split, with_labels)
    ]
    taken = {key: [values[i] for i in indices] for key, values in columns.items() if key != "label" or with_labels}
    taken = {"image": [{"bytes": None, "path": path} for path in taken.pop("path")]} | taken
    points = len(columns["landmarks"][0]) if columns.get("landmarks") else 0
    kinds = {
        "image": datasets.Image(),
        "name": datasets.Value("string"),
        "label": datasets.ClassLabel(names=list(class_names)),
        "box": datasets.Sequence(datasets.Value("int32"), length=4),
        "landmarks": datasets.Array2D((points, 2), "float32"),
        "valence": datasets.Value("float32"),
        "arousal": datasets.Value("float32"),
    }
    rows = datasets.Dataset.from_dict(taken, features=datasets.Features({key: kinds[key] for key in taken}))
    return rows.with_transform(crop_to_boxes) if "box" in taken else rows


def crop_to_boxes(batch: dict) -> dict:
    """Rows as they are read, each image cropped to its box."""
    from training.data.face_squares import crop_box

    if "image" in batch and "box" in batch:
        batch["image"] = [crop_box(image, box) for image, box in zip(batch["image"], batch["box"])]
    return batch
