"""
The parts that the probes share: arguments, the frozen encoder, its features of both splits, and the files of a run.

The probes of classes use FrozenEncoder directly. The landmark probe replaces the faces and the encoder's output.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.data.images import BadImage, BadImages
from training.data.split_checks import open_both
from training.models.loading import load_encoder
from training.runtime.arguments import check_range
from training.runtime.errors import InputError
from training.runtime.run_record import CommandLine, make_record, write_record

FEATURE_BATCH = 256


@dataclass
class EncoderArguments:
    """The encoder of a probe, and the faces that measure it."""

    output_dir: str = field(default="", metadata={"help": "New folder for metrics.json and the other files."})
    eval_dataset: str | None = field(
        default=None, metadata={"help": "Data set that holds --eval_split. The default is --dataset."}
    )
    eval_split: str = field(default="validation", metadata={"help": "Split that is reported."})
    view_size: int | None = field(
        default=None, metadata={"help": "Side of the model's input in pixels. The default is the processor's."}
    )
    which: Literal["encoder", "target"] = field(
        default="encoder", metadata={"help": "Encoder to take from a pretraining folder."}
    )
    estimate_batch_norm: bool = field(
        default=False, metadata={"help": "Set BatchNorm's statistics by a pass over the training faces first."}
    )
    features_dir: str | None = field(
        default=None, metadata={"help": "Folder that keeps features for other runs with the same encoder and faces."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of an untrained encoder, and of the probe without --seeds."})

    def __post_init__(self):
        check_range("view_size", self.view_size, 1)
        check_range("seed", self.seed, 0)


@dataclass
class FrozenEncoderArguments(EncoderArguments):
    """The same for a probe of classes."""

    seeds: list[int] | None = field(default=None, metadata={"help": "Several seeds, one run each: 0 1 2 or 0,1,2."})
    few_shot: list[int] | None = field(
        default=None, metadata={"help": "Percents of each class's labels, one run each: 1 5 10 or 1,5,10."}
    )

    def __post_init__(self):
        super().__post_init__()
        for name, low, high in (("seeds", 0, float("inf")), ("few_shot", 1, 100)):
            values = getattr(self, name)
            for value in values or []:
                check_range(name, value, low, high)
            if values and len(set(values)) < len(values):
                raise InputError(f"--{name} {' '.join(map(str, values))} names one twice; give each once.")


def split_commas(argv=None) -> list[str]:
    """The arguments (sys.argv's when None) with `--few_shot 1,5,10` and `--seeds=0,1` as argparse wants them."""
    words = []
    for argument in sys.argv[1:] if argv is None else argv:
        match = re.fullmatch(r"(?:(--seeds|--few_shot)=)?(\d+(?:,\d+)*)", argument)
        words += [argument] if match is None else [*filter(None, [match[1]]), *match[2].split(",")]
    return words


def run_folders(output_dir: Path, probe: FrozenEncoderArguments) -> list[tuple[Path, int, int]]:
    """(folder, percent of labels, seed) of every run: OUT, OUT/seed_0 ..., or OUT/labels_10_percent/seed_0 ..."""
    seeds = probe.seeds or [probe.seed]
    if probe.few_shot:
        return [(output_dir / f"labels_{p}_percent" / f"seed_{s}", p, s) for p in probe.few_shot for s in seeds]
    return [(output_dir / f"seed_{s}" if len(seeds) > 1 else output_dir, 100, s) for s in seeds]


class FrozenEncoder:
    """
    An encoder in eval mode with the faces that it is measured on.

    Attributes:
        model: SimFLEForImageClassification over the encoder; the caller sets its classifier.
        processor: image processor. train_faces, eval_faces: see `open_splits`. bad_images: counts unreadable images.
    """

    def __init__(self, line: CommandLine, data, model_arguments, processor_arguments, probe):
        """line: the command of the run; the others are its dataclasses."""
        import torch

        from training.models.outputs import ImagePass

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
        from training.data.image_store import store_key
        from training.models.output_store import stored_tensors, weights_hash

        if self.features_dir is None:
            return compute()
        made_from = {
            "weights": weights_hash(self.model.encoder),
            "faces": store_key(faces, self.processor.size["height"]),
            "processor": self.processor.to_json_string(),
        }
        return stored_tensors(self.features_dir, name, made_from | more, compute)

    def estimate_batch_norm(self) -> None:
        """Sets the encoder's running statistics."""
        from training.models.outputs import estimate_batch_norm

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
        import numpy as np
        import torch

        from training.models.outputs import compute_outputs

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
        from training.data.formats import describe_data

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
        from training.measuring.classification import (
            classification_measures,
            measures_without_repeats,
            print_measures,
            write_metrics,
            write_predictions,
        )

        labels = self.eval_faces.labels[rows]
        write_predictions(folder / "predictions.csv", rows, labels, predictions)
        measures = classification_measures(labels, predictions, self.train_faces.class_names)
        measures |= measures_without_repeats(labels, predictions, self.eval_faces.repeats_training, rows)
        metrics = write_metrics(folder / "metrics.json", measures, **self.about(protocol), **about)
        print(f"{metrics['label_percent']} % of the labels, seed {metrics['seed']}: ", end="")
        print_measures(metrics)
