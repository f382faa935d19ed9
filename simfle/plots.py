# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The probabilities of each track over time, as a PNG. Shapes: T frames of a track, C classes."""

import os
from array import array
from collections.abc import Iterable
from pathlib import Path

from simfle.annotate import colour_of

MOST_PANELS = 12


class ExpressionPlot:
    """One panel a track; the tracks with the most frames where there are more than `MOST_PANELS`."""

    def __init__(self, classes: list[str]):
        self.classes = classes
        self._tracks: dict[tuple[str, int], array] = {}  # (image, track) -> T times (time, C probabilities), float32

    def add(self, rows: Iterable[dict]) -> None:
        """Rows of faces; those without a track are passed over."""
        for row in rows:
            if row.get("track") is not None:
                values = self._tracks.setdefault((row["image"], row["track"]), array("f"))
                values.extend([row["time"], *(row[name] for name in self.classes)])

    def write(self, file: Path) -> bool:
        """
        Returns:
            False where there is no track, and nothing was written.
        Raises:
            OSError: it cannot be written.
        """
        if not self._tracks:
            return False
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        longest = sorted(self._tracks, key=lambda key: -len(self._tracks[key]))[:MOST_PANELS]
        keys = [key for key in self._tracks if key in longest]
        figure = Figure(figsize=(9, 1 + 2 * len(keys)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(keys), squeeze=False)[:, 0]
        for panel, key in zip(panels, keys):
            values = np.frombuffer(self._tracks[key], np.float32).reshape(-1, 1 + len(self.classes))  # (T, 1 + C)
            for index, name in enumerate(self.classes):
                marker = "o" if len(values) == 1 else None
                panel.plot(values[:, 0], values[:, 1 + index], color=colour_of(index), label=name, marker=marker)
            panel.set(ylim=(0, 1.02), ylabel="probability")
            panel.set_title(f"{Path(key[0]).name}, track {key[1]}", parse_math=False)
            panel.grid(alpha=0.3)
        panels[-1].set_xlabel("time (seconds)")
        if len(self._tracks) > len(keys):
            figure.suptitle(f"the {len(keys)} longest of {len(self._tracks)} tracks")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
        temporary = file.with_name(file.name + ".tmp")
        try:
            figure.savefig(temporary, format="png", dpi=120)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
        return True
