"""One table of finished runs: rows over seeds as Markdown and as .csv."""

import csv
import io
import statistics
from pathlib import Path

from training.measuring.found_runs import MEASURES
from training.measuring.landmark_errors import read_errors
from training.runtime.run_folder import write_text

TITLES = {
    "accuracy": "accuracy",
    "accuracy_without_repeats": "without repeats",
    "mean_class_accuracy": "mean class accuracy",
    "macro_f1": "macro F1",
    "normalized_mean_error": "normalised mean error",
    "auc_at_0.1": "AUC at 0.1",
    "failure_rate": "failure rate",
}
HEADINGS = {"classes": "Expressions", "landmarks": "Landmarks"}


def summarize(group) -> dict:
    """One row: what the runs are, and for each measure (mean, deviation or None, interval or None), or None."""
    first, measures = group[0], {}
    for name in MEASURES[first.kind]:
        values = [run.metrics[name] for run in group if run.metrics.get(name) is not None]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        interval = interval_of(first, name) if len(group) == 1 else None
        measures[name] = (statistics.fmean(values), deviation, interval) if len(values) == len(group) else None
    source = first.dataset["source"]
    return {
        "kind": first.kind,
        "encoder": first.encoder,
        "method": first.metrics.get("method", "not said"),
        "data_set": Path(source).name or source,
        "fingerprint": first.dataset["fingerprint"],
        "split": first.metrics["split"],
        "label_percent": first.label_percent,
        "protocol": first.metrics.get("protocol", "not said"),
        "measures": measures,
        "choices": [run.metrics.get("choices") for run in group],
        "seeds": [run.metrics["seed"] for run in group],
        "files": [str(run.path) for run in group],
    }


def interval_of(run, name: str) -> list[float] | None:
    """The 95 % interval of a single run's measure: as written, or for landmarks from errors.csv, by person."""
    written = run.metrics.get(f"{name}_interval")
    if written is not None or name != "normalized_mean_error" or not run.path.with_name("errors.csv").is_file():
        return written
    from training.fer_metrics.fer_metrics import bootstrap_interval

    table = read_errors(run.path.with_name("errors.csv"))
    return bootstrap_interval(table["normalized_mean_error"], table["person"])


def markdown(rows: list[dict], compared: list[dict], problems) -> str:
    """The whole report."""
    parts, numbered = [], list(enumerate(rows, 1))
    for kind, heading in HEADINGS.items():
        table = [(number, row) for number, row in numbered if row["kind"] == kind]
        if table:
            parts += [f"## {heading}", runs_table(table)]
    parts += [
        "Figures in percent: mean ± standard deviation over seeds, or one run [95 % bootstrap interval]. Choices: how"
        " many epochs or settings were compared on the reported split, the best of which is reported; 0: none.",
        "\n".join(choices_of_sets(rows)),
    ]
    if compared:
        parts += ["## Differences", compared_table(compared)]
    notes = [f"- [{number}] {row['protocol']}. {'; '.join(seeds_and_files(row))}" for number, row in numbered]
    parts += ["## Runs", "\n".join(notes)]
    if problems:
        parts += ["## Not in the tables", "\n".join(f"- {path}: {why}" for path, why in problems)]
    return "\n\n".join(parts)


def seeds_and_files(row: dict) -> list[str]:
    return [f"seed {seed}: `{file}`" for seed, file in zip(row["seeds"], row["files"], strict=True)]


def runs_table(numbered) -> str:
    names = list(numbered[0][1]["measures"])
    head = ["encoder", "method", "data set", "split", "labels", "seeds", *(TITLES[name] for name in names)]
    lines = [[*head, "choices", "runs"]]
    for number, row in numbered:
        lines.append(
            [
                *(row[name] for name in ("encoder", "method", "data_set", "split")),
                f"{row['label_percent']:g} %",
                str(len(row["files"])),
                *(cell(row["measures"][name]) for name in names),
                choices_cell(row["choices"]),
                f"[{number}]",
            ]
        )
    return markdown_table(lines)


def cell(measure) -> str:
    if measure is None:
        return "-"
    mean, deviation, interval = measure
    if deviation is not None:
        return f"{100 * mean:.2f} ± {100 * deviation:.2f}"
    return f"{100 * mean:.2f}" + (f" [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]" if interval else "")


def choices_cell(choices: list) -> str:
    if None in choices:
        return "not said"
    low, high = min(choices), max(choices)
    return f"{low}" if low == high else f"{low} to {high}"


def choices_of_sets(rows: list[dict]) -> list[str]:
    """A sentence a set: how many choices were made on it, by how many runs."""
    sets: dict[tuple, list] = {}
    for row in rows:
        sets.setdefault((row["data_set"], row["fingerprint"], row["split"]), []).extend(row["choices"])
    sentences = []
    for (name, fingerprint, split), choices in sets.items():
        silent = f"; {choices.count(None)} of them do not say" if None in choices else ""
        made = sum(filter(None, choices))
        where = f"{name} (fingerprint {fingerprint}), {split}"
        sentences.append(f"- {where}: choices made {made}, runs {len(choices)}{silent}.")
    return sentences


def compared_table(compared: list[dict]) -> str:
    lines = [["base", "other", "labels", "seeds", "drawn", "base, %", "other, %", "other - base, points"]]
    for row in compared:
        people = f", by {row['num_persons']} persons" if row["num_persons"] else ""
        mean, (low, high) = 100 * row["difference"], (100 * bound for bound in row["interval"])
        lines.append(
            [
                *(row["base"], row["other"], f"{row['label_percent']:g} %", " ".join(map(str, row["seeds"]))),
                f"{row['num_images']} images{people}",
                *(f"{100 * row[name]:.2f}" for name in ("base_mean", "other_mean")),
                f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]",
            ]
        )
    said = (
        "Accuracy (landmarks: normalised mean error, where less is better); 95 % interval of the paired bootstrap:"
        " images (landmarks: persons) are drawn, the same for both; several seeds are paired seed by seed and averaged,"
        " not drawn."
    )
    return f"{markdown_table(lines)}\n\n{said}"


def markdown_table(lines: list[list]) -> str:
    texts = [[str(value).replace("|", "\\|") for value in line] for line in lines]
    texts.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in texts)


def write_csv(path: Path, rows: list[dict]) -> None:
    """The rows as numbers in [0, 1]; empty where there is none; several seeds, choices and files with ; between."""
    plain = ("kind", "encoder", "method", "data_set", "fingerprint", "split", "label_percent", "protocol")
    parts = ("", "_deviation", "_low", "_high")
    lists = ("seeds", "choices", "files")
    columns = [*plain, "num_runs", *(name + part for name in TITLES for part in parts), *lists]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        line = {name: row[name] for name in plain} | {"num_runs": len(row["files"])}
        for name, measure in row["measures"].items():
            if measure is not None:
                mean, deviation, interval = measure
                numbers = zip(parts, (mean, deviation, *(interval or (None, None))), strict=True)
                line |= {name + part: number for part, number in numbers}
        for name in lists:
            line[name] = ";".join("" if value is None else str(value) for value in row[name])
        writer.writerow(line)
    write_text(path, text.getvalue())
