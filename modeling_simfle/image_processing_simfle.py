# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Image processor of SimFLE: any image becomes 8-bit RGB, then a square, then float32.

Shapes: H, W sides of an image as given; S side of the square (`size`); B images.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import load_image
from transformers.processing_utils import ImagesKwargs

from .configuration_simfle import save_remote_code

EXIF_ORIENTATION = 0x0112
# What each orientation needs to stand upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where both the first and the last axis could be the channels, the likelier count wins.
CHANNEL_COUNTS = (3, 4, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """
    An image of any mode, upright, as 8-bit RGB; the only road from a file to pixels, in training and inference.

    Args:
        image: any mode. Alpha is dropped, as by Pillow's `convert("RGB")`. 16-bit modes are scaled to 8 bits; "I" is
            taken as 8, 16 or 32 bits, the first that holds its maximum; "F" as 0..1 if that holds it, else as 0..255.
    Returns:
        an RGB image with the EXIF orientation applied.
    Raises:
        ValueError: no pixels, or values that are NaN or out of range. OSError: a file that cannot be decoded.
    """
    if 0 in image.size:
        raise ValueError(f"an image of size {image.size} has no pixels; give at least 1x1.")
    image.load()  # PNG and TIFF may keep their orientation behind the pixels
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except (SyntaxError, ValueError, struct.error):  # what Pillow 13 raises for EXIF data that is not EXIF
        orientation = None
    # Not ImageOps.exif_transpose: it also writes the other tags anew and fails on bad ones (Pillow 13).
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip at 255
        image = Image.fromarray(_to_8_bits(np.asarray(image))[0])
    elif image.mode == "La":  # Pillow has no direct road
        image = image.convert("LA")
    elif image.mode == "P":  # the same pixels, without Pillow's warning about transparency
        image = image.convert("RGBA")
    return image.convert("RGB")


def resize_face(image: Image.Image, size: int, resample: int = Image.Resampling.BILINEAR) -> Image.Image:
    """The whole image as a `size` x `size` square in pixels: antialiased, the aspect ratio not kept."""
    return image.resize((size, size), resample)


def _to_8_bits(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """`array` scaled to uint8, and whether it held floats in 0..1; the rules are in SimFLEImageProcessor."""
    kind = array.dtype.kind
    if array.size == 0 or kind not in "buif":
        raise ValueError(f"an array of shape {array.shape}, {array.dtype} is no image; give real numbers, at least 1x1.")
    if array.dtype == np.uint8:
        return array, False
    if kind == "b":
        return array.astype(np.uint8) * 255, False
    low, high = float(array.min()), float(array.max())
    if kind == "f":
        limits, slack = (1, 255), 0.5 / 255  # the slack, half an 8-bit step, is what resizing in floats leaves
    else:
        limits, slack = (65535,) if array.dtype.itemsize == 2 and kind == "u" else (255, 65535, 2**31 - 1, 2**32 - 1), 0
    # A NaN fails every comparison.
    limit = next((limit for limit in limits if high <= limit * (1 + slack) and low >= -limit * slack), None)
    if limit is None:
        raise ValueError(
            f"an image of {array.dtype} holds values from {low:g} to {high:g}; give floats in 0..1 or 0..255, or integers"
            f" from 0 to at most {2**32 - 1}, without NaN and not yet normalised."
        )
    scaled = np.rint(array.astype(np.float32) * (255 / limit))
    return np.clip(scaled, 0, 255).astype(np.uint8), limit == 1


def _channels_last(array: np.ndarray, input_data_format: str | None, ties_first: bool) -> np.ndarray:
    """(H, W), (H, W, C) or (C, H, W) as (H, W, C), C one of 1, 3, 4."""
    if array.ndim == 2:
        return array[:, :, None]
    if input_data_format not in (None, "channels_first", "channels_last"):
        raise ValueError(f"input_data_format={input_data_format!r} is not known; use channels_first or channels_last.")
    if array.ndim == 3:
        first, last = ((CHANNEL_COUNTS + (n,)).index(n) for n in (array.shape[0], array.shape[-1]))
        channels_first = first < last or (first == last and ties_first)
        if input_data_format is not None:
            channels_first = input_data_format == "channels_first"
        moved = np.moveaxis(array, 0, -1) if channels_first else array
        if moved.shape[-1] in CHANNEL_COUNTS:
            return moved
    raise ValueError(
        f"an array of shape {array.shape} is no image; give (height, width), or 1, 3 or 4 channels as the first or the"
        " last of three axes."
    )


def _open(source: str | os.PathLike) -> Image.Image:
    """The RGB image of a file, a URL or a base64 string."""
    try:
        if isinstance(source, os.PathLike) or os.path.isfile(source):
            with Image.open(source) as image:  # not load_image, which clips 16-bit files
                return to_rgb(image)
        return load_image(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(source)[:200]!r} cannot be read as an image; give a path or URL of one.") from error


def _open_any(image, input_data_format: str | None) -> tuple[Image.Image, bool]:
    """Any single image as a Pillow image, and whether it was an array of floats in 0..1."""
    if isinstance(image, (str, os.PathLike)):
        return _open(image), False
    if isinstance(image, Image.Image):
        return image, False
    is_tensor = isinstance(image, torch.Tensor)
    if is_tensor:  # numpy knows no bfloat16
        image = (image.float() if image.is_floating_point() else image).numpy(force=True)
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"{type(image).__name__} is no image; give a Pillow image, a numpy array, a torch tensor, a path or a URL."
        )
    array, was_unit = _to_8_bits(_channels_last(image, input_data_format, ties_first=is_tensor))  # (H, W, C) uint8
    array = array[:, :, 0] if array.shape[-1] == 1 else array[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(array)), was_unit


def _flatten(images) -> list:
    """One image, a batch as a 4-D array, or any nesting of sequences of these, as a flat list of single images."""
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):  # a column of `datasets` is one too
        return [image for item in images for image in _flatten(item)]
    return list(images) if getattr(images, "ndim", None) == 4 else [images]


class SimFLEImageProcessorKwargs(ImagesKwargs, total=False):
    """`do_grayscale` (bool): replace the colours by their luminance, in three equal channels."""

    do_grayscale: bool | None


class SimFLEImageProcessor(PilBackend):
    r"""
    Any image to what SimFLE reads: 8-bit RGB, the whole face as a square, [0, 1], normalised. Always by Pillow, so
    that the pixels are the same with and without torchvision.

    Images: Pillow images of any mode; paths, URLs, base64; numpy arrays and torch tensors of any device, (H, W),
    (H, W, C) or (C, H, W) with C 1, 3 or 4; in lists, or four axes. Where both layouts fit, 3 channels go before 4
    before 1; a tie is (C, H, W) for tensors, (H, W, C) for arrays; `input_data_format` decides otherwise.

    Values: uint8 as it is; bool 0 and 255; uint16 (and Pillow's I;16) / 257; other integers as 8, 16, 31 or 32 bits,
    the first that holds the image's maximum; floats as 0..1 if that holds all, else as 0..255. Each array is thus
    rounded to 8 bits first. Float arrays in 0..1 count as already rescaled: the result is the same with `do_rescale`
    true and false. Anything else, unrescaled, stays on 0..255. Alpha is dropped.

    Args:
        do_resize (bool), size (int or {"height": S, "width": S}, pixels), resample (Pillow filter): the square.
        do_rescale (bool), rescale_factor (float): what an 8-bit value is multiplied by.
        do_normalize (bool), image_mean, image_std (three numbers or one): on the rescaled values; method.md, section 1.
        do_convert_rgb (bool): false refuses images that are not RGB already.
        do_grayscale (bool): ITU-R 601 luminance (Pillow's "L") in three equal channels; needs one mean and deviation.
    Returns:
        BatchFeature with `pixel_values`: (B, 3, S, S) float32 under `return_tensors` "pt" or "np", else a list of
        (3, S, S) arrays.
    Raises:
        ValueError: an option or an image that cannot be used; the message has the value and the fix.

    Source: arXiv 2303.07648, section 4.1 (the method's own face statistics).
    """

    valid_kwargs = SimFLEImageProcessorKwargs

    do_resize = True
    size = {"height": 224, "width": 224}
    resample = Image.Resampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = (0.5795, 0.4522, 0.3957)
    image_std = (0.2769, 0.2473, 0.2412)
    do_convert_rgb = True
    do_grayscale = False

    def _standardize_kwargs(self, **kwargs) -> dict:
        # Both the constructor and every call pass here.
        size = kwargs.get("size")
        kwargs = super()._standardize_kwargs(**kwargs)
        sides = dict(kwargs["size"] or {"height": 1, "width": 1})
        if set(sides) != {"height", "width"} or sides["height"] != sides["width"] or sides["height"] < 1:
            raise ValueError(f"size={size} is no square of at least 1 pixel; use size=224, or another whole number.")
        for name in ("image_mean", "image_std"):
            value = kwargs[name]
            values = value if isinstance(value, (tuple, type(None))) else (value,)
            if values is None or not kwargs.get("do_normalize"):
                continue
            if len(values) not in (1, 3) or (name == "image_std" and min(values) <= 0):
                raise ValueError(f"{name}={value} must be one or three numbers, above 0 for image_std; give such.")
            if kwargs.get("do_grayscale") and len(set(values)) > 1:
                raise ValueError(f"{name}={value} differs between channels that do_grayscale makes equal; give one number.")
        if kwargs.get("do_center_crop") or kwargs.get("do_pad") or kwargs.get("data_format") == "channels_last":
            raise ValueError("do_center_crop, do_pad and data_format='channels_last' are not supported; leave them out.")
        return kwargs

    def _prepare_images_structure(self, images, expected_ndims: int = 3) -> list:
        images = _flatten(images)
        if not images:
            raise ValueError("the list of images is empty; give at least one image.")
        return images

    def process_image(self, image, do_convert_rgb=None, input_data_format=None, **kwargs) -> np.ndarray:
        """One image of any kind to (3, S, S) float32; arguments and errors as in the class."""
        image, was_unit = _open_any(image, input_data_format)
        if not do_convert_rgb and image.mode != "RGB":
            raise ValueError(f"do_convert_rgb=False refuses an image of mode {image.mode}; set do_convert_rgb=True.")
        try:
            image = to_rgb(image)
        except OSError as error:
            raise ValueError(f"{image} cannot be decoded ({error}); give a whole image.") from error
        if kwargs["do_grayscale"]:
            image = image.convert("L").convert("RGB")
        if kwargs["do_resize"]:
            image = resize_face(image, kwargs["size"].height, kwargs["resample"])
        pixels = np.asarray(image, dtype=np.float64)  # (S, S, 3) in 0..255
        if kwargs["do_rescale"] or was_unit:
            pixels = pixels * (kwargs["rescale_factor"] if kwargs["do_rescale"] else 1 / 255)
        if kwargs["do_normalize"]:
            pixels = (pixels - kwargs["image_mean"]) / kwargs["image_std"]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)  # (3, S, S)

    def _preprocess(self, images: list[np.ndarray], return_tensors=None, **kwargs) -> BatchFeature:
        shapes = sorted({image.shape for image in images})
        if return_tensors is not None and len(shapes) > 1:
            raise ValueError(f"images of shapes {shapes} do not stack; set do_resize=True, or return_tensors=None.")
        return BatchFeature(data={"pixel_values": images}, tensor_type=return_tensors)

    def to_dict(self) -> dict:
        """The options as saved, without `auto_map`, which saving writes."""
        options = super().to_dict()
        options.pop("auto_map", None)
        return options

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Saves preprocessor_config.json with `auto_map`, and the code it names. Arguments as in `PilBackend`."""
        files = super().save_pretrained(save_directory)
        auto_map = {"AutoImageProcessor": "image_processing_simfle.SimFLEImageProcessor"}
        save_remote_code(save_directory, "preprocessor_config.json", auto_map)
        if push_to_hub:  # after the code is there; this saves once more, into a temporary folder
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files


__all__ = ["SimFLEImageProcessor", "resize_face", "to_rgb"]
