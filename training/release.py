"""
Makes of a finished run, or of an export, the folder that is published: float16 weights, code, card, figures.

    python training/release.py RUN hub_cards/NAME --recipe training/recipes/card_NAME.yaml --dataset FACES
    python training/release.py EXPORT hub_cards/NAME-plain ...

The saved weights of a classifier are measured on --eval_split of --dataset, a validation split. An encoder
(--encoder_only) may bring the metrics of its linear probe. No licence may be looser than those of the sources.
"""

from pathlib import Path

from training.data.faces import DatasetArguments
from training.publishing.assembling import ReleaseArguments, release
from training.publishing.card import CardArguments
from training.runtime.arguments import parse_arguments, run_main


def main(argv=None) -> None:
    positionals = (
        ("run", {"metavar": "RUN", "help": "Folder of a finished run, or an export."}),
        ("output_dir", {"metavar": "OUTPUT_DIR", "help": "New folder, such as hub_cards/NAME."}),
    )
    kinds = (DatasetArguments, CardArguments, ReleaseArguments)
    data, card, arguments, where = parse_arguments(kinds, argv, __doc__, positionals)
    output = Path(where.output_dir)
    release(Path(where.run), output, data, card, arguments)
    for path in sorted(p for p in output.rglob("*") if p.is_file()):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    run_main("release", main)
