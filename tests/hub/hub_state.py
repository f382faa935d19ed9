# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What the small Hub of hub_server.py keeps, in memory: repositories, blobs, and what was asked of it."""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field

LFS_SUFFIXES = (".safetensors", ".onnx", ".png")
REPO = "org/name"
STAYS = "sk-of-a-file-that-must-stay"
TOKEN = "hf_" + "TestTokenOfNobody" * 2


class Refused(Exception):
    """An answer that is an error: status, message, and the Hub's own code for it."""

    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class Repository:
    """commits: sha to its files by path, bytes each. refs: branch, or refs/pr/N, to sha."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, ref: str, files: dict[str, bytes]) -> str:
        content = [(name, blob_id(files[name])) for name in sorted(files)]
        sha = hashlib.sha1(repr((len(self.commits), content)).encode()).hexdigest()
        self.commits[sha] = files
        self.refs[ref] = sha
        return sha

    def sha(self, revision: str) -> str:
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha


@dataclass
class Hub:
    """
    The server's state.

    url: of the Hub. storage_url: of the blobs: the same server, under another host's name, as with the real one.
    faults: what goes wrong: a step ("create", "branch", "preupload", "batch", "put", "commit") to the HTTP status that
        it answers; "cut" and "stall" to the hash of a blob whose upload is cut in its middle, or halts there.
    requests: "METHOD path" of everything that was asked. sent: hashes of the blobs that came whole, counted.
    stalled: set once an upload halts; released: lets it go.
    """

    url: str = ""
    storage_url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, int | str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    sent: Counter = field(default_factory=Counter)
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo_id]
        return repository.commits[repository.sha(revision)]

    def snapshot(self) -> dict:
        """Everything that a reader can see, to be compared before and after."""
        return {name: (r.private, dict(r.refs), set(r.commits)) for name, r in self.repositories.items()}


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def blob_id(content: bytes) -> str:
    """Git's."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe(path: str, content: bytes) -> dict:
    """A file as tree and paths-info list it."""
    found = {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
    if is_lfs(path):
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return found
