"""The arguments of the probes and of mask coverage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.data.split_checks import check_chooses
from training.runtime.arguments import check_ranges, flag
from training.runtime.errors import InputError

LEARNING_RATE = 0.5  # of the paper
SWEPT_LEARNING_RATES = [0.005, 0.05, 0.5]


@dataclass
class EncoderArguments:
    """The encoder of a probe, and the faces that measure it."""

    output_dir: str = flag("", "new folder for metrics.json and the other files")
    eval_dataset: str | None = flag(None, "data set that holds --eval_split; by default --dataset")
    eval_split: str = flag("validation", "split that is reported; it also chooses the epoch of a linear probe")
    view_size: int | None = flag(None, "side of the model's input in pixels; by default the processor's", low=1)
    which: Literal["encoder", "target"] = flag("encoder", "encoder to take from a pretraining folder")
    estimate_batch_norm: bool = flag(False, "set BatchNorm's statistics by a pass over the training faces first")
    features_dir: str | None = flag(None, "folder that keeps features for other runs with the same encoder and faces")
    seed: int = flag(0, "seed of an untrained encoder, of the folds, and of the probe without --seeds", low=0)

    def __post_init__(self):
        check_ranges(self)


@dataclass
class FrozenEncoderArguments(EncoderArguments):
    """Adds seeds and label percentages, for the probes that predict classes."""

    seeds: list[int] | None = flag(None, "several seeds, one run each: 0 1 2", low=0)
    few_shot: list[int] | None = flag(None, "percents of each class's labels, one run each: 1 5 10", low=1, high=100)

    def __post_init__(self):
        super().__post_init__()
        for name, values in (("seeds", self.seeds or []), ("few_shot", self.few_shot or [])):
            if len(set(values)) < len(values):
                raise InputError(f"--{name} {' '.join(map(str, values))} names one twice; give each once.")


@dataclass
class LinearProbeArguments(FrozenEncoderArguments):
    """Options of the linear probe."""

    per_device_train_batch_size: int = flag(1024, "number of faces in a step", low=1)
    num_train_epochs: int = flag(100, "number of epochs", low=1)
    base_learning_rate: float = flag(
        LEARNING_RATE, "constant learning rate for a batch of 256; another value than 0.5 replaces the sweep", low=0
    )
    cache_features: bool = flag(False, "compute the features once, without augmentation")
    standardize_features: bool = flag(
        False, "standardize each cached feature by the training faces' mean and deviation"
    )
    sweep_learning_rates: list[float] = flag(
        SWEPT_LEARNING_RATES, "base learning rates to try on cached features", low=0
    )

    def __post_init__(self):
        super().__post_init__()
        check_chooses(self.eval_split, self.eval_dataset)
        swept = self.sweep_learning_rates != SWEPT_LEARNING_RATES
        for name, used in (("standardize_features", self.standardize_features), ("sweep_learning_rates", swept)):
            if used and not self.cache_features:
                raise InputError(f"--{name} needs --cache_features: features of augmented images are not kept.")
        if self.base_learning_rate != LEARNING_RATE and swept:
            raise InputError("--base_learning_rate and --sweep_learning_rates both name rates; leave one of them out.")


@dataclass
class NeighbourArguments(FrozenEncoderArguments):
    """Options of the k-nearest-neighbour probe."""

    k: int = flag(20, "number of neighbours that vote, or all faces if there are fewer", low=1)
    # exp(1 / temperature) must stay a float32
    temperature: float = flag(0.07, "a vote has weight exp(cosine / temperature)", low=0.02)

    def __post_init__(self):
        super().__post_init__()
        if self.seeds and len(self.seeds) > 1 and not self.few_shot:
            raise InputError(
                f"--seeds {' '.join(map(str, self.seeds))} without --few_shot would give one result several times: k-NN"
                " on all labels draws nothing; leave --seeds out."
            )


@dataclass
class LandmarkProbeArguments(EncoderArguments):
    """Options of the landmark probe."""

    folds: int = flag(5, "number of parts of the training people that choose the ridge", low=2)


@dataclass
class CoverageArguments:
    """Options of the measurement."""

    model: str = flag("", "pretraining folder or Hub id of a model with a local branch")
    output_dir: str = flag("", "new folder for coverage.json and coverage.png")
    eval_dataset: str | None = flag(None, "data set that holds --eval_split; by default --dataset")
    eval_split: str = flag("validation", "split of the faces with landmarks")
    per_device_eval_batch_size: int = flag(64, "number of faces in a forward pass", low=1)

    def __post_init__(self):
        check_ranges(self)


def run_folders(output_dir: Path, probe: FrozenEncoderArguments) -> list[tuple[Path, int, int]]:
    """(folder, percent of labels, seed) of every run: OUT, OUT/seed_0 ..., or OUT/labels_10_percent/seed_0 ..."""
    seeds = probe.seeds or [probe.seed]
    if probe.few_shot:
        return [(output_dir / f"labels_{p}_percent" / f"seed_{s}", p, s) for p in probe.few_shot for s in seeds]
    return [(output_dir / f"seed_{s}" if len(seeds) > 1 else output_dir, 100, s) for s in seeds]
