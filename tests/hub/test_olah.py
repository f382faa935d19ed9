# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
A published folder served by olah, a third party's Hub server: offline, from a git repository at its mirrors path.

Weights are git LFS pointers there, with the object in .git/lfs/objects, as a clone of a Hub repository has them.
"""

import hashlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_simfle import SimFLEForImageClassification, SimFLEImageProcessor
from modeling_simfle.hub_folder_simfle import CODE_FILES
from tests.hub.drawn_classifier import save_classifier
from tests.hub.from_hub import hub_environment, logits_from_hub
from training.data.drawn_faces import draw_face

REPO, TAG = "org/name", "v1"
CONFIG = """
[basic]
host = "127.0.0.1"
port = {port}
repos-path = "{root}/cache"
mirrors-path = ["{root}/mirrors"]

[accessibility]
offline = true
"""
DOWNLOAD = """
import json, sys
from pathlib import Path
from huggingface_hub import hf_hub_download, snapshot_download
repo_id, revision = sys.argv[1:]
config = hf_hub_download(repo_id, "config.json", revision=revision)
folder = snapshot_download(repo_id, revision=revision)
assert Path(config).parent == Path(folder)
print(json.dumps(folder))
"""


def make_repository(folder: Path, content: Path) -> str:
    """A git repository with the files of `content`, its weights in LFS's form, and a tag; returns the commit's sha."""

    def git(*arguments) -> str:
        author = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(folder), *author, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    folder.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch", "main")
    for path in content.iterdir():
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            oid = hashlib.sha256(data).hexdigest()
            stored = folder / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
            stored.parent.mkdir(parents=True)
            stored.write_bytes(data)
            data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()
        (folder / path.name).write_bytes(data)
    git("add", ".")
    git("commit", "--quiet", "--message", "Publish")
    git("tag", TAG)
    return git("rev-parse", "HEAD")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("published") / "name")


@pytest.fixture(scope="module")
def olah(content, tmp_path_factory):
    """(address, sha of the one commit) of a server that runs while this file's tests do."""
    root, port = tmp_path_factory.mktemp("olah"), free_port()
    sha = make_repository(root / "mirrors" / "models" / "org" / "name", content)
    (root / "olah.toml").write_text(CONFIG.format(port=port, root=root))
    command = [sys.executable, "-m", "olah.server", "--config", "olah.toml", "--log-path", "log"]
    with open(root / "output", "w") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=output)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 600
        while not answers(f"{url}/{REPO}/resolve/{TAG}/config.json"):
            assert process.poll() is None and time.monotonic() < end, (root / "output").read_text()[-3000:]
            time.sleep(0.2)
        yield url, sha
    finally:
        process.terminate()
        process.wait(30)


def test_downloads_have_the_published_bytes(olah, content, tmp_path):
    url, sha = olah
    command = [sys.executable, "-c", DOWNLOAD, REPO, TAG]
    done = subprocess.run(command, capture_output=True, text=True, env=hub_environment(url, tmp_path), timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(json.loads(done.stdout.splitlines()[-1]))
    assert folder.name == sha
    files = {path.name for path in folder.iterdir()}
    assert files == {path.name for path in content.iterdir()} > {"model.safetensors", *CODE_FILES}
    for name in files:
        assert (folder / name).read_bytes() == (content / name).read_bytes(), name


def test_from_pretrained_by_name_and_revision(olah, content, tmp_path):
    image = draw_face(5, 1, 70).image
    image.save(tmp_path / "face.png")
    pixels = SimFLEImageProcessor.from_pretrained(content)(image, return_tensors="pt")
    with torch.no_grad():
        ours = SimFLEForImageClassification.from_pretrained(content).eval()(**pixels).logits[0].numpy()
    theirs = logits_from_hub(olah[0], REPO, tmp_path / "face.png", tmp_path, revision=TAG)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
