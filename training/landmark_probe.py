"""
Landmark probe: how well a linear map reads the 68 facial landmarks off a frozen encoder's feature map.

    python training/landmark_probe.py --model RUN --dataset LANDMARKS --output_dir OUT

The encoder is frozen in eval mode; a ridge regression takes its last feature map (C, h, w), flattened, to the points.
The ridge is chosen by cross-validation on the training people, each person in one fold, by the measure that is
reported; the map is then fitted on all training faces and measured on --eval_split, other people, where nothing is
chosen. Without --model the encoder of --model_config is untrained: run it once as initialised and once with
--estimate_batch_norm, and compare against the better one.

--dataset is Parquet (or a Hub data set) with columns image, landmarks (68 x 2, fractions of the upright picture's width
and height, iBUG's order) and person. OUT holds metrics.json, errors.csv, cumulative_errors.png and run.json; report.py
reads them.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from training.data.faces import DatasetArguments, open_faces
from training.data.landmarks import (
    LandmarkArguments,
    check_people_apart,
    draw_cumulative_curves,
    landmark_measures,
    normalized_distances,
    picture_sizes,
    read_landmarks,
    write_errors,
)
from training.models.loading import ModelArguments, ProcessorArguments
from training.probing.frozen_encoder import EncoderArguments, FrozenEncoder
from training.runtime.arguments import check_range, parse_arguments, run_main


@dataclass
class ProbeArguments(EncoderArguments):
    """The probe."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds metrics.json and errors.csv"})
    seed: int = field(default=0, metadata={"help": "of an untrained encoder, and of the folds"})
    folds: int = field(default=5, metadata={"help": "parts of the training people that choose the ridge"})

    def __post_init__(self):
        super().__post_init__()
        check_range("folds", self.folds, 2)


class FrozenLandmarkEncoder(FrozenEncoder):
    """
    The encoder's feature map, and faces with landmarks.

    Attributes:
        train_points, eval_points: (N, 68, 2). train_people, eval_people: (N,).
    """

    def __init__(self, data, columns: LandmarkArguments, model_arguments, processor_arguments, probe: ProbeArguments):
        self.columns = columns
        super().__init__(data, model_arguments, processor_arguments, probe)
        self.arguments |= asdict(columns)

    def open_splits(self):
        """Training and evaluation faces, of different people. Raises ValueError on landmarks that cannot be used."""
        from training.probing.ridge_map import person_folds

        data, probe = self.data, self.probe
        train_faces = open_faces(data, data.dataset, data.train_split, with_labels=False)
        eval_faces = open_faces(data, probe.eval_dataset or data.dataset, probe.eval_split, with_labels=False)
        self.train_points, self.train_people = read_landmarks(train_faces, self.columns)
        self.eval_points, self.eval_people = read_landmarks(eval_faces, self.columns)
        check_people_apart(self.train_people, self.eval_people)
        person_folds(self.train_people, probe.folds, probe.seed)  # refuses before a picture is read
        return train_faces, eval_faces

    def encode(self, pixel_values):
        """(B, 3, H, W) -> (B, C * h * w), the last feature map."""
        return self.model.encoder(pixel_values).last_hidden_state.flatten(1)


def main(argv=None) -> None:
    kinds = (DatasetArguments, LandmarkArguments, ModelArguments, ProcessorArguments, ProbeArguments)
    data, columns, model_arguments, processor_arguments, probe = parse_arguments(kinds, argv, __doc__)
    from training.runtime.run_folder import prepare_output_dir

    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    run_probe(FrozenLandmarkEncoder(data, columns, model_arguments, processor_arguments, probe), probe, output_dir)


def run_probe(frozen: FrozenLandmarkEncoder, probe: ProbeArguments, folder: Path) -> None:
    """Computes the feature maps, fits the map, and writes the run's files."""
    train_kept, train_maps = frozen.features(frozen.train_faces, "training_maps")
    kept, maps = frozen.features(frozen.eval_faces, "evaluation_maps")
    predicted, fit = fit_and_predict(frozen, probe, train_kept, train_maps, maps)
    channels = frozen.model.config.hidden_sizes[-1]
    side = round((maps.shape[1] / channels) ** 0.5)  # the processor's pictures are squares
    fit |= {"feature_map": [channels, side, side]}
    points, people = frozen.eval_points[kept], frozen.eval_people[kept]
    sizes = picture_sizes(frozen.eval_faces, kept)
    distances = normalized_distances(predicted, points, sizes)
    mean_shape = normalized_distances(frozen.train_points[train_kept].mean(0), points, sizes).mean(1)
    fit |= {"mean_shape_error": float(mean_shape.mean())}  # of what needs no picture
    write_results(frozen, probe, folder, kept, people, distances, mean_shape, fit)


def fit_and_predict(frozen: FrozenLandmarkEncoder, probe: ProbeArguments, train_kept, train_maps, maps):
    """
    Args:
        train_kept: (N,), the training faces that could be read. train_maps: (N, D), maps: (n, D).
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
    sizes = picture_sizes(frozen.train_faces, train_kept)
    components = principal_components(train_maps, maps)
    targets = torch.from_numpy(points).flatten(1)  # (N, 136)

    def error_of(held_out) -> float:
        return float(normalized_distances(held_out.reshape(points.shape), points, sizes).mean())

    folds = person_folds(people, probe.folds, probe.seed)
    relative, errors = choose_strength(components, targets, folds, error_of)
    if relative in (RELATIVE_STRENGTHS[0], RELATIVE_STRENGTHS[-1]):
        print(f"the ridge chosen, {relative:g}, is the grid's last; a better one may lie beyond.")
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


def write_results(frozen, probe: ProbeArguments, folder: Path, kept, people, distances, mean_shape, fit) -> None:
    """The run's four files; distances (n, 68) are those of the evaluation faces `kept`."""
    from training.measuring.classification import write_metrics

    errors = distances.mean(1)
    measures = landmark_measures(distances, people)
    write_errors(folder / "errors.csv", kept, people, errors)
    summary = (
        f"normalised mean error {100 * measures['normalized_mean_error']:.2f} %, AUC at 0.1"
        f" {100 * measures['auc_at_0.1']:.2f} %, failure rate {100 * measures['failure_rate']:.2f} %"
    )
    curves = [("probe", errors), ("mean shape of the training faces", mean_shape)]
    draw_cumulative_curves(folder / "cumulative_errors.png", curves, f"{len(errors)} images\n{summary}")
    frozen.write_run(folder, seed=probe.seed)
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


def describe_protocol(frozen: FrozenLandmarkEncoder, probe: ProbeArguments) -> str:
    return (
        f"linear map with a ridge from the flattened feature map to 68 points, ridge chosen by {probe.folds} folds of"
        f" the training people, nothing chosen on {probe.eval_split}; {frozen.encoder_state}"
    )


if __name__ == "__main__":
    run_main("landmark_probe", main)
