"""
Writes the model card of a run (pretraining, probe or fine-tuning) or of a published folder.

    python training/make_card.py RUN_OR_FOLDER --output README.md
    python training/make_card.py hub_cards/NAME --exports hub_cards/NAME-plain

Every figure comes from the folder's own config.json, preprocessor_config.json, run.json, metrics.json and exports.json.
example_face.png and, under --license other, LICENSE are written beside it where they are missing; a LICENSE that this
wrote goes with the flags. A run's folder keeps the flags, in card.json, for later cards, publish.py and
assemble_release.py; a published folder's are best kept as a recipe: --recipe training/recipes/card_NAME.yaml. A
README.md that was corrected by hand is kept as README.md.bak. --exports copies exports.json from the plain folder that
was made of this one, with that folder's name in it, so that its figures join the card.
"""

from pathlib import Path

from training.publishing.card_facts import check_exported_weights, read_json
from training.publishing.card_notes import write_own_card
from training.publishing.model_card import CardArguments
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.public_paths import public
from training.runtime.run_folder import write_json


def main(argv=None) -> None:
    positionals = (
        ("folder", {"metavar": "RUN_OR_FOLDER", "help": "folder of a finished run, or a published one"}),
        ("--output", {"default": None, "metavar": "README.md", "help": "the card; default README.md in the folder"}),
        ("--exports", {"default": None, "metavar": "FOLDER", "help": "plain folder that was exported from this one"}),
    )
    arguments, where = parse_arguments((CardArguments,), argv, __doc__, positionals)
    output = Path(where.output) if where.output else Path(where.folder) / "README.md"
    if output.suffix != ".md" or output.is_dir():
        raise InputError(f"--output {output} must be the name of a .md file, such as README.md.")
    if where.exports:
        copy_exports(Path(where.exports), Path(where.folder))
    if aside := write_own_card(Path(where.folder), output, arguments):
        print(f"{output} was not as it was made; what stood there is kept as {aside}")
    print(f"{output} is written")


def copy_exports(plain: Path, folder: Path) -> None:
    """exports.json of the plain folder, with its name. Raises ValueError: it was exported from other weights."""
    check_exported_weights(plain, folder)
    exports = public(read_json(plain / "exports.json"))
    write_json(folder / "exports.json", {**exports, "folder": plain.resolve().name})


if __name__ == "__main__":
    run_main("make_card", main)
