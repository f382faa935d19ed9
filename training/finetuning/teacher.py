"""A teacher for fine-tuning: a classifier whose answers to the same pictures are part of the targets (distillation)."""

import numpy as np
import torch

from training.models.loading import load_classifier
from training.runtime.errors import InputError


def load_teacher(source: str, class_names, processor, device):
    """
    A classifier in eval mode, on the device.

    Args:
        source: folder or Hub id. class_names, processor: the student's; the side of the pictures may be another.
    Raises:
        ValueError: no classifier, or one of other classes or of pictures prepared in another way.
    """
    teacher, its_processor, _ = load_classifier(source)
    names = [teacher.config.id2label[index] for index in range(teacher.config.num_labels)]
    if names != list(class_names):
        raise InputError(f"--teacher {source} knows {', '.join(names)}; the faces have {', '.join(class_names)}.")
    for name in ("do_grayscale", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"):
        wanted, found = getattr(processor, name), getattr(its_processor, name, False)  # stock ones take no colour out
        if np.ravel(found).tolist() != np.ravel(wanted).tolist():
            raise InputError(
                f"--teacher {source} has {name} {found}, and this run {wanted}; both must see one picture."
            )
    return teacher.to(device, memory_format=torch.channels_last)
