"""
k-nearest-neighbour probe: each face of --eval_split takes the class of the training faces nearest to it by cosine.

    python training/knn_probe.py --model RUN --dataset FACES --output_dir OUT

Nothing is trained and nothing is chosen: k and temperature are given. `--few_shot 1 5 10` keeps that percent of the
training labels, drawn by --seeds: one folder a run, OUT/labels_10_percent/seed_0. `--features_dir` shares features with
linear_probe.py.
"""

from dataclasses import dataclass, field

from training.data.faces import DatasetArguments
from training.models.loading import ModelArguments, ProcessorArguments
from training.probing.frozen_encoder import FrozenEncoder, FrozenEncoderArguments, run_folders, split_commas
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError


@dataclass
class NeighbourArguments(FrozenEncoderArguments):
    """The probe."""

    k: int = field(default=20, metadata={"help": "neighbours that vote; all where there are fewer"})
    temperature: float = field(default=0.07, metadata={"help": "a vote weighs exp(cosine / temperature)"})

    def __post_init__(self):
        super().__post_init__()
        check_range("k", self.k, 1)
        check_range("temperature", self.temperature, 0.02)  # exp(1 / temperature) must stay a float32
        if self.seeds and len(self.seeds) > 1 and not self.few_shot:
            raise InputError(
                f"--seeds {' '.join(map(str, self.seeds))} without --few_shot would give one result several times: k-NN"
                " on all labels draws nothing; leave --seeds out."
            )


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, NeighbourArguments)
    data, model_arguments, processor_arguments, probe = parse_arguments(kinds, split_commas(argv), __doc__)
    from training.runtime.run_folder import prepare_output_dir

    output_dir = prepare_output_dir(probe.output_dir, resume=False)
    frozen = FrozenEncoder(data, model_arguments, processor_arguments, probe)
    run_probes(frozen, probe, run_folders(output_dir, probe))


def run_probes(frozen: FrozenEncoder, probe: NeighbourArguments, runs) -> None:
    """metrics.json, predictions.csv and run.json for every (folder, percent of labels, seed) of `runs`."""
    import numpy as np
    import torch

    from training.measuring.knn import knn_predict
    from training.probing.linear_heads import few_shot_indices

    kept, queries = frozen.features(frozen.eval_faces, "evaluation_features")
    train_kept, features = frozen.features(frozen.train_faces, "training_features")
    labels, num_classes = frozen.train_faces.labels, len(frozen.train_faces.class_names)
    for folder, percent, seed in runs:
        chosen = np.isin(train_kept, few_shot_indices(labels, percent, seed))
        if not chosen.any():
            raise InputError("none of the training faces that --few_shot draws can be read.")
        bank, bank_labels = features[torch.from_numpy(chosen)], torch.from_numpy(labels[train_kept[chosen]])
        predictions = knn_predict(bank, bank_labels, queries, num_classes, probe.k, probe.temperature).numpy()
        folder.mkdir(parents=True, exist_ok=True)
        frozen.write_results(
            folder,
            kept,
            predictions,
            method="k-NN",
            protocol=f"k-NN by cosine, k {probe.k}, temperature {probe.temperature}, nothing chosen",
            percent=percent,
            seed=seed,
            choices=0,
            num_training_images=len(bank),
        )


if __name__ == "__main__":
    run_main("knn_probe", main)
