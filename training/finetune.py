"""
Fine-tunes an encoder and a classifier on labelled faces; without --model it is the supervised baseline from scratch.

    python training/finetune.py --model RUN --dataset FACES --output_dir OUT          (or: accelerate launch ...)

SGD with Nesterov momentum, warm-up and cosine by step. The epoch is chosen on --eval_split, a validation split, after
every epoch (`choices` in metrics.json counts them), without the pictures that repeat training ones where those are
known: report a test split by evaluate_classifier.py, once. The output folder's model is the best epoch's;
--resume_from_checkpoint latest goes on after the last whole epoch, and leaves a finished run as it is.
"""

from dataclasses import asdict, dataclass, field
from typing import Literal

from training.data.faces import DatasetArguments
from training.data.split_checks import check_chooses, open_both
from training.models.loading import (
    ModelArguments,
    ProcessorArguments,
    check_model,
    load_encoder,
)
from training.publishing.hub_arguments import HubArguments, push_run
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError


@dataclass
class FineTuningArguments:
    """The run."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds the best classifier and metrics.json"})
    eval_dataset: str | None = field(default=None, metadata={"help": "where --eval_split is; default --dataset"})
    eval_split: str = field(default="validation", metadata={"help": "split that chooses the epoch and is reported"})
    view_size: int | None = field(default=None, metadata={"help": "side in pixels; default the processor's"})
    early_view_size: int | None = field(default=None, metadata={"help": "a smaller side for the --early_epochs"})
    early_epochs: int = field(default=0, metadata={"help": "first epochs that see pictures of --early_view_size"})
    per_device_train_batch_size: int = field(default=128, metadata={"help": "faces a process and step"})
    num_train_epochs: int = field(default=30, metadata={"help": "epochs; the cosine ends with them"})
    base_learning_rate: float = field(default=0.1, metadata={"help": "of a batch of 256"})
    warmup_epochs: float = field(default=1.0, metadata={"help": "epochs over which the rate rises from zero"})
    layer_decay: float = field(default=1.0, metadata={"help": "rate of each stage, as a share of the next one's"})
    momentum: float = field(default=0.9, metadata={"help": "of SGD (Nesterov)"})
    weight_decay: float = field(default=5e-4, metadata={"help": "on the weights of convolutions and the classifier"})
    labels: Literal["hard", "soft"] = field(default="hard", metadata={"help": "soft: the annotators' votes as targets"})
    label_smoothing: float = field(default=0.0, metadata={"help": "share of every target spread over all classes"})
    class_balance: Literal["none", "sampling", "weights"] = field(
        default="none", metadata={"help": "rare classes drawn as often as others, or weighted in the loss"}
    )
    teacher: str | None = field(
        default=None, metadata={"help": "folder or Hub id of a classifier of the same classes: its answers are targets"}
    )
    teacher_weight: float = field(default=0.5, metadata={"help": "share of the teacher's answers in every target"})
    mixup_alpha: float = field(default=0.0, metadata={"help": "of mixup's beta distribution; 0 is none"})
    rotation: float = field(default=15.0, metadata={"help": "augmentation: degrees to both sides"})
    zoom: float = field(default=0.15, metadata={"help": "augmentation: share of the side, to both sides"})
    shift: float = field(default=0.08, metadata={"help": "augmentation: share of the side, to all sides"})
    jitter: float = field(default=0.2, metadata={"help": "augmentation: of gain and offset of the pixels"})
    flip: bool = field(default=True, metadata={"help": "augmentation: half of the pictures mirrored"})
    random_erasing: float = field(default=0.25, metadata={"help": "probability of an erased rectangle"})
    ema_decay: float = field(default=0.0, metadata={"help": "of the averaged weights that are kept; 0: the plain ones"})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "epochs without a better one on --eval_split before the run ends"}
    )
    max_train_minutes: float | None = field(default=None, metadata={"help": "end after the epoch that passes them"})
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "autocast; default that of accelerate's config, else no"}
    )
    seed: int = field(default=0, metadata={"help": "of the classifier, order and augmentation"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "latest, or a checkpoint's folder"})

    def __post_init__(self):
        check_chooses(self.eval_split, self.eval_dataset)
        if self.teacher:
            check_model(self.teacher, "--teacher ")
        for name in ("per_device_train_batch_size", "num_train_epochs", "view_size", "early_view_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("base_learning_rate", "weight_decay", "warmup_epochs", "mixup_alpha", "zoom", "shift", "jitter"):
            check_range(name, getattr(self, name), 0)
        shares = ("momentum", "label_smoothing", "random_erasing", "ema_decay", "layer_decay", "teacher_weight")
        for name in shares:
            check_range(name, getattr(self, name), 0, 1)
        if self.ema_decay == 1:
            raise InputError("--ema_decay 1 would never move from the first weights; use less, as 0.998.")
        check_range("early_epochs", self.early_epochs, 0, self.num_train_epochs)
        check_range("early_stopping_patience", self.early_stopping_patience, 1)
        check_range("seed", self.seed, 0)
        if self.early_epochs and self.early_view_size is None:
            raise InputError(f"--early_epochs {self.early_epochs} needs --early_view_size; give their side in pixels.")
        if self.per_device_train_batch_size < 2:
            raise InputError("--per_device_train_batch_size 1 cannot train: BatchNorm needs at least 2 images.")


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, FineTuningArguments, HubArguments)
    data, model_arguments, processor_arguments, run, hub = parse_arguments(kinds, argv, __doc__)
    from training.runtime.checkpoints import find_checkpoint
    from training.runtime.resources import keep_freed_memory
    from training.runtime.run_folder import prepare_output_dir, versions, write_json

    keep_freed_memory()
    output_dir = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None, can_resume=True)
    checkpoint = find_checkpoint(output_dir, run.resume_from_checkpoint) if run.resume_from_checkpoint else None
    train_faces, eval_faces = open_both(data, run.eval_dataset, run.eval_split)

    import torch
    from accelerate import Accelerator

    from training.finetuning.loop import FineTuning
    from training.runtime.errors import run_errors

    accelerator = Accelerator(mixed_precision=run.mixed_precision)
    if accelerator.mixed_precision != "no":  # the flag's, or that of accelerate's config
        run.mixed_precision = accelerator.mixed_precision
    torch.manual_seed(run.seed)
    model, processor = make_model(model_arguments, processor_arguments, run, train_faces.class_names)
    arguments = {**asdict(data), **asdict(model_arguments), **asdict(processor_arguments), **asdict(run)}
    tuning = FineTuning(accelerator, model, processor, train_faces, eval_faces, data, run, arguments, output_dir)
    tuning.resume(checkpoint)
    if accelerator.is_main_process and not tuning.is_finished():
        fingerprints = {"train": train_faces.fingerprint(), "eval": eval_faces.fingerprint()}
        about = {"arguments": arguments, "versions": versions(), "dataset_fingerprint": fingerprints}
        kept = ("num_processes", "global_batch_size", "teacher_sha256")
        about |= {name: tuning.shared[name] for name in kept if tuning.shared[name]}
        write_json(output_dir / "run.json", about)
    with run_errors("the last checkpoint stands"):
        tuning.train()
        if accelerator.is_main_process:
            tuning.report(model_arguments)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        push_run(output_dir, hub)


def make_model(model_arguments, processor_arguments, run, class_names):
    """The classifier over --model's encoder (or a new one of --model_config), trainable, and the image processor."""
    import torch

    model, processor = load_encoder(model_arguments, processor_arguments, class_names, run.view_size)
    torch.nn.init.normal_(model.classifier.weight, std=0.01)
    torch.nn.init.zeros_(model.classifier.bias)
    return model.train().to(memory_format=torch.channels_last), processor


if __name__ == "__main__":
    run_main("finetune", main)
