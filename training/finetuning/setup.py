"""What a fine-tuning run is built from: labelled faces, the classifier, and what its checkpoints must share."""

import hashlib
from dataclasses import dataclass

import torch

from training.data.faces import Faces
from training.finetuning.arguments import FREE_ON_RESUME, FineTuningArguments
from training.finetuning.batches import make_targets
from training.models.loading import load_encoder
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
