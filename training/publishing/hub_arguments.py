"""--push_to_hub of the training scripts: a finished run goes the way of publish.py."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from training.publishing.hub import PublishArguments, check_repo_id, publish_folder, read_token
from training.runtime.errors import InputError


@dataclass
class HubArguments:
    """Options for publishing the finished run."""

    push_to_hub: bool = field(default=False, metadata={"help": "Publish the finished run, as publish.py --push does."})
    hub_model_id: str | None = field(default=None, metadata={"help": "org/name on the Hub."})
    hub_private_repo: bool = field(default=False, metadata={"help": "Make a new repository private."})

    def __post_init__(self):
        if self.push_to_hub:  # what can be known before the hours of training
            check_repo_id(self.hub_model_id, "hub_model_id")
            read_token()


def check_one_run(hub: HubArguments, num_runs: int) -> None:
    """Raises InputError: --push_to_hub of several runs, of which one must be chosen first."""
    if hub.push_to_hub and num_runs > 1:
        raise InputError(f"--push_to_hub is for one run, and these are {num_runs}; publish one by training/publish.py.")


def push_run(output_dir: Path, hub: HubArguments) -> None:
    """Publishes a finished run, where that was asked for; for the main process alone. Raises InputError."""
    if not hub.push_to_hub:
        return
    try:
        publish_folder(output_dir, PublishArguments(hub.hub_model_id, private=hub.hub_private_repo, push=True))
    except (ValueError, OSError) as error:
        again = f"python training/publish.py {shlex.quote(str(output_dir))} --repo_id {hub.hub_model_id} --push"
        again += " --private" if hub.hub_private_repo else ""
        raise InputError(f"the run is finished in {output_dir}, but not published: {error} Later: {again}") from error
