"""
Exports an expression classifier: a plain ResNet folder without custom code, ONNX, and int8.

    python training/export.py MODEL_FOLDER OUTPUT_FOLDER --dataset FACES

OUTPUT_FOLDER receives config.json, preprocessor_config.json and model.safetensors, which the stock classes of
transformers load, with equal logits. Weights that were trained in gray take colour images. onnx/model.onnx is the same
model. onnx/model_quantized.onnx is int8, calibrated on the training faces of --dataset; without --dataset it is left
out. exports.json has the size, the agreement, the accuracy on --eval_split and the milliseconds of each. release.py
turns the folder into a published one. Run this on an idle machine, because other work changes the times.
"""

from pathlib import Path

from training.data.faces import DatasetArguments
from training.exporting.exports import ExportArguments, run_export
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.lineage import typed_command


def main(argv=None) -> None:
    positionals = (
        ("model", {"metavar": "MODEL_FOLDER", "help": "Folder or Hub id of a SimFLE classifier."}),
        ("output_dir", {"metavar": "OUTPUT_FOLDER", "help": "New folder."}),
    )
    data, arguments, where = parse_arguments((DatasetArguments, ExportArguments), argv, __doc__, positionals)
    run_export(where.model, Path(where.output_dir), typed_command("export", argv), data, arguments)


if __name__ == "__main__":
    run_main("export", main)
