"""Temporary stand-in while the real image processor is being written; overwrite it whole."""

from PIL import Image, ImageOps
from transformers.image_processing_backends import PilBackend

from .configuration_simfle import save_remote_code


def to_rgb(image):
    return ImageOps.exif_transpose(image).convert("RGB")


def resize_face(image, size):
    return image.resize((size, size), Image.Resampling.BILINEAR)


class SimFLEImageProcessor(PilBackend):
    do_resize = True
    size = {"height": 224, "width": 224}
    resample = 2
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = [0.5795, 0.4522, 0.3957]
    image_std = [0.2769, 0.2473, 0.2412]
    do_convert_rgb = True
    do_grayscale = False

    def __init__(self, do_grayscale=False, **kwargs):
        super().__init__(**kwargs)
        self.do_grayscale = do_grayscale

    def save_pretrained(self, save_directory, **kwargs):
        super().save_pretrained(save_directory, **kwargs)
        save_remote_code(
            save_directory,
            "preprocessor_config.json",
            {"AutoImageProcessor": "image_processing_simfle.SimFLEImageProcessor"},
        )
