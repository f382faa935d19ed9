# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Drawn faces: deterministic, different, their landmarks where they were drawn."""

import numpy as np
import pytest

from training.data.drawn_faces import draw_face, draw_faces, main, write_image_folder
from training.data.expressions import EXPRESSIONS
from training.runtime.errors import InputError


def test_a_face_depends_on_its_arguments_alone():
    first, again, other_seed = draw_face(0, 5), draw_face(0, 5), draw_face(1, 5)
    assert first.image.tobytes() == again.image.tobytes()
    assert np.array_equal(first.landmarks, again.landmarks)
    assert first.image.tobytes() != other_seed.image.tobytes()
    assert first.expression == EXPRESSIONS[5] == other_seed.expression


def test_faces_have_landmarks_in_ibug_order_inside_the_image():
    for face in draw_faces(64, seed=0, size=48):
        points = face.landmarks
        assert face.image.size == (48, 48)
        assert points.shape == (68, 2)
        assert points.min() > -0.1
        assert points.max() < 1.1
        jaw, brows, nose, left_eye, right_eye, mouth = np.split(points, [17, 27, 36, 42, 48])
        assert jaw[0, 0] < jaw[16, 0]
        assert brows[:, 1].mean() < left_eye[:, 1].mean() < nose[-1, 1] < mouth[:, 1].mean() < jaw[8, 1]
        assert left_eye[:, 0].mean() < right_eye[:, 0].mean()
        assert mouth[0, 0] < mouth[6, 0]


def test_expressions_move_what_they_are_made_of():
    def measures(expression):
        faces = [draw_face(0, index, 48, expression).landmarks for index in range(40)]
        scale = [np.linalg.norm(p[36] - p[45]) for p in faces]
        mouth_open = [np.linalg.norm(p[62] - p[66]) / s for p, s in zip(faces, scale, strict=True)]
        eye_open = [np.linalg.norm(p[37] - p[41]) / s for p, s in zip(faces, scale, strict=True)]
        return np.mean(mouth_open), np.mean(eye_open)

    neutral, surprise, disgust = (measures(e) for e in ("neutral", "surprise", "disgust"))
    assert surprise[0] > neutral[0] + 0.1
    assert surprise[1] > 1.2 * neutral[1]
    assert disgust[1] < 0.9 * neutral[1]


@pytest.mark.parametrize("arguments", [(0, 0, 8), (-1, 0, 48)])
def test_bad_arguments_are_a_sentence(arguments):
    with pytest.raises(InputError, match=r"give a size of 16 or more, and no negative seed"):
        draw_face(*arguments)


def test_folder(tmp_path, capsys):
    write_image_folder(tmp_path / "faces", 16, seed=0, size=32)
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == sorted(EXPRESSIONS)
    assert len(list((tmp_path / "faces").rglob("*.png"))) == 16
    with pytest.raises(ValueError, match="is not empty; give a new folder"):
        main([str(tmp_path / "faces")])
