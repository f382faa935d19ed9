# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
publish.py against a Hub on loopback, by the real huggingface_hub client over HTTP (LFS; Xet is switched off).

As a process where a user's road is shown from end to end; in this process, with what it calls, for the many failures.
"""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, constants

from modeling_simfle import SimFLEForImageClassification, SimFLEImageProcessor
from modeling_simfle.hub_folder_simfle import CODE_FILES, file_sha256
from tests.hub.from_hub import hub_environment, logits_from_hub
from tests.hub.hub_server import Handler
from tests.hub.hub_state import REPO, STAYS, TOKEN
from tests.hub.published_folders import note_weights
from tests.new_process import ROOT
from training import publish
from training.data.drawn_faces import draw_face
from training.publishing.record import EXAMPLE, LICENSE_FILE

# The client's own, about how it sends files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
SENT = {
    *("README.md", LICENSE_FILE, "config.json", "preprocessor_config.json", "metrics.json", "model.safetensors"),
    *(EXAMPLE, "confusion_matrix.png", *CODE_FILES),
}


def weights_oid(folder) -> str:
    return file_sha256(folder / "model.safetensors")


def assert_is_there(hub, folder, revision="main"):
    """The files at a revision are those that are listed, and what is not made anew on the way equals the folder's."""
    found = {name: content for name, content in hub.files(REPO, revision).items() if name != ".gitattributes"}
    assert set(found) == SENT
    for name in SENT - {"README.md", LICENSE_FILE, "metrics.json", EXAMPLE}:
        assert found[name] == (folder / name).read_bytes(), name
    assert not any(STAYS.encode() in content for content in found.values())
    assert not any(str(folder).encode() in content for content in found.values())


# From end to end


def test_without_push_nothing_is_asked_of_the_hub(script, hub, finished_run, tmp_path):
    environment = hub_environment(hub.url, tmp_path, HF_TOKEN=TOKEN)
    done = script("publish", finished_run, "--repo_id", REPO, env=environment, check=0)
    assert hub.requests == []
    listed = dict(line.split("sha256 ") for line in done.stdout.splitlines() if "sha256 " in line)
    assert {line.split()[0] for line in listed} == SENT
    assert weights_oid(finished_run) in listed.values()
    (left_out,) = (line for line in done.stdout.splitlines() if line.startswith("left out: "))
    for name in ("checkpoints/ (1 files)", ".env", ".git/", "token", "faces.parquet", "pictures/", "run.json", "onnx/"):
        assert name in left_out
    assert "a drawn face comes out the same" in done.stdout
    assert "nothing was sent" in done.stdout
    assert "licence: other, research-use-only" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_push_then_download_and_classify_elsewhere(script, hub, finished_run, tmp_path):
    environment = hub_environment(hub.url, tmp_path / "home", HF_TOKEN=TOKEN)
    done = script("publish", finished_run, "--repo_id", REPO, "--push", "--private", env=environment, check=0)
    assert_is_there(hub, finished_run)
    sha = hub.repositories[REPO].refs["main"]
    assert f"compared the Hub's hashes at {sha}: all {len(SENT)} are equal" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN in request for request in hub.requests)
    assert f'model="{REPO}"' in hub.files(REPO)["README.md"].decode()
    metrics = json.loads(hub.files(REPO)["metrics.json"])
    assert metrics["weights_sha256"] == {"model.safetensors": weights_oid(finished_run)}

    picture = tmp_path / "face.png"
    image = draw_face(5, 1, 70).image
    image.save(picture)
    theirs = logits_from_hub(hub.url, REPO, picture, tmp_path, token=TOKEN, revision=sha)
    model = SimFLEForImageClassification.from_pretrained(finished_run).eval()
    pixels = SimFLEImageProcessor.from_pretrained(finished_run)(image, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(theirs, model(**pixels).logits[0].numpy(), atol=1e-5)


def test_a_pretraining_run_is_published_as_it_is(client, pretrained, capsys):
    publish.main([str(pretrained[0]), "--repo_id", REPO, "--push"])
    assert "a drawn face comes out the same (32 features)" in capsys.readouterr().out
    assert set(client.files(REPO)) == SENT - {"confusion_matrix.png"} | {".gitattributes"}


@pytest.mark.slow
def test_killed_in_an_upload_and_finished_by_a_second_run(hub, here, finished_run, tmp_path):
    hub.faults["stall"] = weights_oid(finished_run)
    light = (
        "from training import publish\n"
        "from training.publishing import hub\n"
        "hub.compare_in_new_process = lambda folder, staged: ''\n"
        "publish.main()"
    )
    command = [sys.executable, "-c", light, str(finished_run), "--repo_id", REPO, "--push"]
    environment = hub_environment(hub.url, tmp_path, HF_TOKEN=TOKEN, PYTHONPATH=str(ROOT))
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        assert hub.stalled.wait(600)
        while len(hub.sent) < 2:  # both pictures are there
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        hub.released.set()
    assert set(hub.files(REPO)) == {".gitattributes"}
    del hub.faults["stall"]
    here(finished_run)
    assert_is_there(hub, finished_run)
    assert set(hub.sent.values()) == {1}


# Failures, each of which leaves the remote as it was


@pytest.fixture
def published(hub, here, finished_run, folder):
    """An earlier version is on the Hub; `folder` is a new one, with another weight."""
    here(finished_run)
    model = SimFLEForImageClassification.from_pretrained(folder)
    model.classifier.bias.data += 1
    model.save_pretrained(folder)
    note_weights(folder)
    hub.sent.clear()
    return folder


@pytest.mark.parametrize(
    "step,status", [("preupload", 403), ("batch", 403), ("commit", 412), ("put", 507), ("commit", 500)]
)
def test_the_hubs_refusals(step, status, hub, here, published, capsys):
    before, hub.faults[step] = hub.snapshot(), status
    with pytest.raises(ValueError, match=f"HTTP {status}") as caught:
        here(published)
    said = str(caught.value)
    assert said.endswith("nothing was published; run it again: what was sent is not sent again.")
    assert TOKEN not in said and "X-Signature" not in said
    assert hub.snapshot() == before
    del hub.faults[step]
    here(published)
    assert_is_there(hub, published)
    out = capsys.readouterr()
    assert TOKEN not in out.out + out.err


def test_a_cut_connection_and_a_second_run_that_does_not_send_twice(hub, here, published):
    draw_face(1, 1, 48).image.save(published / "confusion_matrix.png")
    before, hub.faults["cut"] = hub.snapshot(), weights_oid(published)
    with pytest.raises(
        ValueError, match=r"^the connection to the Hub was refused or cut \(\w+\); nothing was published"
    ):
        here(published)
    assert hub.snapshot() == before
    assert hub.sent == {file_sha256(published / "confusion_matrix.png"): 1}
    del hub.faults["cut"]
    here(published)
    assert_is_there(hub, published)
    assert hub.sent == {file_sha256(published / name): 1 for name in ("confusion_matrix.png", "model.safetensors")}


def test_someone_else_commits_during_the_upload(hub, here, published, monkeypatch):
    upload_folder = HfApi.upload_folder

    def after_another_commit(*arguments, **options):
        hub.repositories[REPO].commit("main", {"theirs.txt": b"theirs"})
        return upload_folder(*arguments, **options)

    monkeypatch.setattr(HfApi, "upload_folder", after_another_commit)
    with pytest.raises(ValueError, match=r"someone else changed the repository meanwhile.*HTTP 412"):
        here(published)
    assert set(hub.files(REPO)) == {"theirs.txt"}


@pytest.mark.parametrize("token,sentence", [("hf_" + "x" * 34, "does not know the token"), (None, "no token")])
def test_without_the_right_token_nothing_is_made(token, sentence, hub, here, finished_run, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    if token:
        (tmp_path / "token").write_text(token)  # as `hf auth login` leaves it
    with pytest.raises(ValueError, match=sentence) as caught:
        here(finished_run)
    assert token is None or token not in str(caught.value)
    assert hub.repositories == {}


def test_no_hub_and_the_offline_switch(here, finished_run, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set; take it away to publish"):
        here(finished_run)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the connection to the Hub was refused or cut"):
        here(finished_run)


def test_a_file_that_is_another_one_on_the_hub(hub, here, finished_run, monkeypatch):
    tree = Handler.tree

    def spoilt(self, repo_id, revision):
        repository = hub.repositories[repo_id]
        files = repository.commits[repository.sha(revision)]
        if "config.json" in files:  # not before the upload
            files["config.json"] += b"?"
        tree(self, repo_id, revision)

    monkeypatch.setattr(Handler, "tree", spoilt)
    with pytest.raises(ValueError, match=r"config\.json at .*, is not the file that was sent"):
        here(finished_run)


# Where to


def test_private_and_a_second_run_with_nothing_new(hub, here, finished_run, capsys):
    here(finished_run, "--private", "true")
    assert hub.repositories[REPO].private
    before = hub.snapshot()
    assert "nothing to change" not in capsys.readouterr().out
    here(finished_run, "--private")
    assert hub.snapshot() == before
    said = capsys.readouterr().out
    assert f"nothing to change; {REPO} already holds these files: " in said and "published" not in said


def test_a_branch_that_is_not_there_and_a_pull_request(hub, here, published, capsys):
    main = hub.repositories[REPO].refs["main"]
    here(published, "--revision", "v2/test")
    assert_is_there(hub, published, "v2/test")
    here(published, "--create_pr")
    assert_is_there(hub, published, "refs/pr/1")
    assert f"published {len(SENT)} files" in capsys.readouterr().out
    assert hub.repositories[REPO].refs["main"] == main
    assert hub.sent[weights_oid(published)] == 1


def test_private_is_asked_for_a_public_one(hub, here, published):
    before = hub.snapshot()
    with pytest.raises(ValueError, match="org/name exists and is public"):
        here(published, "--private")
    with pytest.raises(ValueError, match="org/name exists and is public"):
        here(published, "--private", "--revision", "v2")
    assert hub.snapshot() == before  # no branch either
    assert not hub.sent


def test_what_others_put_there_stays_and_earlier_weights_go(hub, here, finished_run, folder):
    here(finished_run)
    theirs = {"notes.md": b"notes", "onnx/model.onnx": b"old", "model-00001-of-00002.safetensors": b"old"}
    hub.repositories[REPO].commit("main", {**hub.files(REPO), **theirs})
    (folder / "model.safetensors").unlink()
    model = SimFLEForImageClassification.from_pretrained(finished_run)
    model.save_pretrained(folder, max_shard_size="20KB")
    note_weights(folder)
    shards = {path.name for path in folder.glob("model-*")}
    assert len(shards) > 2
    here(folder)
    found = set(hub.files(REPO))
    assert found == SENT - {"model.safetensors"} | shards | {
        "model.safetensors.index.json",
        "notes.md",
        ".gitattributes",
    }
