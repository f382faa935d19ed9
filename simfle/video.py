# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Frames of a video file by OpenCV: sampled by the container's times, so that a variable frame rate is right."""

import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# FFmpeg and OpenCV would print their own complaints beside our sentence; read when OpenCV is imported.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
MISSING = 0.02  # the share of its frames that a whole file may lack: some containers only estimate their number
ROUNDING = 1e-6  # seconds
LONGEST_STILL = 60.0  # seconds that one frame may stand in an annotated video


class VideoError(ValueError):
    """A video that cannot be read, or not to its end. The message says why."""


class Video:
    """
    Args:
        path: the file. frames_per_second: how many to look at; None looks at every frame.
    Raises:
        VideoError: the file cannot be opened.
    """

    def __init__(self, path: Path, frames_per_second: float | None = None):
        import cv2

        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            why = "the file is empty" if not path.stat().st_size else "OpenCV finds no video in it, or it is cut off"
            raise VideoError(f"cannot be read as a video: {why}")
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self.rate < 1000:
            self.rate = 25.0
        self.expected = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))  # 0 where the container does not say
        self.sampled = frames_per_second

    @property
    def expected_samples(self) -> int:
        """About how many frames `frames` gives; 0 where the container does not say."""
        return int(self.expected * min(1.0, self.sampled / self.rate)) if self.sampled else self.expected

    def frames(self) -> Iterator[tuple]:
        """
        Yields:
            (time in seconds, frame (H, W, 3) uint8, RGB).
        Raises:
            VideoError: after the last frame that could be read, where the file ends too early.
        """
        import cv2

        count, due, last = 0, 0.0, -1.0
        try:
            while self._capture.grab():
                time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if time <= last:  # a container without times
                    time = last + 1 / self.rate if count else 0.0
                last, count = time, count + 1
                if self.sampled:
                    if time < due - ROUNDING:
                        continue
                    due = (math.floor((time + ROUNDING) * self.sampled) + 1) / self.sampled
                read, frame = self._capture.retrieve()
                if not read:
                    raise VideoError(f"frame {count} at {time:.3f} s cannot be decoded")
                yield time, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()
        if count == 0:
            raise VideoError("cannot be read as a video: it holds no frame that can be decoded")
        if count < self.expected * (1 - MISSING) - 1:
            raise VideoError(f"ends after {count} of {self.expected} frames ({last:.3f} s): it is cut off or damaged")


class VideoWriter:
    """An .mp4 of frames as they come, each shown until the next one's time."""

    def __init__(self, path: Path, rate: float):
        self._path, self._rate = path, rate
        self._writer: Any = None
        self._written = 0

    def write(self, frame, time: float) -> None:
        """frame: (H, W, 3) uint8, RGB. time: seconds. Raises OSError: the file cannot be written."""
        import cv2

        height, width = frame.shape[:2]
        if self._writer is None:
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, (width, height)
            )
            if not self._writer.isOpened():
                raise OSError(f"{self._path} cannot be written as a video")
            self._size = width, height
        if (width, height) != self._size:  # a stream that changes its size
            frame = cv2.resize(frame, self._size)
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        index = min(round(time * self._rate), self._written + int(LONGEST_STILL * self._rate))
        for _ in range(max(1, index + 1 - self._written)):
            self._writer.write(frame)
            self._written += 1

    def release(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def close(self) -> None:
        """Raises OSError: what was written cannot be read; OpenCV says nothing where the disk is full."""
        import cv2

        self.release()
        if not cv2.VideoCapture(str(self._path)).isOpened():
            raise OSError(errno.ENOSPC, "the video could not be written to its end", str(self._path))
