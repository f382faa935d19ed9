"""
The whole loop on faces drawn by code, in minutes on two CPU cores: what `make demo` runs.

Pretrains a small SimFLE without labels, probes it and the untrained encoder, draws what FaceMAE sees and predicts, then
classifies a new face through `pipeline("image-classification")` in a new process, by the weights of hub_cards/ (trained
on real faces) and by the probe. Drawn faces show that the parts work together; they are no evidence about real faces.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError

CONFIG = {
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128, 256],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "num_channel_groups": 8,
    "facemae_image_size": 64,
    "facemae_patch_size": 8,
    "facemae_hidden_size": 96,
    "facemae_num_hidden_layers": 2,
    "facemae_num_attention_heads": 4,
    "facemae_intermediate_size": 192,
    "decoder_hidden_size": 64,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 128,
    "projection_hidden_size": 256,
    "projection_size": 64,
}
WEIGHTS = Path(__file__).parents[1] / "hub_cards" / "simfle-resnet18-ferplus"
# Runs in a process of its own, which knows nothing of this one.
CLASSIFY = """
import sys
from transformers import pipeline
import transformers
transformers.logging.set_verbosity_error()
classify = pipeline("image-classification", model=sys.argv[1], trust_remote_code=True)
for found in classify(sys.argv[2], top_k=3):
    print(f"  {found['label']:<10} {found['score']:.2f}")
"""


@dataclass
class DemoArguments:
    """How much of it."""

    output_dir: str = field(default="demo_output", metadata={"help": "folder of the demo; replaced if it is one"})
    num_faces: int = field(default=2000, metadata={"help": "faces drawn for training"})
    num_train_epochs: int = field(default=12, metadata={"help": "epochs of pretraining"})

    def __post_init__(self):
        check_range("num_faces", self.num_faces, 64)
        check_range("num_train_epochs", self.num_train_epochs, 1)


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def main(argv=None) -> None:
    (arguments,) = parse_arguments((DemoArguments,), argv, __doc__)
    folder = Path(arguments.output_dir)
    if folder.exists() and not (folder / "config.json").is_file():
        raise InputError(f"--output_dir {folder} exists and is no earlier demo; give another folder.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    from transformers.utils import logging

    logging.disable_progress_bar()
    draw(folder, arguments.num_faces)
    pretrain(folder, arguments)
    accuracies = probe(folder)
    picture(folder)
    classify(folder, accuracies)


def draw(folder: Path, num_faces: int) -> None:
    from training.data.drawn_faces import write_image_folder

    say(f"Drawing {num_faces} faces for training and 200 others for validation (no real face is used)")
    write_image_folder(folder / "faces" / "train", num_faces, seed=0, size=64)
    write_image_folder(folder / "faces" / "validation", 200, seed=1, size=64)


def pretrain(folder: Path, arguments: DemoArguments) -> None:
    from training import pretrain as script

    say(f"Pretraining a small SimFLE on them without labels, {arguments.num_train_epochs} epochs")
    flags = ["--model_config", folder / "config.json", "--dataset", folder / "faces", "--output_dir", folder / "simfle"]
    flags += ["--view_size", 64, "--per_device_train_batch_size", 32, "--base_learning_rate", 0.4, "--num_workers", 1]
    flags += ["--num_train_epochs", arguments.num_train_epochs, "--checkpointing_steps", 10**6]
    script.main([str(flag) for flag in flags])
    lines = [json.loads(line) for line in (folder / "simfle" / "metrics.jsonl").read_text().splitlines()]
    for name in ("similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss"):
        print(f"  {name:<20} {lines[0][name]:12.4f} -> {lines[-1][name]:10.4f}")


def probe(folder: Path) -> dict[str, float]:
    """Accuracy of a linear probe on 200 other drawn faces: of the pretrained encoder and of an untrained one."""
    from training import linear_probe as script

    common = ["--dataset", folder / "faces", "--cache_features", "--view_size", 64, "--num_workers", 1]
    common += ["--per_device_train_batch_size", 256]
    encoders = {
        "pretrained": ["--model", folder / "simfle"],
        "untrained": ["--model_config", folder / "config.json", "--estimate_batch_norm"],
    }
    accuracies = {}
    for name, flags in encoders.items():
        say(f"Linear probe of the {name} encoder")
        output = folder / f"probe_{name}"
        script.main([str(flag) for flag in [*common, *flags, "--output_dir", output]])
        accuracies[name] = json.loads((output / "metrics.json").read_text())["accuracy"]
    return accuracies


def picture(folder: Path) -> None:
    from modeling_simfle import SimFLEForPreTraining
    from training.data.drawn_faces import draw_faces
    from training.models.loading import load_processor
    from training.pretraining.reconstructions import save_reconstructions

    say(f"Original, semantic mask and reconstruction of six faces: {folder / 'reconstructions.png'}")
    model, processor = SimFLEForPreTraining.from_pretrained(folder / "simfle"), load_processor(folder / "simfle")
    faces = [face.image for face in draw_faces(6, seed=2, size=64)]
    save_reconstructions(model, processor, faces, folder / "reconstructions.png")


def classify(folder: Path, accuracies: dict[str, float]) -> None:
    from training.data.drawn_faces import draw_face

    face = draw_face(seed=3, index=1, size=128)
    face.image.save(folder / "new_face.png")
    say(f"A face of another seed, drawn with the expression {face.expression}, in a new process through pipeline()")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for name, model in ((WEIGHTS.name, WEIGHTS), ("the probe of this run", folder / "probe_pretrained")):
        print(f"{name}:", flush=True)
        command = [sys.executable, "-c", CLASSIFY, str(model), str(folder / "new_face.png")]
        subprocess.run(command, check=True, env=environment)
    say("Linear probe on 200 drawn faces that no training saw (chance is 12.5 %)")
    for name, accuracy in accuracies.items():
        print(f"  {name:<12} {100 * accuracy:.1f} %")


if __name__ == "__main__":
    run_main("demo", main)
