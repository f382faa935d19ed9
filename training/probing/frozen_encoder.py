"""
What the probes share: arguments, the frozen encoder, its features of both splits, and what a run's folder holds.

The probes of classes use FrozenEncoder as it is; landmark_probe.py has other faces and another output of the encoder.
"""

import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from training.data.images import BadImage, BadImages
from training.data.split_checks import open_both
from training.models.loading import load_encoder
from training.runtime.arguments import check_range
from training.runtime.errors import InputError

FEATURE_BATCH = 256


@dataclass
class EncoderArguments:
    """The encoder's part of every probe."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds metrics.json and predictions.csv"})
    eval_dataset: str | None = field(default=None, metadata={"help": "where --eval_split is; default --dataset"})
    eval_split: str = field(default="validation", metadata={"help": "split that is reported"})
    view_size: int | None = field(default=None, metadata={"help": "side in pixels; default the processor's"})
    which: Literal["encoder", "target"] = field(default="encoder", metadata={"help": "of a pretraining folder"})
    estimate_batch_norm: bool = field(
        default=False, metadata={"help": "set BatchNorm's statistics by a pass over the training faces first"}
    )
    features_dir: str | None = field(
        default=None, metadata={"help": "folder that keeps features for other runs over the same encoder and faces"}
    )
    seed: int = field(default=0, metadata={"help": "of an untrained encoder, and of the probe without --seeds"})

    def __post_init__(self):
        check_range("view_size", self.view_size, 1)
        check_range("seed", self.seed, 0)


@dataclass
class FrozenEncoderArguments(EncoderArguments):
    """The encoder's part of a probe of classes."""

    seeds: list[int] | None = field(default=None, metadata={"help": "several: one run each; or 0,1,2"})
    few_shot: list[int] | None = field(
        default=None, metadata={"help": "percents of each class's labels: one run each; or 1,5,10"}
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
    found = []
    for argument in sys.argv[1:] if argv is None else argv:
        match = re.fullmatch(r"(?:(--seeds|--few_shot)=)?(\d+(?:,\d+)*)", argument)
        found += [argument] if match is None else [*filter(None, [match[1]]), *match[2].split(",")]
    return found


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
        model: SimFLEForImageClassification over the encoder; its classifier is for the caller to set.
        processor: image processor. train_faces, eval_faces: see `open_splits`. bad_images: their count.
    """

    def __init__(self, data, model_arguments, processor_arguments, probe):
        import torch

        self.data, self.probe, self.device = data, probe, "cuda" if torch.cuda.is_available() else "cpu"
        self.train_faces, self.eval_faces = self.open_splits()
        self.bad_images = BadImages(data.max_bad_images)
        self.features_dir = Path(probe.features_dir) if probe.features_dir else None
        torch.manual_seed(probe.seed)
        self.model, self.processor = load_encoder(
            model_arguments, processor_arguments, self.train_faces.class_names, probe.view_size, probe.which
        )
        self.model.to(self.device).freeze_encoder()
        self.model_name = model_arguments.name
        self.lineage: list[dict] | None = None  # of a probe that trains weights
        self.arguments = {
            name: value
            for part in (data, model_arguments, processor_arguments, probe)
            for name, value in asdict(part).items()
        }
        self.fingerprints = {"train": self.train_faces.fingerprint(), "eval": self.eval_faces.fingerprint()}
        self.made_from = self.describe(self.train_faces) if self.features_dir else {}
        if probe.estimate_batch_norm:
            self.estimate_batch_norm()

    def open_splits(self):
        """Training and evaluation faces, both labelled in the same order."""
        return open_both(self.data, self.probe.eval_dataset, self.probe.eval_split)

    def describe(self, faces) -> dict:
        """What the outputs for these faces follow from."""
        from training.data.image_store import store_key
        from training.models.output_store import weights_hash

        return {
            "weights": weights_hash(self.model.encoder),
            "faces": store_key(faces, self.processor.size["height"]),
            "processor": self.processor.to_json_string(),
        }

    def estimate_batch_norm(self) -> None:
        """Sets the encoder's running statistics; they are kept as the features are."""
        from training.models.output_store import stored_tensors
        from training.models.outputs import estimate_batch_norm

        encoder = self.model.encoder

        def compute():
            arguments = (self.processor, FEATURE_BATCH, self.data.num_workers, self.bad_images, self.device)
            estimate_batch_norm(encoder, self.train_faces, *arguments)
            return dict(encoder.named_buffers())

        made_from = self.made_from | {"order": "drawn"} if self.features_dir else {}
        found = stored_tensors(self.features_dir, "batch_norm", made_from, compute)
        for name, buffer in encoder.named_buffers():
            buffer.copy_(found[name])

    def encode(self, pixel_values):
        """(B, 3, H, W) -> (B, D): here the pooled output, (B, C). Outputs of another kind are kept by another name."""
        return self.model.encoder(pixel_values).pooler_output

    def features(self, faces, name: str):
        """Indices (N,) of the faces that could be read and their features (N, D), float32 on the CPU."""
        import numpy as np
        import torch

        from training.models.output_store import stored_tensors
        from training.models.outputs import compute_outputs

        part = "train" if faces is self.train_faces else "evaluation"

        def compute():
            arguments = (self.processor, FEATURE_BATCH, self.data.num_workers, self.bad_images, self.device)
            kept, features = compute_outputs(self.encode, faces, *arguments, name.replace("_", " "), part)
            return {"indices": torch.from_numpy(kept), "features": features}

        made_from = self.describe(faces) if self.features_dir else {}
        found = stored_tensors(self.features_dir, name, made_from, compute)
        kept = found["indices"].numpy()
        for index in np.setdiff1d(np.arange(len(faces)), kept):  # named again where the features come from the disk
            try:
                faces.image(int(index))
            except BadImage as error:
                self.bad_images.add({f"{part} {faces.row(int(index))}": str(error)})
        return kept, found["features"]

    @property
    def encoder_state(self) -> str:
        """Its part of a protocol."""
        batch_norm = "estimated on the training faces" if self.probe.estimate_batch_norm else "as loaded"
        return f"{self.probe.which}, BatchNorm {batch_norm}"

    def write_run(self, folder: Path, **more) -> None:
        """run.json of one run."""
        from training.runtime.run_folder import versions, write_json

        about = {"arguments": self.arguments, "versions": versions(), "dataset_fingerprint": self.fingerprints}
        about |= {"lineage": self.lineage} if self.lineage else {}
        write_json(folder / "run.json", {**about, **more})

    def write_results(self, folder: Path, kept, predictions, *, method, protocol, percent, seed, choices, **more):
        """metrics.json, predictions.csv and run.json of one run; predictions (N,) for the evaluation faces `kept`."""
        from training.measuring.classification import (
            classification_measures,
            measures_without_repeats,
            print_measures,
            write_metrics,
            write_predictions,
        )

        faces, probe = self.eval_faces, self.probe
        labels = faces.labels[kept]
        write_predictions(folder / "predictions.csv", kept, labels, predictions)
        self.write_run(folder, seed=seed, label_percent=percent)
        metrics = write_metrics(
            folder / "metrics.json",
            classification_measures(labels, predictions, self.train_faces.class_names),
            split=probe.eval_split,
            protocol=f"{protocol}; {self.encoder_state}",
            processor=self.processor,
            model=self.model_name,
            seed=seed,
            method=method,
            label_percent=percent,
            dataset={"source": faces.source, "fingerprint": self.fingerprints["eval"]},
            choices=choices,
            num_bad_images=len(self.bad_images.known),
            **measures_without_repeats(labels, predictions, faces.repeats_training, kept),
            **more,
        )
        print(f"{percent} % of the labels, seed {seed}: ", end="")
        print_measures(metrics)
