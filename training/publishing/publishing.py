"""From a folder to the Hub: stage, check and, where asked for, send and compare; for publish.py and --push_to_hub."""

import shlex
import tempfile
from pathlib import Path

from training.publishing.folder_checks import check_staged
from training.publishing.fresh_process import compare_in_new_process
from training.publishing.hub_upload import Published, check_repo_id, check_revision, upload, verify
from training.publishing.staging import Staged, stage, summarize
from training.publishing.weight_licences import stated_license
from training.runtime.errors import InputError


def publish_folder(
    folder: Path,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    push: bool = False,
) -> Published | None:
    """
    Publishes the folder of a finished run, or one that was made for publishing.

    Args:
        repo_id: org/name. private, revision, create_pr: see `hub_upload.upload`. push: false sends nothing.
    Returns:
        the commit, compared with what was sent; None without `push`.
    Raises:
        ValueError: one sentence: what is wrong with the folder, or why the Hub did not take it.
    """
    check_repo_id(repo_id, "repo_id")
    check_revision(revision)
    with tempfile.TemporaryDirectory(prefix="simfle_publish") as root:
        target = Path(root) / repo_id.split("/")[1]
        try:
            staged = stage(folder, target, repo_id)
            print_files(staged)
            if staged.is_card_made:
                print_card(staged, folder, repo_id)
            check_staged(staged)
            print("checked: card, figures, weights, code; no pickle among the files")
            print(compare_in_new_process(folder, target))
        except ValueError as error:  # in the words of whoever gave the folder
            raise InputError(str(error).replace(str(target), str(folder))) from error
        total = f"{len(staged.files)} files, {sum(file.size for file in staged.files):,} bytes"
        if not push:
            print(f"nothing was sent; --push sends these {total}, to {repo_id}")
            return None
        published = upload(staged, repo_id, private, revision, create_pr)
        if published.is_unchanged:
            print(f"nothing to change; {repo_id} already holds these files: {published.url}")
        else:
            print(f"published {total}: {published.pull_request or published.url}")
        verify(published, repo_id, staged.files)
        print(f"downloaded {published.sha} again and compared: all {len(staged.files)} hashes are equal")
        return published


def print_files(staged: Staged) -> None:
    """One line a file, and one of what stays here."""
    width = max(len(file.name) for file in staged.files)
    for file in staged.files:
        print(f"{file.name:{width}} {file.size:>13,}  sha256 {file.sha256}")
    if staged.left_out:
        print(f"left out: {summarize(staged.left_out)}")


def print_card(staged: Staged, folder: Path, repo_id: str) -> None:
    """What the card that was made on the way says of the licence, and how to get it into the folder."""
    stated = stated_license(staged.folder)
    terms = ", ".join(stated[name] for name in ("license", "license_name") if name in stated)
    command = f"python training/make_card.py {shlex.quote(str(folder))} --repo_id {repo_id}"
    print(f"README.md was made for this (licence: {terms}); to read and change it: {command}")
