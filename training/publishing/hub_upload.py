"""
Sends a staged folder to the Hub in one commit, and compares what can be downloaded from there with what was sent.

A commit is there whole or not at all: until it, a failure leaves the branch as it was, and what was sent of large files
by then stays with the Hub's storage, which asks for it no more when the same command runs again. A repository or a
branch that did not exist is made first, so after a failure it may be there without these files.
"""

import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.publishing.staging import Staged, StagedFile, belongs_to_weights
from training.runtime.errors import InputError

# By HTTP status, for people.
REFUSALS = {
    401: "the Hub does not know the token; log in by `hf auth login`, or set HF_TOKEN to one with write access",
    403: "the token may not do this; use one with write access to {repo_id}",
    404: "{repo_id}, or its revision, is not there, or the token may not see it",
    409: "{repo_id} is being changed by someone else; look at it, then run this again",
    412: "{repo_id} was changed by someone else meanwhile; look at it, then run this again",
    413: "the Hub finds the files too large",
    429: "the Hub has had too many requests; wait, then run this again",
    507: "the Hub has no room left for these files",
}
NOT_SENT = "nothing was published; run it again: what was sent is not sent again."
# The rules of git check-ref-format --branch.
BRANCH = re.compile(r"(?!/|-|\.|@$|.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)))[^\s~^:?*\[\\\x00-\x1f\x7f]+(?<![/.])")
SECRET = re.compile(r"hf_\w+|(?<=\?)\S+")  # tokens, and the signatures in the addresses of uploads


@dataclass(frozen=True)
class Published:
    """
    The commit that was made: its sha, its page; `pull_request`: that one's page, where one was asked for.
    is_unchanged: none was needed.
    """

    sha: str
    url: str
    pull_request: str | None
    is_unchanged: bool = False


def check_repo_id(repo_id: str | None, name: str) -> None:
    """Raises ValueError, naming the flag, for what is not org/name."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if not repo_id:
        raise InputError(f"--{name} is missing; give org/name.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--{name} {repo_id} is no name of a repository: {error}") from error
    if "/" not in repo_id:
        raise InputError(f"--{name} {repo_id} must be org/name, the owner (you, or an organisation) among it.")


def check_revision(revision: str | None) -> None:
    """Raises ValueError for what git takes for no branch's name."""
    if revision is not None and not BRANCH.fullmatch(revision):
        raise InputError(f"--revision {revision!r} is no name of a branch; give one such as v2, of letters and digits.")


def read_token() -> str:
    """The token from HF_TOKEN or the file of `hf auth login`. Raises ValueError: there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise InputError("there is no token of the Hub; log in by `hf auth login`, or set HF_TOKEN.")
    return token


def upload(staged: Staged, repo_id: str, private: bool, revision: str | None, create_pr: bool) -> Published:
    """
    One commit with all staged files; files there of earlier weights leave with it, all others stay.

    Args:
        private: a new repository is. revision: a branch, made where it is missing; main when None. create_pr: the
            commit is a pull request, which needs no write access.
    Raises:
        ValueError: a sentence about what went wrong; nothing of the files is in the repository then.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # the warnings of a second try show addresses with their signatures
    api = HfApi(token=read_token(), library_name="simfle")
    with as_sentence(repo_id, NOT_SENT):
        api.whoami()  # a token that is refused is named before anything is made
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        is_public = private and not api.model_info(repo_id).private
    if is_public:  # before a branch is made there
        raise InputError(
            f"{repo_id} exists and is public, and --private was asked for; make it private, or leave it out."
        )
    with as_sentence(repo_id, NOT_SENT):
        if revision not in (None, "main") and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        remote = api.model_info(repo_id, revision=revision)
    ours = {file.name for file in staged.files}
    stale = sorted({s.rfilename for s in remote.siblings if belongs_to_weights(s.rfilename)} - ours)
    if stale:
        print(f"removed there, of earlier weights: {', '.join(stale)}")
    additions = [CommitOperationAdd(name, str(staged.folder / name)) for name in sorted(ours)]
    deletions = [CommitOperationDelete(name) for name in stale]
    with as_sentence(repo_id, NOT_SENT):
        commit = api.create_commit(
            repo_id,
            [*additions, *deletions],
            commit_message="Publish a SimFLE model",
            revision=revision,
            create_pr=create_pr,
            parent_commit=remote.sha,
        )
    url = f"{api.endpoint}/{repo_id}/tree/{commit.oid}"
    return Published(commit.oid, url, commit.pr_url, is_unchanged=commit.oid == remote.sha)


def verify(published: Published, repo_id: str, files: tuple[StagedFile, ...]) -> None:
    """
    Downloads the commit into an empty folder and compares every file's hash.

    Raises:
        ValueError: a file that is missing or another one, or a download that failed.
    """
    from huggingface_hub import snapshot_download

    from modeling_simfle.hub_folder_simfle import file_sha256

    token, names = read_token(), [file.name for file in files]
    with tempfile.TemporaryDirectory(prefix="simfle_verify") as cache:
        with as_sentence(repo_id, f"it is published as {published.url}, but could not be compared."):
            found = snapshot_download(
                repo_id, revision=published.sha, cache_dir=cache, allow_patterns=names, token=token
            )
        for file in files:
            path = Path(found) / file.name
            if not path.is_file() or file_sha256(path) != file.sha256:
                raise InputError(f"{file.name} at {published.url} is not the file that was sent; publish it again.")


@contextmanager
def as_sentence(repo_id: str, outcome: str):
    """
    Turns whatever the Hub's client raises inside into a ValueError of one sentence, without tokens.

    Large files are sent by threads, whose errors come as RuntimeError; the connection's are no OSError.
    """
    from huggingface_hub.errors import HTTPError  # of httpx under huggingface_hub 1, of httpx2 under 2

    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{describe_error(error, repo_id)}; {outcome}") from error


def describe_error(error: BaseException, repo_id: str) -> str:
    """What went wrong, for people: the Hub's answer, or the connection's end, wherever in the chain of causes."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    for cause in chain:
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            other = "the Hub failed; run this again later" if status >= 500 else "the Hub refused it"
            said = f": {without_secrets(cause.server_message)}" if cause.server_message else ""
            return f"{REFUSALS.get(status, other).format(repo_id=repo_id)} (HTTP {status}{said})"
        if isinstance(cause, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set; take it away to publish"
        if isinstance(cause, HTTPError):
            return f"the connection to the Hub was refused or cut ({type(cause).__name__})"
    return without_secrets(str(error)).rstrip(".")


def without_secrets(text: str) -> str:
    """On one line, at most 300 characters, without tokens and without the queries of addresses."""
    from huggingface_hub import get_token

    return SECRET.sub("...", " ".join(text.split()).replace(get_token() or "\0", "..."))[:300]
