# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SimFLE's image processor. Shapes: (H, W) an image as given, C channels, S the side of the square, B images."""

import functools
import http.client
import io
import math
import numbers
import os
import struct
import urllib.request
from collections.abc import Sequence

import numpy as np
import torch
from huggingface_hub.dataclasses import StrictDataclassFieldValidationError
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict
from transformers.processing_utils import ImagesKwargs

from .hub_folder_simfle import save_remote_code, set_stale_metrics_aside

__all__ = ["SimFLEImageProcessor", "open_image", "read_image", "resize_face", "to_rgb"]

# What Pillow says of files that it cannot decode, by format.
BROKEN = (OSError, SyntaxError, EOFError, RuntimeError, Image.DecompressionBombError)
LARGEST_SIDE = 4096  # of the square that a model sees
MAX_PIXELS = 178_956_970  # from here on Pillow takes a file for an attack
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation to the Image.Transpose that undoes it


def open_image(file) -> Image.Image:
    """As `Image.open`, of a path or an open file, without EPS: Pillow starts Ghostscript, which runs what is in it."""
    return Image.open(file, formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name != "EPS")


def to_rgb(image: Image.Image) -> Image.Image:
    """
    A Pillow image, its EXIF orientation applied, as 8-bit RGB: the one road to pixels, in training and inference.

    Args:
        image: any mode. Alpha is dropped, as by `convert("RGB")`; I, F and I;16 as in `SimFLEImageProcessor`.
    Raises:
        ValueError: no pixels, EPS, or values that are NaN or out of range. OSError: a file that cannot be decoded.
    """
    if 0 in image.size or len(image.size) != 2:  # Pillow 13 gives an IM file any number of sides
        raise ValueError(f"an image of size {image.size} has no pixels; give at least 1x1.")
    if image.format == "EPS":  # see open_image
        raise ValueError("an EPS file is a program and is not run; save it as PNG.")
    image.load()  # PNG and TIFF may keep their orientation behind the pixels
    try:
        orientation = image.getexif().get(0x0112)
    except (SyntaxError, ValueError, struct.error):  # Pillow 13, on EXIF data that is not EXIF
        orientation = None
    # ImageOps.exif_transpose would also write the other tags anew, and fails on bad ones (Pillow 13).
    if orientation in UPRIGHT:
        image = image.transpose(Image.Transpose(UPRIGHT[orientation]))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip at 255
        image = Image.fromarray(_to_8_bits(np.asarray(image))[0])
    elif image.mode in ("La", "P"):  # Pillow has no direct road from La, and warns on that from a transparent P
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    rgb = image.convert("RGB")  # a copy where it was RGB
    rgb.info.clear()  # Pillow 13 keeps the orientation there, and would have it applied once more
    return rgb


def resize_face(image: Image.Image, size: int, resample: int = Image.Resampling.BILINEAR) -> Image.Image:
    """The whole image as a square of `size` pixels a side: antialiased, the aspect ratio not kept."""
    return image.resize((size, size), resample)


def _to_8_bits(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """`array` scaled to uint8, and whether it held floats in 0..1; the rules are in `SimFLEImageProcessor`."""
    kind = array.dtype.kind
    if array.size == 0 or kind not in "buif":
        raise ValueError(f"an array of shape {array.shape}, {array.dtype} is no image; give real numbers, 1x1 or more.")
    if array.dtype == np.uint8:
        return array, False
    limits = {"b": (1,), "f": (1, 255)}.get(kind, (255, 65535, 2**31 - 1, 2**32 - 1))
    limits = (65535,) if kind == "u" and array.dtype.itemsize == 2 else limits
    slack = 0.5 / 255 if kind == "f" else 0  # half an 8-bit step: what resizing in floats leaves
    low, high = float(array.min()), float(array.max())  # NaN if any is, which fails every comparison
    limit = next((limit for limit in limits if high <= limit * (1 + slack) and low >= -limit * slack), None)
    if limit is None:
        raise ValueError(
            f"an image of {array.dtype} holds values from {low:g} to {high:g}; give floats in 0..1 or 0..255, or"
            f" integers in 0..{2**32 - 1}, without NaN and not yet normalised."
        )
    array = np.rint(array.astype(np.float32) * (255 / limit)).clip(0, 255).astype(np.uint8)
    return array, kind == "f" and limit == 1


def _fetch(place: str | os.PathLike):
    """A path as it is, and what lies at a URL. Raises OSError, ValueError: nothing that can be had from there."""
    if not isinstance(place, str) or not place.startswith(("http://", "https://")):
        return place
    request = urllib.request.Request(place, headers={"User-Agent": "simfle"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return io.BytesIO(answer.read())
    except http.client.HTTPException as error:  # a blank in the URL, a connection that was cut
        raise OSError(f"{place}: {error!r}") from error


def _open(image, input_data_format: str | None) -> tuple[Image.Image, bool]:
    """Any single image as a Pillow image, and whether it was an array of floats in 0..1."""
    if isinstance(image, (str, os.PathLike)):
        with open_image(_fetch(image)) as opened:  # not by load_image, which clips 16-bit files
            return to_rgb(opened), False
    if isinstance(image, Image.Image):
        return image, False
    if is_tensor := isinstance(image, torch.Tensor):  # numpy has no bfloat16
        image = (image.float() if image.is_floating_point() else image).numpy(force=True)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{type(image).__name__} is no image; give a Pillow image, an array, a tensor, a path or URL.")
    shape = image.shape
    if image.ndim == 2:
        image, input_data_format = image[:, :, None], "channels_last"
    if image.ndim == 3 and input_data_format is None:
        # The likelier number of channels wins: 3, then 4, then 1, then others.
        first, last = ((3, 4, 1, n).index(n) for n in (shape[0], shape[2]))
        if first < last or (first == last and is_tensor):
            input_data_format = "channels_first"
    if input_data_format == "channels_first":
        image = np.moveaxis(image, 0, -1)  # (C, H, W) -> (H, W, C)
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(f"an array of shape {shape} is no image; give (H, W), (H, W, C) or (C, H, W), C 1, 3 or 4.")
    array, was_unit = _to_8_bits(image)
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3]), was_unit


def read_image(image) -> Image.Image:
    """
    Any image that `SimFLEImageProcessor` takes (path, URL, Pillow image, array, tensor), upright, as 8-bit RGB.

    Raises:
        ValueError: it cannot be read, or has more pixels than Pillow opens.
    """
    place = f"{image}: " if isinstance(image, (str, os.PathLike)) else ""
    try:
        opened = _open(image, None)[0]
        if opened.width * opened.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{opened.width} x {opened.height}")
        return to_rgb(opened)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{place}an image of more than {MAX_PIXELS // 10**6} megapixels is not read ({error}); scale it down."
        ) from error
    except BROKEN as error:
        raise ValueError(f"{place}an image cannot be read ({str(error)[:200]}); give a whole one.") from error


class SimFLEImageProcessorKwargs(ImagesKwargs, total=False):
    do_grayscale: bool | None


class SimFLEImageProcessor(PilBackend):
    """
    Any image to 8-bit RGB, the whole face as a square, 0..1, normalised; by Pillow, with and without torchvision.

    Images: Pillow images of any mode, paths, URLs, numpy arrays, torch tensors of any device; (H, W), (H, W, C) or
    (C, H, W) with C 1, 3 or 4; in lists, or four axes. In an ambiguous layout the axis with 3 channels wins, then 4,
    then 1; on a tie tensors are (C, H, W), arrays (H, W, C); `input_data_format` decides otherwise. Alpha is dropped.

    Values become 8 bits first: uint16 and I;16 / 257; other integers (and I) as 8, 16, 31 or 32 bits, the first that
    holds the image's maximum; floats (and F) as 0..1 if that holds them, else as 0..255. A float array in 0..1 is
    taken as rescaled already: `do_rescale` true and false give the same. Other images unrescaled stay on 0..255.

    Args:
        do_resize (bool), size (S, or {"height": S, "width": S}; pixels), resample (Pillow filter): the square.
        do_rescale (bool), rescale_factor (float): what an 8-bit value is multiplied by.
        do_normalize (bool), image_mean, image_std (three numbers, or one): applied to the rescaled values.
        do_convert_rgb (bool): false refuses images that are not RGB.
        do_grayscale (bool): luminance (ITU-R 601, Pillow's "L") in three equal channels, with one mean and deviation.
    Returns:
        BatchFeature, `pixel_values` (B, 3, S, S) float32 by `return_tensors` "pt" or "np", else a list of arrays.
    Raises:
        ValueError: an option or an image that cannot be used.
    Source: arXiv 2303.07648, section 4.1; the mean and deviation are its face statistics.
    """

    valid_kwargs = SimFLEImageProcessorKwargs
    do_resize, size, resample = True, {"height": 224, "width": 224}, Image.Resampling.BILINEAR
    do_rescale, rescale_factor = True, 1 / 255
    do_normalize, image_mean, image_std = True, (0.5795, 0.4522, 0.3957), (0.2769, 0.2473, 0.2412)
    do_convert_rgb, do_grayscale = True, False

    def preprocess(self, images, *args, **kwargs) -> BatchFeature:
        """Options of one call are those of the constructor; arguments and errors as in the class."""
        numbers = ("image_mean", "image_std", "rescale_factor")  # Transformers' check takes Python's floats alone
        try:
            for name in numbers:
                if kwargs.get(name) is not None:
                    kwargs[name] = np.asarray(kwargs[name], dtype=float).tolist()
            if isinstance(kwargs.get("size"), (np.generic, np.ndarray)):
                kwargs["size"] = kwargs["size"].tolist()
        except TypeError as error:
            raise ValueError(f"{name}={kwargs[name]!r} cannot be used; give numbers.") from error
        try:
            return super().preprocess(images, *args, **kwargs)
        except StrictDataclassFieldValidationError as error:
            raise ValueError(f"an option cannot be used: {' '.join(str(error).split())}") from error

    def _standardize_kwargs(self, size=None, **kwargs) -> dict:  # the constructor and every call pass here
        if size is not None:
            side = size.get("height") if isinstance(size, (dict, SizeDict)) else next(iter(np.ravel(size).tolist()), 0)
            asked, size = size, {"height": side, "width": side}
            if type(side) is not int or asked not in (side, [side, side], (side, side), size):
                raise ValueError(f"size={asked} is no square of whole pixels; use size=224, or another number.")
            if not 1 <= side <= LARGEST_SIDE:
                raise ValueError(f"size={asked} is out of range; give 1 to {LARGEST_SIDE} pixels.")
        kwargs = super()._standardize_kwargs(size=size, **kwargs)
        if kwargs.get("resample") is not None and kwargs["resample"] not in list(Image.Resampling):
            raise ValueError(
                f"resample={kwargs['resample']!r:.80} is none of Pillow's filters; give 0 to 5, such as 2."
            )
        factor = kwargs.get("rescale_factor")
        if factor is not None and not (isinstance(factor, numbers.Real) and math.isfinite(factor)):
            raise ValueError(f"rescale_factor={factor!r:.80} cannot be used; give a number.")
        for name in ("image_mean", "image_std") if kwargs.get("do_normalize") else ():
            value = np.ravel(np.array(kwargs[name], dtype=object))
            if not all(isinstance(number, numbers.Real) for number in value):
                raise ValueError(f"{name}={kwargs[name]!r:.80} cannot be used; give numbers.")
            value = value.astype(float)
            if kwargs.get("do_grayscale") and np.ptp(value) > 0:
                raise ValueError(f"{name}={kwargs[name]} has unequal channels under do_grayscale; give one number.")
            if value.size not in (1, 3) or not (np.isfinite(value).all() and (name == "image_mean" or value.min() > 0)):
                raise ValueError(f"{name}={kwargs[name]} does not fit; give one or three numbers, deviations above 0.")
        if kwargs.get("do_center_crop") or kwargs.get("do_pad") or kwargs.get("data_format") == "channels_last":
            raise ValueError("do_center_crop, do_pad, data_format='channels_last' are not supported; leave them out.")
        return kwargs

    def _prepare_images_structure(self, images, **kwargs) -> list:
        # One image, a batch of four axes, or any nesting of sequences (a column of `datasets` is one) -> a flat list
        images = list(images) if getattr(images, "ndim", None) == 4 else images
        if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
            return [images]
        if len(images) == 0:
            raise ValueError("a batch holds 0 images; give at least one.")
        return [image for item in images for image in self._prepare_images_structure(item)]

    def _prepare_image_like_inputs(self, images, *args, expected_ndims=3, **kwargs) -> list[np.ndarray]:
        images, prepared = self._prepare_images_structure(images), []
        for number, image in enumerate(images, 1):
            try:
                prepared.append(self.process_image(image, *args, **kwargs))
            except ValueError as error:
                is_named = isinstance(image, (str, os.PathLike)) and len(str(image)) < 200  # data: URLs are long
                raise ValueError(f"{image if is_named else f'image {number} of {len(images)}'}: {error}") from error
        return prepared

    def process_image(self, image, do_convert_rgb=None, input_data_format=None, **kwargs) -> np.ndarray:
        """One image of any kind to (3, S, S) float32; options and errors as in the class."""
        try:
            image, was_unit = _open(image, input_data_format)
            if not do_convert_rgb and image.mode != "RGB":
                raise ValueError(f"do_convert_rgb=False refuses an image of mode {image.mode}; set it to True.")
            image = to_rgb(image)
        except BROKEN as error:
            raise ValueError(f"an image cannot be read ({str(error)[:200]}); give a whole one.") from error
        if kwargs["do_grayscale"]:
            image = image.convert("L").convert("RGB")
        if kwargs["do_resize"]:
            image = resize_face(image, kwargs["size"].height, kwargs["resample"])
        scale = kwargs["rescale_factor"] if kwargs["do_rescale"] else 1 / 255 if was_unit else 1
        pixels = np.asarray(image) * float(scale)  # (S, S, 3) float64
        if kwargs["do_normalize"]:
            pixels = (pixels - kwargs["image_mean"]) / kwargs["image_std"]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)  # (3, S, S)

    def _preprocess(self, images: list[np.ndarray], *args, return_tensors=None, **kwargs) -> BatchFeature:
        if return_tensors is not None and len({image.shape for image in images}) > 1:
            raise ValueError("images of several sizes do not stack; set do_resize=True, or return_tensors=None.")
        return BatchFeature(data={"pixel_values": images}, tensor_type=return_tensors)

    def to_dict(self) -> dict:  # saving writes auto_map
        return {name: value for name, value in super().to_dict().items() if name != "auto_map"}

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Saves preprocessor_config.json with `auto_map`, and the code it names. Arguments as in `PilBackend`."""
        files = super().save_pretrained(save_directory)
        auto_map = {"AutoImageProcessor": "image_processing_simfle.SimFLEImageProcessor"}
        entries = {"auto_map": (auto_map, getattr(self, "auto_map", None))}
        save_remote_code(save_directory, "preprocessor_config.json", entries)
        set_stale_metrics_aside(save_directory)
        if push_to_hub:  # not by super(), which would upload before the code is there
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(os.path.abspath(save_directory))), **kwargs)
        return files
