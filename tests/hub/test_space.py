# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""publish.py with a static Space: a page is checked and sent in one commit to a repository of its own kind."""

import pytest

from tests.hub.hub_state import REPO, TOKEN
from training import publish


@pytest.fixture
def page(tmp_path):
    folder = tmp_path / "page"
    (folder / "vendor").mkdir(parents=True)
    (folder / ".cache").mkdir()
    (folder / "README.md").write_text("---\ntitle: Faces\nsdk: static\n---\nA page.\n")
    (folder / "index.html").write_text("<!doctype html><title>Faces</title>")
    (folder / "vendor" / "lib.mjs").write_text("export const home = '/home/web_user';\n")
    (folder / ".cache" / "x.js").write_text("secret")
    (folder / "build.py").write_text("print()")
    return folder


def test_a_page_is_sent_in_one_commit_and_verified(page, client, capsys):
    publish.main([str(page), "--repo_id", REPO])
    assert client.requests == []
    publish.main([str(page), "--repo_id", REPO, "--push"])
    assert set(client.files(f"spaces/{REPO}")) == {".gitattributes", "README.md", "index.html", "vendor/lib.mjs"}
    assert len(client.repositories[f"spaces/{REPO}"].commits) == 2  # the empty one of a new repository, and ours
    said = capsys.readouterr().out
    assert "left out: .cache/ (1 files), build.py" in said and "all 3 are equal" in said
    (page / "index.html").rename(page / "main.html")
    publish.main([str(page), "--repo_id", REPO, "--push"])
    assert set(client.files(f"spaces/{REPO}")) == {".gitattributes", "README.md", "main.html", "vendor/lib.mjs"}


@pytest.mark.parametrize(
    "name,content,sentence",
    [
        ("app.js", f"const token = '{TOKEN}'", r"app\.js holds what looks like a token"),
        ("model.safetensors", "x", r"model\.safetensors is a model file"),
        ("models/face.onnx", "x", r"models/face\.onnx is a model file"),
        ("app.js", "import '/home/me/lib.js'", r"app\.js names a path of one machine, /home/me/"),
        ("README.md", "---\nsdk: gradio\n---\n", "has sdk: gradio; only static Spaces"),
    ],
)
def test_what_a_page_may_not_hold(name, content, sentence, page, client):
    (page / name).parent.mkdir(exist_ok=True)
    (page / name).write_text(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        publish.main([str(page), "--repo_id", REPO, "--push"])
    assert TOKEN not in str(caught.value)
    assert client.requests == []


def test_a_link_in_a_page_is_refused(page, client):
    (page / "lib.js").symlink_to(page / "vendor" / "lib.mjs")
    with pytest.raises(ValueError, match=r"lib\.js is a link"):
        publish.main([str(page), "--repo_id", REPO, "--push"])
