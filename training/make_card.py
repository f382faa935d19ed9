"""
Writes the model card of a run (pretraining, probe or fine-tuning) or of a published folder.

    python training/make_card.py RUN_OR_FOLDER --output README.md

Every figure comes from the folder's own config.json, preprocessor_config.json, run.json, metrics.json and exports.json.
example_face.png and, under --license other, LICENSE are written beside it where they are missing. A published folder's
flags are best kept as a recipe: --recipe training/recipes/card_NAME.yaml.
"""

from pathlib import Path

from training.model_card import CardArguments, make_card, write_card
from training.script_arguments import parse_arguments, run_main

__all__ = ["make_card"]


def main(argv=None) -> None:
    positionals = (
        ("folder", {"metavar": "RUN_OR_FOLDER", "help": "folder of a finished run, or a published one"}),
        ("--output", {"default": None, "metavar": "README.md", "help": "the card; default README.md in the folder"}),
    )
    arguments, where = parse_arguments((CardArguments,), argv, __doc__, positionals)
    output = Path(where.output) if where.output else Path(where.folder) / "README.md"
    if output.suffix != ".md" or output.is_dir():
        raise ValueError(f"--output {output} must be the name of a .md file, such as README.md.")
    write_card(Path(where.folder), output, arguments)
    print(f"{output} is written")


if __name__ == "__main__":
    run_main("make_card", main)
