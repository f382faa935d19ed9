"""What the pretrainings behind probed encoders cost, and how many settings were tried to choose them."""

from pathlib import Path
from statistics import mean

import pandas

from training.measuring.finished_runs import metrics_files
from training.runtime.errors import InputError
from training.runtime.lineage import pretraining_results, read_json, read_log


def cost_rows(runs: pandas.DataFrame, choosing: dict[str, list[Path]]) -> list[dict]:
    """
    A line for each encoder that a pretraining made.

    Args:
        runs: see `find_runs`. choosing: by the encoder's name, folders of the probes that chose among its pretrainings.
    Returns:
        encoder, method, learning_rates (list), seeds, images, images_per_second, peak_memory_bytes,
        trained_parameters, tried, choices: means over the encoder's pretrainings; `tried` pretrainings were compared by
        `choices` settings of their probes.
    """
    rows = []
    for encoder, models in runs.groupby("encoder", sort=False)["model"]:
        costs = [cost_of_run(Path(model)) for model in dict.fromkeys(models) if is_pretraining(Path(model))]
        if not costs:
            continue
        means = ("images", "images_per_second", "peak_memory_bytes", "trained_parameters")
        tried, choices = count_tried(choosing.get(encoder, []))
        rows.append(
            {
                "encoder": encoder,
                "method": costs[0]["method"],
                "learning_rates": sorted({cost["learning_rate"] for cost in costs}),
                "seeds": len(costs),
                **{name: mean(cost[name] for cost in costs) for name in means},
                **{"tried": tried, "choices": choices},
            }
        )
    return rows


def is_pretraining(folder: Path) -> bool:
    return "pretraining_method" in read_json(folder / "run.json", optional=True)


def cost_of_run(folder: Path) -> dict:
    """The figures of one pretraining, from its run.json, progress.json and metrics.jsonl."""
    run, log = read_json(folder / "run.json"), read_log(folder / "metrics.jsonl")
    images = log[-1]["step"] * run["global_batch_size"] if log else 0
    seconds = 3600 * pretraining_results(log, run["global_batch_size"], run["num_images"])["hours"] if log else 0
    return {
        "method": run["pretraining_method"]["title"],
        "learning_rate": run["arguments"]["base_learning_rate"],
        "images": images,
        "images_per_second": images / seconds if seconds else 0.0,
        "peak_memory_bytes": read_json(folder / "progress.json").get("peak_memory_bytes") or 0,
        "trained_parameters": run["num_trained_parameters"],
    }


def count_tried(folders: list[Path]) -> tuple[int, int]:
    """How many encoders the probes below the folders measured, and the sum of these probes' choices."""
    probes = [read_json(path) for folder in folders for path in metrics_files(str(folder)) if path.is_file()]
    return len({probe["model"] for probe in probes}), sum(probe.get("choices") or 0 for probe in probes)


def best_model(places: list[str]) -> str:
    """The model of the probe with the highest accuracy. Raises InputError where no probe is finished."""
    probes = [read_json(path) for place in places for path in metrics_files(place) if path.is_file()]
    if not probes:
        raise InputError(f"{', '.join(places)}: no probe is finished there.")
    return max(probes, key=lambda probe: probe["accuracy"])["model"]
