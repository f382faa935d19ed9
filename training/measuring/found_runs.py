"""Finished runs below folders, by their metrics.json: read, checked, and grouped over seeds."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from training.measuring.classification import KEYS
from training.runtime.errors import InputError

CLASSES, LANDMARKS = "classes", "landmarks"
# What makes a table's figure of each kind of run; what must be there.
MEASURES = {
    CLASSES: ("accuracy", "accuracy_without_repeats", "mean_class_accuracy", "macro_f1"),
    LANDMARKS: ("normalized_mean_error", "auc_at_0.1", "failure_rate"),
}
REQUIRED = {CLASSES: KEYS, LANDMARKS: ("normalized_mean_error", "split", "model", "seed")}
# Arguments in which runs of one row may differ.
FREE = (
    *("seed", "seeds", "few_shot", "output_dir", "features_dir", "num_workers", "max_bad_images"),
    *("resume_from_checkpoint", "max_train_minutes", "per_device_eval_batch_size", "trust_remote_code"),
)


@dataclass(frozen=True)
class Run:
    """
    path: its metrics.json. metrics: the content. arguments: its script's. name: of the encoder, if one was given.
    """

    path: Path
    metrics: dict
    arguments: dict
    name: str | None = None

    @property
    def kind(self) -> str:
        return LANDMARKS if "normalized_mean_error" in self.metrics else CLASSES

    @property
    def encoder(self) -> str:
        return self.name or str(self.metrics["model"])

    @property
    def dataset(self) -> dict:
        """source and fingerprint, "not said" where an older run does not say."""
        return {"source": "not said", "fingerprint": "not said", **(self.metrics.get("dataset") or {})}

    @property
    def label_percent(self):
        return self.metrics.get("label_percent", 100)

    def row(self) -> tuple:
        """Equal for runs that differ in their seed alone; a name given to the encoder stands for its model."""
        free = {*FREE, "model"} if self.name else set(FREE)
        settings = {name: value for name, value in self.arguments.items() if name not in free}
        if not settings or self.metrics.get("method") == "linear probe":  # its protocol says what chose, and how
            settings["protocol"] = self.metrics.get("protocol")
        described = (self.metrics.get(name) for name in ("method", "split"))
        row = (self.kind, self.encoder, *described, self.dataset["fingerprint"], self.label_percent)
        return (*row, json.dumps(settings, sort_keys=True))


def find_runs(places: list[str], names: dict[str, str] | None = None) -> tuple[list[Run], list[tuple[Path, str]]]:
    """
    Args:
        places: run folders, folders of them, or metrics.json files. names: of encoders, by folder; all runs below it
            bear the name, the deepest folder's where there are several.
    Returns:
        The runs, and (path, why) of what is there but cannot be used: a metrics.json that is broken or lacks a key, a
        run.json beside which there is none.
    Raises:
        InputError: a place that does not exist or holds no run at all, or a name for none of them.
    """
    found: dict[Path, Path] = {}
    for place in places:
        files = metrics_files(place)
        found |= {path.resolve(): path for path in files if path.resolve() not in found}
    folders = {Path(folder).resolve(): name for folder, name in (names or {}).items()}
    runs, problems = [], []
    for resolved, path in found.items():
        above = [folder for folder in folders if resolved.is_relative_to(folder)]
        name = folders[max(above, key=lambda folder: len(folder.parts))] if above else None
        try:
            runs.append(read_run(path, name))
        except ValueError as error:
            problems.append((path, str(error)))
    idle = [given for given in names or {} if not any(p.is_relative_to(Path(given).resolve()) for p in found)]
    if idle:
        raise InputError(f"--labels {', '.join(idle)}: none of the runs lies there; give RUN=NAME of a run's folder.")
    return runs, problems


def metrics_files(place: str) -> list[Path]:
    """Where metrics.json is or should be, in and below a folder. Raises InputError where there is nothing of that."""
    path = Path(place)
    if path.is_file() and path.name == "metrics.json":
        return [path]
    if not path.is_dir():
        raise InputError(f"{place} is no folder and no metrics.json; give the folders of finished runs.")
    files = {f.with_name("metrics.json") for name in ("metrics.json*", "run.json") for f in path.rglob(name)}
    if not files:
        raise InputError(f"{place} holds no metrics.json; give the folders of finished runs.")
    return sorted(files)


def read_run(path: Path, name: str | None = None) -> Run:
    """Raises InputError saying what is wrong with the file, without its path."""
    if not path.is_file():
        raise InputError("there is none; the run is not finished, or only trained an encoder")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"not JSON, perhaps half-written ({error})") from error
    kinds = [kind for kind in MEASURES if isinstance(metrics, dict) and MEASURES[kind][0] in metrics]
    if not kinds:
        raise InputError("neither accuracy nor normalized_mean_error is in it")
    missing = [key for key in REQUIRED[kinds[-1]] if key not in metrics]
    if missing:
        raise InputError(f"lacks {', '.join(missing)}")
    check_kinds(metrics, MEASURES[kinds[-1]])
    arguments, beside = metrics.get("arguments"), path.with_name("run.json")
    if arguments is None and beside.is_file():
        try:
            run = json.loads(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"run.json beside it is not JSON ({error})") from error
        arguments = run.get("arguments") if isinstance(run, dict) else run
    if not isinstance(arguments, dict | None):
        raise InputError(f"its arguments are {arguments!r}, not a mapping")
    return Run(path, metrics, arguments or {}, name)


def check_kinds(metrics: dict, measures: tuple[str, ...]) -> None:
    """Raises InputError: a value that is of another kind than the table takes."""
    for name in (*measures, "label_percent"):
        value = metrics.get(name, 0.0)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{name} is {value!r}, not a number")
        interval = metrics.get(f"{name}_interval")
        pair = interval if isinstance(interval, list) and len(interval) == 2 else [None]
        if interval is not None and not all(isinstance(bound, int | float) for bound in pair):
            raise InputError(f"{name}_interval is {interval!r}, not two numbers")
    for name, kind, said in (("dataset", dict, "a mapping"), ("choices", int, "a whole number")):
        if not isinstance(metrics.get(name), kind | None):
            raise InputError(f"{name} is {metrics[name]!r}, not {said}")


def group_runs(runs: list[Run]) -> tuple[list[list[Run]], list[tuple[Path, str]]]:
    """
    Runs that differ in their seed alone, together, by seed; rows in the order of their kind, set and method.

    Returns:
        The groups, and (path, why) of runs left out: those that only repeat another one.
    """
    groups: dict[tuple, list[Run]] = {}
    problems = []
    for run in runs:
        group = groups.setdefault(run.row(), [])
        same = [r for r in group if all(r.metrics[key] == run.metrics[key] for key in ("model", "seed"))]
        if same:
            problems.append((run.path, f"the model, settings and seed of {same[0].path}; counted once"))
        else:
            group.append(run)
    for group in groups.values():
        group.sort(key=lambda run: str(run.metrics["seed"]).zfill(9))
    return sorted(groups.values(), key=lambda group: sort_key(group[0])), problems


def sort_key(run: Run) -> tuple:
    method, split = (str(run.metrics.get(name, "")) for name in ("method", "split"))
    return (run.kind, run.dataset["source"], split, method, float(run.label_percent), run.encoder, str(run.path))
