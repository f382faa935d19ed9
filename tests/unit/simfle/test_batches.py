# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Order, whole batches, bounded memory, errors."""

import threading

import pytest

from simfle.batches import classify_in_batches, prepare_ahead


def test_batches_are_whole_across_images_and_the_order_is_kept():
    counts, batches = [1, 0, 2, 7, 0, 3, 1], []
    prepared = [(index, [(index, face) for face in range(count)]) for index, count in enumerate(counts)]

    def predict(faces):
        batches.append(len(faces))
        return [str(face) for face in faces]

    answers = list(classify_in_batches(prepared, predict, 4, longest_wait=100))
    assert batches == [4, 4, 4, 2]
    assert [(item, own) for item, own, _ in answers] == prepared
    assert all([str(face) for face in own] == given for _, own, given in answers)


def test_images_do_not_wait_for_ever_for_a_batch_to_fill():
    drawn = []

    def prepared():
        for index in range(100):
            drawn.append(index)
            yield index, ["face"] if index == 0 else []

    first = next(classify_in_batches(prepared(), list, 4, longest_wait=8))
    assert first == (0, ["face"], ["face"])
    assert len(drawn) == 8


def test_images_without_faces_are_given_at_once():
    assert next(classify_in_batches(iter([("a", []), ("b", ["face"])]), list, 4, 8)) == ("a", [], [])


def test_preparing_ahead_keeps_order_and_a_bounded_number_of_items():
    drawn = []

    def items():
        for index in range(50):
            drawn.append(index)
            yield index

    results = []
    for item, answer in prepare_ahead(items(), lambda item: (item * 2, threading.current_thread().name), 2, 3):
        assert len(drawn) - len(results) <= 3 + 3  # in the queue; one drawn, one waiting to enter, one being taken
        results.append((item, answer[0]))
        assert answer[1].startswith("prepare")
    assert results == [(index, 2 * index) for index in range(50)]


@pytest.mark.parametrize("where", ["items", "prepare"])
def test_errors_of_the_threads_are_raised_and_nothing_is_left_running(where):
    def items():
        yield from range(3)
        if where == "items":
            raise RuntimeError("no more")
        yield from range(100)

    def prepare(item):
        if where == "prepare" and item == 2:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(prepare_ahead(items(), prepare, 2, 2))
    assert not [thread for thread in threading.enumerate() if thread.name in ("draw", "prepare")]


def test_one_who_stops_early_leaves_no_thread():
    stream = prepare_ahead(iter(range(1000)), str, 2, 2)
    assert next(stream) == (0, "0")
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("draw", "prepare"))]
