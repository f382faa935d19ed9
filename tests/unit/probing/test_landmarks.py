# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The landmarks' measures by hand, the ridge against naive solves, the folds, and the masks' coverage."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.integrate import trapezoid

from modeling_simfle import SimFLEForPreTraining
from tests.real_data import FOLDER
from tests.tiny import tiny_config, tiny_inputs
from training.data.drawn_faces import draw_face
from training.data.faces import DatasetArguments, Faces, open_faces
from training.data.landmarks import LandmarkArguments, check_people_apart, read_landmarks
from training.fer_metrics.fer_metrics import bootstrap_interval
from training.measuring.landmark_errors import (
    REGIONS,
    area_shares,
    check_eye_distances,
    landmark_measures,
    normalized_distances,
)
from training.measuring.patch_coverage import REGION_NAMES, coverage, entropy, patches_on_regions
from training.probing.mask_coverage import visible_patches
from training.probing.ridge_map import RELATIVE_STRENGTHS, centred_products, cross_validate, person_folds, ridge


def drawn(num_faces, width, seed=0):
    """Training and evaluation features, float32, and targets (N, 6) that follow from them with noise."""
    generator = np.random.default_rng(seed)
    features = generator.normal(2, 1, (num_faces + 9, width)) * generator.uniform(0.1, 3, width)
    targets = features[:num_faces, :5] @ generator.normal(0, 1, (5, 6)) + generator.normal(3, 1, (num_faces, 6))
    return *(torch.tensor(part, dtype=torch.float32) for part in np.split(features, [num_faces])), targets


def naive(train, evaluation, targets, strength):
    """The normal equations with an intercept column that the ridge leaves alone."""
    with_one, other = (np.hstack([np.ones((len(x), 1)), x.double().numpy()]) for x in (train, evaluation))
    penalty = strength * np.eye(with_one.shape[1])
    penalty[0, 0] = 0
    return other @ np.linalg.solve(with_one.T @ with_one + penalty, with_one.T @ targets)


@pytest.mark.parametrize("width", [7, 40, 300])
@pytest.mark.parametrize("relative", [1e-4, 0.1, 10])
def test_ridge_is_that_of_the_normal_equations(width, relative):
    train, evaluation, targets = drawn(40, width)
    gram, cross = centred_products(train, evaluation)
    strength = relative * gram.trace() / 40
    ours = ridge(strength).fit(gram, targets).predict(cross)
    np.testing.assert_allclose(ours, naive(train, evaluation, targets, strength), rtol=0, atol=1e-7)
    centred = train.double() - train.double().mean(0)
    assert gram.trace() == pytest.approx(float(centred.square().sum()))


def test_many_columns_are_taken_in_blocks(monkeypatch):
    train, evaluation, _ = drawn(30, 100)
    whole = centred_products(train, evaluation)
    monkeypatch.setattr("training.probing.ridge_map.BLOCK", 7)
    parts = centred_products(train, evaluation)
    for part, expected in zip(parts, whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-10)


def test_each_strength_is_measured_by_maps_fitted_without_the_held_out_people():
    train, evaluation, targets = drawn(40, 300)
    gram, people = centred_products(train, evaluation)[0], np.arange(40) % 11

    def error_of(held_out):
        return float(np.square(held_out - targets).mean())

    folds = person_folds(people, 5, seed=0)
    errors = cross_validate(gram, targets, folds, error_of)
    for relative, error in list(zip(RELATIVE_STRENGTHS, errors, strict=True))[::4]:
        held_out = np.empty_like(targets)
        for fitted, left_out in folds.split():
            strength = relative * gram.trace() / 40
            held_out[left_out] = naive(train[fitted], train[left_out], targets[fitted], strength)
            assert not set(people[fitted]) & set(people[left_out])
        assert error == pytest.approx(error_of(held_out), rel=1e-6)


@pytest.mark.parametrize("width", [3, 30])
def test_features_that_are_all_the_same(width):
    with pytest.raises(ValueError, match="the same features: there is nothing to map from"):
        centred_products(torch.full((10, width), 0.7), torch.zeros(2, width))


def test_folds_keep_people_whole_and_follow_the_seed():
    people = np.random.default_rng(0).choice([f"p{i}" for i in range(11)], 200)
    folds = person_folds(people, 4, seed=0).test_fold
    of_person = {person: set(folds[people == person]) for person in people}
    assert all(len(found) == 1 for found in of_person.values())
    assert sorted(np.bincount([found.pop() for found in of_person.values()])) == [2, 3, 3, 3]
    assert np.array_equal(folds, person_folds(people, 4, seed=0).test_fold)
    assert not np.array_equal(folds, person_folds(people, 4, seed=1).test_fold)


def test_measures_by_hand():
    points = np.random.default_rng(0).uniform(0.2, 0.8, (4, 68, 2))
    points[:, 36], points[:, 45] = (0.3, 0.4), (0.6, 0.8)
    sizes = np.array([[100, 100], [100, 100], [200, 100], [50, 50]], float)
    predicted = points.copy()
    predicted[0, :, 0] += 0.02  # 2 pixels of 50
    predicted[1, 48:] += (0.03, 0.04)  # 5 pixels of 50, the mouth's 20 points alone
    predicted[2, :, 1] -= 0.15  # 15 pixels of hypot(60, 40)
    predicted[3, :17, 1] += 0.5  # the jaw
    distances = normalized_distances(predicted, points, sizes)
    errors = np.array([0.04, 0.1 * 20 / 68, 15 / np.hypot(60, 40), 1.0 * 17 / 68])
    np.testing.assert_allclose(distances.mean(1), errors)
    people = np.array(["a", "a", "b", "c"])
    measures = landmark_measures(distances, people)
    assert measures["normalized_mean_error"] == pytest.approx(errors.mean())
    assert measures["normalized_mean_error_interval"] == bootstrap_interval(distances.mean(1), people)
    assert measures["failure_rate"] == 0.5
    assert measures["auc_at_0.1"] == pytest.approx((0.6 + 1 - errors[1] / 0.1) / 4)
    assert (measures["num_images"], measures["num_persons"]) == (4, 3)
    by_region = {name: found["normalized_mean_error"] for name, found in measures["by_region"].items()}
    beyond = 0.04 + 15 / np.hypot(60, 40)
    assert by_region["mouth"] == pytest.approx((beyond + 0.1) / 4)
    assert by_region["jaw"] == pytest.approx((beyond + 1) / 4)
    for name in ("eyes", "nose", "brows"):
        assert by_region[name] == pytest.approx(beyond / 4)
    curve = dict(zip(*measures["cumulative_curve"].values(), strict=True))
    assert (curve[0.0], curve[0.03], curve[0.05], curve[0.2]) == (0, 0.25, 0.5, 0.5)


def test_area_is_that_under_the_curve():
    errors = np.random.default_rng(0).uniform(0, 0.15, 300)
    grid = np.linspace(0, 0.1, 20_001)
    curve = (errors[:, None] <= grid).mean(0)
    assert area_shares(errors).mean() == pytest.approx(trapezoid(curve, grid) / 0.1, abs=1e-5)
    assert area_shares(np.array([0, 0.05, 0.1, 0.3])).tolist() == [1, 0.5, 0, 0]


def test_regions_hold_every_point_once():
    places = np.concatenate([np.arange(68)[where] for where in REGIONS.values()])
    assert sorted(places) == list(range(68))


def faces_with(points, people):
    faces = Faces(Dataset.from_dict({"landmarks": points, "person": people}), "image")
    faces.source, faces.split = "drawn", "train"
    return faces


def test_eyes_in_one_place_have_no_unit():
    points = np.stack([draw_face(0, i, 32).landmarks for i in range(3)])
    check_eye_distances(points, "split 'train'")
    points[1, 45] = points[1, 36]
    with pytest.raises(ValueError, match=r"row 1 of split 'train' has points 36 and 45, .* in one place"):
        check_eye_distances(points, "split 'train'")


def test_good_columns():
    points = [draw_face(0, i, 32).landmarks.tolist() for i in range(3)]
    found, people = read_landmarks(faces_with(points, [7, 7, 12]), LandmarkArguments())
    np.testing.assert_array_equal(found, np.array(points))
    assert people.tolist() == ["7", "7", "12"]


@pytest.mark.parametrize(
    "change,sentence",
    [
        (lambda p: p[:67], r"row 1 of drawn, split 'train' has landmarks of shape \(67, 2\); \(68, 2\) was expected"),
        (lambda p: [*p[:67], p[67][:1]], r"row 1 .* has landmarks that are not \(68, 2\) numbers"),
        (lambda p: None, r"row 1 .* has landmarks of shape \(\)"),
        (lambda p: [*p[:67], [0.1, float("nan")]], "row 1 .* has a landmark at nan"),
        (lambda p: [[100 * x, 100 * y] for x, y in p], r"must be fractions of the image's width and height"),
    ],
)
def test_rows_that_cannot_be_used(change, sentence):
    points = [draw_face(0, i, 32).landmarks.tolist() for i in range(2)]
    points[1] = change(points[1])
    with pytest.raises(ValueError, match=sentence):
        read_landmarks(faces_with(points, ["a", "b"]), LandmarkArguments())


def test_people_and_columns_that_cannot_be_used():
    points = [draw_face(0, i, 32).landmarks.tolist() for i in range(2)]
    for people in (["a", None], ["a", ""], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="row 1 of drawn, split 'train' has no person"):
            read_landmarks(faces_with(points, people), LandmarkArguments())
    for flag, column in (("landmark", "points"), ("person", "who")):
        with pytest.raises(ValueError, match=f"no column '{column}'; found landmarks, person; .* --{flag}_column"):
            read_landmarks(faces_with(points, ["a", "b"]), LandmarkArguments(**{f"{flag}_column": column}))
    check_people_apart(np.array(["a", "b"]), np.array(["c"]))
    with pytest.raises(ValueError, match=r"2 of the evaluation split's 3 persons .* \(a, b\)"):
        check_people_apart(np.array(["a", "b", "a"]), np.array(["b", "a", "c"]))


def test_patches_on_regions_by_hand():
    points = np.full((1, 68, 2), 0.6)  # column 2, row 2 of a 4 x 4 grid
    points[0, REGIONS["mouth"]] = (0.1, 0.9)  # column 0, row 3
    points[0, REGIONS["jaw"]] = (1.0, 0.0)  # the last column's edge, row 0
    points[0, REGIONS["brows"]] = (-0.01, 0.5)  # outside
    on = patches_on_regions(points, 4)
    places = dict(zip(REGION_NAMES, on[0], strict=True))
    assert [np.flatnonzero(found).tolist() for found in places.values()] == [[], [10], [10], [12], [3], [3, 10, 12]]


def test_coverage_by_hand():
    """Two groups: one sees the mouth's patch and an empty one, the other two empty ones."""
    on = np.zeros((3, len(REGION_NAMES), 16), bool)
    on[:, REGION_NAMES.index("mouth"), 12] = True
    on[0, REGION_NAMES.index("eyes"), [5, 6]] = True  # in no other image
    visible = np.zeros((3, 2, 16), bool)
    visible[:, 0, [12, 0]] = True
    visible[:2, 1, [5, 0]] = True
    visible[2, 1, [0, 1]] = True
    found = coverage(visible, on, np.array(["a", "b", "b"]))
    mouth = [group["regions"]["mouth"] for group in found["groups"]]
    assert mouth[0] == {"share": 0.5, "chance": 1 / 16, "ratio": 8, "ratio_interval": [8, 8]}
    assert (mouth[1]["ratio"], found["overall"]["regions"]["mouth"]["ratio"]) == (0, 4)
    eyes = found["groups"][1]["regions"]["eyes"]  # of the one image that shows any
    assert (eyes["share"], eyes["ratio"]) == (pytest.approx(1 / 6), 4)
    assert found["groups"][0]["regions"]["nose"]["ratio"] is None
    assert found["groups"][0]["entropy"] == pytest.approx(np.log(2))
    assert found["overall"]["entropy"] > found["groups"][0]["entropy"]
    assert found["entropy_of_chance"] == np.log(16) == pytest.approx(entropy(np.ones(16)))


def test_uniform_masks_have_a_ratio_of_one():
    generator = np.random.default_rng(0)
    points = np.stack([draw_face(0, i, 32).landmarks for i in range(200)]).astype(float)
    scores = generator.random((200, 4, 49))
    visible = scores.argsort(2).argsort(2) < 12
    found = coverage(visible, patches_on_regions(points, 7), np.arange(200) // 4)
    for region in found["overall"]["regions"].values():
        assert region["ratio"] == pytest.approx(1, abs=0.08)


def test_visible_patches_are_the_models_own():
    torch.manual_seed(0)
    model, inputs = SimFLEForPreTraining(tiny_config()).eval(), tiny_inputs(3)["pixel_values"]
    with torch.no_grad():
        found = visible_patches(model, inputs).unflatten(1, (4, -1))  # (B, G, L)
        for group in range(4):
            mask = model(inputs, group_ids=torch.full((3,), group)).mask
            assert torch.equal(found[:, group], mask == 0)
    assert not torch.equal(found[:, 0], found[:, 1])


@pytest.mark.skipif(not (FOLDER / "landmarks" / "train.parquet").is_file(), reason="no SIMFLE_DATA faces")
def test_the_real_faces_landmarks():
    faces = {name: open_faces(DatasetArguments(), str(FOLDER / "landmarks"), name, False)
             for name in ("train", "validation")}  # fmt: skip
    found = {name: read_landmarks(opened, LandmarkArguments()) for name, opened in faces.items()}
    assert found["train"][0].shape == (2855, 68, 2) and len(set(found["train"][1])) == 235
    assert found["validation"][0].shape == (483, 68, 2) and len(set(found["validation"][1])) == 39
    check_people_apart(found["train"][1], found["validation"][1])
