"""A classifier behind the face detector: the largest face of each picture, cut out as by `FaceExpressionPipeline`."""

import numpy as np
import torch
from PIL import Image

from training.runtime.errors import InputError

NO_FACE = "no face found"  # a class of predictions alone: no image has it as its label


class LargestFace:
    """
    An image processor of pictures: finds the largest face with the pipeline's default options, and prepares its crop.

    A picture without a face gives pixel values that are NaN: see `logits_of_found`.

    Args:
        processor: the model's image processor. margin: see `crop_face`.
    Raises:
        InputError: OpenCV or the detector's weights are missing.
    """

    def __init__(self, processor, margin: float):
        from modeling_simfle.face_detection_simfle import detector_file, opencv

        try:
            opencv().setNumThreads(1)  # the loader's workers are the parallel part
            detector_file()
        except (ImportError, ValueError) as error:
            raise InputError(f"--detect: {error}") from error
        self.processor, self.margin = processor, margin

    def __call__(self, image: Image.Image, return_tensors: str) -> dict:
        from modeling_simfle.face_detection_simfle import crop_face, detect_faces

        faces = detect_faces(image, max_faces=1)
        crop = crop_face(image, faces[0], self.margin) if faces else Image.new("RGB", (1, 1))
        pixel_values = self.processor(crop, return_tensors=return_tensors)["pixel_values"]
        return {"pixel_values": pixel_values if faces else np.full_like(pixel_values, np.nan)}


def logits_of(model, pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, outputs)."""
    return model(pixel_values=pixel_values).logits


def logits_of_found(model, pixel_values: torch.Tensor) -> torch.Tensor:
    """
    (B, 3, H, W) -> (B, 1 + outputs): 1.0 where the picture has a face, then the model's logits, 0 where it has none.
    """
    has_face = pixel_values[:, :1, 0, 0].isfinite()  # (B, 1)
    logits = logits_of(model, pixel_values.nan_to_num())
    return torch.cat([has_face.to(logits.dtype), logits.where(has_face, 0)], dim=1)
