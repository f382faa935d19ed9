"""
Publishes a model on the Hub: the folder of a finished run, or one that was made for publishing.

    python training/publish.py FOLDER --repo_id org/name            stages and checks; sends nothing
    python training/publish.py FOLDER --repo_id org/name --push     sends it in one commit, and compares every hash

Only the files that training/publishing/staging.py lists leave; what stays is named too. The token comes from
HF_TOKEN or `hf auth login`. After a failure the repository is as it was; the same command again finishes it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import InputError


@dataclass
class PublishArguments:
    """The repository."""

    repo_id: str = field(default="", metadata={"help": "org/name on the Hub; made where it is missing"})
    private: bool = field(default=False, metadata={"help": "a new repository is private; a public one is refused"})
    revision: str | None = field(default=None, metadata={"help": "branch, made where it is missing; default main"})
    create_pr: bool = field(default=False, metadata={"help": "as a pull request, which needs no write access"})
    push: bool = field(default=False, metadata={"help": "send it; without it nothing leaves this machine"})

    def __post_init__(self):
        if self.create_pr and self.revision is not None:
            raise InputError("--create_pr is against main, so --revision does not go with it; give one of the two.")


def main(argv=None) -> None:
    positionals = (("folder", {"metavar": "FOLDER", "help": "folder of a finished run, or a published one"}),)
    hub, where = parse_arguments((PublishArguments,), argv, __doc__, positionals)
    from training.publishing.publishing import publish_folder

    publish_folder(Path(where.folder), hub.repo_id, hub.private, hub.revision, hub.create_pr, hub.push)


if __name__ == "__main__":
    run_main("publish", main)
