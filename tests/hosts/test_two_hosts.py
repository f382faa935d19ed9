# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Two hosts run the line of docs/several_gpus.md: one is killed and comes back, the cable is cut, one is slow or holds
another program or other data. Tier: `make test-all`.
"""

import json
import re
import shlex
import shutil
import signal

import pytest

from tests.distributed.launcher import launch
from tests.faults.test_kills import assert_same_end
from tests.hosts.documented import console_command
from tests.hosts.two_hosts import TwoHosts, skip_without_namespaces
from tests.new_process import ROOT
from training.data.drawn_faces import write_image_folder
from training.runtime.checkpoints import list_checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LOST = "pretrain: another process of the run died or did not answer in time"


@pytest.fixture
def hosts(tmp_path):
    skip_without_namespaces()
    with TwoHosts(tmp_path) as both:
        yield both


@pytest.fixture
def flags(pretraining_flags):
    """So many epochs that no run reaches its end by itself."""
    more = ["--per_device_train_batch_size", 4, "--num_train_epochs", 10_000, "--checkpointing_steps", 2]
    return [*pretraining_flags, *map(str, more), "--mixed_precision", "no"]


class Job:
    """The documented line on both hosts, with a tiny model, on CPUs."""

    def __init__(self, hosts, flags, folder, faces, restarts=None):
        self.hosts, self.folder = hosts, folder
        words = console_command("several_gpus.md", "--nnodes 2")
        places = {"HOST": "first", "FACES": str(faces), "SHARED/OUT": str(folder), "8": "1"}
        words = [places.get(word, word.replace("HOST:", "first:")) for word in words]
        assert "--resume_from_checkpoint latest" in " ".join(words)
        if restarts is not None:
            words[words.index("--max_restarts") + 1] = str(restarts)
        self.environment = dict(word.split("=") for word in words if re.match("[A-Z_]+=", word))
        self.words = [*words[len(self.environment) :], *flags]

    def start(self, host, *more, folder=ROOT) -> None:
        host.start([*self.words, *more], folder, **self.environment)

    def start_both(self, *more) -> None:
        for host in self.hosts:
            self.start(host, *more)

    def steps(self) -> int:
        """Lines of metrics.jsonl: --logging_steps 1, each step once."""
        try:
            return (self.folder / "metrics.jsonl").read_text().count("\n")
        except FileNotFoundError:
            return 0

    def wait_for_step(self, step: int) -> None:
        def reached():
            assert not any(host.ended() for host in self.hosts), self.hosts.printed()
            return self.steps() >= step

        self.hosts.wait_for(reached)

    def wait_for_ends(self, *hosts) -> None:
        self.hosts.wait_for(lambda: all(host.ended() for host in hosts))

    def wait_for_sentences(self) -> None:
        """Of the script on both hosts; without a cable the launcher ends minutes later."""
        self.hosts.wait_for(lambda: all(own_sentences(host) for host in self.hosts))


def own_sentences(host) -> list[str]:
    """What the script itself said; the launcher adds a report of its own after it."""
    return [line for line in host.printed().splitlines() if line.startswith("pretrain: ")]


def test_a_killed_host_comes_back_and_loses_nothing(hosts, flags, faces, tmp_path):
    job = Job(hosts, flags, tmp_path / "run", faces)
    job.start_both()
    job.wait_for_step(5)
    hosts.second.kill()
    hosts.wait_for(lambda: LOST in hosts.first.printed())
    saved = int(list_checkpoints(job.folder)[-1].name.removeprefix("step_"))
    assert saved >= 4 and not hosts.first.ended()
    job.start(hosts.second)
    hosts.wait_for(lambda: f"resuming from step {saved}" in hosts.printed())
    job.wait_for_step(saved + 4)
    for host in hosts:
        host.launcher.send_signal(signal.SIGTERM)
    job.wait_for_ends(*hosts)
    assert "stopped, to go on by --resume_from_checkpoint latest" in hosts.printed()
    assert json.loads((job.folder / "run.json").read_text())["num_processes"] == 2

    end = int(list_checkpoints(job.folder)[-1].name.removeprefix("step_")) + 3
    straight = tmp_path / "straight"
    for folder in (job.folder, straight):
        ending = ["--output_dir", folder, "--resume_from_checkpoint", "latest", "--max_train_steps", end]
        status, output = launch("training/pretrain.py", *flags, *ending)
        assert status == 0, output[-3000:]
    assert_same_end(job.folder, straight)


def test_the_first_hosts_death_is_a_sentence_on_the_second(hosts, flags, faces, tmp_path):
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    job.start_both()
    job.wait_for_step(3)
    hosts.first.kill()
    job.wait_for_ends(hosts.second)
    assert [LOST in sentence for sentence in own_sentences(hosts.second)] == [True]
    assert own_sentences(hosts.second)[0].endswith("the last checkpoint stands")


def test_a_cut_cable_is_a_sentence_on_both(hosts, flags, faces, tmp_path):
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    job.start_both("--timeout_seconds", "45")
    job.wait_for_step(3)
    hosts.second.set_cable("down")
    job.wait_for_sentences()
    for host in hosts:
        assert [LOST in sentence for sentence in own_sentences(host)] == [True], host.printed()
        assert own_sentences(host)[0].endswith("the last checkpoint stands")


def test_a_stop_behind_a_cut_cable_is_a_sentence(hosts, flags, faces, tmp_path):
    """The process waits for the first host, and is asked to stop long before --timeout_seconds."""
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    job.start_both("--timeout_seconds", "100000")
    job.wait_for_step(3)
    hosts.second.set_cable("down")
    hosts.second.signal_all(signal.SIGTERM)
    hosts.wait_for(lambda: "SIGTERM came 24 seconds ago, and the step has not ended" in hosts.second.printed())


@pytest.mark.parametrize(
    "discipline", ["netem delay 60s", "tbf rate 1kbit burst 1600 latency 60s"], ids=["delay", "rate"]
)
def test_a_host_that_is_too_slow_is_a_sentence_on_both(hosts, flags, faces, tmp_path, discipline):
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    if not hosts.second.limit(*discipline.split()):
        pytest.skip("no iproute2 netem: this kernel lacks the queueing discipline")
    assert hosts.second.limit("pfifo")  # no delay until the run is under way
    job.start_both("--timeout_seconds", "45")
    job.wait_for_step(3)
    assert hosts.second.limit(*discipline.split())
    job.wait_for_sentences()
    for host in hosts:
        assert [LOST in sentence for sentence in own_sentences(host)] == [True], host.printed()


def test_a_slow_host_in_time_changes_nothing(hosts, flags, faces, tmp_path):
    """What the second host sends takes its time; the run ends like one of two processes on one host."""
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    delayed = hosts.second.limit(*"netem delay 50ms".split())
    assert delayed or hosts.second.limit(*"tbf rate 20mbit burst 16000 latency 10s".split())
    job.start_both("--max_train_steps", "4")
    job.wait_for_ends(*hosts)
    assert "finished at step 4" in hosts.printed(), hosts.printed()
    straight = ["--output_dir", tmp_path / "straight", "--max_train_steps", 4]
    status, output = launch("training/pretrain.py", *flags, *straight)
    assert status == 0, output[-3000:]
    assert_same_end(job.folder, tmp_path / "straight")


def test_another_version_is_a_sentence_on_both(hosts, flags, faces, tmp_path):
    """A checkout of another version, whose code differs too."""
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    other = tmp_path / "other"
    for room in ("training", "modeling_simfle", "tests"):
        shutil.copytree(ROOT / room, other / room, ignore=shutil.ignore_patterns("__pycache__"))
    about = other / "simfle-0.0.9.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: simfle\nVersion: 0.0.9\n")
    with open(other / "training" / "pretraining" / "loop.py", "a") as file:
        file.write("# another version\n")
    job.start(hosts.first)
    job.start(hosts.second, folder=other)
    job.wait_for_ends(*hosts)
    for host in hosts:
        (sentence,) = own_sentences(host)
        assert re.match(
            r"pretrain: the processes differ in simfle \(and code of this package\): (.* on \w+ \(process \d\), )+"
            r".*every machine must have the same program, data and flags\.",
            sentence.replace("; every", ", every"),
        ), sentence
        assert "0.0.9 on second" in sentence
    assert not (job.folder / "run.json").exists()


@pytest.mark.parametrize("fault", ["other faces", "no faces", "other flag"])
def test_other_data_or_flags_are_a_sentence_on_both(hosts, flags, faces, tmp_path, fault):
    job = Job(hosts, flags, tmp_path / "run", faces, restarts=0)
    write_image_folder(tmp_path / "other" / "train", 49, seed=5, size=40)
    more = {
        "other faces": ["--dataset", tmp_path / "other"],
        "no faces": ["--dataset", tmp_path / "nowhere"],
        "other flag": ["--logging_steps", 2],
    }
    job.start(hosts.first)
    job.start(hosts.second, *more[fault])
    job.wait_for_ends(*hosts)
    expected = {
        "other faces": r"the processes differ in dataset_fingerprint",
        "no faces": rf"{re.escape(shlex.quote(str(tmp_path / 'nowhere')))}",
        "other flag": r"the processes differ in logging_steps: 1 on first \(process \d\), 2 on second",
    }
    for host in hosts:
        (sentence,) = own_sentences(host)
        assert re.search(expected[fault].replace("first", r"\w+").replace("second", r"\w+"), sentence), sentence
    assert not (job.folder / "run.json").exists()
