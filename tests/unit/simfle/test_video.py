# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Tier: `make check`. Videos of coloured squares: times, sampling, tracks, damage, summary, plot, copies."""

import csv

import cv2
import numpy as np
import pytest
from PIL import Image

from simfle.errors import InputError
from simfle.plots import MOST_PANELS, ExpressionPlot
from simfle.video import Video, VideoError
from simfle.writers import read_rows
from tests.unit.simfle.coloured_faces import CLASSES, analyse, picture, write_video

RED, GREEN = ("red", 10, 20, 30), ("green", 90, 20, 40)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """10 s at 10 frames a second: red all the time, green in [0, 3) and [6, 10) s."""
    path = tmp_path_factory.mktemp("video") / "talk.avi"
    frames = []
    for index in range(100):
        moving = ("red", 10 + index // 10, 20, 30)
        frames.append(picture(moving, GREEN) if index < 30 or index >= 60 else picture(moving))
    write_video(path, frames)
    return path


def rows_of(output, **values):
    return [row for row in read_rows(output) if all(row[name] == value for name, value in values.items())]


def test_times_and_tracks_of_two_faces_one_of_which_leaves_and_comes_back(video, tmp_path, capsys):
    assert analyse(video, "--output", tmp_path / "v.csv") == 0
    assert "100 frames, 170 faces." in capsys.readouterr().err
    anger = rows_of(tmp_path / "v.csv", label="anger")
    assert [row["time"] for row in anger] == pytest.approx([index / 10 for index in range(100)])
    assert {row["track"] for row in anger} == {anger[0]["track"]}
    neutral = rows_of(tmp_path / "v.csv", label="neutral")
    tracks = [row["track"] for row in neutral]
    assert len(set(tracks[:30])) == len(set(tracks[30:])) == 1
    assert len({anger[0]["track"], tracks[0], tracks[30]}) == 3
    assert next(csv.reader((tmp_path / "v.csv").open()))[:5] == ["image", "face", "time", "track", "box"]


@pytest.mark.parametrize("rate,count", [(2, 20), (3, 30), (10, 100), (50, 100)])
def test_sampling(video, tmp_path, rate, count):
    analyse(video, "--output", tmp_path / "v.jsonl", "--frames_per_second", rate)
    times = [row["time"] for row in rows_of(tmp_path / "v.jsonl", label="anger")]
    assert len(times) == count
    assert np.diff(times).mean() == pytest.approx(max(1 / rate, 0.1), rel=0.02)
    assert Video(video, rate).expected_samples == count


def test_no_face_for_a_while_gives_rows_with_an_empty_label(tmp_path):
    write_video(tmp_path / "v.avi", [picture()] * 5 + [picture(RED)] * 5 + [picture()] * 5)
    analyse(tmp_path / "v.avi", "--output", tmp_path / "v.jsonl")
    rows = list(read_rows(tmp_path / "v.jsonl"))
    assert [row["label"] for row in rows] == [None] * 5 + ["anger"] * 5 + [None] * 5
    assert [row["time"] for row in rows] == pytest.approx([index / 10 for index in range(15)])
    assert not any(row["error"] for row in rows)


def test_a_truncated_video_gives_what_could_be_read_and_an_error(video, tmp_path, capsys):
    (tmp_path / "cut.avi").write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert analyse(tmp_path / "cut.avi", "--output", tmp_path / "v.jsonl") == 0
    *rows, last = read_rows(tmp_path / "v.jsonl")
    assert 40 < len({row["time"] for row in rows}) < 60
    assert last["label"] is None and last["time"] is None
    assert "of 100 frames" in last["error"] and "cut off" in last["error"]
    assert "1 could not be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_a_file_that_is_no_video(tmp_path, video, content):
    write_video(tmp_path / "whole.mp4", [picture(RED)] * 5, codec="mp4v")
    # The index of an .mp4 is at its end, so nothing of a truncated one can be read.
    (tmp_path / "v.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:-600] if content is None else content)
    assert analyse(tmp_path / "v.mp4", "--output", tmp_path / "v.jsonl") == 1
    (row,) = read_rows(tmp_path / "v.jsonl")
    assert row["error"].startswith("cannot be read as a video")
    assert not row["label"]


class Capture:
    """Stands in for cv2.VideoCapture: frames at times of its own."""

    times = (0.0, 0.04, 0.08, 1.0, 1.02, 3.0, 3.5)
    broken = None

    def __init__(self, path):
        self.index = -1

    def isOpened(self):  # noqa: N802
        return True

    def get(self, what):
        values = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: len(self.times)}
        return values.get(what, 1000 * self.times[self.index])

    def grab(self):
        self.index += 1
        return self.index < len(self.times)

    def retrieve(self):
        return self.index != self.broken, np.zeros((4, 4, 3), np.uint8)

    def release(self):
        pass


@pytest.mark.parametrize("sampled,times", [(None, Capture.times), (1, (0.0, 1.0, 3.0)), (2, (0.0, 1.0, 3.0, 3.5))])
def test_a_variable_frame_rate_is_sampled_by_its_times(monkeypatch, tmp_path, sampled, times):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    assert tuple(time for time, _ in Video(tmp_path, sampled).frames()) == times


def test_a_container_without_times_counts_by_its_rate(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Capture, "times", (0.0,) * 4)
    assert [time for time, _ in Video(tmp_path).frames()] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])


def test_a_frame_that_cannot_be_decoded_ends_the_video_with_its_time(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Capture, "broken", 3)
    seen = []
    with pytest.raises(VideoError, match=r"frame 4 at 1.000 s cannot be decoded"):
        seen.extend(time for time, _ in Video(tmp_path).frames())
    assert seen == [0.0, 0.04, 0.08]


def test_smoothing_averages_a_tracks_probabilities(tmp_path):
    frames = [picture(RED)] * 3 + [picture(("blue", 10, 20, 30))] * 5
    write_video(tmp_path / "v.avi", frames)
    for seconds in (0, 0.4):
        analyse(tmp_path / "v.avi", "--output", tmp_path / f"{seconds}.jsonl", "--smooth", seconds)
    plain, smooth = ([row["anger"] for row in read_rows(tmp_path / f"{s}.jsonl")] for s in (0, 0.4))
    expected = [np.mean(plain[max(0, index - 4) : index + 1]) for index in range(8)]
    assert smooth == pytest.approx(expected, abs=1e-5)
    assert [row["label"] for row in read_rows(tmp_path / "0.4.jsonl")] == ["anger"] * 5 + ["happiness"] * 3


def test_summary_one_row_a_track(video, tmp_path, capsys):
    analyse(video, "--output", tmp_path / "v.csv", "--summary", tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert [(row["label"], row["start"], row["end"], row["frames"]) for row in rows] == [
        ("anger", "0.0", "9.9", "100"), ("neutral", "0.0", "2.9", "30"), ("neutral", "6.0", "9.9", "40"),
    ]  # fmt: skip
    anger = [row["anger"] for row in rows_of(tmp_path / "v.csv", track=0)]
    assert float(rows[0]["anger"]) == pytest.approx(np.mean(anger), abs=1e-5) == float(rows[0]["score"])
    capsys.readouterr()
    analyse(video, "--output", tmp_path / "w.csv", "--summary")
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_plot(video, tmp_path, capsys):
    analyse(video, "--output", tmp_path / "v.csv", "--plot", tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").format == "PNG"
    picture(RED).save(tmp_path / "x.png")
    analyse(tmp_path / "x.png", "--output", tmp_path / "x.csv", "--plot", tmp_path / "none.png", "--summary")
    assert not (tmp_path / "none.png").exists()
    said = capsys.readouterr().err
    assert "--plot has nothing to draw" in said and "--summary has no rows" in said


def test_plot_of_more_tracks_than_it_has_panels(tmp_path):
    plot = ExpressionPlot(CLASSES)
    for track in range(MOST_PANELS + 3):
        row = {"image": "a $ b $.mp4", "track": track, "neutral": 0.5, "happiness": 0.25, "anger": 0.25}
        plot.add({**row, "time": float(time)} for time in range(1 + track))
    assert plot.write(tmp_path / "p.png")


@pytest.mark.parametrize("sampled", [None, 5])
def test_a_copy_of_a_video(video, tmp_path, sampled):
    flags = ["--frames_per_second", sampled] if sampled else []
    analyse(video, "--annotate", tmp_path / "copy.mp4", "--output", tmp_path / "v.csv", *flags)
    copy = cv2.VideoCapture(str(tmp_path / "copy.mp4"))
    rate = copy.get(cv2.CAP_PROP_FPS)
    assert rate == (sampled or 10)
    frames = [frame for _, frame in Video(tmp_path / "copy.mp4").frames()]
    assert len(frames) == 10 * rate
    assert np.abs(frames[0].astype(int) - next(Video(video).frames())[1]).max() > 80  # drawn on
    assert not list(tmp_path.glob("*partial*"))


def test_a_video_beside_images_gives_time_and_track_to_all_rows(video, tmp_path):
    picture(RED).save(tmp_path / "x.png")
    analyse(tmp_path / "x.png", video, "--output", tmp_path / "v.csv", "--annotate", tmp_path / "out")
    first = next(csv.DictReader((tmp_path / "v.csv").open()))
    assert first["time"] == first["track"] == "" and first["label"] == "anger"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["talk.mp4", "x.png"]


def test_a_video_that_was_not_finished_is_done_again(video, tmp_path):
    whole, output = tmp_path / "whole.csv", tmp_path / "v.csv"
    write_video(tmp_path / "first.avi", [picture(RED)] * 5)
    inputs = [tmp_path / "first.avi", video]
    analyse(*inputs, "--output", whole, "--summary", tmp_path / "whole-summary.csv")
    analyse(*inputs, "--output", output)
    record = tmp_path / "v.csv.progress.jsonl"
    header, first, _ = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(header + first)  # as if killed
    output.write_bytes(output.read_bytes()[:-2000])
    analyse(*inputs, "--output", output, "--resume", "--summary", tmp_path / "summary.csv")
    assert output.read_bytes() == whole.read_bytes()
    assert (tmp_path / "summary.csv").read_bytes() == (tmp_path / "whole-summary.csv").read_bytes()


def test_resuming_with_a_video_needs_its_columns(video, tmp_path):
    picture(RED).save(tmp_path / "x.png")
    analyse(tmp_path / "x.png", "--output", tmp_path / "v.csv")
    with pytest.raises(InputError, match="begun without videos"):
        analyse(tmp_path / "x.png", video, "--output", tmp_path / "v.csv", "--resume")
