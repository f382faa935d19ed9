"""
Linear probe: a frozen encoder in eval mode and one linear layer, the standard measure of a self-supervised encoder.

    python training/linear_probe.py --model RUN --dataset FACES --output_dir OUT

The paper's protocol: 100 epochs, batch 1024, SGD with momentum 0.9, no weight decay, constant learning rate
0.5 * batch / 256; RandomResizedCrop and flip for training, the whole face for evaluation. The epoch is chosen on
--eval_split, which is a validation split: report a test split by evaluate_classifier.py, once.
`--cache_features` computes the features of the whole faces once and tries several learning rates and weight decays.
"""

from dataclasses import asdict, dataclass, field

from training.face_data import DatasetArguments, open_faces
from training.fer_datasets import match_labels
from training.model_setup import ModelArguments, ProcessorArguments, load_processor, make_processor, read_config
from training.script_arguments import check_range, parse_arguments, run_main


@dataclass
class ProbeArguments:
    """The probe."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds the classifier and metrics.json"})
    eval_dataset: str | None = field(default=None, metadata={"help": "where --eval_split is; default --dataset"})
    eval_split: str = field(default="validation", metadata={"help": "split that chooses the epoch and is reported"})
    view_size: int | None = field(default=None, metadata={"help": "side in pixels; default the processor's"})
    per_device_train_batch_size: int = field(default=1024, metadata={"help": "faces a step"})
    num_train_epochs: int = field(default=100, metadata={"help": "epochs"})
    base_learning_rate: float = field(default=0.5, metadata={"help": "of a batch of 256, constant"})
    cache_features: bool = field(default=False, metadata={"help": "features once, without augmentation"})
    sweep_learning_rates: list[float] = field(
        default_factory=lambda: [0.005, 0.05, 0.5], metadata={"help": "base learning rates tried on cached features"}
    )
    sweep_weight_decays: list[float] = field(
        default_factory=lambda: [0.0, 1e-4], metadata={"help": "weight decays tried on cached features"}
    )
    estimate_batch_norm: bool = field(
        default=False, metadata={"help": "set BatchNorm's statistics by a pass over the training faces first"}
    )
    seed: int = field(default=0, metadata={"help": "of the linear layer, order and crops"})

    def __post_init__(self):
        for name in ("per_device_train_batch_size", "num_train_epochs"):
            check_range(name, getattr(self, name), 1)
        check_range("base_learning_rate", self.base_learning_rate, 0)


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, ProbeArguments)
    data, model_arguments, processor_arguments, probe = parse_arguments(kinds, argv, __doc__)
    from training.run_state import prepare_output_dir, versions, write_json

    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    train_faces = open_faces(data, data.dataset, data.train_split, with_labels=True)
    eval_faces = open_faces(data, probe.eval_dataset or data.dataset, probe.eval_split, with_labels=True)
    eval_faces.labels = match_labels(eval_faces.class_names, eval_faces.labels, train_faces.class_names)

    import torch

    torch.manual_seed(probe.seed)
    model, processor = load_encoder(model_arguments, processor_arguments, probe, train_faces.class_names)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).freeze_encoder()
    run_probe(model, processor, train_faces, eval_faces, data, model_arguments, probe, output_dir, device)
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    arguments = {**asdict(data), **asdict(model_arguments), **asdict(processor_arguments), **asdict(probe)}
    fingerprints = {"train": train_faces.fingerprint(), "eval": eval_faces.fingerprint()}
    write_json(
        output_dir / "run.json", {"arguments": arguments, "versions": versions(), "dataset_fingerprint": fingerprints}
    )


def load_encoder(model_arguments, processor_arguments, probe, class_names):
    """The classifier over --model's encoder (or an untrained one of --model_config), and the image processor."""
    from modeling_simfle import SimFLEForImageClassification, SimFLEModel

    labels = {"id2label": dict(enumerate(class_names)), "label2id": {n: i for i, n in enumerate(class_names)}}
    if model_arguments.model:
        encoder = SimFLEModel.from_pretrained(model_arguments.model, **labels)
        model = SimFLEForImageClassification(encoder.config)  # its new classifier is not worth a warning here
        model.encoder = encoder
        processor = load_processor(model_arguments.model)
        if probe.view_size:
            processor.size = {"height": probe.view_size, "width": probe.view_size}
        return model, processor
    config = read_config(model_arguments)
    config.id2label, config.label2id = labels["id2label"], labels["label2id"]
    return SimFLEForImageClassification(config), make_processor(processor_arguments, probe.view_size or 224)


def run_probe(model, processor, train_faces, eval_faces, data, model_arguments, probe, output_dir, device) -> None:
    """Features, training of the linear layer, metrics.json."""
    import torch

    from training.features import BadImageCount, compute_outputs, estimate_batch_norm
    from training.run_metrics import classification_measures, measures_without_repeats, print_measures, write_metrics

    bad_images, batch = BadImageCount(data.max_bad_images), 256
    common = (processor, batch, data.num_workers, bad_images, device)
    if probe.estimate_batch_norm:
        estimate_batch_norm(model.encoder, train_faces, *common)

    def encode(pixel_values):
        return model.encoder(pixel_values).pooler_output

    kept, eval_features = compute_outputs(encode, eval_faces, *common, title="evaluation features")
    eval_labels = torch.from_numpy(eval_faces.labels[kept])
    if probe.cache_features:
        train_kept, features = compute_outputs(encode, train_faces, *common, title="training features")
        labels = torch.from_numpy(train_faces.labels[train_kept])
        best = sweep(model.classifier, features.to(device), labels, eval_features, eval_labels, probe)
    else:
        epochs = augmented_epochs(encode, processor, train_faces, probe, data, bad_images, device)
        best = fit(model.classifier, epochs, eval_features, eval_labels, probe, probe.base_learning_rate, 0.0)
    model.classifier.load_state_dict(best["weights"])
    predictions = predict(model.classifier, eval_features).numpy()
    protocol = (
        f"linear probe, {'cached features' if probe.cache_features else 'augmented images'}, {probe.num_train_epochs}"
        f" epochs, batch {probe.per_device_train_batch_size}, SGD momentum 0.9; epoch, learning rate and weight decay"
        f" chosen on {probe.eval_split}; BatchNorm {'estimated' if probe.estimate_batch_norm else 'as loaded'}"
    )
    metrics = write_metrics(
        output_dir / "metrics.json",
        classification_measures(eval_labels.numpy(), predictions, train_faces.class_names),
        split=probe.eval_split,
        protocol=protocol,
        processor=processor,
        model=model_arguments.model or f"untrained {model_arguments.model_config or 'default configuration'}",
        seed=probe.seed,
        num_bad_images=bad_images.seen,
        **{name: best[name] for name in ("epoch", "learning_rate", "weight_decay", "choices")},
        **measures_without_repeats(eval_labels.numpy(), predictions, eval_faces.repeats_training, kept),
    )
    print_measures(metrics)


def predict(classifier, features):
    """(N, C) features on the CPU -> (N,) classes on the CPU."""
    import torch

    with torch.no_grad():
        return classifier(features.to(classifier.weight.device)).argmax(1).cpu()


def augmented_epochs(encode, processor, faces, probe, data, bad_images, device):
    """A function of the epoch that yields (features, labels) of RandomResizedCrop and flip, in batches."""
    import numpy as np
    import torch

    from training.features import ProcessedFaces, batches_of

    def batches(epoch):
        order = np.random.default_rng([probe.seed, epoch]).permutation(len(faces)).tolist()
        dataset = ProcessedFaces(faces, processor, augment=(probe.seed, epoch))
        size = probe.per_device_train_batch_size
        title = f"epoch {epoch + 1}/{probe.num_train_epochs}"
        for indices, pixels in batches_of(dataset, size, data.num_workers, bad_images, device, order, title):
            with torch.no_grad():
                features = encode(pixels)
            yield features, torch.from_numpy(faces.labels[indices])

    return batches


def cached_epochs(features, labels, probe):
    """The same over cached features (N, C)."""
    import numpy as np
    import torch

    def batches(epoch):
        order = torch.from_numpy(np.random.default_rng([probe.seed, epoch]).permutation(len(features)))
        for indices in order.split(probe.per_device_train_batch_size):
            yield features[indices.to(features.device)], labels[indices]

    return batches


def fit(classifier, epochs, eval_features, eval_labels, probe, base_learning_rate: float, weight_decay: float) -> dict:
    """Trains the linear layer from its initial values; returns the epoch that is best on the evaluation split."""
    import copy

    import torch
    from torch.nn import functional as F

    torch.manual_seed(probe.seed)
    torch.nn.init.normal_(classifier.weight, std=0.01)
    torch.nn.init.zeros_(classifier.bias)
    rate = base_learning_rate * probe.per_device_train_batch_size / 256
    optimizer = torch.optim.SGD(classifier.parameters(), lr=rate, momentum=0.9, weight_decay=weight_decay)
    best = {"accuracy": -1.0}
    for epoch in range(probe.num_train_epochs):
        for features, labels in epochs(epoch):
            optimizer.zero_grad()
            F.cross_entropy(classifier(features), labels.to(features.device)).backward()
            optimizer.step()
        accuracy = (predict(classifier, eval_features) == eval_labels).float().mean().item()
        if accuracy > best["accuracy"]:
            best = {"accuracy": accuracy, "epoch": epoch + 1, "weights": copy.deepcopy(classifier.state_dict())}
    return {**best, "learning_rate": rate, "weight_decay": weight_decay, "choices": probe.num_train_epochs}


def sweep(classifier, features, labels, eval_features, eval_labels, probe) -> dict:
    """The best of all learning rates and weight decays; `choices` counts what was chosen from."""
    epochs, best, choices = cached_epochs(features, labels, probe), {"accuracy": -1.0}, 0
    for base_learning_rate in probe.sweep_learning_rates:
        for weight_decay in probe.sweep_weight_decays:
            found = fit(classifier, epochs, eval_features, eval_labels, probe, base_learning_rate, weight_decay)
            choices += found["choices"]
            best = found if found["accuracy"] > best["accuracy"] else best
    return {**best, "choices": choices}


if __name__ == "__main__":
    run_main("linear_probe", main)
