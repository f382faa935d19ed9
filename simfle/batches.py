# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Images prepared ahead in threads, and their faces classified in whole batches across images.

Both parts are generators that keep a bounded number of images, whatever their inputs' number. Shapes: B faces a batch,
C classes.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def prepare_ahead(items: Iterable, prepare: Callable, workers: int, ahead: int) -> Iterator[tuple]:
    """
    `prepare(item)` of each item in `workers` threads; one more thread draws the items, which decodes videos.

    Args:
        ahead: how many prepared items may wait.
    Yields:
        (item, prepare(item)) in the order of the items. What either raises is raised here.
    """
    results: queue.Queue = queue.Queue(ahead)
    stopped = threading.Event()

    def put(entry) -> bool:
        while not stopped.is_set():
            try:
                results.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def draw() -> None:
        try:
            for item in items:
                if not put((item, pool.submit(prepare, item))):
                    return
            put(None)
        except BaseException as error:
            put(error)

    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        drawer = threading.Thread(target=draw, name="draw", daemon=True)
        drawer.start()
        try:
            while (entry := results.get()) is not None:
                if isinstance(entry, BaseException):
                    raise entry
                yield entry[0], entry[1].result()
        finally:
            stopped.set()
            drawer.join()
            pool.shutdown(wait=False, cancel_futures=True)


def classify_in_batches(
    prepared: Iterable[tuple], predict: Callable, batch_size: int, longest_wait: int
) -> Iterator[tuple]:
    """
    Args:
        prepared: (item, list of faces) pairs; a face is what `predict` takes a list of.
        predict: a list of B faces to a list of B answers. longest_wait: how many items may wait for a batch to fill.
    Yields:
        (item, list of faces, list of answers) in the order given. A batch is full
        unless an item has waited too long, or the input has ended.
    """
    waiting: deque = deque()  # items whose faces are not all classified
    faces: deque = deque()
    answers: deque = deque()

    def run(count: int) -> None:
        answers.extend(predict([faces.popleft() for _ in range(count)]))

    def finished() -> Iterator[tuple]:
        while waiting and len(waiting[0][1]) <= len(answers):
            item, own = waiting.popleft()
            yield item, own, [answers.popleft() for _ in own]

    for item, own in prepared:
        waiting.append((item, own))
        faces.extend(own)
        while len(faces) >= batch_size:
            run(batch_size)
        if len(waiting) >= longest_wait and faces:
            run(len(faces))
        yield from finished()
    if faces:
        run(len(faces))
    yield from finished()
