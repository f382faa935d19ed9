"""
Publishes a model or a static Space on the Hub: the folder of a finished run, or one that was made for publishing.

    python training/publish.py FOLDER --repo_id org/name            stages and checks; sends nothing
    python training/publish.py FOLDER --repo_id org/name --push     sends it in one commit, and compares every hash

Only the files that training/publishing/staging.py lists leave. A model's card and code are made anew on the way. The
token comes from HF_TOKEN or `hf auth login`. After a failure the same command again finishes it.
"""

from pathlib import Path

from training.publishing.hub import PublishArguments, publish_folder
from training.runtime.arguments import parse_arguments, run_main


def main(argv=None) -> None:
    positionals = (("folder", {"metavar": "FOLDER", "help": "Folder of a finished run, or a published one."}),)
    arguments, where = parse_arguments((PublishArguments,), argv, __doc__, positionals)
    publish_folder(Path(where.folder), arguments)


if __name__ == "__main__":
    run_main("publish", main)
