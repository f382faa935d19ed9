# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""One row a track of a video, gathered while its rows go by. Shapes: C classes."""

from collections.abc import Iterable


def summary_columns(classes: list[str]) -> list[str]:
    return ["image", "track", "start", "end", "frames", "label", "score", *classes]


class TrackSummary:
    """Times, number of frames and mean probabilities of every track."""

    def __init__(self, classes: list[str]):
        self.classes = classes
        self._tracks: dict[tuple[str, int], list] = {}  # (image, track) -> start, end, frames, sums (C,)

    def add(self, rows: Iterable[dict]) -> None:
        """Rows of faces; those without a track are passed over."""
        for row in rows:
            if row.get("track") is None:
                continue
            key = row["image"], row["track"]
            entry = self._tracks.setdefault(key, [row["time"], row["time"], 0, [0.0] * len(self.classes)])
            entry[1] = row["time"]
            entry[2] += 1
            entry[3] = [total + row[name] for total, name in zip(entry[3], self.classes)]

    def rows(self) -> list[dict]:
        """start, end (seconds), frames, the class of the largest mean probability, and the means."""
        return [self._row(*item) for item in self._tracks.items()]

    def _row(self, key: tuple[str, int], entry: list) -> dict:
        start, end, frames, sums = entry
        means = {name: round(total / frames, 6) for name, total in zip(self.classes, sums)}
        label = max(means, key=means.__getitem__)
        times = {"start": start, "end": end, "frames": frames}
        return {"image": key[0], "track": key[1], **times, "label": label, "score": means[label], **means}
