"""
Publishes a folder on the Hub: stages it, checks it, sends it in one commit and compares every hash there.

A failure before the commit leaves the branch unchanged. A missing repository or branch is created before the upload.
"""

import hashlib
import re
import shlex
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.models.fresh_process import compare_in_new_process
from training.publishing.checks import check_folder
from training.publishing.staging import OF_EARLIER_WEIGHTS, space_sdk, stage_model, stage_space
from training.runtime.arguments import flag
from training.runtime.errors import InputError
from training.runtime.lineage import stated_license

ADVICE = {  # by HTTP status, for people
    401: "the Hub does not know the token; log in by `hf auth login`, or set HF_TOKEN to one with write access",
    403: "the token may not do this; use one with write access",
    409: "someone else is changing the repository; look at it, then run this again",
    412: "someone else changed the repository meanwhile; look at it, then run this again",
}
NOT_SENT = "nothing was published; run it again: what was sent is not sent again."
SECRET = re.compile(r"hf_\w+|(?<=\?)\S+")  # tokens, and the signatures in the addresses of uploads


@dataclass
class PublishArguments:
    """Options of the repository."""

    repo_id: str = flag("", "org/name on the Hub; made if it is missing.")
    private: bool = flag(False, "Make a new repository private; a public one is refused.")
    revision: str | None = flag(None, "Branch, made if it is missing. Default main.")
    create_pr: bool = flag(False, "Open a pull request, which needs no write access.")
    push: bool = flag(False, "Send the files; without it nothing leaves this machine.")

    def __post_init__(self):
        check_repo_id(self.repo_id, "repo_id")
        if self.revision == "":
            raise InputError("--revision is empty; give the name of a branch, or leave the flag out.")
        if self.create_pr and self.revision is not None:
            raise InputError("--create_pr is against main, so --revision does not go with it; give one of the two.")


@dataclass
class HubArguments:
    """Options of the training scripts for publishing the finished run."""

    push_to_hub: bool = flag(False, "Publish the finished run, as publish.py --push does.")
    hub_model_id: str | None = flag(None, "org/name on the Hub.")
    hub_private_repo: bool = flag(False, "Make a new repository private.")

    def __post_init__(self):
        if self.push_to_hub:  # what can be known before the hours of training
            check_repo_id(self.hub_model_id, "hub_model_id")
            read_token()


def check_repo_id(repo_id: str | None, flag: str) -> None:
    """Raises InputError with the flag's name if the value is not org/name."""
    if not repo_id:
        raise InputError(f"--{flag} is missing; give org/name.")
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--{flag} {repo_id} is no name of a repository: {error}") from error
    if "/" not in repo_id:
        raise InputError(f"--{flag} {repo_id} must be org/name, with the owner (you, or an organisation).")


def read_token() -> str:
    """Returns the token from HF_TOKEN or from the file of `hf auth login`. Raises InputError if there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise InputError("there is no token of the Hub; log in by `hf auth login`, or set HF_TOKEN.")
    return token


def push_run(output_dir: Path, hub: HubArguments) -> None:
    """Publishes a finished run if --push_to_hub asks for it. Call it in the main process alone."""
    if not hub.push_to_hub:
        return
    try:
        publish_folder(output_dir, PublishArguments(hub.hub_model_id, private=hub.hub_private_repo, push=True))
    except (ValueError, OSError) as error:
        again = f"python training/publish.py {shlex.quote(str(output_dir))} --repo_id {hub.hub_model_id} --push"
        again += " --private" if hub.hub_private_repo else ""
        raise InputError(f"the run is finished in {output_dir}, but not published: {error} Later: {again}") from error


def publish_folder(folder: Path, arguments: PublishArguments) -> str | None:
    """
    Publishes a static Space, the folder of a finished run, or a folder that `release.py` made. Returns the sha of the
    commit; None without --push. Raises InputError that says what is wrong with the folder, or why the Hub refused it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of a finished run, or a published one.")
    with tempfile.TemporaryDirectory(prefix="simfle_publish") as root:
        target = Path(root) / arguments.repo_id.split("/")[1]
        try:
            if space_sdk(folder):
                print_files(target, stage_space(folder, target))
                print("checked: no token, no model file, no path of this machine")
            else:
                print_files(target, stage_model(folder, target, arguments.repo_id))
                check_folder(target)
                terms = ", ".join(stated_license(target).values())
                print(f"checked: card (licence: {terms}), figures, weights, code; no pickle among the files")
                print(compare_in_new_process(folder, target))
        except ValueError as error:  # names the temporary folder
            raise InputError(str(error).replace(str(target), str(folder))) from error
        files = [path for path in target.rglob("*") if path.is_file()]
        total = f"{len(files)} files, {sum(path.stat().st_size for path in files):,} bytes"
        if not arguments.push:
            print(f"nothing was sent; --push sends these {total}, to {arguments.repo_id}")
            return None
        from huggingface_hub import HfApi

        api, kind = HfApi(token=read_token(), library_name="simfle"), "space" if space_sdk(target) else "model"
        sha = upload(api, kind, target, arguments, total)
        verify(api, kind, target, arguments.repo_id, sha)
        print(f"compared the Hub's hashes at {sha}: all {len(files)} are equal")
        return sha


def print_files(folder: Path, left_out: list[str]) -> None:
    """Prints a line with the hash of each file, and a line that names the files that are not sent."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.relative_to(folder).as_posix():32} {path.stat().st_size:>13,}  sha256 {sha256}")
    counts = Counter("".join(name.partition("/")[:2]) for name in left_out)  # folders end in a slash
    names = [f"{name} ({count} files)" if name.endswith("/") else name for name, count in counts.items()]
    if names:
        print(f"left out: {', '.join(names)}")


def upload(api, kind: str, folder: Path, arguments: PublishArguments, total: str) -> str:
    """
    Sends all files in one commit, which also deletes the files of earlier weights. In a model repository every other
    file stays; a Space is replaced as a whole. Raises InputError if the Hub did not take the commit.
    """
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # warnings about a second try show addresses with signatures
    repo_id, revision = arguments.repo_id, arguments.revision
    with as_sentence(repo_id, NOT_SENT):
        api.whoami()  # a token that is refused is named before anything is made
        sdk = "static" if kind == "space" else None
        api.create_repo(repo_id, private=arguments.private or None, exist_ok=True, repo_type=kind, space_sdk=sdk)
        is_public = arguments.private and not api.repo_info(repo_id, repo_type=kind).private
    if is_public:  # before a branch is made there
        raise InputError(f"{repo_id} exists and is public, and --private was asked for; make it private first.")
    with as_sentence(repo_id, NOT_SENT):
        if revision not in (None, "main") and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True, repo_type=kind)
        before = api.repo_info(repo_id, revision=revision, repo_type=kind).sha
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type=kind,
            commit_message=f"Publish a SimFLE {'page' if kind == 'space' else 'model'}",
            revision=revision,
            create_pr=arguments.create_pr,
            parent_commit=before,
            delete_patterns="*" if kind == "space" else OF_EARLIER_WEIGHTS,
        )
    url = commit.pr_url or f"{api.endpoint}/{'spaces/' if kind == 'space' else ''}{repo_id}/tree/{commit.oid}"
    if commit.oid == before:
        print(f"nothing to change; {repo_id} already holds these files: {url}")
    else:
        print(f"published {total}: {url}")
    return commit.oid


def verify(api, kind: str, folder: Path, repo_id: str, sha: str) -> None:
    """Compares the hashes in the Hub's tree with the files. Raises InputError if a file differs."""
    with as_sentence(repo_id, f"it is published as {sha}, but could not be compared."):
        rows = list(api.list_repo_tree(repo_id, recursive=True, revision=sha, repo_type=kind))
    there = {row.path: row.lfs.sha256 if row.lfs else row.blob_id for row in rows if hasattr(row, "blob_id")}
    for path in (p for p in folder.rglob("*") if p.is_file()):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        git_hash = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if there.get(name) not in (git_hash, hashlib.sha256(content).hexdigest()):
            raise InputError(f"{name} at {repo_id}, {sha}, is not the file that was sent; publish it again.")


@contextmanager
def as_sentence(repo_id: str, outcome: str):
    """
    Turns an error of the Hub's client into an InputError of one sentence, without tokens.

    Threads send large files and raise RuntimeError. A lost connection raises HTTPError, which is not an OSError.
    """
    from huggingface_hub.errors import HTTPError  # of httpx under huggingface_hub 1, of httpx2 under 2

    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{describe_error(error, repo_id)}; {outcome}") from error


def describe_error(error: BaseException, repo_id: str) -> str:
    """Describes the Hub's answer or the lost connection, wherever it is in the chain of causes."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            advice = ADVICE.get(status, "run this again later" if status >= 500 else "the Hub refused it")
            return f"{repo_id}: {advice} (HTTP {status}: {without_secrets(cause.server_message or 'no message')})"
        if isinstance(cause, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set; take it away to publish"
        if isinstance(cause, HTTPError):
            return f"the connection to the Hub was refused or cut ({type(cause).__name__})"
        cause = cause.__cause__
    return without_secrets(str(error)).rstrip(".")


def without_secrets(text: str) -> str:
    """The text on one line, without tokens and without the queries of addresses; at most 300 characters."""
    from huggingface_hub import get_token

    return SECRET.sub("...", " ".join(text.split()).replace(get_token() or "\0", "..."))[:300]
