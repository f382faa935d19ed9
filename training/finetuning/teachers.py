"""Teachers: classifiers whose answers are targets, for the faces as they are or for the augmented images of a step."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.data.faces import Faces
from training.models.loading import load_classifier
from training.models.output_store import stored_tensors, weights_hash
from training.models.outputs import ImagePass, compute_outputs
from training.runtime.errors import InputError


@dataclass(frozen=True)
class Teacher:
    """A classifier in eval mode on the device, with its own image processor."""

    source: str
    model: torch.nn.Module
    processor: object

    @torch.no_grad()
    def __call__(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, classes) float32 of images (B, 3, S, S)."""
        return self.model(pixel_values).logits.float().softmax(1)

    def answers(self, faces: Faces, images: ImagePass, folder: Path) -> torch.Tensor:
        """
        Probabilities (N, classes) of the faces as they are, stored in `folder`; 0 for unreadable images.
        """

        def compute():
            kept, outputs = compute_outputs(self, faces, self.processor, images, f"answers of {self.source}", "train")
            answers = torch.zeros(len(faces), outputs.shape[1])
            answers[kept] = outputs
            return {"answers": answers}

        made_from: dict = {"weights": weights_hash(self.model), "processor": str(self.processor)}
        made_from |= {"faces": faces.fingerprint(), "num_faces": len(faces)}
        return stored_tensors(folder, "answers", made_from, compute)["answers"]


def load_teacher(source: str, class_names, device) -> Teacher:
    """
    A teacher of the classes `class_names`.

    Args:
        source: folder or Hub id. The side of its images may be another than the student's.
    Raises:
        InputError: no classifier, or one of other classes.
    """
    model, processor, _ = load_classifier(source)
    check_classes(f"--teacher {source}", model.config, class_names)
    return Teacher(source, model.to(device, memory_format=torch.channels_last), processor)


def check_classes(flag: str, config, class_names) -> None:
    """Raises InputError: the classifier that `flag` names has other classes, or another order of them."""
    names = [config.id2label[index] for index in range(config.num_labels)]
    if names != list(class_names):
        raise InputError(f"{flag} knows {', '.join(names)}; the faces have {', '.join(class_names)}.")


def check_same_pixels(teacher: Teacher, processor) -> None:
    """Raises InputError if the teacher's image processor prepares images in another way than the student's."""
    for name in ("do_grayscale", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"):
        # Stock processors have no `do_grayscale`.
        student_value, teacher_value = getattr(processor, name), getattr(teacher.processor, name, False)
        if np.ravel(teacher_value).tolist() != np.ravel(student_value).tolist():
            raise InputError(
                f"--teacher {teacher.source} has {name} {teacher_value}, and this run {student_value}; both must be"
                " the same, or --teacher_sees faces."
            )
