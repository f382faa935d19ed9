# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What becomes of the faces: rows, copies with boxes, tracks, a summary and a plot."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simfle.annotate import Annotator, is_single_file
from simfle.errors import RunError
from simfle.images import read_image
from simfle.inputs import Inputs, Source
from simfle.plots import ExpressionPlot
from simfle.progress_record import ProgressRecord
from simfle.summaries import TrackSummary, summary_columns
from simfle.tracks import Smoother, Tracker
from simfle.writers import RowWriter, TablePrinter, read_rows, write_table

MOST_NAMES = 5  # files that the closing line names


@dataclass
class Look:
    """
    What is looked at once.

    Args:
        source: its file. frame: (H, W, 3) uint8 of a video, RGB. time: of the frame, seconds. error: why it
            cannot be read. is_last: whether the source ends here. is_skipped: whether an earlier run has done it.
            rate: frames a second of the video, as it is sampled. expected: about how many frames it gives.
    """

    source: Source
    frame: Any = None
    time: float | None = None
    error: str | None = None
    is_last: bool = True
    is_skipped: bool = False
    rate: float = 0.0
    expected: int = 0

    @property
    def is_image(self) -> bool:
        """Whether this look has an image. The last look of a video has none; it marks the end."""
        return not self.is_skipped and (self.time is not None or not self.source.is_video)


class Results:
    """
    Takes the faces of one look after the other.

    Args:
        arguments: of `parse_arguments`. classes: names of the classes. writer: of the rows. record: of --output.
    """

    def __init__(
        self, arguments: Namespace, classes: list[str], writer: RowWriter | TablePrinter, record: ProgressRecord | None
    ):
        self.arguments, self.classes, self.record = arguments, classes, record
        self.writer: Any = writer  # a RowWriter where there is a record
        self.read_files = record.read_files if record else 0
        self.read_images = self.faces = self.skipped = 0
        self.problems: list[str] = []  # names of the first files with an error
        self.problem_count = 0
        self.summary, self.plot = TrackSummary(classes), ExpressionPlot(classes)
        self.annotator = None
        if arguments.annotate:
            is_file = is_single_file(arguments.annotate, arguments.inputs)
            self.annotator = Annotator(arguments.annotate, is_file, classes)
        self._begin(None)

    def _begin(self, source: Source | None) -> None:
        self._source, self._read, self._has_problem = source, False, False
        self._tracker, self._smoother = Tracker(), Smoother(self.arguments.smooth or 0)
        self._place = self.annotator.place(source) if self.annotator and source else None

    def take_over(self) -> None:
        """Gathers what the rows of an earlier run say, for the summary and the plot."""
        if self.record and self.record.end and (self.arguments.summary or self.arguments.plot):
            for row in read_rows(self.writer.path):
                self._gather([row])

    def _gather(self, rows: list[dict]) -> None:
        if self.arguments.summary:
            self.summary.add(rows)
        if self.arguments.plot:
            self.plot.add(rows)

    def add(self, look: Look, faces: list[dict]) -> None:
        """
        Args:
            look: what was looked at. faces: its faces, the largest first: box, detection_score (None in a crop), scores
                (a mapping of class to probability).
        Raises:
            RunError: the disk is full, or something else keeps from writing. BrokenPipeError.
        """
        if look.source != self._source:
            self._begin(look.source)
        if look.is_skipped:
            self.skipped += 1
            return
        rows = list(self._rows(look, faces))
        self._count(look, faces)
        with self._saving():
            self.writer.write(rows)
            if self.annotator:
                self._annotate(look, rows)
            if self.record and look.is_last:
                self.record.add(look.source, self.writer.size, self._read)
        self._gather(rows)

    def _count(self, look: Look, faces: list[dict]) -> None:
        self.faces += len(faces)
        if look.error:
            self._has_problem = True
        elif look.is_image:
            self._read = True
            self.read_images += 1
        if look.is_last:
            self.read_files += self._read
            self.problem_count += self._has_problem
            if self._has_problem and len(self.problems) < MOST_NAMES:
                self.problems.append(look.source.name)

    def _rows(self, look: Look, faces: list[dict]) -> Iterator[dict]:
        start = {"image": look.source.name, "time": None if look.time is None else round(look.time, 3)}
        if look.error:
            yield {**start, "error": look.error}
        elif look.is_image and not faces:
            yield start
        tracks: list = [None] * len(faces)
        if look.time is not None:
            boxes = [face["box"] or {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1} for face in faces]
            tracks = self._tracker.update(boxes, look.time)
        for index, (face, track) in enumerate(zip(faces, tracks)):
            values = [face["scores"][name] for name in self.classes]
            if track is not None:
                values = self._smoother.update(track, look.time, values)
            scores = {name: round(value, 6) for name, value in zip(self.classes, values)}
            label = max(scores, key=scores.__getitem__)
            about = {
                "face": index,
                "track": track,
                "box": face["box"],
                "detection_score": rounded(face["detection_score"]),
            }
            yield {**start, **about, "label": label, "score": scores[label], **scores}

    def _annotate(self, look: Look, rows: list[dict]) -> None:
        if look.frame is not None:
            self.annotator.write_frame(look.frame, look.time, rows, look.source, self._place, look.rate)
        elif look.source.is_video:
            self.annotator.end_video(self._place)
        elif not look.error:
            self.annotator.write_image(read_image(look.source.path), rows, look.source, self._place)

    @contextmanager
    def _saving(self):
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise RunError(f"{place}{error.strerror or error}{self.saved()}") from error

    def saved(self) -> str:
        """The end of a sentence: what is done, and how to go on."""
        if not self.record:
            return "."
        return f"; {len(self.record.done)} files are done in {self.writer.path}, and --resume goes on."

    def finish(self) -> None:
        """Completes the files. Raises RunError."""
        with self._saving():
            self.writer.finish()
            if self.arguments.summary:
                self._write_summary()
            if self.arguments.plot and not self.plot.write(self.arguments.plot):
                print("simfle: --plot has nothing to draw; no face was found in a video.", file=sys.stderr)

    def _write_summary(self) -> None:
        columns, rows = summary_columns(self.classes), self.summary.rows()
        if isinstance(self.arguments.summary, Path):
            write_table(rows, columns, self.arguments.summary)
        elif rows:
            TablePrinter(columns).write(rows)
        if not rows:
            print("simfle: --summary has no rows; no face was found in a video.", file=sys.stderr)

    def close(self) -> None:
        """Closes what is open, finished or not."""
        self.writer.close()
        for part in (self.record, self.annotator):
            if part:
                part.close()

    def report(self, inputs: Inputs) -> None:
        """One line on standard error: what was read, and what was not."""
        kind = "frame" if inputs.videos and not inputs.images else "image"
        counts = [f"{self.read_images} {kind}{plural(self.read_images)}"]
        counts.append(f"{self.faces} face{plural(self.faces)}")
        if self.skipped:
            counts.append(f"{self.skipped} file{plural(self.skipped)} done before")
        line = f"simfle: {', '.join(counts)}"
        if self.problem_count:
            more = ", ..." if self.problem_count > len(self.problems) else ""
            line += f"; {self.problem_count} could not be read ({', '.join(self.problems)}{more})"
        if inputs.others:
            line += f"; {inputs.others} other file{plural(inputs.others)} left out"
        print(line + ".", file=sys.stderr)


def plural(count: int) -> str:
    return "" if count == 1 else "s"


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
