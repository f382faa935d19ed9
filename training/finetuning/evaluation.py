"""What fine-tuning measures: predictions of a split, the figures that choose the epoch, whether a run is reported."""

from pathlib import Path

from modeling_simfle.hub_folder_simfle import check_weights
from training.data.images import BadImages
from training.models.outputs import ImagePass, compute_outputs

RESULTS = ("metrics.json", "predictions.csv")  # of a run that has ended
EVALUATION_BATCH = 256


def epoch_accuracies(labels, predictions, repeats_training, kept) -> dict[str, float]:
    """
    An epoch's accuracies under metrics.json's names; the last one of them chooses the epoch.

    Args:
        labels, predictions: (N,), of the pictures `kept` (N,). repeats_training: (all,) bool, or None.
    Returns:
        accuracy, and, where it is known and leaves any picture, accuracy_without_repeats; fractions.
    """
    correct = predictions == labels
    found = {"accuracy": float(correct.mean())}
    if repeats_training is not None and not repeats_training[kept].all():
        found["accuracy_without_repeats"] = float(correct[~repeats_training[kept]].mean())
    return found


def predict(model, faces, processor, num_workers: int, bad_images: BadImages, device):
    """
    Indices (N,) of the pictures that can be read and their classes (N,), int64; the model is put in eval mode.

    Raises:
        ValueError: more bad images than the limit, or no other.
    """
    model.eval()
    images = ImagePass(EVALUATION_BATCH, num_workers, bad_images, device)
    kept, logits = compute_outputs(
        lambda pixel_values: model(pixel_values).logits, faces, processor, images, "evaluating", "evaluation"
    )
    return kept, logits.argmax(1).numpy()


def is_reported(folder: Path) -> bool:
    """
    Whether a run has its metrics.json.

    Raises:
        ValueError: it is of other weights than those beside it.
    """
    check_weights(folder)
    return (folder / RESULTS[0]).is_file()
