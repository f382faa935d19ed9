# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Streams: every image once an epoch, over processes and after a resume; Parquet and WebDataset; errors."""

import io
import json
import tarfile
from types import SimpleNamespace

import datasets
import datasets.iterable_dataset
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests import official_layouts as layouts
from tests.drawn_dataset import make_dataset
from training import pretrain
from training.data.drawn_faces import write_image_folder
from training.data.faces import DatasetArguments
from training.data.images import BadImage
from training.data.streams import StreamSampler, open_stream
from training.pretraining.arguments import PretrainingArguments
from training.pretraining.batches import StepSampler, StepShape
from training.pretraining.setup import open_monitored


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """datasets 5.2 sleeps for five seconds at the end of every shuffled pass."""
    monkeypatch.setattr(datasets.iterable_dataset, "time", SimpleNamespace(sleep=lambda seconds: None), raising=False)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """48 faces in three shards of uneven length."""
    folder, faces = tmp_path_factory.mktemp("parquet"), make_dataset(48, seed=0, size=40)
    for number, part in enumerate((range(10), range(10, 30), range(30, 48))):
        faces.select(part).to_parquet(folder / f"train-{number:05d}.parquet")
    return folder


@pytest.fixture(scope="module")
def webdataset(tmp_path_factory):
    folder, faces = tmp_path_factory.mktemp("webdataset"), make_dataset(24, seed=0, size=40)
    for shard in range(2):
        with tarfile.open(folder / f"train-{shard:03d}.tar", "w") as file:
            for index in range(12 * shard, 12 * shard + 12):
                buffer = io.BytesIO()
                faces[index]["image"].save(buffer, "PNG")
                for name, content in ((f"{index:04d}.png", buffer.getvalue()), (f"{index:04d}.json", b"{}")):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))
    return folder


def sample(faces, num_processes=1, rank=0, batch_size=4, accumulation=1, first=0, last=24):
    steps = StepSampler(len(faces), StepShape(batch_size, accumulation, num_processes, rank), 0, first, last)
    return [[(e, p, cell["bytes"]) for e, p, cell in batch] for batch in StreamSampler(faces, steps, 16)]


def test_every_image_once_an_epoch_in_an_order_of_its_own(parquet):
    faces = open_stream(DatasetArguments(), str(parquet), "train")
    assert len(faces) == 48
    batches = sample(faces)
    epochs = [[key for batch in batches[start : start + 12] for key in batch] for start in (0, 12)]
    for number, epoch in enumerate(epochs):
        assert [position for _, position, _ in epoch] == list(range(48))
        assert {e for e, *_ in epoch} == {number}
        assert len({content for *_, content in epoch}) == 48
    assert [c for *_, c in epochs[0]] != [c for *_, c in epochs[1]]
    assert batches == sample(faces)


def test_processes_share_the_stream_without_repeats_or_gaps(parquet):
    faces = open_stream(DatasetArguments(), str(parquet), "train")
    one = sample(faces, batch_size=8, last=6)
    two = [sample(faces, num_processes=2, rank=rank, last=6) for rank in (0, 1)]
    assert [[*a, *b] for a, b in zip(*two, strict=True)] == one
    assert sample(faces, batch_size=8, first=4, last=6) == one[4:]  # a resumed run
    halves = sample(faces, accumulation=2, last=6)
    assert [[*a, *b] for a, b in zip(halves[::2], halves[1::2], strict=True)] == one


def test_webdataset_shards(webdataset):
    with pytest.raises(ValueError, match="does not say how many images it has; give --num_images"):
        open_stream(DatasetArguments(), str(webdataset), "train")
    faces = open_stream(DatasetArguments(), str(webdataset), "train", num_images=24)
    keys = [key for batch in sample(faces, last=6) for key in batch]
    assert len({content for *_, content in keys}) == 24
    assert faces.sample(3)[0].size == (40, 40)
    short = open_stream(DatasetArguments(), str(webdataset), "train", num_images=99)
    with pytest.raises(ValueError, match="ended after 24 images, before the 99"):
        sample(short, last=24)


def test_what_is_wrong_is_said(tmp_path, parquet):
    with pytest.raises(ValueError, match=r"holds no \.parquet or \.tar shards"):
        open_stream(DatasetArguments(), str(tmp_path), "train")
    with pytest.raises(ValueError, match="is no local folder, and the Hub gave no split"):
        open_stream(DatasetArguments(), "nobody/nothing", "train")
    with pytest.raises(ValueError, match="reads Parquet or WebDataset shards, not --data_format ferplus"):
        open_stream(DatasetArguments(data_format="ferplus"), str(parquet), "train")


def test_a_stream_of_ferplus_would_take_validation_images(tmp_path):
    layouts.write_ferplus_parquet(tmp_path)
    with pytest.raises(ValueError, match="looks like FER"):
        open_stream(DatasetArguments(), str(tmp_path), "train")
    assert len(open_stream(DatasetArguments(data_format="parquet"), str(tmp_path), "train")) > 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pretraining_from_a_stream_resumes_bit_for_bit(parquet, pretraining_flags, tmp_path, num_workers):
    flags = ["--dataset", str(parquet), "--streaming", "true", "--shuffle_buffer", "16"]
    flags = [*pretraining_flags, *flags, "--num_workers", str(num_workers), "--num_train_epochs", "2"]
    pretrain.main([*flags, "--output_dir", str(tmp_path / "straight")])
    pretrain.main([*flags, "--max_train_steps", "8", "--output_dir", str(tmp_path / "resumed")])
    pretrain.main([*flags, "--resume_from_checkpoint", "latest", "--output_dir", str(tmp_path / "resumed")])
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("resumed", "straight"))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    looks = [json.loads(line) for line in (tmp_path / "resumed" / "monitor.jsonl").read_text().splitlines()]
    assert [look["step"] for look in looks] == [0, 6, 8, 12]  # 8: where it was stopped
    flags = [*flags, "--resume_from_checkpoint", "latest", "--output_dir", str(tmp_path / "resumed")]
    with pytest.raises(ValueError, match="was made with shuffle_buffer 16, not 8"):  # it decides what comes next
        pretrain.main([*flags, "--shuffle_buffer", "8"])


def write_sixteen(path, bad):
    """A Parquet file of the bad cells first, then of readable images without names, 16 in all."""
    cells = list(bad)
    for value in range(16 - len(bad)):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 20), (value, 0, 9)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    rows.to_parquet(path)
    return path


def test_an_unreadable_image_of_a_stream_is_named(pretraining_flags, tmp_path, capsys):
    shard = write_sixteen(tmp_path / "train.parquet", [{"bytes": b"no image", "path": "bad.png"}])
    flags = [*pretraining_flags, "--dataset", str(shard), "--streaming", "true"]
    pretrain.main([*flags, "--max_bad_images", "1", "--output_dir", str(tmp_path / "o")])
    assert "bad.png is not a readable image" in capsys.readouterr().err
    state = json.loads((tmp_path / "o" / "checkpoints" / "step_00000002" / "training_state.json").read_text())
    assert len(state["bad_images"]) == 1


def test_a_bad_image_of_a_stream_counts_once_and_others_beside_it(pretraining_flags, tmp_path, capsys):
    """Three epochs, two bad images without names: known by their bytes."""
    bad = [{"bytes": content, "path": None} for content in (b"no image", b"nor this")]
    shard = write_sixteen(tmp_path / "train.parquet", bad)
    flags = [*pretraining_flags, "--dataset", str(shard), "--streaming", "true"]
    flags += ["--num_train_epochs", "3", "--output_dir", str(tmp_path / "o")]
    pretrain.main([*flags, "--max_bad_images", "2"])
    assert capsys.readouterr().err.count("bad image ") == 2


def test_a_row_without_a_image_is_a_bad_image(tmp_path):
    cells = [{"bytes": b"no image", "path": "a.png"}, None]
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    rows.to_parquet(tmp_path / "train.parquet")
    stream = open_stream(DatasetArguments(), str(tmp_path), "train")
    for cell, why in zip(stream.cells(), ("a.png is not a readable image", "has no image"), strict=True):
        with pytest.raises(BadImage, match=why):
            stream.image(cell)
    assert stream.sample(2) == []


@pytest.mark.parametrize("name", ["half", "a member's half", "empty", "noise", "parquet"])
def test_a_shard_that_is_cut_off_is_a_sentence(name, webdataset, pretraining_flags, tmp_path):
    whole = sorted(webdataset.glob("*.tar"))[0].read_bytes()
    content = {"half": whole[: len(whole) // 2 + 100], "a member's half": whole[:600], "empty": b""}
    ending = "parquet" if name == "parquet" else "tar"
    (tmp_path / f"train-0.{ending}").write_bytes(content.get(name, bytes(range(256)) * 8))
    flags = [*pretraining_flags, "--dataset", str(tmp_path), "--streaming", "true", "--num_images", "20"]
    with pytest.raises(
        ValueError, match=r"shard is cut off or damaged|train-0\.\w+ cannot be read, .* get the damaged"
    ):
        pretrain.main([*flags, "--output_dir", str(tmp_path / "o")])


def test_a_stream_may_be_monitored_on_faces_that_are_none(parquet, tmp_path):
    for split, count in (("train", 16), ("validation", 8)):
        write_image_folder(tmp_path / "labelled" / split, count, seed=0, size=16)
    data = DatasetArguments(dataset=str(parquet))
    labelled = str(tmp_path / "labelled")
    run = PretrainingArguments(view_size=32, streaming=True, num_images=48, monitor_dataset=labelled)
    assert [len(faces) for faces in open_monitored(data, run)] == [16, 8]
