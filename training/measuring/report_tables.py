"""The report of finished runs as Markdown and as .csv."""

from pathlib import Path

import pandas

from training.measuring.finished_runs import ALL_MEASURES, MEASURES
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
EXPLANATION = (
    "Figures in percent: mean ± standard deviation over seeds, or one run [95 % bootstrap interval]. Choices: how many"
    " epochs or settings were compared on the reported split, the best of which is reported; 0: none."
)
DIFFERENCES_EXPLANATION = (
    "Accuracy (landmarks: normalised mean error, where less is better); 95 % interval of the paired bootstrap: images"
    " (landmarks: persons) are drawn, the same for both; several seeds are paired seed by seed and averaged, not drawn."
)
COSTS_EXPLANATION = (
    "Images, speed and memory are means over the pretraining seeds. Memory is the main process's highest. Tried: the"
    " pretrainings that were compared to choose the learning rate, and the settings of their probes on that split."
)


def markdown(rows: pandas.DataFrame, compared: list[dict], problems: list[tuple]) -> str:
    """The whole report. rows: see `summarize`. compared: see `compare`. problems: (path, reason)."""
    parts = []
    for kind, heading in HEADINGS.items():
        if (rows["kind"] == kind).any():
            parts += [f"## {heading}", runs_table(rows[rows["kind"] == kind], MEASURES[kind])]
    parts += [EXPLANATION, choices_of_sets(rows)]
    if compared:
        parts += ["## Differences", compared_table(compared), DIFFERENCES_EXPLANATION]
    notes = []
    for number, row in rows.iterrows():
        files = [f"seed {seed}: `{file}`" for seed, file in zip(row["seeds"], row["files"], strict=True)]
        notes.append(f"- [{number + 1}] {row['protocol']}. {'; '.join(files)}")
    parts += ["## Runs", "\n".join(notes)]
    if problems:
        parts += ["## Not in the tables", "\n".join(f"- {path}: {reason}" for path, reason in problems)]
    return "\n\n".join(parts)


def runs_table(rows: pandas.DataFrame, measures: tuple[str, ...]) -> str:
    """The table of one kind of runs."""
    lines = [
        {
            "encoder": row["encoder"],
            "method": row["method"],
            "data set": row["data_set"],
            "split": row["split"],
            "labels": f"{row['label_percent']:g} %",
            "seeds": row["num_runs"],
            **{TITLES[name]: measure_cell(row, name) for name in measures},
            "choices": choices_cell(row["choices"]),
            "runs": f"[{number + 1}]",
        }
        for number, row in rows.iterrows()
    ]
    return markdown_table(lines)


def measure_cell(row: pandas.Series, name: str) -> str:
    """Mean with deviation or interval, in percent; "-" where a run lacks the measure."""
    mean, deviation, low, high = (100 * row[name + part] for part in ("", "_deviation", "_low", "_high"))
    if pandas.isna(mean):
        return "-"
    if not pandas.isna(deviation):
        return f"{mean:.2f} ± {deviation:.2f}"
    return f"{mean:.2f}" if pandas.isna(low) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def choices_cell(choices: list) -> str:
    if None in choices:
        return "not said"
    return " to ".join(map(str, sorted({min(choices), max(choices)})))


def choices_of_sets(rows: pandas.DataFrame) -> str:
    """For each split of a data set: how many choices were made on it, by how many runs."""
    sentences = []
    for (name, fingerprint, split), choices in rows.groupby(["data_set", "fingerprint", "split"], sort=False)[
        "choices"
    ]:
        of_runs = choices.sum()  # the lists joined
        silent = f"; {of_runs.count(None)} of them do not say" if None in of_runs else ""
        made = f"choices made {sum(filter(None, of_runs))}, runs {len(of_runs)}{silent}"
        sentences.append(f"- {name} (fingerprint {fingerprint}), {split}: {made}.")
    return "\n".join(sentences)


def compared_table(compared: list[dict]) -> str:
    lines = []
    for row in compared:
        difference, low, high = (100 * value for value in (row["difference"], *row["interval"]))
        lines.append(
            {
                "base": row["base"],
                "other": row["other"],
                "labels": f"{row['label_percent']:g} %",
                "seeds": " ".join(map(str, row["seeds"])),
                "drawn": f"{row['num_images']} images"
                + (f", by {row['num_persons']} persons" if row["num_persons"] else ""),
                "base, %": f"{100 * row['base_mean']:.2f}",
                "other, %": f"{100 * row['other_mean']:.2f}",
                "other - base, points": f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]",
            }
        )
    return markdown_table(lines)


def costs_table(costs: list[dict]) -> str:
    """The section about the pretrainings. costs: see `cost_rows`."""
    lines = [
        {
            "encoder": row["encoder"],
            "method": row["method"],
            "learning rate": ", ".join(f"{rate:g}" for rate in row["learning_rates"]),
            "pretraining seeds": row["seeds"],
            "images": f"{row['images']:,.0f}",
            "images a second": f"{row['images_per_second']:,.1f}",
            "memory, GB": f"{row['peak_memory_bytes'] / 1e9:.2f}",
            "trained parameters, million": f"{row['trained_parameters'] / 1e6:.2f}",
            "tried": f"{row['tried']} ({row['choices']:,} choices)" if row["tried"] else "not said",
        }
        for row in costs
    ]
    return f"\n\n## Pretraining\n\n{markdown_table(lines)}\n\n{COSTS_EXPLANATION}" if lines else ""


def markdown_table(lines: list[dict]) -> str:
    texts = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(str(text).replace('|', chr(92) + '|') for text in line)} |" for line in texts)


def write_csv(path: Path, rows: pandas.DataFrame) -> None:
    """The rows as numbers in [0, 1], empty where there is none. Seeds, choices and files are joined by ;."""
    plain = ["kind", "encoder", "method", "data_set", "fingerprint", "split", "label_percent", "protocol", "num_runs"]
    measures = [name + part for name in ALL_MEASURES for part in ("", "_deviation", "_low", "_high")]
    lists = ["seeds", "choices", "files"]
    texts = {name: [";".join("" if v is None else str(v) for v in values) for values in rows[name]] for name in lists}
    table = rows.assign(**texts)[[*plain, *measures, *lists]]
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
