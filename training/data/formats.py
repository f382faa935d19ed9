"""
The registry of data formats. To add a data set, write one file with `looks_like` and `load`, add it to DATA_SETS, its
facts to facts.yaml, and its name to `DatasetArguments.data_format`.

Splits are train, validation and test; docs/data.md says which part of each set they are. Test is the split that the
field reports; no choice is made on it. Where owners give no validation split, it is a fixed tenth of the training
images (training.data.splits.held_out). Without labels (`with_labels=False`, for pretraining) train is the owners' whole
train part, the tenth and images of no class included.
"""

import re
from pathlib import Path

from training.data import affectnet, class_folders, ferplus, rafdb, sfew
from training.data.facts import facts_of
from training.data.splits import SPLITS, split_of
from training.data.tables import looks_like_parquet
from training.runtime.errors import InputError

# Each has `looks_like(path)`. The formats are tried in this order; the first that a path looks like is taken.
DATA_SETS = {"ferplus": ferplus, "affectnet8": affectnet, "affectnet7": affectnet, "rafdb": rafdb, "sfew": sfew}


def guess_format(path: Path, dataset: str) -> str:
    """
    The format of a data set by its layout.

    Args:
        path: of `dataset`. dataset: as it was given to --dataset, a path or a Hub id.
    Raises:
        InputError: neither a path on this machine nor the form of a Hub id.
    """
    if not path.exists():
        if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", dataset):  # owner/data_set
            return "hub"
        raise InputError(f"{dataset} does not exist; --dataset takes a folder, a Parquet file or a Hub id.")
    for name, module in DATA_SETS.items():
        if module.looks_like(path):
            return name
    return "parquet" if looks_like_parquet(path) else "imagefolder"


def load_data_set(
    name: str, folder: Path, splits=None, with_labels: bool = True, protocol: str = "majority", details: bool = True
):
    """
    A set as its owners pack it, or class folders, as a `datasets.DatasetDict`; see the set's `load`.

    Args:
        name: of the format. splits: names under any usual spelling, None for all. protocol: of FER+.
        details: whether landmarks are read where the owners give them.
    Raises:
        InputError: a split that the owners do not have, or a format that is not a set of images.
    """
    if name == "imagefolder":
        return class_folders.load(folder, splits, with_labels)
    if name not in DATA_SETS:
        raise InputError(f"{folder} looks like {name}; a data set as its owners pack it, or class folders, is needed.")
    for split in splits or []:
        if split_of(split) is None:
            raise InputError(f"{folder} has no split {split!r}; found {', '.join(SPLITS)}.")
    options: dict[str, dict] = {
        "ferplus": {"protocol": protocol},
        "affectnet8": {"num_classes": 8, "details": details},
        "affectnet7": {"num_classes": 7, "details": details},
        "rafdb": {"details": details},
    }
    return DATA_SETS[name].load(folder, splits, with_labels, **options.get(name, {}))


def describe_data(data_format: str, faces) -> dict:
    """
    What run.json says about the faces that a training learns from (training.data.faces.Faces).

    Returns:
        {"format", "name", "split", "fingerprint", "num_images"}, and "terms" where they are known.
    """
    if data_format == "auto":
        is_stream = hasattr(faces, "files")
        data_format = "stream" if is_stream else guess_format(Path(faces.source).expanduser(), faces.source)
    about = {"format": data_format, "name": faces.source, "split": faces.split}
    about |= {"fingerprint": faces.fingerprint(), "num_images": len(faces)}
    facts = facts_of(data_format)
    return {**about, "terms": facts.terms} if facts else about
