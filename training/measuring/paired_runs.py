"""The difference of two methods on the same images, with its paired bootstrap interval."""

from itertools import chain
from pathlib import Path

import numpy as np

from training.measuring.classification import read_predictions
from training.measuring.found_runs import CLASSES, Run, find_runs
from training.measuring.landmark_errors import read_errors
from training.runtime.errors import InputError


def compare(base: str, other: str, names: dict[str, str] | None = None) -> list[dict]:
    """
    Pairs the runs of two folders by share of the labels and seed.

    Args:
        base, other: folders of one method each, with one run or several seeds or shares. names: see `find_runs`.
    Returns:
        For each share of the labels: base, other (encoder and method), kind, label_percent, seeds, num_images,
        num_persons (landmarks, else None), base_mean, other_mean, difference (other - base, mean over seeds and images)
        and interval [low, high], 95 %: images, or for landmarks persons, are drawn, the same for both; seeds are not.
    Raises:
        InputError: a run that cannot be read, runs that do not pair, or that did not see the same images.
    """
    sides = [one_method(place, names) for place in (base, other)]
    if set(sides[0]) != set(sides[1]):
        said = [", ".join(f"seed {seed} at {percent} % of the labels" for percent, seed in side) for side in sides]
        raise InputError(f"--compare: {base} has {said[0]}; {other} has {said[1]}; the same of both is needed.")
    compared = []
    for percent in sorted({percent for percent, _ in sides[0]}):
        seeds = sorted(seed for share, seed in sides[0] if share == percent)
        compared.append(compare_seeds([[side[percent, seed] for seed in seeds] for side in sides], percent, seeds))
    return compared


def one_method(place: str, names: dict[str, str] | None) -> dict[tuple, Run]:
    """The runs of a folder by (label_percent, seed). Raises InputError on an unusable run, or two of one seed."""
    inside = {folder: name for folder, name in (names or {}).items() if is_near(Path(folder), Path(place))}
    runs, problems = find_runs([place], inside)
    if problems:
        raise InputError(f"--compare: {problems[0][0]}: {problems[0][1]}.")
    found: dict[tuple, Run] = {}
    for run in runs:
        key = (run.label_percent, run.metrics["seed"])
        if key in found:
            raise InputError(
                f"--compare: {found[key].path} and {run.path} are two runs of seed {key[1]}; give a folder with one"
                " method."
            )
        found[key] = run
    return found


def is_near(folder: Path, place: Path) -> bool:
    """Whether a named folder lies in a place, or around it."""
    folder, place = folder.resolve(), place.resolve()
    return folder.is_relative_to(place) or place.is_relative_to(folder)


def compare_seeds(sides: list[list[Run]], percent, seeds: list) -> dict:
    """One row of `compare`, from both sides' runs of the same seeds."""
    from training.fer_metrics.fer_metrics import bootstrap_interval

    first, tables = sides[0][0], [[read_values(run) for run in side] for side in sides]
    for run, table in zip(chain(*sides), chain(*tables), strict=True):
        check_same_images(first, run, tables[0][0], table)
    values = [np.stack([table["value"] for table in side]) for side in tables]  # (seeds, N) each
    people = tables[0][0].get("person")
    differences = (values[1] - values[0]).mean(0)
    return {
        "base": describe(first),
        "other": describe(sides[1][0]),
        "kind": first.kind,
        "label_percent": percent,
        "seeds": seeds,
        "num_images": len(differences),
        "num_persons": None if people is None else len(set(people)),
        "base_mean": float(values[0].mean()),
        "other_mean": float(values[1].mean()),
        "difference": float(differences.mean()),
        "interval": bootstrap_interval(differences, people),
    }


def describe(run: Run) -> str:
    return f"{run.encoder}, {run.metrics.get('method', 'method not said')}"


def read_values(run: Run) -> dict:
    """By image, in the order of index: what it is (truth: class name or person), and value: right or not, or error."""
    if run.kind != CLASSES:
        table = read_errors(run.path.with_name("errors.csv"))
        return {**table, "truth": table["person"], "value": table["normalized_mean_error"]}
    table, names = read_predictions(run.path.with_name("predictions.csv")), list(run.metrics["per_class"])
    if table["label"].min() < 0 or table["label"].max() >= len(names):
        raise InputError(f"{run.path.with_name('predictions.csv')} has labels beyond the {len(names)} classes.")
    truth = np.array(names)[table["label"]]
    return {"index": table["index"], "truth": truth, "value": (table["label"] == table["prediction"]).astype(float)}


def check_same_images(one: Run, other: Run, table: dict, other_table: dict) -> None:
    """Raises InputError where two runs are not of one kind, or did not see the same images."""
    what = None
    if one.kind != other.kind:
        what = f"one measures {one.kind}, the other {other.kind}"
    elif one.dataset["fingerprint"] != other.dataset["fingerprint"]:
        what = f"data sets differ: fingerprints {one.dataset['fingerprint']} and {other.dataset['fingerprint']}"
    elif not np.array_equal(table["index"], other_table["index"]):
        only = np.setxor1d(table["index"], other_table["index"])
        what = f"{len(only)} images are in one alone, index {only[0]} first"
    elif not np.array_equal(table["truth"], other_table["truth"]):
        what = "the same index has another label"
    if what:
        raise InputError(f"--compare: {one.path} and {other.path} did not see the same images: {what}.")
