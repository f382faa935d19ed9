# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Photographs for the page's tests, all made of scikit-image's public-domain pictures; and files that are odd."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet
import skimage
from PIL import Image, ImageCms, ImageEnhance, ImageOps

FACE = (150, 40, 300, 190)  # of astronaut.png: the head, with some room
ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"


def astronaut() -> Image.Image:
    return Image.open(ASTRONAUT).convert("RGB")


def background(size: tuple[int, int]) -> Image.Image:
    """Coffee, enlarged: a photograph without a face."""
    return Image.open(ASTRONAUT.with_name("coffee.png")).convert("RGB").resize(size)


def small_faces(first: int, count: int) -> list[Image.Image]:
    """Faces of scikit-image's subset of Labeled Faces in the Wild (25 x 25, gray), enlarged, with a border."""
    faces = np.load(ASTRONAUT.with_name("lfw_subset.npy"))[first : first + count]  # (N, 25, 25), 0..1
    pictures = [Image.fromarray(np.rint(255 * face).astype(np.uint8)).convert("RGB") for face in faces]
    return [ImageOps.expand(p.resize((100, 100), Image.Resampling.BICUBIC), 20, (90, 90, 90)) for p in pictures]


def heads() -> list[Image.Image]:
    """Six versions of one head."""
    head = astronaut().crop(FACE)
    return [
        head,
        ImageOps.mirror(head),
        head.convert("L").convert("RGB"),
        ImageEnhance.Brightness(head).enhance(0.6),
        ImageEnhance.Contrast(head).enhance(1.4),
        head.rotate(12, Image.Resampling.BILINEAR, fillcolor=(120, 120, 120)),
    ]


def collage(size: tuple[int, int], sides: list[int], pictures: list[Image.Image] | None = None) -> Image.Image:
    """Heads, one a side (pixels), in two rows on a background."""
    image, pictures = background(size), pictures or heads()
    columns = (len(sides) + 1) // 2
    for index, side in enumerate(sides):
        row, column = divmod(index, columns)
        x = (2 * column + 1) * size[0] // (2 * columns) - side // 2
        y = (2 * row + 1) * size[1] // 4 - side // 2
        image.paste(pictures[index % len(pictures)].resize((side, side), Image.Resampling.LANCZOS), (x, y))
    return image


def write_photographs(folder: Path) -> list[Path]:
    """Twelve, from 64 to 4,000 pixels; the first has 1,280 x 960 and one face."""
    photo = astronaut()
    pictures = {
        "one_1280.jpg": collage((1280, 960), [420]),
        "astronaut.png": photo,
        "head_64.png": photo.crop(FACE).resize((64, 64), Image.Resampling.LANCZOS),
        "tight.png": photo.crop((180, 66, 270, 176)).resize((180, 220), Image.Resampling.BICUBIC),
        "gray.png": photo.convert("L"),
        "six.png": collage((960, 640), [230, 200, 260, 180, 220, 240], small_faces(24, 6)),
        "over_the_edge.jpg": photo.crop((190, 70, 512, 400)),
        "small_faces.jpg": collage((1600, 1200), [90, 110, 130, 150]),
        "wide.jpg": collage((1920, 600), [300, 200, 250, 280], small_faces(30, 4)),
        "tall.webp": collage((480, 1600), [350, 300]),
        "poor.jpg": photo.resize((300, 300)),
        "large.jpg": collage((4000, 3000), [170, 900, 240, 600, 130, 400]),
    }
    for name, picture in pictures.items():
        picture.save(folder / name, quality=40 if name == "poor.jpg" else 90)
    return [folder / name for name in pictures]


def write_colour_faces(parquet: Path, folder: Path) -> list[Path]:
    """Two collages of six real faces each."""
    rows = pyarrow.parquet.read_table(parquet).slice(0, 12).to_pylist()
    column = next(name for name, value in rows[0].items() if isinstance(value, dict))
    faces = [Image.open(io.BytesIO(row[column]["bytes"])).convert("RGB") for row in rows]
    for index in (0, 1):
        pictures = [ImageOps.expand(face, 12, (90, 90, 90)) for face in faces[6 * index : 6 * index + 6]]
        collage((1200, 800), [260, 200, 300, 240, 180, 280], pictures).save(folder / f"real_{index}.png")
    return [folder / "real_0.png", folder / "real_1.png"]


def write_odd_pictures(folder: Path) -> list[Path]:
    """EXIF orientation, transparency, 1 x 1, a palette, CMYK, a colour profile, no face."""
    photo = astronaut()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned to the right
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=90)
    transparent = photo.copy()
    alpha = np.full((512, 512), 255, np.uint8)
    alpha[:, :100] = 0
    alpha[300:] = 128
    transparent.putalpha(Image.fromarray(alpha))
    transparent.save(folder / "transparent.png")
    Image.new("RGB", (1, 1), (90, 80, 70)).save(folder / "pixel.png")
    photo.quantize(128).save(folder / "palette.gif")
    photo.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    photo.save(folder / "profile.png", icc_profile=profile)
    background((640, 480)).save(folder / "coffee.png")
    names = ("turned.jpg", "transparent.png", "pixel.png", "palette.gif", "cmyk.jpg", "profile.png", "coffee.png")
    return [folder / name for name in names]


def write_camera(path: Path) -> Path:
    """What Chromium's fake camera shows: a few JPEG frames of 640 x 480, one after the other (.mjpeg)."""
    frames = []
    for shift in (0, 6, 12):
        frame = background((640, 480))
        frame.paste(astronaut().crop(FACE).resize((300, 300)), (160 + shift, 90))
        frame.save(buffer := io.BytesIO(), "JPEG", quality=90)
        frames.append(buffer.getvalue())
    path.write_bytes(b"".join(frames))
    return path
