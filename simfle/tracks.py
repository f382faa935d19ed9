# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Faces joined over the frames of a video by the overlap of their boxes, and probabilities averaged over time.

The overlap of two boxes A and B is their intersection over union, IoU = |A ∩ B| / |A ∪ B|. Shapes: C classes.
"""

from collections import deque

LOWEST_OVERLAP = 0.3
ROUNDING = 1e-6  # seconds
LONGEST_GAP = 0.5  # seconds without the face after which its track has ended


def overlap(box: dict, other: dict) -> float:
    """IoU of two boxes, mappings with xmin, ymin, xmax, ymax in pixels."""
    width = min(box["xmax"], other["xmax"]) - max(box["xmin"], other["xmin"])
    height = min(box["ymax"], other["ymax"]) - max(box["ymin"], other["ymin"])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((b["xmax"] - b["xmin"]) * (b["ymax"] - b["ymin"]) for b in (box, other))
    return width * height / (areas - width * height)


class Tracker:
    """Numbers the faces of one video. A face keeps its track while it is seen; coming back, it gets a new one."""

    def __init__(self):
        self._live: dict[int, tuple[dict, float]] = {}  # track -> its last box, when it was seen (seconds)
        self._previous, self._next = float("-inf"), 0

    def update(self, boxes: list[dict], time: float) -> list[int]:
        """
        Args:
            boxes: the faces of the next frame. time: seconds from the start, not decreasing.
        Returns:
            The track of each box, counted from 0. The pairs with the largest overlap are joined first.
        """
        # At a low frame rate the previous frame is the one to compare with, however long ago it was.
        oldest = min(self._previous, time - LONGEST_GAP)
        self._live = {track: seen for track, seen in self._live.items() if seen[1] >= oldest}
        pairs = [
            (overlap(box, last), index, track)
            for index, box in enumerate(boxes)
            for track, (last, _) in self._live.items()
        ]
        tracks: dict[int, int] = {}
        for value, index, track in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
            if value >= LOWEST_OVERLAP and index not in tracks and track not in tracks.values():
                tracks[index] = track
        for index, box in enumerate(boxes):
            if index not in tracks:
                tracks[index], self._next = self._next, self._next + 1
            self._live[tracks[index]] = box, time
        self._previous = time
        return [tracks[index] for index in range(len(boxes))]


class Smoother:
    """The mean of a track's probabilities over its last `seconds`; 0 leaves them as they are."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._recent: dict[int, deque] = {}  # track -> (time, probabilities) pairs, the oldest first

    def update(self, track: int, time: float, probabilities: list[float]) -> list[float]:
        """
        Args:
            track, time (seconds): of the face. probabilities: (C,), of this frame.
        Returns:
            (C,): the mean over this frame and those of the same track in [time - seconds, time].
        """
        if not self.seconds:
            return probabilities
        for other in [t for t, frames in self._recent.items() if frames[-1][0] < time - self.seconds]:
            del self._recent[other]
        frames = self._recent.setdefault(track, deque())
        frames.append((time, probabilities))
        while frames[0][0] < time - self.seconds - ROUNDING:
            frames.popleft()
        return [sum(values) / len(frames) for values in zip(*(values for _, values in frames))]
