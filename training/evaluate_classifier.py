"""
Evaluates an expression classifier on a split: metrics.json, predictions.csv and confusion_matrix.png.

    python training/evaluate_classifier.py --model FOLDER --dataset FACES --eval_split test --output_dir OUT

The model's own image processor prepares each image. Read a test split once, with this script; choose on validation.

Any image-classification model works. Its labels are matched to the classes of the data by name and by the usual
synonyms (happy, sad, ...). A JSON file given by --label_map names the remaining ones by label or number:
{"LABEL_0": "neutral", "7": "anger", "LABEL_8": null}. null removes an output from the choice. Images of an expression
without an output (contempt, for a model of seven) count as wrong; metrics.json names the expression.
"""

from training.data.faces import DatasetArguments
from training.models.evaluation import EvaluationArguments, evaluate
from training.runtime.arguments import parse_arguments, run_main


def main(argv=None) -> None:
    evaluate(*parse_arguments((DatasetArguments, EvaluationArguments), argv, __doc__))


if __name__ == "__main__":
    run_main("evaluate_classifier", main)
