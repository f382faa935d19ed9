"""What a fine-tuning run is built from: faces, classifier, teacher, optimizer, and what its checkpoints must share."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch

from training.data.faces import Faces
from training.finetuning.arguments import FREE_ON_RESUME, FineTuningArguments
from training.finetuning.batches import make_targets
from training.models.loading import load_classifier, load_encoder
from training.models.output_store import weights_hash
from training.runtime.checkpoints import IMAGE_SIZES
from training.runtime.errors import InputError


@dataclass(frozen=True)
class LabelledFaces:
    """The faces that the classifier learns from, and those that choose its epoch; both with one order of classes."""

    train: Faces
    evaluation: Faces

    @property
    def class_names(self):
        return self.train.class_names

    def targets(self, run: FineTuningArguments) -> torch.Tensor:
        """Probabilities (N, classes) float32 of the training faces."""
        return make_targets(self.train, run.labels == "soft", run.label_smoothing)


def make_classifier(model_arguments, processor_arguments, run: FineTuningArguments, class_names):
    """The classifier over --model's encoder (or a new one of --model_config), trainable, and the image processor."""
    torch.manual_seed(run.seed)
    model, processor = load_encoder(model_arguments, processor_arguments, class_names, run.view_size)
    torch.nn.init.normal_(model.classifier.weight, std=0.01)
    torch.nn.init.zeros_(model.classifier.bias)
    return model.train().to(memory_format=torch.channels_last), processor


def load_teacher(source: str, class_names, processor, device):
    """
    A teacher for distillation: a classifier in eval mode, on the device. Its answers are part of the targets.

    Args:
        source: folder or Hub id. class_names, processor: the student's; the teacher's image size may be another.
    Raises:
        InputError: no classifier, or one of other classes or of images prepared in another way.
    """
    teacher, its_processor, _ = load_classifier(source)
    names = [teacher.config.id2label[index] for index in range(teacher.config.num_labels)]
    if names != list(class_names):
        raise InputError(f"--teacher {source} knows {', '.join(names)}; the faces have {', '.join(class_names)}.")
    for name in ("do_grayscale", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"):
        # Stock processors have no `do_grayscale`.
        student_value, teacher_value = getattr(processor, name), getattr(its_processor, name, False)
        if np.ravel(teacher_value).tolist() != np.ravel(student_value).tolist():
            raise InputError(
                f"--teacher {source} has {name} {teacher_value}, and this run {student_value}; both must be the same."
            )
    return teacher.to(device, memory_format=torch.channels_last)


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


def fixed_settings(accelerator, arguments: dict, faces: LabelledFaces, run: FineTuningArguments, teacher) -> dict:
    """What a run and its checkpoints must share. Raises InputError for fewer images than one batch."""
    batch_size = run.per_device_train_batch_size * accelerator.num_processes
    if len(faces.train) < batch_size:
        raise InputError(
            f"{faces.train.source} has {len(faces.train)} images, fewer than one batch of {batch_size}; use a smaller"
            " --per_device_train_batch_size."
        )
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
        "teacher_sha256": weights_hash(teacher) if teacher is not None else None,
    }
    if teacher is None:
        del fixed["teacher_weight"]
    return fixed
