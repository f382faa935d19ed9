# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
A small Hub on loopback: what huggingface_hub's client asks for when it creates, uploads, lists and downloads models.

It speaks LFS's basic transfer alone, and can be told to fail (`Hub.faults`). It is exact where the client looks:
statuses, error codes, headers, ids of commits and blobs.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.hub_state import TOKEN, Hub, Refused, Repository, blob_id, describe, is_lfs


@contextmanager
def running_hub():
    """A Hub that answers on a free port while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage_url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request: the first route whose pattern fits answers it."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # (method, pattern, name of the method that answers, step of `faults`)
    ROUTES = (
        ("GET", r"/api/whoami-v2", "whoami", ""),
        ("POST", r"/api/repos/create", "create", "create"),
        ("POST", r"/api/validate-yaml", "validate_yaml", ""),
        ("GET", r"/api/(?:models|spaces)/([^/]+/[^/]+)/refs", "refs", ""),
        ("POST", r"/api/(?:models|spaces)/([^/]+/[^/]+)/branch/(.+)", "branch", "branch"),
        ("POST", r"/api/(?:models|spaces)/([^/]+/[^/]+)/preupload/([^/]+)", "preupload", "preupload"),
        ("POST", r"/api/(?:models|spaces)/([^/]+/[^/]+)/commit/([^/]+)", "commit", "commit"),
        ("GET", r"/api/(?:models|spaces)/([^/]+/[^/]+)/tree/([^/]+)", "tree", ""),
        ("POST", r"/api/(?:models|spaces)/([^/]+/[^/]+)/paths-info/([^/]+)", "paths_info", ""),
        ("GET", r"/api/(?:models|spaces)/([^/]+/[^/]+)/revision/([^/]+)", "model_info", ""),
        ("GET", r"/api/(?:models|spaces)/([^/]+/[^/]+)", "model_info", ""),
        ("POST", r"/(?:spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch", "batch"),
        ("PUT", r"/lfs/([0-9a-f]{64})", "lfs_put", "put"),
        ("POST", r"/lfs/([0-9a-f]{64})/verify", "lfs_verify", ""),
        ("GET", r"/lfs/([0-9a-f]{64})", "lfs_get", ""),
        ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve", ""),
    )

    def handle_any(self):
        address = urlsplit(self.path)
        self.query, self.was_read = parse_qs(address.query), False
        self.hub.requests.append(f"{self.command} {self.path}")
        self.kind = "spaces/" if address.path.startswith(("/api/spaces/", "/spaces/")) else ""  # before a name
        method = "GET" if self.command == "HEAD" else self.command
        try:
            for wanted, pattern, name, step in self.ROUTES:
                found = re.fullmatch(pattern, address.path)
                if wanted == method and found:
                    if step in self.hub.faults:
                        raise Refused(int(self.hub.faults[step]), f"refused; you sent {self.headers['authorization']}")
                    getattr(self, name)(*map(unquote, found.groups()))
                    return
            raise Refused(404, f"no such page: {address.path}")
        except Refused as refused:
            headers = {"X-Error-Message": refused.message, **({"X-Error-Code": refused.code} if refused.code else {})}
            self.answer({"error": refused.message}, refused.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - http.server's names

    def log_message(self, *arguments):  # not on stderr
        pass

    def body(self) -> bytes:
        self.was_read = True
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def answer(self, content, status: int = 200, headers: dict | None = None) -> None:
        if not self.was_read:  # or what is left of it would be taken for the next request
            self.body()
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # Who asks, for what

    def is_known(self) -> bool:
        """Whether the right token came; raises for a wrong one."""
        given = self.headers.get("authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise Refused(401, "Invalid credentials in Authorization header")
        return given is not None

    def repository(self, repo_id: str, write: bool = False) -> Repository:
        known, found = self.is_known(), self.hub.repositories.get(self.kind + repo_id)
        if found is None or (found.private and not known):
            raise Refused(404 if known else 401, "Repository not found", "RepoNotFound")
        if write and not known:
            raise Refused(401, "Invalid username or password.")
        return found

    def whoami(self):
        if not self.is_known():
            raise Refused(401, "Invalid username or password.")
        self.answer({"type": "user", "name": "nobody", "orgs": []})

    # Writing

    def create(self):
        asked = json.loads(self.body())
        if not self.is_known():
            raise Refused(401, "Invalid username or password.")
        repo_id, kind = f"{asked['organization'] or 'nobody'}/{asked['name']}", asked.get("type", "model")
        if kind == "space" and asked.get("sdk") != "static":
            raise Refused(400, "a Space without its sdk")
        name = f"spaces/{repo_id}" if kind == "space" else repo_id
        if name in self.hub.repositories:
            self.answer({"error": f"You already created this {kind} repo", "url": f"{self.hub.url}/{name}"}, 409)
            return
        repository = self.hub.repositories[name] = Repository(asked.get("visibility") == "private")
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        self.answer({"url": f"{self.hub.url}/{name}", "id": repo_id})

    def validate_yaml(self):
        content = json.loads(self.body())["content"]
        valid = content.startswith("---\n")
        self.answer({"errors": [] if valid else [{"message": "no YAML"}], "warnings": []}, 200 if valid else 400)

    def branch(self, repo_id, name):
        repository, asked = self.repository(repo_id, write=True), json.loads(self.body() or b"{}")
        if name in repository.refs:
            raise Refused(409, "Reference already exists")
        repository.refs[name] = repository.sha(asked.get("startingPoint") or "main")
        self.answer({}, 201)

    def preupload(self, repo_id, revision):
        repository, asked = self.repository(repo_id, write=True), json.loads(self.body())
        there = repository.commits[repository.sha(revision)]
        files = []
        for file in asked["files"]:
            name, lfs = file["path"], is_lfs(file["path"])
            row = {"path": name, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if name in there:
                row["oid"] = hashlib.sha256(there[name]).hexdigest() if lfs else blob_id(there[name])
            files.append(row)
        self.answer({"files": files})

    def lfs_batch(self, repo_id):
        self.repository(repo_id, write=True)
        objects = []
        for row in json.loads(self.body())["objects"]:
            place = f"/lfs/{row['oid']}"
            upload = {"href": f"{self.hub.storage_url}{place}?X-Signature=secret"}
            actions = {"upload": upload, "verify": {"href": f"{self.hub.url}{place}/verify"}}
            objects.append(row if row["oid"] in self.hub.blobs else {**row, "actions": actions})
        self.answer({"transfer": "basic", "objects": objects})

    def refuse_token(self) -> None:
        """The storage is another host's: a token that reaches it is a leak, and it wants none."""
        if "authorization" in self.headers:
            raise Refused(400, "Only one auth mechanism allowed")

    def lfs_put(self, oid):
        self.refuse_token()
        if self.hub.faults.get("cut") == oid:
            self.rfile.read(int(self.headers["content-length"]) // 2)
            # A reset, no end in good order: the client can neither write on nor read an answer.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if self.hub.faults.get("stall") == oid:
            self.rfile.read(1)
            self.hub.stalled.set()
            self.hub.released.wait(900)
            self.close_connection = True
            return
        content = self.body()
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(400, "another hash")
        self.hub.blobs[oid] = content
        self.hub.sent[oid] += 1
        self.answer(b"")

    def lfs_verify(self, oid):
        asked = json.loads(self.body())
        if len(self.hub.blobs[oid]) != asked["size"]:
            raise Refused(400, "another size")
        self.answer({})

    def commit(self, repo_id, revision):
        repository = self.repository(repo_id, write=True)
        lines = [json.loads(line) for line in self.body().splitlines()]
        head = repository.sha(revision)
        if lines[0]["value"].get("parentCommit", head) != head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.commits[head])
        for line in lines[1:]:
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                assert key == "deletedFile", key
                del files[value["path"]]
        number = sum(ref.startswith("refs/pr/") for ref in repository.refs) + 1
        create_pr = self.query.get("create_pr") == ["1"]
        sha = repository.commit(f"refs/pr/{number}" if create_pr else revision, files)
        found = {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{sha}"}
        if create_pr:
            found["pullRequestUrl"] = f"{self.hub.url}/{repo_id}/discussions/{number}"
        self.answer(found)

    # Reading

    def refs(self, repo_id):
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in self.repository(repo_id).refs.items()
            if not name.startswith("refs/")
        ]
        self.answer({"branches": branches, "tags": [], "converts": []})

    def model_info(self, repo_id, revision="main"):
        repository = self.repository(repo_id)
        sha = repository.sha(revision)
        siblings = [{"rfilename": name} for name in sorted(repository.commits[sha])]
        found = {"_id": "0" * 24, "id": repo_id, "modelId": repo_id, "sha": sha, "private": repository.private}
        self.answer({**found, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, repo_id, revision):
        repository = self.repository(repo_id)
        files = repository.commits[repository.sha(revision)]
        self.answer([describe(name, files[name]) for name in sorted(files)])

    def paths_info(self, repo_id, revision):
        repository = self.repository(repo_id)
        files = repository.commits[repository.sha(revision)]
        content_type, body = self.headers.get("content-type", ""), self.body().decode()
        asked = json.loads(body)["paths"] if "json" in content_type else parse_qs(body)["paths"]
        self.answer([describe(name, files[name]) for name in asked if name in files])

    def resolve(self, repo_id, revision, path):
        repository = self.repository(repo_id)
        sha = repository.sha(revision)
        headers = {"X-Repo-Commit": sha}
        if path not in repository.commits[sha]:
            self.answer({"error": "Entry not found"}, 404, {**headers, "X-Error-Code": "EntryNotFound"})
            return
        content = repository.commits[sha][path]
        if is_lfs(path):
            oid = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{oid}"'}
            self.answer(b"", 302, {**headers, "Location": f"{self.hub.storage_url}/lfs/{oid}"})
        else:
            self.answer(content, 200, {**headers, "ETag": f'"{blob_id(content)}"'})

    def lfs_get(self, oid):
        self.refuse_token()
        self.answer(self.hub.blobs[oid], 200, {"ETag": f'"{oid}"'})
