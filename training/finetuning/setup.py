"""What a fine-tuning run is built from: faces, classifier, optimizer, and what its checkpoints must share."""

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from modeling_simfle import SimFLEForImageClassification
from training.data.faces import DatasetArguments, Faces, open_faces
from training.data.split_checks import check_apart, check_fills_batch, open_both
from training.finetuning.arguments import FREE_ON_RESUME, FineTuningArguments
from training.finetuning.batches import make_targets
from training.finetuning.teachers import Teacher, check_classes
from training.models.loading import load_encoder, load_weights
from training.models.output_store import weights_hash
from training.runtime.checkpoints import IMAGE_SIZES
from training.runtime.errors import InputError


@dataclass(frozen=True)
class FineTuningFaces:
    """The labelled training faces, the evaluation faces, which choose the epoch, and the unlabelled training faces."""

    train: Faces
    evaluation: Faces
    unlabelled: tuple[Faces, ...] = ()

    @property
    def class_names(self):
        return self.train.class_names

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,) of all faces to learn from; -1 where there is none."""
        return np.concatenate([self.train.labels, *(np.full(len(faces), -1) for faces in self.unlabelled)])

    def image(self, index: int):
        """Image `index` of all faces to learn from. Raises BadImage."""
        for faces in (self.train, *self.unlabelled):
            if index < len(faces):
                return faces.image(index)
            index -= len(faces)
        raise IndexError(index)

    def targets(self, run: FineTuningArguments) -> torch.Tensor:
        """Probabilities (N, classes) float32 of the labelled training faces."""
        return make_targets(self.train, run.labels == "soft", run.label_smoothing)


def open_all(data: DatasetArguments, run: FineTuningArguments) -> FineTuningFaces:
    """All faces of a run. Raises InputError: unlabelled faces that are among those that choose the epoch."""
    train, evaluation = open_both(data, run.eval_dataset, run.eval_split)
    others = replace(data, data_format="auto")
    unlabelled = tuple(open_faces(others, path, data.train_split, False) for path in run.unlabelled_datasets)
    for faces in unlabelled:
        check_apart(faces, evaluation)
    return FineTuningFaces(train, evaluation, unlabelled)


def make_classifier(model_arguments, processor_arguments, run: FineTuningArguments, class_names):
    """
    The classifier over --model's encoder (or a new one of --model_config), trainable, and the image processor.

    Raises:
        InputError: --keep_classifier without a classifier of these classes.
    """
    torch.manual_seed(run.seed)
    model, processor = load_encoder(model_arguments, processor_arguments, class_names, run.view_size)
    torch.nn.init.normal_(model.classifier.weight, std=0.01)
    torch.nn.init.zeros_(model.classifier.bias)
    if run.keep_classifier:
        source = model_arguments.model
        if not source:
            raise InputError("--keep_classifier needs --model, a classifier.")
        trained = load_weights(SimFLEForImageClassification, source, "classifier")
        check_classes(f"--model {source}", trained.config, class_names)
        model.classifier.load_state_dict(trained.classifier.state_dict())
    return model.train().to(memory_format=torch.channels_last), processor


def make_optimizer(model, run, rate: float):
    """SGD; stage i of n has rate * layer_decay^(n - i), the classifier the full rate; no decay of norms and biases."""
    num_stages = len(model.config.depths)
    groups: dict[tuple[int, bool], list] = {}
    for name, parameter in model.named_parameters():
        depth = num_stages + 1 if name.startswith("classifier") else 0  # 0: the embedder
        if ".stages." in name:
            depth = int(name.split(".stages.")[1].split(".")[0]) + 1
        groups.setdefault((depth, parameter.ndim > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "rate": rate * run.layer_decay ** (num_stages + 1 - depth),
                "weight_decay": run.weight_decay if decays else 0.0,
            }
            for (depth, decays), parameters in groups.items()
        ],
        lr=rate,
        momentum=run.momentum,
        nesterov=run.momentum > 0,
    )


def schedule(progress: float, warmup: float, total: float) -> float:
    """The share of the learning rate after `progress` of `total` epochs: linear to 1 over `warmup`, cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(total - warmup, 1e-9)))


def fixed_settings(
    accelerator, arguments: dict, faces: FineTuningFaces, run: FineTuningArguments, teachers: list[Teacher]
) -> dict:
    """What a run and its checkpoints must share. Raises InputError for fewer images than one batch."""
    batch_size = run.per_device_train_batch_size * accelerator.num_processes
    check_fills_batch(faces.train, batch_size)
    fixed = {name: value for name, value in arguments.items() if name not in FREE_ON_RESUME}
    if accelerator.mixed_precision != "no":  # else the flag's own word for it
        fixed["mixed_precision"] = accelerator.mixed_precision
    labels = faces.targets(run).numpy().tobytes() + faces.evaluation.labels.tobytes()
    fixed |= {
        "dataset_fingerprint": faces.train.fingerprint(),
        "eval_dataset_fingerprint": faces.evaluation.fingerprint(),
        "labels_fingerprint": hashlib.sha256(labels).hexdigest()[:16],
        IMAGE_SIZES: faces.train.image_sizes() + faces.evaluation.image_sizes(),
        "num_processes": accelerator.num_processes,
        "global_batch_size": batch_size,
        "teacher_sha256": " ".join(weights_hash(teacher.model) for teacher in teachers) or None,
    }
    if faces.unlabelled:
        fixed["unlabelled_fingerprints"] = [unlabelled.fingerprint() for unlabelled in faces.unlabelled]
    if not teachers:
        del fixed["teacher_weight"]
    return fixed
