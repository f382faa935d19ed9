"""The k-nearest-neighbour probe: an evaluation face takes the class of the nearest training faces."""

from dataclasses import dataclass, field

from training.probing.frozen_encoder import FrozenEncoder, FrozenEncoderArguments
from training.runtime.arguments import check_range
from training.runtime.errors import InputError


@dataclass
class NeighbourArguments(FrozenEncoderArguments):
    """Options of the k-nearest-neighbour probe."""

    k: int = field(default=20, metadata={"help": "Number of neighbours that vote, or all faces if there are fewer."})
    temperature: float = field(default=0.07, metadata={"help": "A vote has weight exp(cosine / temperature)."})

    def __post_init__(self):
        super().__post_init__()
        check_range("k", self.k, 1)
        check_range("temperature", self.temperature, 0.02)  # exp(1 / temperature) must stay a float32
        if self.seeds and len(self.seeds) > 1 and not self.few_shot:
            raise InputError(
                f"--seeds {' '.join(map(str, self.seeds))} without --few_shot would give one result several times: k-NN"
                " on all labels draws nothing; leave --seeds out."
            )


def run_probes(frozen: FrozenEncoder, probe: NeighbourArguments, runs) -> None:
    """Writes run.json, predictions.csv and metrics.json for every (folder, percent of labels, seed) of `runs`."""
    import numpy as np
    import torch

    from training.measuring.knn import knn_predict
    from training.probing.linear_heads import few_shot_indices

    for folder, percent, seed in runs:
        frozen.write_run(folder, "k-NN", seed=seed, label_percent=percent)
    kept, queries = frozen.features(frozen.eval_faces, "evaluation_features")
    train_kept, features = frozen.features(frozen.train_faces, "training_features")
    labels, num_classes = frozen.train_faces.labels, len(frozen.train_faces.class_names)
    for folder, percent, seed in runs:
        chosen = np.isin(train_kept, few_shot_indices(labels, percent, seed))
        if not chosen.any():
            raise InputError("none of the training faces that --few_shot draws can be read.")
        bank, bank_labels = features[torch.from_numpy(chosen)], torch.from_numpy(labels[train_kept[chosen]])
        predictions = knn_predict(bank, bank_labels, queries, num_classes, probe.k, probe.temperature).numpy()
        frozen.write_results(
            folder,
            kept,
            predictions,
            method="k-NN",
            protocol=f"k-NN by cosine, k {probe.k}, temperature {probe.temperature}, nothing chosen",
            label_percent=percent,
            seed=seed,
            choices=0,
            num_training_images=len(bank),
        )
