"""
Linear probe: a frozen encoder in eval mode and one linear layer, the standard measure of a self-supervised encoder.

    python training/linear_probe.py --model RUN --dataset FACES --output_dir OUT

The paper's protocol: 100 epochs, batch 1024, SGD with momentum 0.9, no weight decay, constant learning rate
0.5 * batch / 256; RandomResizedCrop and flip for training, the whole face for evaluation. The epoch is chosen on
--eval_split, which is a validation split: report a test split by evaluate_classifier.py, once.
`--cache_features` computes the features of the whole faces once and tries several learning rates and weight decays,
all at once; `--features_dir` keeps them for other runs, and `--standardize_features` takes their scale out, which SGD
feels: an untrained encoder's may be ten times a trained one's. `--seeds 0 1 2` and `--few_shot 1 5 10` (percents of the
labels) use the same features: one folder a run, OUT/seed_0, or OUT/labels_10_percent/seed_0.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

from training.data.description import describe_data
from training.data.faces import DatasetArguments
from training.data.split_checks import check_chooses
from training.models.loading import ModelArguments, ProcessorArguments
from training.probing.frozen_encoder import FrozenEncoder, FrozenEncoderArguments, run_folders, split_commas
from training.publishing.hub_arguments import HubArguments, check_one_run, push_run
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.lineage import make_lineage, typed_command

LEARNING_RATE = 0.5  # the paper's
SWEEP = {"sweep_learning_rates": [0.005, 0.05, 0.5], "sweep_weight_decays": [0.0, 1e-4]}


@dataclass
class ProbeArguments(FrozenEncoderArguments):
    """The probe."""

    eval_split: str = field(default="validation", metadata={"help": "split that chooses the epoch and is reported"})
    per_device_train_batch_size: int = field(default=1024, metadata={"help": "faces a step"})
    num_train_epochs: int = field(default=100, metadata={"help": "epochs"})
    base_learning_rate: float = field(
        default=LEARNING_RATE,
        metadata={"help": "of a batch of 256, constant; another than 0.5 takes the sweep's place on cached features"},
    )
    cache_features: bool = field(default=False, metadata={"help": "features once, without augmentation"})
    standardize_features: bool = field(
        default=False, metadata={"help": "each cached feature by the training faces' mean and standard deviation"}
    )
    sweep_learning_rates: list[float] = field(
        default_factory=SWEEP["sweep_learning_rates"].copy,
        metadata={"help": "base learning rates tried on cached features"},
    )
    sweep_weight_decays: list[float] = field(
        default_factory=SWEEP["sweep_weight_decays"].copy, metadata={"help": "weight decays tried on cached features"}
    )

    def __post_init__(self):
        super().__post_init__()
        check_chooses(self.eval_split, self.eval_dataset)
        for name in ("per_device_train_batch_size", "num_train_epochs"):
            check_range(name, getattr(self, name), 1)
        check_range("base_learning_rate", self.base_learning_rate, 0)
        if self.standardize_features and not self.cache_features:
            raise InputError(
                "--standardize_features needs --cache_features: augmented pictures' features are not kept."
            )
        swept = [name for name, values in SWEEP.items() if getattr(self, name) != values]
        if swept and not self.cache_features:
            raise InputError(f"--{swept[0]} needs --cache_features; without it, give --base_learning_rate.")
        if self.base_learning_rate != LEARNING_RATE and "sweep_learning_rates" in swept:
            raise InputError("--base_learning_rate and --sweep_learning_rates both name rates; leave one of them out.")
        for name in SWEEP:
            for value in getattr(self, name):
                check_range(name, value, 0)


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, ProbeArguments, HubArguments)
    data, model_arguments, processor_arguments, probe, hub = parse_arguments(kinds, split_commas(argv), __doc__)
    from training.runtime.run_folder import prepare_output_dir

    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    runs = run_folders(output_dir, probe)
    check_one_run(hub, len(runs))
    frozen = FrozenEncoder(data, model_arguments, processor_arguments, probe)
    frozen.lineage = make_lineage(
        "linear probe",
        typed_command("linear_probe", argv),
        describe_data(data.data_format, frozen.train_faces),
        [model_arguments.model],
    )
    run_probes(frozen, probe, runs)
    push_run(runs[0][0], hub)


def run_probes(frozen: FrozenEncoder, probe: ProbeArguments, runs) -> None:
    """Classifier, metrics.json, predictions.csv and run.json for every (folder, percent of labels, seed) of `runs`."""
    import numpy as np
    import torch

    from modeling_simfle.hub_folder_simfle import weights_sha256
    from training.probing.linear_heads import few_shot_indices, train_heads
    from training.runtime.resources import torch_threads
    from training.runtime.run_folder import save_model

    kept, eval_features = frozen.features(frozen.eval_faces, "evaluation_features")
    eval_features, eval_labels = eval_features.to(frozen.device), torch.from_numpy(frozen.eval_faces.labels[kept])
    fresh = torch.from_numpy(choosing_faces(frozen.eval_faces.repeats_training, kept)).to(frozen.device)
    cached = cache_features(frozen) if probe.cache_features else None
    mean, deviation = feature_statistics(cached[1]) if probe.standardize_features else (0.0, 1.0)
    if cached is not None:
        cached = (cached[0], (cached[1] - mean) / deviation, cached[2])
    classifier = frozen.model.classifier
    for folder, percent, seed in runs:
        chosen = few_shot_indices(frozen.train_faces.labels, percent, seed)
        if cached is None:
            epochs = augmented_batches(frozen, probe, chosen, seed)
        else:
            chosen = chosen[np.isin(chosen, cached[0])]
            epochs = cached_batches(cached, probe, chosen, seed)
        evaluation = ((eval_features[fresh] - mean) / deviation, eval_labels[fresh.cpu()])
        settings = make_settings(probe)
        # Steps of a millisecond: on a busy CPU a second thread, waiting for its turn, made them five times slower.
        with torch_threads(1) if cached else nullcontext():
            best = train_heads(epochs, probe.num_train_epochs, evaluation, classifier.out_features, settings, seed)
        with torch.no_grad():
            weight = best["weight"] / deviation  # the classifier takes features as they are
            classifier.load_state_dict({"weight": weight, "bias": best["bias"] - (weight * mean).sum(1)})
            predictions = classifier(eval_features).argmax(1).cpu().numpy()
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, frozen.model, frozen.processor)
        found = {name: best[name] for name in ("choices", "epoch", "learning_rate", "weight_decay")}
        common = {"method": "linear probe", "protocol": describe_protocol(probe), "percent": percent, "seed": seed}
        found |= {"num_training_images": len(chosen), "weights_sha256": weights_sha256(folder)}
        frozen.write_results(folder, kept, predictions, **common, **found)


def feature_statistics(features):
    """Mean and standard deviation (C,) of features (N, C); 1 for one that does not vary."""
    deviation, mean = features.std(0, correction=0), features.mean(0)
    return mean, deviation.masked_fill(deviation == 0, 1)


def choosing_faces(repeats_training, kept):
    """Which of the evaluation faces `kept` (N,) choose: those that repeat no training one, where that is known."""
    import numpy as np

    if repeats_training is None or repeats_training[kept].all():
        return np.ones(len(kept), np.bool_)
    return ~repeats_training[kept]


def make_settings(probe: ProbeArguments) -> list[tuple[float, float]]:
    """Learning rates with weight decays: the paper's one, or all of the sweep."""
    scale = probe.per_device_train_batch_size / 256
    if not probe.cache_features:
        return [(probe.base_learning_rate * scale, 0.0)]
    rates = probe.sweep_learning_rates
    if probe.base_learning_rate != LEARNING_RATE:
        rates = [probe.base_learning_rate]
    return [(rate * scale, decay) for rate in rates for decay in probe.sweep_weight_decays]


def describe_protocol(probe: ProbeArguments) -> str:
    pictures = "cached features" if probe.cache_features else "augmented images"
    if probe.standardize_features:
        pictures = f"standardized {pictures}"
    return (
        f"linear probe, {pictures}, {probe.num_train_epochs} epochs, batch {probe.per_device_train_batch_size}, SGD"
        f" momentum 0.9; epoch, learning rate and weight decay chosen on {probe.eval_split}, without pictures that"
        " repeat training ones where these are known"
    )


def cache_features(frozen: FrozenEncoder):
    """Indices (N,), features (N, C) on the device and labels (N,) of the training faces that can be read."""
    import torch

    kept, features = frozen.features(frozen.train_faces, "training_features")
    return kept, features.to(frozen.device), torch.from_numpy(frozen.train_faces.labels[kept])


def cached_batches(cached, probe: ProbeArguments, chosen, seed: int):
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


def augmented_batches(frozen: FrozenEncoder, probe: ProbeArguments, chosen, seed: int):
    """The same of RandomResizedCrop and flip, drawn by (seed, epoch)."""
    import numpy as np
    import torch

    from training.models.outputs import ProcessedFaces, batches_of

    faces = frozen.train_faces.select(chosen)

    def batches(epoch: int):
        order = np.random.default_rng([seed, epoch]).permutation(len(faces)).tolist()
        dataset = ProcessedFaces(faces, frozen.processor, augment=(seed, epoch))
        common = (probe.per_device_train_batch_size, frozen.data.num_workers, frozen.bad_images, frozen.device)
        title = f"epoch {epoch + 1}/{probe.num_train_epochs}"
        for indices, pixels in batches_of(dataset, *common, order, title, "train"):
            with torch.no_grad():
                features = frozen.encode(pixels)
            yield features, torch.from_numpy(faces.labels[indices])

    return batches


if __name__ == "__main__":
    run_main("linear_probe", main)
