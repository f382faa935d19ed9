"""The difference of two methods on the same images, with its paired bootstrap interval."""

from pathlib import Path

import numpy as np
import pandas

from training.fer_metrics.fer_metrics import bootstrap_interval
from training.measuring.classification import PREDICTION_COLUMNS, read_table
from training.measuring.finished_runs import find_runs
from training.measuring.landmark_errors import ERROR_COLUMNS
from training.runtime.errors import InputError


def compare(base: str, other: str, names: dict[Path, str] | None = None) -> list[dict]:
    """
    Pairs the runs of two folders by share of the labels and seed.

    Args:
        base, other: folders of one method each, with one run or several seeds or shares. names: see `find_runs`.
    Returns:
        For each share of the labels: base, other (encoder and method), label_percent, seeds, num_images, num_persons
        (of landmarks, else None), base_mean, other_mean, difference (other - base, mean over seeds and images) and its
        95 % interval [low, high]. The bootstrap draws images, or persons for landmarks, and the same ones for both
        methods. It draws no seeds.
    Raises:
        InputError: a run that cannot be read, runs that do not pair, or that did not see the same images.
    """
    ours, theirs = sides = [read_method(place, names).sort_index() for place in (base, other)]
    if not ours.index.equals(theirs.index):
        have = [
            f"{place} has " + ", ".join(f"seed {seed} at {percent:g} % of the labels" for percent, seed in side.index)
            for place, side in zip((base, other), sides)
        ]
        raise InputError(f"--compare: {'; '.join(have)}; the same of both is needed.")
    shares = ours.index.unique("label_percent")
    return [compare_seeds(ours.loc[percent], theirs.loc[percent]) for percent in shares]


def read_method(place: str, names: dict[Path, str] | None) -> pandas.DataFrame:
    """The runs of a folder by label_percent and seed. Raises InputError on an unusable run, or two runs of a seed."""
    runs, problems = find_runs([place], names)
    if problems:
        raise InputError(f"--compare: {problems[0][0]}: {problems[0][1]}.")
    twice = runs[runs.duplicated(["label_percent", "seed"], keep=False)]
    if len(twice):
        which = f"{' and '.join(map(str, twice['path'][:2]))} are two runs of seed {twice['seed'].iloc[0]}"
        raise InputError(f"--compare: {which}; give a folder with one method.")
    return runs.set_index(["label_percent", "seed"], drop=False)


def compare_seeds(base: pandas.DataFrame, other: pandas.DataFrame) -> dict:
    """A line of `compare`, from the runs of both methods in the same order of seeds."""
    first, first_table = base.iloc[0], read_images(base.iloc[0])
    values = []  # of both methods, (seeds, N) each
    for runs in (base, other):
        tables = [read_images(run) for _, run in runs.iterrows()]
        for (_, run), table in zip(runs.iterrows(), tables):
            check_same_images(first, run, first_table, table)
        values.append(np.stack([table["value"] for table in tables]))
    people = first_table["truth"].to_numpy() if first["kind"] == "landmarks" else None
    differences = (values[1] - values[0]).mean(0)
    return {
        "base": f"{first['encoder']}, {first['method']}",
        "other": f"{other.iloc[0]['encoder']}, {other.iloc[0]['method']}",
        "label_percent": first["label_percent"],
        "seeds": base["seed"].tolist(),
        "num_images": len(differences),
        "num_persons": None if people is None else len(set(people)),
        "base_mean": float(values[0].mean()),
        "other_mean": float(values[1].mean()),
        "difference": float(differences.mean()),
        "interval": bootstrap_interval(differences, people),
    }


def read_images(run: pandas.Series) -> pandas.DataFrame:
    """By index of the image: truth (class name or person) and value (whether the prediction is right, or the error)."""
    if run["kind"] == "landmarks":
        table = read_table(run["path"].with_name("errors.csv"), ERROR_COLUMNS)
        return table.rename(columns={"person": "truth", "normalized_mean_error": "value"})
    path = run["path"].with_name("predictions.csv")
    table, names = read_table(path, PREDICTION_COLUMNS), run["class_names"]
    if not table["label"].between(0, len(names) - 1).all():
        raise InputError(f"{path} has labels beyond the {len(names)} classes.")
    value = (table["label"] == table["prediction"]).astype(float)
    return pandas.DataFrame({"truth": np.array(names)[table["label"]], "value": value}, index=table.index)


def check_same_images(one: pandas.Series, other: pandas.Series, table, other_table) -> None:
    """Raises InputError where two runs are of different kinds, or did not see the same images."""
    only = table.index.symmetric_difference(other_table.index)
    if one["kind"] != other["kind"]:
        reason = f"one measures {one['kind']}, the other {other['kind']}"
    elif one["fingerprint"] != other["fingerprint"]:
        reason = f"data sets differ: fingerprints {one['fingerprint']} and {other['fingerprint']}"
    elif len(only):
        reason = f"{len(only)} images are in one alone, index {only[0]} first"
    elif not table["truth"].equals(other_table["truth"]):
        reason = "the same index has another label"
    else:
        return
    raise InputError(f"--compare: {one['path']} and {other['path']} did not see the same images: {reason}.")
