"""
The difference of two methods over pretraining seeds, with Welch's t interval.

    python training/benchmarks/pretraining_seeds.py PROBES METHOD OTHER --seeds 0 1 2 3

PROBES holds the linear probes of parts_of_simfle.sh, METHOD_seedN/seed_K/metrics.json for pretraining seed N and probe
seed K. The accuracy of a pretraining seed is the mean over its probe seeds.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

from training.runtime.arguments import run_main
from training.runtime.errors import InputError


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probes", type=Path, help="folder of the linear probes")
    parser.add_argument("method")
    parser.add_argument("other")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="pretraining seeds, two or more")
    arguments = parser.parse_args(argv)
    from scipy.stats import ttest_ind

    accuracies = {
        name: [probe_accuracy(arguments.probes / f"{name}_seed{seed}") for seed in arguments.seeds]
        for name in (arguments.method, arguments.other)
    }
    for name, values in accuracies.items():
        deviation = f"{stdev(values):.2f}" if len(values) > 1 else "unknown"
        print(f"{name}: mean {mean(values):.2f} %, deviation {deviation} over {len(values)} pretraining seeds")
    if len(arguments.seeds) > 1:
        values, others = accuracies.values()
        interval = ttest_ind(values, others, equal_var=False).confidence_interval()
        print(f"difference: {mean(values) - mean(others):+.2f} points [{interval.low:+.2f}, {interval.high:+.2f}]")


def probe_accuracy(probe: Path) -> float:
    """Mean accuracy in percent over the probe's seeds. Raises InputError where there is no such probe."""
    files = sorted(probe.glob("seed_*/metrics.json"))
    if not files:
        raise InputError(f"{probe} holds no seed_N/metrics.json; give a folder made by linear_probe.py --seeds.")
    return 100 * mean(json.loads(file.read_text(encoding="utf-8"))["accuracy"] for file in files)


if __name__ == "__main__":
    run_main("pretraining_seeds", main)
