"""The k-nearest-neighbour probe: an evaluation face takes the class of the nearest training faces."""

import numpy as np
import torch

from training.measuring.knn import knn_predict
from training.probing.arguments import NeighbourArguments
from training.probing.frozen_encoder import FrozenEncoder
from training.probing.linear_heads import few_shot_indices
from training.runtime.errors import InputError


def run_probes(frozen: FrozenEncoder, probe: NeighbourArguments, runs) -> None:
    """Writes run.json, predictions.csv and metrics.json for every (folder, percent of labels, seed) of `runs`."""
    for folder, percent, seed in runs:
        frozen.write_run(folder, "k-NN", seed=seed, label_percent=percent)
    rows, queries = frozen.features(frozen.eval_faces, "evaluation_features")
    train_rows, features = frozen.features(frozen.train_faces, "training_features")
    labels, num_classes = frozen.train_faces.labels, len(frozen.train_faces.class_names)
    for folder, percent, seed in runs:
        chosen = np.isin(train_rows, few_shot_indices(labels, percent, seed))
        if not chosen.any():
            raise InputError("none of the training faces that --few_shot draws can be read.")
        bank, bank_labels = features[torch.from_numpy(chosen)], torch.from_numpy(labels[train_rows[chosen]])
        predictions = knn_predict(bank, bank_labels, queries, num_classes, probe.k, probe.temperature).numpy()
        frozen.write_results(
            folder,
            rows,
            predictions,
            method="k-NN",
            protocol=f"k-NN by cosine, k {probe.k}, temperature {probe.temperature}, nothing chosen",
            label_percent=percent,
            seed=seed,
            choices=0,
            num_training_images=len(bank),
        )
