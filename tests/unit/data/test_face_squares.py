# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Cutting faces out: eyes at their places whatever the turn and scale, margins, and what is refused."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.data.face_squares import (
    EYE_DISTANCE,
    EYE_HEIGHT,
    OUTSIDE,
    Square,
    crop_box,
    cut_square,
    square_of_box,
    square_of_landmarks,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def turned_face(angle, distance, centre, size=(300, 260)):
    """A white image with a red left eye, green right eye and blue mouth, and the five landmarks."""
    across = np.array([math.cos(angle), math.sin(angle)])
    down = np.array([-across[1], across[0]])
    eyes = np.array(centre, float)
    left, right, mouth = eyes - across * distance / 2, eyes + across * distance / 2, eyes + 1.1 * distance * down
    points = np.array([left, right, (eyes + mouth) / 2, mouth - across * 10, mouth + across * 10])
    image = Image.new("RGB", size, "white")
    for point, color in ((left, RED), (right, GREEN), (mouth, BLUE)):
        ImageDraw.Draw(image).ellipse([*(point - 10), *(point + 10)], fill=color)
    return image, points


@pytest.mark.parametrize("angle", [0.0, 0.5, -0.8])
@pytest.mark.parametrize("margin", [0.0, 0.25])
@pytest.mark.parametrize("size", [32, 160])
def test_eyes_come_to_their_places(angle, margin, size):
    image, points = turned_face(angle, 50, (150, 110))
    face = np.asarray(cut_square(image, square_of_landmarks(points), size, margin)).astype(int)
    assert face.shape == (size, size, 3)
    grown = 1 + 2 * margin
    height = (EYE_HEIGHT + margin) / grown
    for x, color in ((0.5 - EYE_DISTANCE / 2 / grown, RED), (0.5 + EYE_DISTANCE / 2 / grown, GREEN)):
        pixel = face[int(height * size), int(x * size)]
        assert np.abs(pixel - color).max() < 90, (pixel, color)
    found = np.argwhere(np.abs(face - BLUE).sum(2) < 150).mean(0) / size
    assert found[1] == pytest.approx(0.5, abs=0.05)
    assert found[0] > height + 0.2


def test_the_order_of_the_eyes_does_not_matter_and_68_points_do_as_well():
    _, points = turned_face(0.3, 50, (150, 110))
    one, other = square_of_landmarks(points), square_of_landmarks(points[[1, 0, 2, 3, 4]])
    assert (one.side, one.angle) == (other.side, other.angle)
    many = np.zeros((68, 2))
    many[36:42], many[42:48], many[48:68] = points[0], points[1], points[3:].mean(0)
    assert square_of_landmarks(many).centre == pytest.approx(one.centre)


def test_a_head_turned_aside_is_not_blown_up():
    _, points = turned_face(0.0, 50, (150, 110))
    aside = points * (0.3, 1) + (105, 0)
    assert square_of_landmarks(aside).side > 0.9 * square_of_landmarks(points).side


def test_a_box_and_its_margin():
    image = Image.new("RGB", (40, 30), BLUE)
    image.paste(RED, (10, 5, 30, 25))
    assert (np.asarray(cut_square(image, square_of_box([10, 5, 30, 25]), 20)) == RED).all()
    wide = np.asarray(cut_square(image, square_of_box([10, 5, 30, 25]), 40, margin=0.5))
    assert tuple(wide[20, 20]) == RED
    assert tuple(wide[20, 2]) == BLUE
    assert tuple(wide[1, 20]) == OUTSIDE  # above the image
    assert square_of_box([0, 0, 10, 20]).side == 20
    assert Square(np.array([10.0, 12.0]), 8.0).box() == [6, 8, 14, 16]


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(cut_square(Image.fromarray(stripes), square_of_box([0, 0, 256, 256]), 16))
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() < 12


def test_crop_box_keeps_to_the_image():
    image = Image.new("RGB", (40, 30))
    assert crop_box(image, [-5, -5, 20, 10]).size == (20, 10)
    assert crop_box(image, [30, 20, 90, 90]).size == (10, 10)
    with pytest.raises(ValueError, match=r"box \[50, 0, 60, 10\] is outside of the image of \(40, 30\)"):
        crop_box(image, [50, 0, 60, 10])


def test_what_is_no_face_is_refused():
    with pytest.raises(ValueError, match="5 or 68 points were expected"):
        square_of_landmarks(np.ones((4, 2)))
    with pytest.raises(ValueError, match="5 or 68 points were expected"):
        square_of_landmarks(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match="lie on one another"):
        square_of_landmarks(np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"\[5, 5, 5, 9\] is empty"):
        square_of_box([5, 5, 5, 9])
    with pytest.raises(ValueError, match="outside of the image"):
        cut_square(Image.new("RGB", (20, 20)), square_of_box([50, 50, 60, 60]), 16)
