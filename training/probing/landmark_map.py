"""The landmark probe: a linear map from a frozen encoder's feature map to the 68 facial landmarks."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from training.data.faces import open_faces
from training.data.landmarks import LandmarkArguments, check_people_apart, image_sizes, read_landmarks
from training.measuring.landmark_errors import (
    check_eye_distances,
    draw_cumulative_curves,
    landmark_measures,
    normalized_distances,
    write_errors,
)
from training.probing.frozen_encoder import EncoderArguments, FrozenEncoder
from training.runtime.arguments import check_range


@dataclass
class LandmarkProbeArguments(EncoderArguments):
    """Options of the landmark probe."""

    output_dir: str = field(default="", metadata={"help": "New folder for metrics.json, errors.csv and plots."})
    seed: int = field(default=0, metadata={"help": "Seed of an untrained encoder, and of the folds."})
    folds: int = field(default=5, metadata={"help": "Number of parts of the training people that choose the ridge."})

    def __post_init__(self):
        super().__post_init__()
        check_range("folds", self.folds, 2)


class FrozenLandmarkEncoder(FrozenEncoder):
    """
    The encoder's feature map, and faces with landmarks.

    Attributes:
        train_points, eval_points: (N, 68, 2). train_people, eval_people: (N,).
    """

    def __init__(self, data, columns: LandmarkArguments, model_arguments, processor_arguments, probe, command: str):
        self.columns = columns
        super().__init__(data, model_arguments, processor_arguments, probe, command)
        self.arguments |= asdict(columns)

    def open_splits(self):
        """Training and evaluation faces, of different people. Raises InputError on landmarks that cannot be used."""
        from training.probing.ridge_map import person_folds

        data, probe = self.data, self.probe
        train_faces = open_faces(data, data.dataset, data.train_split, with_labels=False)
        eval_faces = open_faces(data, probe.eval_dataset or data.dataset, probe.eval_split, with_labels=False)
        self.train_points, self.train_people = read_landmarks(train_faces, self.columns)
        self.eval_points, self.eval_people = read_landmarks(eval_faces, self.columns)
        for points, faces in ((self.train_points, train_faces), (self.eval_points, eval_faces)):
            check_eye_distances(points, f"{faces.source}, split {faces.split!r}")
        check_people_apart(self.train_people, self.eval_people)
        person_folds(self.train_people, probe.folds, probe.seed)  # refuses too few people before an image is read
        return train_faces, eval_faces

    def encode(self, pixel_values):
        """(B, 3, H, W) -> (B, C * h * w), the last feature map."""
        return self.model.encoder(pixel_values).last_hidden_state.flatten(1)


def run_probe(frozen: FrozenLandmarkEncoder, probe: LandmarkProbeArguments, folder: Path) -> None:
    """Writes run.json, computes the feature maps, fits the linear map, and writes the run's other files."""
    frozen.write_run(folder, "landmark probe", seed=probe.seed)
    train_kept, train_maps = frozen.features(frozen.train_faces, "training_maps")
    kept, maps = frozen.features(frozen.eval_faces, "evaluation_maps")
    predicted, fit = fit_and_predict(frozen, probe, train_kept, train_maps, maps)
    channels = frozen.model.config.hidden_sizes[-1]
    side = round((maps.shape[1] / channels) ** 0.5)  # the processor's images are squares
    fit |= {"feature_map": [channels, side, side]}
    points, people = frozen.eval_points[kept], frozen.eval_people[kept]
    sizes = image_sizes(frozen.eval_faces, kept)
    distances = normalized_distances(predicted, points, sizes)
    mean_shape = normalized_distances(frozen.train_points[train_kept].mean(0), points, sizes).mean(1)
    fit |= {"mean_shape_error": float(mean_shape.mean())}
    write_results(frozen, folder, LandmarkResults(kept, people, distances, mean_shape, fit))


def fit_and_predict(frozen: FrozenLandmarkEncoder, probe: LandmarkProbeArguments, train_kept, train_maps, maps):
    """
    Args:
        train_kept: (N,), the readable training faces. train_maps: (N, D), maps: (n, D).
    Returns:
        Predicted points of the evaluation faces, (n, 68, 2), and how the map was fitted, for metrics.json.
    """
    import torch

    from training.probing.ridge_map import (
        RELATIVE_STRENGTHS,
        choose_strength,
        person_folds,
        principal_components,
        ridge_predictions,
    )

    points, people = frozen.train_points[train_kept], frozen.train_people[train_kept]
    sizes = image_sizes(frozen.train_faces, train_kept)
    components = principal_components(train_maps, maps)
    targets = torch.from_numpy(points).flatten(1)  # (N, 136)

    def error_of(held_out) -> float:
        return float(normalized_distances(held_out.reshape(points.shape), points, sizes).mean())

    folds = person_folds(people, probe.folds, probe.seed)
    relative, errors = choose_strength(components, targets, folds, error_of)
    if relative in (RELATIVE_STRENGTHS[0], RELATIVE_STRENGTHS[-1]):
        print(f"the chosen ridge, {relative:g}, is at the end of the grid; a better one may lie beyond.")
    predicted = ridge_predictions(components, targets, relative * components.scale).reshape(-1, *points.shape[1:])
    ridge = {
        "relative_strength": relative,
        "strength": relative * components.scale,
        "relative_candidates": list(RELATIVE_STRENGTHS),
        "cross_validation_errors": errors,
        "folds": probe.folds,
    }
    counts = {"num_training_images": len(points), "num_training_persons": len(set(people.tolist()))}
    return predicted.numpy(), {"ridge": ridge, **counts}


@dataclass
class LandmarkResults:
    """
    Args:
        kept, people: (n,), the readable evaluation faces and their persons. distances: (n, 68), of their points.
        mean_shape_errors: (n,), of the training faces' mean shape in place of a prediction. fit: see `fit_and_predict`.
    """

    kept: np.ndarray
    people: np.ndarray
    distances: np.ndarray
    mean_shape_errors: np.ndarray
    fit: dict


def write_results(frozen: FrozenLandmarkEncoder, folder: Path, results: LandmarkResults) -> None:
    """Writes errors.csv, cumulative_errors.png and metrics.json, and prints a line."""
    from training.measuring.classification import write_metrics

    probe, fit, errors = frozen.probe, results.fit, results.distances.mean(1)
    measures = landmark_measures(results.distances, results.people)
    write_errors(folder / "errors.csv", results.kept, results.people, errors)
    summary = (
        f"normalised mean error {100 * measures['normalized_mean_error']:.2f} %, AUC at 0.1"
        f" {100 * measures['auc_at_0.1']:.2f} %, failure rate {100 * measures['failure_rate']:.2f} %"
    )
    curves = [("probe", errors), ("mean shape of the training faces", results.mean_shape_errors)]
    draw_cumulative_curves(folder / "cumulative_errors.png", curves, f"{len(errors)} images\n{summary}")
    metrics = write_metrics(  # last: a run without it is unfinished
        folder / "metrics.json",
        {**measures, **fit},
        split=probe.eval_split,
        protocol=describe_protocol(frozen, probe),
        processor=frozen.processor,
        model=frozen.model_name,
        seed=probe.seed,
        method="landmark probe",
        label_percent=100,
        dataset={"source": frozen.eval_faces.source, "fingerprint": frozen.fingerprints["eval"]},
        choices=0,
        num_bad_images=len(frozen.bad_images.known),
    )
    print(
        f"{summary} on {len(errors)} images of {metrics['num_persons']} persons, split {probe.eval_split}; ridge"
        f" {fit['ridge']['relative_strength']:.3g} of the features' scale; the training faces' mean shape"
        f" {100 * fit['mean_shape_error']:.2f} %"
    )


def describe_protocol(frozen: FrozenLandmarkEncoder, probe: LandmarkProbeArguments) -> str:
    return (
        f"linear map with a ridge from the flattened feature map to 68 points, ridge chosen by {probe.folds} folds of"
        f" the training people, nothing chosen on {probe.eval_split}; {frozen.encoder_state}"
    )
