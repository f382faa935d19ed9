"""--push_to_hub of the training scripts: a finished run goes the way of publish.py."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from training.runtime.errors import InputError


@dataclass
class HubArguments:
    """What comes after the end."""

    push_to_hub: bool = field(default=False, metadata={"help": "publish the finished run, as publish.py --push does"})
    hub_model_id: str | None = field(default=None, metadata={"help": "org/name on the Hub"})
    hub_private_repo: bool = field(default=False, metadata={"help": "a new repository is private"})

    def __post_init__(self):
        if self.push_to_hub:  # what can be known before the hours of training
            from training.publishing.hub_upload import check_repo_id, read_token

            check_repo_id(self.hub_model_id, "hub_model_id")
            read_token()


def check_one_run(hub: HubArguments, num_runs: int) -> None:
    """Raises ValueError: --push_to_hub of several runs, of which one must be chosen first."""
    if hub.push_to_hub and num_runs > 1:
        raise InputError(
            f"--push_to_hub is for one run, and these are {num_runs}; leave it out, and publish the one that you choose"
            " by training/publish.py."
        )


def push_run(output_dir: Path, hub: HubArguments) -> None:
    """
    Publishes a finished run, where that was asked for; for the main process alone.

    Raises:
        ValueError: it was not published, and how to do it again without training.
    """
    if not hub.push_to_hub:
        return
    from training.publishing.publishing import publish_folder

    try:
        publish_folder(output_dir, hub.hub_model_id, private=hub.hub_private_repo, push=True)
    except (ValueError, OSError) as error:
        again = f"python training/publish.py {shlex.quote(str(output_dir))} --repo_id {hub.hub_model_id} --push"
        again += " --private" if hub.hub_private_repo else ""
        raise InputError(f"the run is finished in {output_dir}, but not published: {error} Later: {again}") from error
