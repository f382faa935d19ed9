"""
One table of finished runs, by method and data set: mean and deviation over seeds, each figure with its metrics.json.

    python training/report.py RUN... --output_md table.md --output_csv table.csv
    python training/report.py RUN... --labels runs/probe_simfle=SimFLE --compare runs/probe_untrained runs/probe_simfle

RUN is a run's folder or a folder of runs; every metrics.json below it counts. Runs whose arguments differ in the seed
alone make one row. --labels RUN=NAME names the encoder of the runs below a folder; runs of one name pool their models.
--compare BASE OTHER adds the difference of two methods on the same images, with its paired bootstrap interval. --costs
adds what the pretrainings of the encoders cost; --choosing RUN=NAME names the probes that chose among them. Broken and
unfinished runs are named below the table. --best prints, in place of all this, the model with the highest accuracy.
"""

from dataclasses import dataclass
from pathlib import Path

from training.runtime.arguments import flag, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.run_folder import write_text

POSITIONALS = (
    ("runs", {"nargs": "+", "metavar": "RUN", "help": "folder of a run, or of runs"}),
    ("--labels", {"action": "append", "metavar": "RUN=NAME", "help": "name of the encoder of a folder's runs"}),
    ("--choosing", {"action": "append", "metavar": "RUN=NAME", "help": "probes that chose an encoder's pretraining"}),
    ("--compare", {"action": "append", "nargs": 2, "metavar": ("BASE", "OTHER"), "help": "difference of two methods"}),
)


@dataclass
class ReportArguments:
    """The report."""

    output_md: str | None = flag(None, "Markdown file; the report is always printed")
    output_csv: str | None = flag(None, "file of the same rows as numbers")
    costs: bool = flag(False, "add a table of the pretrainings: images, speed, memory, trained parameters")
    best: bool = flag(False, "print only the model of the run with the highest accuracy")


def main(argv=None) -> None:
    arguments, places = parse_arguments((ReportArguments,), argv, __doc__, POSITIONALS)
    from training.measuring.finished_runs import find_runs, summarize
    from training.measuring.paired_runs import compare
    from training.measuring.pretraining_costs import best_model, cost_rows
    from training.measuring.report_tables import costs_table, markdown, write_csv

    if arguments.best:
        print(best_model(places.runs))
        return
    names = read_names(places.labels or [])
    runs, problems = find_runs(places.runs, names)
    paths = [path.resolve() for path in [*runs.get("path", ()), *(path for path, _ in problems)]]
    for folder in names:
        if not any(path.is_relative_to(folder) for path in paths):
            raise InputError(f"--labels {folder}: none of the runs lies there; give RUN=NAME of a run's folder.")
    if runs.empty:
        raise InputError(f"no run can be reported; {'; '.join(f'{path}: {reason}' for path, reason in problems)}.")
    rows = summarize(runs)
    compared = [row for base, other in places.compare or [] for row in compare(base, other, names)]
    text = markdown(rows, compared, problems)
    if arguments.costs:
        choosing: dict[str, list[Path]] = {}
        for folder, name in read_names(places.choosing or []).items():
            choosing.setdefault(name, []).append(folder)
        text += costs_table(cost_rows(runs, choosing))
    print(text)
    if arguments.output_md:
        write_text(Path(arguments.output_md), text + "\n")
    if arguments.output_csv:
        write_csv(Path(arguments.output_csv), rows)


def read_names(labels: list[str]) -> dict[Path, str]:
    """RUN=NAME pairs as a mapping of resolved folders. Raises InputError on another form."""
    names = {}
    for label in labels:
        folder, _, name = label.partition("=")
        if not folder or not name:
            raise InputError(f"--labels {label} must be RUN=NAME, as in runs/probe=SimFLE.")
        names[Path(folder).resolve()] = name
    return names


if __name__ == "__main__":
    run_main("report", main)
