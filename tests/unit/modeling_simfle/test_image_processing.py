# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SimFLEImageProcessor: pixels against Pillow and numpy, every kind of input, errors, saving."""

import io
import json
import threading
import warnings
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import dynamic_module_utils
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from modeling_simfle import SimFLEImageProcessor
from modeling_simfle.image_processing_simfle import resize_face, to_rgb

MEAN = np.array((0.5795, 0.4522, 0.3957), np.float32)
STD = np.array((0.2769, 0.2473, 0.2412), np.float32)
PLAIN = {"do_resize": False, "do_rescale": False, "do_normalize": False}


def random_pixels(height=40, width=30, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def face(height=40, width=30):
    return Image.fromarray(random_pixels(height, width))


def expected(image, size=224, mean=MEAN, std=STD):
    """torchvision's Resize, ToTensor, Normalize on a Pillow image, in its float32: (3, S, S)."""
    array = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    array = array.astype(np.float32) / np.float32(255)
    return (array - np.float32(mean).reshape(-1, 1, 1)) / np.float32(std).reshape(-1, 1, 1)


def run(image, **options):
    """The one image's pixel_values, (3, S, S)."""
    return SimFLEImageProcessor()(image, return_tensors="np", **options).pixel_values[0]


def pixels(image, **options):
    """The 8-bit pixels that the processor sees, (H, W, 3)."""
    return run(image, **PLAIN, **options).transpose(1, 2, 0)


# Values against Pillow and numpy


@pytest.mark.parametrize(
    "height,width", [(1, 1), (1, 5000), (5000, 1), (2, 3), (224, 224), (300, 100), (100, 300), (4000, 6000)]
)
def test_equals_resize_to_tensor_normalize(height, width):
    image = face(height, width)
    values = run(image)
    assert values.shape == (3, 224, 224) and values.dtype == np.float32
    np.testing.assert_allclose(values, expected(image), rtol=0, atol=1e-6)


def test_equals_torchvision():
    try:
        from torchvision.transforms import Compose, Normalize, Resize, ToTensor
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        pytest.skip(f"no working torchvision: {error}")
    transform = Compose([Resize((224, 224)), ToTensor(), Normalize(MEAN.tolist(), STD.tolist())])
    np.testing.assert_allclose(run(face(300, 200)), transform(face(300, 200)).numpy(), rtol=0, atol=1e-6)


def test_output_types():
    processor = SimFLEImageProcessor()
    tensor = processor(face(), return_tensors="pt").pixel_values
    array = processor(face(), return_tensors="np").pixel_values
    plain = processor(face()).pixel_values
    assert tensor.dtype == torch.float32 and array.dtype == np.float32
    assert tensor.shape == array.shape == (1, 3, 224, 224)
    assert isinstance(plain, list) and plain[0].shape == (3, 224, 224)
    assert np.array_equal(tensor, array) and np.array_equal(array[0], plain[0])


def test_options():
    np.testing.assert_allclose(run(face(), size=32), expected(face(), 32), atol=1e-6)
    assert SimFLEImageProcessor(size=32).size == SimFLEImageProcessor(size=[32, 32]).size == {"height": 32, "width": 32}
    nearest = np.asarray(face().resize((8, 8), Image.Resampling.NEAREST))
    unscaled = run(face(), size=8, resample=0, do_normalize=False, do_rescale=False)
    assert np.array_equal(unscaled, nearest.transpose(2, 0, 1))
    assert np.array_equal(pixels(face()), np.asarray(face()))
    np.testing.assert_allclose(run(face(), image_mean=0.5, image_std=0.25), expected(face(), 224, 0.5, 0.25), atol=1e-6)
    np.testing.assert_allclose(run(face(), rescale_factor=1 / 510, do_normalize=False).max(), 0.5, atol=0.05)


def test_resize_face_is_the_processors():
    square = np.asarray(resize_face(face(), 24))
    assert np.array_equal(square.transpose(2, 0, 1), run(face(), size=24, do_rescale=False, do_normalize=False))


def test_grayscale():
    values = run(face(), do_grayscale=True, image_mean=0.5, image_std=0.25)
    luminance = face().convert("L").convert("RGB")
    np.testing.assert_allclose(values, expected(luminance, 224, 0.5, 0.25), atol=1e-6)
    assert np.array_equal(values[0], values[1]) and np.array_equal(values[0], values[2])
    three = SimFLEImageProcessor(do_grayscale=True, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    assert np.array_equal(three(face(), return_tensors="np").pixel_values[0], values)
    gray = face().convert("L")
    assert np.array_equal(pixels(gray, do_grayscale=True), np.asarray(gray.convert("RGB")))


# Pillow modes and EXIF


@pytest.mark.parametrize(
    "mode", "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV I F I;16 I;16B I;16L I;16N".split()
)
def test_every_mode(mode):
    source = Image.fromarray(random_pixels(channels=4))
    if mode.startswith("I;16"):
        image = Image.new(mode, source.size, 40000)
    elif mode in ("La", "RGBa"):
        image = source.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    elif mode == "PA":
        image = source.convert("RGB").quantize(16).convert("PA")
    elif mode == "LAB":
        image = Image.new("LAB", source.size, (100, 20, 30))
    else:
        image = source.convert("RGB").convert(mode)
    assert image.mode == mode
    values = pixels(image)
    assert values.shape == (40, 30, 3)
    if mode.startswith("I;16"):
        reference = np.full_like(values, round(40000 / 257))
    elif mode in ("I", "F"):
        reference = np.asarray(source.convert("RGB").convert("L").convert("RGB"))
    else:
        reference = np.asarray((image.convert("LA") if mode == "La" else image).convert("RGB"))
    assert np.array_equal(values, reference)
    assert to_rgb(image).mode == "RGB" and run(image).shape == (3, 224, 224)


def test_alpha_is_dropped_as_pillow_does():
    image = Image.fromarray(random_pixels(channels=4))
    assert np.array_equal(pixels(image), random_pixels(channels=4)[:, :, :3])
    palette = image.convert("RGB").quantize(8)
    colours = np.asarray(palette.convert("RGB"))
    for transparency in (3, bytes(range(0, 256, 32))):
        palette.info["transparency"] = transparency
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(pixels(palette), colours)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_files_are_scaled_not_clipped(tmp_path, file_format):
    array = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(40, 30)
    Image.fromarray(array).save(tmp_path / "image", file_format)
    values = pixels(tmp_path / "image")
    assert np.array_equal(values[:, :, 0], np.rint(array / 257))
    assert len(np.unique(values)) == 256


def test_scale_of_modes_i_and_f():
    array = np.linspace(0, 1, 1200).reshape(40, 30)
    for scale, dtype in ((255, np.int32), (65535, np.int32), (2**31 - 1, np.int32), (1, np.float32), (255, np.float32)):
        image = Image.fromarray((array * scale).astype(dtype))
        assert image.mode == ("I" if dtype == np.int32 else "F")
        assert np.abs(pixels(image)[:, :, 0] - array * 255).max() <= 1


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file_format in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        face().save(buffer, file_format, exif=exif.tobytes())
        reference = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
        assert np.array_equal(pixels(Image.open(buffer)), reference)
        assert reference.shape == ((30, 40, 3) if 5 <= orientation <= 8 else (40, 30, 3))


def test_orientation_of_a_sixteen_bit_image():
    image = Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000)
    image.getexif()[0x0112] = 6
    assert np.array_equal(pixels(image)[:, :, 0], np.rot90(np.rint(np.asarray(image) / 257), -1))


@pytest.mark.parametrize("exif", [b"Exif\x00\x00MM", b"Exif\x00\x00rubbish", b"MM\x00*\x00\x00"])
def test_broken_exif_means_no_orientation(exif):
    image = face()
    image.info["exif"] = exif
    assert np.array_equal(pixels(image), random_pixels())


def test_a_picture_by_its_address_is_read_as_by_its_path(tmp_path):
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000).save(tmp_path / "a.png")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert np.array_equal(run(f"{address}/a.png"), run(tmp_path / "a.png"))
        for name, why in (("b.png", "404"), ("my photo.png", "InvalidURL")):
            with pytest.raises(ValueError, match=f"cannot be read .*{why}"):
                run(f"{address}/{name}")
        server.shutdown()
    with pytest.raises(ValueError, match="cannot be read"):
        run(f"{address}/a.png")


def test_an_image_of_three_sides_is_a_sentence():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "IM")
    content = buffer.getvalue().replace(b"(x*y): 4*4", b"(x*y): 4*4*1", 1)
    with pytest.raises(ValueError, match=r"size \(4, 4, 1\) has no pixels"):
        to_rgb(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("kind", ["AVIF", "PNG", "TIFF"])
def test_a_broken_file_is_a_sentence_whatever_pillow_says(kind, tmp_path, monkeypatch):
    """RuntimeError of an AVIF, DecompressionBombError of a picture with more pixels than Pillow takes, and others."""
    face().save(tmp_path / "a", kind)
    content = (tmp_path / "a").read_bytes()
    for place in range(20, len(content), 11):
        (tmp_path / "a").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with suppress(ValueError):  # some changes leave a picture
            run(tmp_path / "a")
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"cannot be read .*could be decompression bomb"):
        run(tmp_path / "a")


@pytest.mark.parametrize(
    "options",
    [
        {"size": np.int64(32)},
        {"image_mean": 0, "image_std": 1},
        {"image_mean": [0, 0, 0], "image_std": np.ones(3)},
        {"rescale_factor": 1},
        {"image_mean": np.full(3, 0.5), "image_std": np.float32(0.25)},
    ],
)
def test_options_of_a_call_are_those_of_the_constructor(options):
    whole = {"size": 32, **options}
    assert np.array_equal(
        run(face(), **whole), SimFLEImageProcessor(**whole)(face(), return_tensors="np").pixel_values[0]
    )


@pytest.mark.parametrize("options", [{"size": 32.0}, {"image_std": 0}, {"image_mean": "red"}, {"image_mean": {"r": 1}}])
def test_options_of_a_call_that_cannot_be_used(options):
    with pytest.raises(ValueError, match=r".+"):
        run(face(), **options)


def test_input_image_is_left_as_it_was():
    image = face()
    image.getexif()[0x0112] = 6
    run(image)
    assert image.size == (30, 40) and image.getexif()[0x0112] == 6 and np.array_equal(image, random_pixels())


# Arrays and tensors


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_layouts(channels, layout, library):
    array = random_pixels(channels=max(channels, 1))
    reference = np.broadcast_to(array[:, :, :3], (40, 30, 3))
    array = array[:, :, 0] if channels == 0 else array.transpose(2, 0, 1) if layout == "first" else array
    assert np.array_equal(pixels(library(array)), reference)  # "first" is a view: neither is it contiguous


def test_open_layouts():
    for shape in ((1, 1, 3), (1, 7, 3), (4, 9, 3), (3, 9, 3), (1, 9, 4), (5, 9, 1)):
        assert pixels(np.zeros(shape, np.uint8)).shape[:2] == shape[:2]
    for shape in ((3, 1, 1), (3, 7, 1), (3, 9, 4), (3, 9, 3), (4, 9, 1), (1, 9, 5)):
        assert pixels(torch.zeros(shape, dtype=torch.uint8)).shape[:2] == shape[1:]
    assert pixels(np.zeros((3, 9, 3), np.uint8), input_data_format="channels_first").shape == (9, 3, 3)
    assert pixels(torch.zeros((3, 9, 3), dtype=torch.uint8), input_data_format="channels_last").shape == (3, 9, 3)


@pytest.mark.parametrize("dtype", ["int8", "int16", ">i2", "int32", "int64", ">i8", "uint32", "uint64"])
def test_integers_of_eight_bits(dtype):
    array = random_pixels() // 2
    assert np.array_equal(pixels(array.astype(dtype)), array)


@pytest.mark.parametrize("dtype", ["uint16", "<u2", ">u2", "int32", ">i4", "int64", "uint32"])
def test_integers_of_sixteen_bits(dtype):
    array = random_pixels().astype(np.int64) * 257
    assert np.array_equal(pixels(array.astype(dtype)), random_pixels())


def test_dark_uint16_stays_dark():
    assert pixels(np.full((4, 4), 200, np.uint16)).max() == 1  # 200 / 257: the type says 16 bits


def test_bool():
    assert np.array_equal(pixels(random_pixels() > 127), (random_pixels() > 127) * 255)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8"])
def test_floats(dtype):
    unit = (random_pixels() / 255).astype(dtype)
    assert np.array_equal(run(unit), run(face()))
    assert np.array_equal(run(unit, do_rescale=False), run(face()))
    assert np.array_equal(run(random_pixels().astype(dtype)), run(face()))
    assert np.array_equal(run(unit * np.dtype(dtype).type(1.001)), run(face()))  # resizing in floats can pass 1


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "uint16", "int64"])
def test_tensor_types(name):
    dtype = getattr(torch, name)
    tensor = torch.from_numpy(random_pixels().astype(np.int32)).permute(2, 0, 1)
    scaled = tensor * 257 if dtype == torch.uint16 else tensor
    assert np.array_equal(run(scaled.to(dtype)), run(face()))


def test_tensor_that_needs_a_gradient():
    tensor = (torch.from_numpy(random_pixels()) / 255).requires_grad_()
    assert np.array_equal(run(tensor), run(face()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_tensor():
    tensor = torch.from_numpy(random_pixels()).cuda()
    values = SimFLEImageProcessor()(tensor, return_tensors="pt").pixel_values
    assert values.device.type == "cpu" and np.array_equal(values[0], run(face()))


# Batches and files


def test_mixed_batch(tmp_path):
    face().save(tmp_path / "face.png")
    wide = face(20, 90)
    batch = [face(), wide, random_pixels(), torch.from_numpy(random_pixels())]
    batch += [tmp_path / "face.png", str(tmp_path / "face.png")]
    batch += [(random_pixels() / 255).transpose(2, 0, 1), face().convert("L")]
    values = SimFLEImageProcessor()(batch, return_tensors="pt").pixel_values
    assert values.shape == (8, 3, 224, 224)
    for index, image in enumerate(batch):
        assert np.array_equal(values[index], run(image))
    assert np.array_equal(values[0], values[6])


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_four_axes(library):
    one, two = run(random_pixels()), run(random_pixels()[::-1])
    batch = np.stack([random_pixels(), random_pixels()[::-1]])  # (2, H, W, 3)
    for layout in (batch, batch.transpose(0, 3, 1, 2)):
        values = SimFLEImageProcessor()(library(layout), return_tensors="np").pixel_values
        assert np.array_equal(values, [one, two])
    nested = SimFLEImageProcessor()([[library(batch)], (face(),)], return_tensors="np").pixel_values
    assert np.array_equal(nested, [one, two, one])


# Errors


def truncated():
    buffer = io.BytesIO()
    face(200, 200).save(buffer, "JPEG")
    return Image.open(io.BytesIO(buffer.getvalue()[:3000]))


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        (),
        [[]],
        [None],
        [Image.new("RGB", (5, 5)), None],
        3,
        [[1, 2], [3, 4]],
        {"bytes": b""},
        b"bytes",
        "no such file.png",
        __file__,
        "data:image/png;base64," + 5000 * "A",
        Image.new("RGB", (0, 5)),
        np.zeros(5),
        np.float32(1),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((0, 3, 5, 5), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        torch.zeros(2, 5, 5),
        torch.zeros(7, 9, 8),
        np.zeros((1, 1, 1, 5, 5)),
        np.array([["a"]]),
        np.array([[None]]),
        np.zeros((5, 5), complex),
        np.full((5, 5, 3), np.nan, np.float32),
        np.where(np.arange(25).reshape(5, 5) == 7, np.nan, 0.5),
        torch.full((3, 5, 5), float("nan")),
        Image.new("F", (5, 5), float("nan")),
        np.full((5, 5), np.inf),
        np.full((5, 5), -np.inf),
        np.full((5, 5), -1.5),
        np.linspace(-2, 2, 25).reshape(5, 5),
        np.full((5, 5), 300.0),
        np.full((5, 5), -1),
        np.full((5, 5), 2**40),
    ],
    ids=lambda bad: f"{type(bad).__name__} {str(bad)[:20]!r}",
)
def test_bad_images(bad):
    with pytest.raises(ValueError, match="; ") as error:
        SimFLEImageProcessor()(bad, return_tensors="pt")
    message = str(error.value)
    assert "\n" not in message and len(message) < 300


def test_truncated_file():
    with pytest.raises(ValueError, match="truncated"):
        run(truncated())
    with pytest.raises(OSError, match="truncated"):
        to_rgb(truncated())


@pytest.mark.parametrize(
    "options,match",
    [
        ({"size": 0}, "size=0"),
        ({"size": -3}, "size=-3"),
        ({"size": []}, "size="),
        ({"size": [224]}, "size="),
        ({"size": (3, 4)}, r"size=\(3, 4\)"),
        ({"size": {"height": 3, "width": 4}}, "'height': 3.*use size=224"),
        ({"size": {"height": 224}}, "use size=224"),
        ({"size": {"shortest_edge": 224}}, "shortest_edge.*use size=224"),
        ({"do_grayscale": True}, "image_mean=.*0.5795.*give one number"),
        ({"do_grayscale": True, "image_mean": 0.5}, "image_std=.*give one number"),
        ({"image_mean": [0.1, 0.2]}, "image_mean=.*three numbers"),
        ({"image_std": 0.0}, "image_std=0.0.*above 0"),
        ({"do_center_crop": True, "crop_size": 224}, "do_center_crop"),
        ({"do_pad": True, "pad_size": 224}, "do_pad"),
        ({"data_format": "channels_last"}, "data_format"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        SimFLEImageProcessor(**options)
    with pytest.raises(ValueError, match=match):
        SimFLEImageProcessor()(face(), **options)


def test_bad_types_of_options():
    for size in (224.0, {"height": 224.0, "width": 224.0}, "224", True):
        with pytest.raises(ValueError, match="use size=224"):
            SimFLEImageProcessor(size=size)


def test_errors_of_one_call():
    with pytest.raises(ValueError, match="do not stack"):
        SimFLEImageProcessor()([face(), face(20, 20)], do_resize=False, return_tensors="pt")
    assert len(SimFLEImageProcessor()([face(), face(20, 20)], do_resize=False).pixel_values) == 2
    with pytest.raises(ValueError, match="mode L"):
        run(face().convert("L"), do_convert_rgb=False)
    assert np.array_equal(run(face(), do_convert_rgb=False), run(face()))


# Saving


def test_saved_file_is_plain_and_stable(tmp_path):
    SimFLEImageProcessor().save_pretrained(tmp_path / "one")
    text = (tmp_path / "one" / "preprocessor_config.json").read_text()
    assert json.loads(text) == {
        "auto_map": {"AutoImageProcessor": "image_processing_simfle.SimFLEImageProcessor"},
        "do_convert_rgb": True,
        "do_grayscale": False,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5795, 0.4522, 0.3957],
        "image_processor_type": "SimFLEImageProcessor",
        "image_std": [0.2769, 0.2473, 0.2412],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": 224, "width": 224},
    }
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {"image_processing_simfle.py", "configuration_simfle.py"} <= names
    loaded = SimFLEImageProcessor.from_pretrained(tmp_path / "one")
    loaded.save_pretrained(tmp_path / "two")
    assert (tmp_path / "two" / "preprocessor_config.json").read_text() == text
    assert loaded.to_json_string() == SimFLEImageProcessor().to_json_string()
    assert np.array_equal(loaded(face(), return_tensors="np").pixel_values[0], run(face()))


def test_options_survive_saving(tmp_path):
    processor = SimFLEImageProcessor(size=48, do_grayscale=True, image_mean=0.5, image_std=0.25, resample=3)
    processor.save_pretrained(tmp_path)
    for loaded in (SimFLEImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is SimFLEImageProcessor and loaded.to_dict() == processor.to_dict()
        assert np.array_equal(loaded(face()).pixel_values, processor(face()).pixel_values)
    assert SimFLEImageProcessor.from_pretrained(tmp_path, size=32).size == {"height": 32, "width": 32}


def test_saved_code_loads_as_remote_code(tmp_path):
    SimFLEImageProcessor(size=48).save_pretrained(tmp_path / "saved")
    auto_map = json.loads((tmp_path / "saved" / "preprocessor_config.json").read_text())["auto_map"]
    remote = dynamic_module_utils.get_class_from_dynamic_module(auto_map["AutoImageProcessor"], str(tmp_path / "saved"))
    assert remote is not SimFLEImageProcessor and remote.__module__.startswith("transformers_modules")
    loaded = remote.from_pretrained(tmp_path / "saved")
    assert np.array_equal(loaded(face(), return_tensors="np").pixel_values[0], run(face(), size=48))
    loaded.save_pretrained(tmp_path / "again")
    for name in ("preprocessor_config.json", "image_processing_simfle.py", "configuration_simfle.py"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()


def test_push_uploads_the_code_too(tmp_path, monkeypatch):
    pushed = []

    def push_to_hub(self, repo_id, **kwargs):
        self.save_pretrained(tmp_path / "uploaded")
        pushed.append((repo_id, kwargs))

    monkeypatch.setattr(SimFLEImageProcessor, "push_to_hub", push_to_hub)
    SimFLEImageProcessor().save_pretrained(tmp_path / "name", push_to_hub=True, private=True)
    SimFLEImageProcessor().save_pretrained(tmp_path / "name", push_to_hub=True, repo_id="me/other")
    assert pushed == [("name", {"private": True}), ("me/other", {})]
    assert (tmp_path / "uploaded" / "image_processing_simfle.py").exists()


def test_a_bad_image_of_a_batch_is_named(tmp_path):
    """By its path, or by its place in the batch."""
    good, cut_off = tmp_path / "good.jpg", tmp_path / "cut_off.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(good)
    cut_off.write_bytes(good.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut_off\.jpg: an image cannot be read"):
        SimFLEImageProcessor(size=16)([str(good), str(cut_off)])
    with pytest.raises(ValueError, match="image 2 of 3: an image cannot be read"):
        SimFLEImageProcessor(size=16)([Image.open(good), Image.open(cut_off), Image.open(good)])
    with pytest.raises(ValueError, match="image 1 of 2: an image of float64 holds values"):
        SimFLEImageProcessor(size=16)([np.full((4, 4, 3), np.nan), np.zeros((4, 4, 3))])
    content = good.read_bytes()
    for bad in (content, None, {"bytes": content}, io.BytesIO(content), Image.open(io.BytesIO(content[:900]))):
        with pytest.raises(ValueError, match=r"image 2 of 2: .*give a"):
            SimFLEImageProcessor(size=16)([good, bad])
    for bad in (tmp_path / "missing.jpg", "http://127.0.0.1:9/face.jpg", tmp_path):
        with pytest.raises(ValueError, match=rf"{bad}: an image cannot be read"):
            SimFLEImageProcessor(size=16)([good, bad])
