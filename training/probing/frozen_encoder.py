"""
The frozen encoder of a probe, its features of both splits, and the files of a run.

The linear and k-NN probes use FrozenEncoder. The landmark probe's subclass overrides `open_splits` and `encode`.
"""

from pathlib import Path

import numpy as np
import torch

from training.data.formats import describe_data
from training.data.images import BadImage, BadImages
from training.data.split_checks import open_both
from training.measuring.classification import (
    classification_measures,
    measures_without_repeats,
    print_measures,
    write_metrics,
    write_predictions,
)
from training.models.loading import load_encoder
from training.models.output_store import stored_tensors, weights_hash
from training.models.outputs import ImagePass, compute_outputs, estimate_batch_norm
from training.runtime.run_record import CommandLine, make_record, write_record

FEATURE_BATCH = 256


class FrozenEncoder:
    """
    An encoder in eval mode with the faces that it is measured on.

    Attributes:
        model: SimFLEForImageClassification over the encoder; the caller sets its classifier.
        processor: image processor. train_faces, eval_faces: see `open_splits`. bad_images: counts unreadable images.
    """

    def __init__(self, line: CommandLine, data, model_arguments, processor_arguments, probe):
        """line: the command of the run; the others are its dataclasses."""
        self.line, self.data, self.probe = line, data, probe
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.train_faces, self.eval_faces = self.open_splits()
        self.bad_images = BadImages(data.max_bad_images)
        self.features_dir = Path(probe.features_dir) if probe.features_dir else None
        torch.manual_seed(probe.seed)
        self.model, self.processor = load_encoder(
            model_arguments, processor_arguments, self.train_faces.class_names, probe.view_size, probe.which
        )
        self.model.to(self.device).freeze_encoder()
        self.model_name, self.source = model_arguments.name, model_arguments.model
        self.images = ImagePass(FEATURE_BATCH, data.num_workers, self.bad_images, self.device)
        self.fingerprints = {"train": self.train_faces.fingerprint(), "eval": self.eval_faces.fingerprint()}
        if probe.estimate_batch_norm:
            self.estimate_batch_norm()

    def open_splits(self):
        """Training and evaluation faces, both labelled in the same order."""
        return open_both(self.data, self.probe.eval_dataset, self.probe.eval_split)

    def stored(self, name: str, faces, compute, **more) -> dict:
        """The tensors of `compute`, from --features_dir if they are there. more: what else determines them."""
        if self.features_dir is None:
            return compute()
        made_from = {
            "weights": weights_hash(self.model.encoder),
            "faces": faces.content_hash(),
            "processor": self.processor.to_json_string(),
        }
        return stored_tensors(self.features_dir, name, made_from | more, compute)

    def estimate_batch_norm(self) -> None:
        """Sets the encoder's running statistics."""
        encoder = self.model.encoder

        def compute():
            estimate_batch_norm(encoder, self.train_faces, self.processor, self.images)
            return dict(encoder.named_buffers())

        statistics = self.stored("batch_norm", self.train_faces, compute, order="drawn")
        for name, buffer in encoder.named_buffers():
            buffer.copy_(statistics[name])

    def encode(self, pixel_values):
        """(B, 3, H, W) -> (B, D): here the pooled output, (B, C)."""
        return self.model.encoder(pixel_values).pooler_output

    def features(self, faces, name: str):
        """Rows (N,) of the readable faces and their features (N, D), float32 on the CPU. name: in --features_dir."""
        part = "train" if faces is self.train_faces else "evaluation"

        def compute():
            title = name.replace("_", " ")
            rows, features = compute_outputs(self.encode, faces, self.processor, self.images, title, part)
            return {"indices": torch.from_numpy(rows), "features": features}

        tensors = self.stored(name, faces, compute)
        rows = tensors["indices"].numpy()
        for index in np.setdiff1d(np.arange(len(faces)), rows):  # features from the disk: name bad images again
            try:
                faces.image(int(index))
            except BadImage as error:
                self.bad_images.add({f"{part} {faces.row(int(index))}": str(error)})
        return rows, tensors["features"]

    def write_run(self, folder: Path, method: str, **settings) -> None:
        """Writes run.json when a run starts. settings: of this run, such as `seed`."""
        data = describe_data(self.data.data_format, self.train_faces)
        settings = {"dataset_fingerprint": self.fingerprints, **settings}
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, make_record(self.line, method, data, [self.source], settings))

    def about(self, protocol: str) -> dict:
        """What the metrics.json of every probe says about itself; see `write_metrics`."""
        batch_norm = "estimated on the training faces" if self.probe.estimate_batch_norm else "as loaded"
        return {
            "processor": self.processor,
            "split": self.probe.eval_split,
            "protocol": f"{protocol}; {self.probe.which}, BatchNorm {batch_norm}",
            "model": self.model_name,
            "dataset": {"source": self.eval_faces.source, "fingerprint": self.fingerprints["eval"]},
            "num_bad_images": len(self.bad_images.known),
        }

    def write_results(self, folder: Path, rows, predictions, *, protocol: str, **about) -> None:
        """
        Writes predictions.csv and metrics.json of one run.

        Args:
            rows, predictions: (N,), evaluation faces and their predicted classes. about: see `write_metrics`.
        """
        labels = self.eval_faces.labels[rows]
        write_predictions(folder / "predictions.csv", rows, labels, predictions)
        measures = classification_measures(labels, predictions, self.train_faces.class_names)
        measures |= measures_without_repeats(labels, predictions, self.eval_faces.repeats_training, rows)
        metrics = write_metrics(folder / "metrics.json", measures, **self.about(protocol), **about)
        print(f"{metrics['label_percent']} % of the labels, seed {metrics['seed']}: ", end="")
        print_measures(metrics)
