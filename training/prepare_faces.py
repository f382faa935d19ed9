"""
Cuts the faces of an expression set out of its images, into a folder of images that every script reads.

    python training/prepare_faces.py --dataset FOLDER --output_dir OUT --size 224 --margin 0.1

The files are OUT/<split>/<class>/<name>.png. With the owners' landmarks (AffectNet, RAF-DB's original images) a face is
turned until the eyes are level and scaled until the eyes lie at fixed places. With a box alone, its square is cut out.
With neither (FER+, SFEW, RAF-DB's aligned images, class folders) the whole image becomes a square. Splits and labels
are those of training/data/formats.py; images without an expression are left out.

A stopped run continues when it is started again: faces that are written already are kept. OUT/preparation.json holds
the arguments and the counts.
"""

from training.data.preparation import PreparationArguments, prepare
from training.runtime.arguments import parse_arguments, run_main


def main(argv=None) -> None:
    prepare(*parse_arguments((PreparationArguments,), argv, __doc__))


if __name__ == "__main__":
    run_main("prepare_faces", main)
