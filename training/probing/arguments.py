"""The arguments of the probes and of mask coverage."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.data.split_checks import check_chooses
from training.runtime.arguments import check_range
from training.runtime.errors import InputError

LEARNING_RATE = 0.5  # of the paper
SWEEP = {"sweep_learning_rates": [0.005, 0.05, 0.5], "sweep_weight_decays": [0.0, 1e-4]}


@dataclass
class EncoderArguments:
    """The encoder of a probe, and the faces that measure it."""

    output_dir: str = field(default="", metadata={"help": "New folder for metrics.json and the other files."})
    eval_dataset: str | None = field(
        default=None, metadata={"help": "Data set that holds --eval_split. The default is --dataset."}
    )
    eval_split: str = field(default="validation", metadata={"help": "Split that is reported."})
    view_size: int | None = field(
        default=None, metadata={"help": "Side of the model's input in pixels. The default is the processor's."}
    )
    which: Literal["encoder", "target"] = field(
        default="encoder", metadata={"help": "Encoder to take from a pretraining folder."}
    )
    estimate_batch_norm: bool = field(
        default=False, metadata={"help": "Set BatchNorm's statistics by a pass over the training faces first."}
    )
    features_dir: str | None = field(
        default=None, metadata={"help": "Folder that keeps features for other runs with the same encoder and faces."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of an untrained encoder, and of the probe without --seeds."})

    def __post_init__(self):
        check_range("view_size", self.view_size, 1)
        check_range("seed", self.seed, 0)


@dataclass
class FrozenEncoderArguments(EncoderArguments):
    """The same for a probe of classes."""

    seeds: list[int] | None = field(default=None, metadata={"help": "Several seeds, one run each: 0 1 2."})
    few_shot: list[int] | None = field(
        default=None, metadata={"help": "Percents of each class's labels, one run each: 1 5 10."}
    )

    def __post_init__(self):
        super().__post_init__()
        for name, low, high in (("seeds", 0, float("inf")), ("few_shot", 1, 100)):
            values = getattr(self, name)
            for value in values or []:
                check_range(name, value, low, high)
            if values and len(set(values)) < len(values):
                raise InputError(f"--{name} {' '.join(map(str, values))} names one twice; give each once.")


@dataclass
class LinearProbeArguments(FrozenEncoderArguments):
    """Options of the linear probe."""

    eval_split: str = field(default="validation", metadata={"help": "Split that chooses the epoch and is reported."})
    per_device_train_batch_size: int = field(default=1024, metadata={"help": "Number of faces in a step."})
    num_train_epochs: int = field(default=100, metadata={"help": "Number of epochs."})
    base_learning_rate: float = field(
        default=LEARNING_RATE,
        metadata={"help": "Constant learning rate for a batch of 256. Another value than 0.5 replaces the sweep."},
    )
    cache_features: bool = field(default=False, metadata={"help": "Compute the features once, without augmentation."})
    standardize_features: bool = field(
        default=False,
        metadata={"help": "Standardize each cached feature by the training faces' mean and deviation."},
    )
    sweep_learning_rates: list[float] = field(
        default_factory=SWEEP["sweep_learning_rates"].copy,
        metadata={"help": "Base learning rates to try on cached features."},
    )
    sweep_weight_decays: list[float] = field(
        default_factory=SWEEP["sweep_weight_decays"].copy, metadata={"help": "Weight decays to try on cached features."}
    )

    def __post_init__(self):
        super().__post_init__()
        check_chooses(self.eval_split, self.eval_dataset)
        for name in ("per_device_train_batch_size", "num_train_epochs"):
            check_range(name, getattr(self, name), 1)
        check_range("base_learning_rate", self.base_learning_rate, 0)
        if self.standardize_features and not self.cache_features:
            raise InputError(
                "--standardize_features needs --cache_features: features of augmented images are not kept."
            )
        swept = [name for name, values in SWEEP.items() if getattr(self, name) != values]
        if swept and not self.cache_features:
            raise InputError(f"--{swept[0]} needs --cache_features; without it, give --base_learning_rate.")
        if self.base_learning_rate != LEARNING_RATE and "sweep_learning_rates" in swept:
            raise InputError("--base_learning_rate and --sweep_learning_rates both name rates; leave one of them out.")
        for name in SWEEP:
            for value in getattr(self, name):
                check_range(name, value, 0)


@dataclass
class NeighbourArguments(FrozenEncoderArguments):
    """Options of the k-nearest-neighbour probe."""

    k: int = field(default=20, metadata={"help": "Number of neighbours that vote, or all faces if there are fewer."})
    temperature: float = field(default=0.07, metadata={"help": "A vote has weight exp(cosine / temperature)."})

    def __post_init__(self):
        super().__post_init__()
        check_range("k", self.k, 1)
        check_range("temperature", self.temperature, 0.02)  # exp(1 / temperature) must stay a float32
        if self.seeds and len(self.seeds) > 1 and not self.few_shot:
            raise InputError(
                f"--seeds {' '.join(map(str, self.seeds))} without --few_shot would give one result several times: k-NN"
                " on all labels draws nothing; leave --seeds out."
            )


@dataclass
class LandmarkProbeArguments(EncoderArguments):
    """Options of the landmark probe."""

    output_dir: str = field(default="", metadata={"help": "New folder for metrics.json, errors.csv and plots."})
    seed: int = field(default=0, metadata={"help": "Seed of an untrained encoder, and of the folds."})
    folds: int = field(default=5, metadata={"help": "Number of parts of the training people that choose the ridge."})

    def __post_init__(self):
        super().__post_init__()
        check_range("folds", self.folds, 2)


@dataclass
class CoverageArguments:
    """Options of the measurement."""

    model: str = field(default="", metadata={"help": "Pretraining folder or Hub id of a model with a local branch."})
    output_dir: str = field(default="", metadata={"help": "New folder for coverage.json and coverage.png."})
    eval_dataset: str | None = field(
        default=None, metadata={"help": "Data set that holds --eval_split. The default is --dataset."}
    )
    eval_split: str = field(default="validation", metadata={"help": "Split of the faces with landmarks."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Number of faces in a forward pass."})

    def __post_init__(self):
        check_range("per_device_eval_batch_size", self.per_device_eval_batch_size, 1)


def run_folders(output_dir: Path, probe: FrozenEncoderArguments) -> list[tuple[Path, int, int]]:
    """(folder, percent of labels, seed) of every run: OUT, OUT/seed_0 ..., or OUT/labels_10_percent/seed_0 ..."""
    seeds = probe.seeds or [probe.seed]
    if probe.few_shot:
        return [(output_dir / f"labels_{p}_percent" / f"seed_{s}", p, s) for p in probe.few_shot for s in seeds]
    return [(output_dir / f"seed_{s}" if len(seeds) > 1 else output_dir, 100, s) for s in seeds]
