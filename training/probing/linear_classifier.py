"""The linear probe: one linear layer on a frozen encoder, from augmented images or from cached features."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from training.data.split_checks import check_chooses
from training.probing.frozen_encoder import FrozenEncoder, FrozenEncoderArguments
from training.runtime.arguments import check_range
from training.runtime.errors import InputError

LEARNING_RATE = 0.5  # of the paper
SWEEP = {"sweep_learning_rates": [0.005, 0.05, 0.5], "sweep_weight_decays": [0.0, 1e-4]}


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


def run_probes(frozen: FrozenEncoder, probe: LinearProbeArguments, runs) -> None:
    """Writes run.json, the classifier and its measures for every (folder, percent of labels, seed) of `runs`."""
    import torch

    for folder, percent, seed in runs:
        frozen.write_run(folder, "linear probe", seed=seed, label_percent=percent)
    kept, eval_features = frozen.features(frozen.eval_faces, "evaluation_features")
    eval_features, eval_labels = eval_features.to(frozen.device), torch.from_numpy(frozen.eval_faces.labels[kept])
    fresh = torch.from_numpy(choosing_faces(frozen.eval_faces.repeats_training, kept)).to(frozen.device)
    cached = cache_features(frozen) if probe.cache_features else None
    mean, deviation = feature_statistics(cached[1]) if probe.standardize_features else (0.0, 1.0)
    if cached is not None:
        cached = (cached[0], (cached[1] - mean) / deviation, cached[2])
    evaluation = ((eval_features[fresh] - mean) / deviation, eval_labels[fresh.cpu()])
    for folder, percent, seed in runs:
        best = train_classifier(frozen, probe, cached, evaluation, (percent, seed))
        with torch.no_grad():
            weight = best["weight"] / deviation  # the classifier takes features as they are
            bias = best["bias"] - (weight * mean).sum(1)
            frozen.model.classifier.load_state_dict({"weight": weight, "bias": bias})
            predictions = frozen.model.classifier(eval_features).argmax(1).cpu().numpy()
        save_probe(frozen, probe, folder, (kept, predictions), best)


def train_classifier(frozen: FrozenEncoder, probe: LinearProbeArguments, cached, evaluation, drawn: tuple) -> dict:
    """
    Args:
        cached: see `cache_features`; None trains on augmented images. evaluation: features and labels that choose.
        drawn: percent of the labels and seed.
    Returns:
        See `train_heads`; with num_training_images, label_percent and seed.
    """
    import numpy as np

    from training.probing.linear_heads import few_shot_indices, train_heads
    from training.runtime.resources import torch_threads

    percent, seed = drawn
    chosen = few_shot_indices(frozen.train_faces.labels, percent, seed)
    if cached is None:
        epochs = augmented_batches(frozen, probe, chosen, seed)
    else:
        chosen = chosen[np.isin(chosen, cached[0])]
        epochs = cached_batches(cached, probe, chosen, seed)
    num_classes, settings = frozen.model.classifier.out_features, make_settings(probe)
    # Steps of a millisecond: on a busy CPU a second thread, waiting for its turn, made them five times slower.
    with torch_threads(1) if cached else nullcontext():
        best = train_heads(epochs, probe.num_train_epochs, evaluation, num_classes, settings, seed)
    return best | {"num_training_images": len(chosen), "label_percent": percent, "seed": seed}


def save_probe(frozen: FrozenEncoder, probe: LinearProbeArguments, folder: Path, answers: tuple, best: dict) -> None:
    """Saves the classifier and writes its measures. answers: indices and predictions (N,) of the evaluation faces."""
    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.runtime.run_folder import save_model

    save_model(folder, frozen.model, frozen.processor)
    names = ("choices", "epoch", "learning_rate", "weight_decay", "num_training_images", "label_percent", "seed")
    about = {name: best[name] for name in names}
    about |= {"method": "linear probe", "weights_sha256": weights_sha256(folder)}
    frozen.write_results(folder, *answers, protocol=describe_protocol(probe), **about)


def feature_statistics(features):
    """Mean and standard deviation (C,) of features (N, C); the deviation of a constant feature is 1."""
    deviation, mean = features.std(0, correction=0), features.mean(0)
    return mean, deviation.masked_fill(deviation == 0, 1)


def choosing_faces(repeats_training, kept):
    """(N,) bool: whether each of the evaluation faces `kept` may choose, because it repeats no training face."""
    import numpy as np

    if repeats_training is None or repeats_training[kept].all():
        return np.ones(len(kept), np.bool_)
    return ~repeats_training[kept]


def make_settings(probe: LinearProbeArguments) -> list[tuple[float, float]]:
    """Pairs of learning rate and weight decay: the paper's pair, or all of the sweep."""
    scale = probe.per_device_train_batch_size / 256
    if not probe.cache_features:
        return [(probe.base_learning_rate * scale, 0.0)]
    rates = probe.sweep_learning_rates
    if probe.base_learning_rate != LEARNING_RATE:
        rates = [probe.base_learning_rate]
    return [(rate * scale, decay) for rate in rates for decay in probe.sweep_weight_decays]


def describe_protocol(probe: LinearProbeArguments) -> str:
    # report.py groups runs by this text: with other words, runs of earlier versions would be rows of their own.
    inputs = "cached features" if probe.cache_features else "augmented images"
    if probe.standardize_features:
        inputs = f"standardized {inputs}"
    return (
        f"linear probe, {inputs}, {probe.num_train_epochs} epochs, batch {probe.per_device_train_batch_size}, SGD"
        f" momentum 0.9; epoch, learning rate and weight decay chosen on {probe.eval_split}, without pictures that"
        " repeat training ones where these are known"
    )


def cache_features(frozen: FrozenEncoder):
    """Indices (N,), features (N, C) on the device and labels (N,) of the readable training faces."""
    import torch

    kept, features = frozen.features(frozen.train_faces, "training_features")
    return kept, features.to(frozen.device), torch.from_numpy(frozen.train_faces.labels[kept])


def cached_batches(cached, probe: LinearProbeArguments, chosen, seed: int):
    """A function of the epoch that yields (features, labels) of the chosen training faces, in batches."""
    import numpy as np
    import torch

    from training.probing.linear_heads import shuffled_batches

    kept, features, labels = cached
    if not len(chosen):
        raise InputError("none of the training faces that --few_shot draws can be read.")
    places = torch.from_numpy(np.flatnonzero(np.isin(kept, chosen)))
    features, labels = features[places.to(features.device)], labels[places]
    return shuffled_batches(features, labels, probe.per_device_train_batch_size, seed)


def augmented_batches(frozen: FrozenEncoder, probe: LinearProbeArguments, chosen, seed: int):
    """The same for faces augmented by RandomResizedCrop and flip, drawn by (seed, epoch)."""
    import numpy as np
    import torch

    from training.models.outputs import ImagePass, ProcessedFaces, batches_of

    faces = frozen.train_faces.select(chosen)

    def batches(epoch: int):
        order = np.random.default_rng([seed, epoch]).permutation(len(faces)).tolist()
        dataset = ProcessedFaces(faces, frozen.processor, augment=(seed, epoch))
        common = (probe.per_device_train_batch_size, frozen.data.num_workers, frozen.bad_images, frozen.device)
        title = f"epoch {epoch + 1}/{probe.num_train_epochs}"
        for indices, pixels in batches_of(dataset, ImagePass(*common), order, title, "train"):
            with torch.no_grad():
                features = frozen.encode(pixels)
            yield features, torch.from_numpy(faces.labels[indices])

    return batches
