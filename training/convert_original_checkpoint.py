"""
Converts a checkpoint of the authors' released code into a folder that loads as SimFLEForPreTraining (a pretraining
file) or SimFLEForImageClassification (a file of a linear probe).

    python training/convert_original_checkpoint.py FILE OUTPUT_DIR [--dtype float64]

The file is read with weights_only=True: nothing in it is executed. Every name and shape is checked before anything is
written. Weights in this format belong to the authors and are licensed under CC BY-NC 4.0; the written folder says so.
"""

from pathlib import Path

from training.models.original_checkpoint import ConversionArguments, convert
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.lineage import typed_command

POSITIONALS = (
    ("file", {"metavar": "FILE", "help": "checkpoint_NNN.pth.tar of the released code"}),
    ("output_dir", {"metavar": "OUTPUT_DIR", "help": "new folder"}),
)


def main(argv=None) -> None:
    arguments, paths = parse_arguments((ConversionArguments,), argv, __doc__, POSITIONALS)
    command = typed_command("convert_original_checkpoint", argv)
    convert(Path(paths.file), Path(paths.output_dir), arguments, command)


if __name__ == "__main__":
    run_main("convert_original_checkpoint", main)
