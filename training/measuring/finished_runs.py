"""Finished runs below folders, read from their metrics.json into one table, and their summary over seeds."""

import json
import math
from pathlib import Path

import pandas

from simfle.housekeeping import is_below_housekeeping
from training.measuring.classification import KEYS
from training.runtime.errors import InputError
from training.runtime.lineage import read_json

# For each kind of run: the measures of its table, and the keys that its metrics.json must have.
MEASURES = {
    "classes": ("accuracy", "accuracy_without_repeats", "mean_class_accuracy", "macro_f1"),
    "landmarks": ("normalized_mean_error", "auc_at_0.1", "failure_rate"),
}
REQUIRED = {"classes": KEYS, "landmarks": ("normalized_mean_error", "split", "model", "seed")}
ALL_MEASURES = (*MEASURES["classes"], *MEASURES["landmarks"])
# Arguments in which runs of one row may differ.
FREE = {
    *("seed", "seeds", "few_shot", "output_dir", "features_dir", "num_workers", "max_bad_images"),
    *("resume_from_checkpoint", "max_train_minutes", "per_device_eval_batch_size", "trust_remote_code"),
}
# Runs that are equal in these columns differ in their seed alone and make one row.
ROW = ["kind", "encoder", "method", "split", "fingerprint", "label_percent", "settings"]


def find_runs(places: list[str], names: dict[Path, str] | None = None) -> tuple[pandas.DataFrame, list[tuple]]:
    """
    Args:
        places: run folders, folders of run folders, or metrics.json files. names: of encoders, by resolved folder. A
            name holds for all runs below the folder; the name of the deepest folder wins.
    Returns:
        One line a run, see `read_run`, and (path, reason) of each run that cannot be used or repeats another run.
    Raises:
        InputError: a place that does not exist or holds no run.
    """
    paths = {path.resolve(): path for place in places for path in metrics_files(place)}
    runs, problems = [], []
    for resolved, path in paths.items():
        named = [folder for folder in resolved.parents if folder in (names or {})]  # the deepest first
        try:
            runs.append(read_run(path, names[named[0]] if names and named else None))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems.append((path, str(error)))
    table = pandas.DataFrame(runs)
    if runs:
        same = [*ROW, "model", "seed"]
        firsts = table.groupby(same, dropna=False)["path"].transform("first")
        repeated = table.duplicated(same)
        reasons = [f"has the model, settings and seed of {first}; counted once" for first in firsts[repeated]]
        problems += zip(table["path"][repeated], reasons, strict=True)
        table = table[~repeated]
    return table, problems


def metrics_files(place: str) -> list[Path]:
    """The paths in and below a folder where metrics.json is or should be. Raises InputError where there is none."""
    path = Path(place)
    if path.is_file() and path.name == "metrics.json":
        return [path]
    if not path.is_dir():
        raise InputError(f"{place} is no folder and no metrics.json; give the folders of finished runs.")
    found = [f for name in ("metrics.json*", "run.json") for f in path.rglob(name)]
    kept = [f for f in found if not is_below_housekeeping(f.relative_to(path).as_posix())]
    files = {f.with_name("metrics.json") for f in kept}
    if not files:
        raise InputError(f"{place} holds no metrics.json; give the folders of finished runs.")
    return sorted(files)


def read_run(path: Path, name: str | None = None) -> dict:
    """
    A run as a line of the table.

    Args:
        path: its metrics.json. name: of its encoder; the default is its model.
    Returns:
        path, ROW, model, seed, protocol, source, choices, class_names; each of ALL_MEASURES as a float, with its
        interval as NAME_low and NAME_high, NaN where the run lacks it.
    Raises:
        InputError, AttributeError, KeyError, TypeError, ValueError: a file that is no metrics.json of a run.
    """
    if not path.is_file():
        raise InputError("there is none; the run is not finished, or only trained an encoder")
    metrics = read_json(path)
    kind = next((kind for kind, measures in MEASURES.items() if measures[0] in metrics), None)
    if kind is None:
        raise InputError("neither accuracy nor normalized_mean_error is in it")
    if missing := [key for key in REQUIRED[kind] if key not in metrics]:
        raise InputError(f"lacks {', '.join(missing)}")
    dataset, choices = metrics.get("dataset") or {}, metrics.get("choices")
    run = {
        "path": path,
        "kind": kind,
        "encoder": name or str(metrics["model"]),
        "method": metrics.get("method", "not said"),
        "split": metrics["split"],
        "source": dataset.get("source", "not said"),
        "fingerprint": dataset.get("fingerprint", "not said"),
        "label_percent": finite(metrics.get("label_percent", 100)),
        "settings": read_settings(path, metrics, {*FREE, "model"} if name else FREE),
        "model": str(metrics["model"]),
        "seed": metrics["seed"],
        "protocol": metrics.get("protocol", "not said"),
        "choices": None if choices is None else int(choices),
        "class_names": list(metrics.get("per_class", ())),
    }
    if wrong := [key for key in (*ROW, "seed", "protocol") if isinstance(run[key], dict | list)]:
        raise InputError(f"{', '.join(wrong)} must be a text or a number")
    for measure in ALL_MEASURES:
        low, high = metrics.get(f"{measure}_interval") or (None, None)
        for part, number in (("", metrics.get(measure)), ("_low", low), ("_high", high)):
            run[measure + part] = math.nan if number is None else finite(number)
    return run


def read_settings(path: Path, metrics: dict, free: set[str]) -> str:
    """The arguments of a run without those in `free`, as JSON; from metrics.json, else from run.json beside it."""
    arguments = metrics.get("arguments") or read_json(path.with_name("run.json"), optional=True).get("arguments")
    settings = {name: value for name, value in (arguments or {}).items() if name not in free}
    if not settings or metrics.get("method") == "linear probe":  # its protocol says what was chosen, and how
        settings["protocol"] = metrics.get("protocol")
    return json.dumps(settings, sort_keys=True)


def finite(value) -> float:
    """A number as a float. Raises InputError on another value."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{value!r} stands where a number is needed")
    return float(value)


def summarize(runs: pandas.DataFrame) -> pandas.DataFrame:
    """
    One line for the runs that differ in their seed alone, in the order of kind, data set and method.

    Returns:
        ROW, source, data_set, protocol; num_runs; seeds, choices and files (lists); for each measure its mean, and
        NAME_deviation over several seeds or NAME_low and NAME_high of a single run. NaN where a run lacks the measure.
    """
    runs = runs.assign(order=runs["seed"].astype(str).str.zfill(9)).sort_values("order")
    groups = runs.groupby(ROW, dropna=False)
    rows = groups.agg(
        source=("source", "first"),
        protocol=("protocol", "first"),
        num_runs=("path", "size"),
        seeds=("seed", list),
        choices=("choices", lambda values: [None if pandas.isna(value) else int(value) for value in values]),
        files=("path", list),
    )
    for name in ALL_MEASURES:
        rows[name] = groups[name].agg(lambda values: values.mean(skipna=False))
        rows[f"{name}_deviation"] = groups[name].agg(lambda values: values.std(skipna=False))
        for bound in (f"{name}_low", f"{name}_high"):
            rows[bound] = groups[bound].first().where(rows["num_runs"] == 1)
    rows = rows.reset_index()
    rows["data_set"] = [Path(source).name or source for source in rows["source"]]
    order = ["kind", "source", "split", "method", "label_percent", "encoder"]
    return rows.sort_values(order, ignore_index=True)
