# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Faces joined over frames, and probabilities averaged over time."""

import pytest

from simfle.tracks import Smoother, Tracker, overlap


def box(left, top=0, side=10):
    return {"xmin": left, "ymin": top, "xmax": left + side, "ymax": top + side}


def test_overlap_is_intersection_over_union():
    assert overlap(box(0), box(0)) == 1
    assert overlap(box(0), box(5)) == pytest.approx(50 / 150)
    assert overlap(box(0), box(10)) == overlap(box(0), box(0, 30)) == 0


def test_two_faces_keep_their_tracks_while_they_move_and_change_places_in_the_list():
    tracker = Tracker()
    assert tracker.update([box(0), box(100)], 0.0) == [0, 1]
    assert tracker.update([box(98), box(2)], 0.04) == [1, 0]
    assert tracker.update([box(96), box(4), box(50)], 0.08) == [1, 0, 2]


def test_the_largest_overlap_is_joined_first():
    tracker = Tracker()
    tracker.update([box(0), box(4)], 0.0)
    assert tracker.update([box(3), box(4)], 0.04) == [0, 1]


def test_a_face_that_comes_back_gets_a_new_track_and_one_missed_frame_does_not_end_it():
    tracker = Tracker()
    assert tracker.update([box(0)], 0.0) == [0]
    assert tracker.update([], 0.1) == []
    assert tracker.update([box(0)], 0.2) == [0]
    for step in range(3, 10):
        tracker.update([], step / 10)
    assert tracker.update([box(0)], 1.0) == [1]


def test_at_a_low_frame_rate_the_previous_frame_counts():
    tracker = Tracker()
    assert [tracker.update(boxes, time) for time, boxes in enumerate(([box(0)], [box(1)], [], [box(1)]))] == [
        [0], [0], [], [1],
    ]  # fmt: skip


def test_smoothing_averages_the_last_seconds_of_the_same_track():
    smoother = Smoother(1.0)
    assert smoother.update(0, 0.0, [1.0, 0.0]) == [1.0, 0.0]
    assert smoother.update(1, 0.5, [0.5, 0.5]) == [0.5, 0.5]
    assert smoother.update(0, 1.0, [0.0, 1.0]) == [0.5, 0.5]
    assert smoother.update(0, 1.5, [0.0, 1.0]) == [0.0, 1.0]
    assert smoother.update(0, 4.0, [1.0, 0.0]) == [1.0, 0.0]
    assert list(smoother._recent) == [0]  # a track that has ended is forgotten
    assert Smoother(0).update(0, 0.0, [0.25, 0.75]) == [0.25, 0.75]
