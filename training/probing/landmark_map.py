"""The landmark probe: a linear map from a frozen encoder's feature map to the 68 facial landmarks."""

from pathlib import Path

import numpy as np

from training.data.faces import open_faces
from training.data.landmarks import LandmarkArguments, check_people_apart, pixel_sizes, read_landmarks
from training.measuring.classification import write_metrics, write_table
from training.measuring.landmark_errors import (
    ERROR_COLUMNS,
    check_eye_distances,
    draw_cumulative_curves,
    landmark_measures,
    normalized_distances,
)
from training.probing.arguments import LandmarkProbeArguments
from training.probing.frozen_encoder import FrozenEncoder
from training.probing.ridge_map import RELATIVE_STRENGTHS, centred_products, cross_validate, person_folds, ridge
from training.runtime.errors import InputError
from training.runtime.run_record import CommandLine


class FrozenLandmarkEncoder(FrozenEncoder):
    """
    The encoder's feature map, and faces with landmarks.

    Attributes:
        train_points, eval_points: (N, 68, 2). train_people, eval_people: (N,).
    """

    def __init__(self, line: CommandLine, data, columns: LandmarkArguments, model, processor, probe):
        self.columns = columns
        super().__init__(line, data, model, processor, probe)

    def open_splits(self):
        """Training and evaluation faces, of different people. Raises InputError on landmarks that cannot be used."""
        data, probe = self.data, self.probe
        train_faces = open_faces(data, data.dataset, data.train_split, with_labels=False)
        eval_faces = open_faces(data, probe.eval_dataset or data.dataset, probe.eval_split, with_labels=False)
        self.train_points, self.train_people = read_landmarks(train_faces, self.columns)
        self.eval_points, self.eval_people = read_landmarks(eval_faces, self.columns)
        for points, faces in ((self.train_points, train_faces), (self.eval_points, eval_faces)):
            check_eye_distances(points, f"{faces.source}, split {faces.split!r}")
        check_people_apart(self.train_people, self.eval_people)
        if (num_people := len(np.unique(self.train_people))) < probe.folds:
            raise InputError(
                f"--folds {probe.folds} needs as many training people, and there are {num_people}; give fewer folds (2"
                " at least), or faces of more people."
            )
        return train_faces, eval_faces

    def encode(self, pixel_values):
        """(B, 3, H, W) -> (B, C * h * w), the last feature map."""
        return self.model.encoder(pixel_values).last_hidden_state.flatten(1)


def run_probe(frozen: FrozenLandmarkEncoder, probe: LandmarkProbeArguments, folder: Path) -> None:
    """Writes run.json, computes the feature maps, fits the linear map, and writes the run's other files."""
    frozen.write_run(folder, "landmark probe", seed=probe.seed)
    train_rows, train_maps = frozen.features(frozen.train_faces, "training_maps")
    rows, maps = frozen.features(frozen.eval_faces, "evaluation_maps")
    predicted, fit = fit_and_predict(frozen, probe, train_rows, train_maps, maps)
    channels = frozen.model.config.hidden_sizes[-1]
    side = round((maps.shape[1] / channels) ** 0.5)  # the processor's images are squares
    points, people = frozen.eval_points[rows], frozen.eval_people[rows]
    sizes = pixel_sizes(frozen.eval_faces, rows)
    errors = normalized_distances(predicted, points, sizes)  # (n, 68)
    mean_shape = normalized_distances(frozen.train_points[train_rows].mean(0), points, sizes)
    fit |= {"feature_map": [channels, side, side], "mean_shape_error": float(mean_shape.mean())}
    measures = landmark_measures(errors, people)
    write_table(folder / "errors.csv", tuple(ERROR_COLUMNS), rows, people, errors.mean(1))
    summary = (
        f"normalised mean error {100 * measures['normalized_mean_error']:.2f} %, AUC at 0.1"
        f" {100 * measures['auc_at_0.1']:.2f} %, failure rate {100 * measures['failure_rate']:.2f} %"
    )
    curves = {"probe": errors.mean(1), "mean shape of the training faces": mean_shape.mean(1)}
    draw_cumulative_curves(folder / "cumulative_errors.png", curves, f"{len(rows)} images\n{summary}")
    protocol = (
        f"linear map with a ridge from the flattened feature map to 68 points, ridge chosen by {probe.folds} folds of"
        f" the training people, nothing chosen on {probe.eval_split}"
    )
    about = {"method": "landmark probe", "label_percent": 100, "seed": probe.seed, "choices": 0}
    # Last: a run without it is unfinished.
    write_metrics(folder / "metrics.json", {**measures, **fit}, **frozen.about(protocol), **about)
    print(
        f"{summary} on {len(rows)} images of {measures['num_persons']} persons, split {probe.eval_split}; ridge"
        f" {fit['ridge']['relative_strength']:.3g} of the features' scale; the training faces' mean shape"
        f" {100 * fit['mean_shape_error']:.2f} %"
    )


def fit_and_predict(frozen: FrozenLandmarkEncoder, probe: LandmarkProbeArguments, train_rows, train_maps, maps):
    """
    Args:
        train_rows: (N,), the readable training faces. train_maps: (N, D), maps: (n, D).
    Returns:
        Predicted points of the evaluation faces, (n, 68, 2), and how the map was fitted, for metrics.json.
    """
    points, people = frozen.train_points[train_rows], frozen.train_people[train_rows]
    sizes = pixel_sizes(frozen.train_faces, train_rows)
    gram, cross = centred_products(train_maps, maps)
    targets = points.reshape(len(points), -1)  # (N, 136)

    def error_of(held_out) -> float:
        return float(normalized_distances(held_out.reshape(points.shape), points, sizes).mean())

    errors = cross_validate(gram, targets, person_folds(people, probe.folds, probe.seed), error_of)
    relative = RELATIVE_STRENGTHS[int(np.argmin(errors))]
    if relative in (RELATIVE_STRENGTHS[0], RELATIVE_STRENGTHS[-1]):
        print(f"the chosen ridge, {relative:g}, is at the end of the grid; a better one may lie beyond.")
    strength = float(relative * gram.trace() / len(gram))
    predicted = ridge(strength).fit(gram, targets).predict(cross)
    description = {
        "relative_strength": relative,
        "strength": strength,
        "relative_candidates": list(RELATIVE_STRENGTHS),
        "cross_validation_errors": errors,
        "folds": probe.folds,
    }
    counts = {"num_training_images": len(points), "num_training_persons": len(set(people.tolist()))}
    return predicted.reshape(-1, *points.shape[1:]), {"ridge": description, **counts}
