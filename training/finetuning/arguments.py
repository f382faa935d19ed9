"""The arguments of a fine-tuning run."""

from dataclasses import dataclass, field
from typing import Literal

from training.data.split_checks import check_chooses
from training.models.loading import check_model
from training.runtime.arguments import check_range
from training.runtime.errors import InputError

# Arguments that may differ between a run and the start that goes on from it; data and teacher have their hashes.
FREE_ON_RESUME = (
    *("output_dir", "max_train_minutes", "resume_from_checkpoint", "early_stopping_patience"),
    *("dataset", "eval_dataset", "teacher", "num_workers", "max_bad_images"),
)


@dataclass
class FineTuningArguments:
    """The run."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds the best classifier and metrics.json"})
    eval_dataset: str | None = field(
        default=None, metadata={"help": "data set that holds --eval_split; by default --dataset"}
    )
    eval_split: str = field(
        default="validation", metadata={"help": "validation split that chooses the epoch and is reported"}
    )
    view_size: int | None = field(default=None, metadata={"help": "side in pixels; by default that of the processor"})
    early_view_size: int | None = field(default=None, metadata={"help": "a smaller side for the --early_epochs"})
    early_epochs: int = field(default=0, metadata={"help": "number of first epochs with images of --early_view_size"})
    per_device_train_batch_size: int = field(default=128, metadata={"help": "images per process and step"})
    num_train_epochs: int = field(default=30, metadata={"help": "epochs; the learning rate reaches zero at their end"})
    base_learning_rate: float = field(
        default=0.1, metadata={"help": "learning rate of a batch of 256; it scales with the batch"}
    )
    warmup_epochs: float = field(default=1.0, metadata={"help": "epochs over which the rate rises from zero"})
    layer_decay: float = field(
        default=1.0, metadata={"help": "learning rate of each stage, as a share of that of the next stage"}
    )
    momentum: float = field(default=0.9, metadata={"help": "momentum of SGD (Nesterov)"})
    weight_decay: float = field(default=5e-4, metadata={"help": "weight decay of the convolutions and the classifier"})
    labels: Literal["hard", "soft"] = field(
        default="hard", metadata={"help": "soft takes the annotators' votes as targets"}
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "share of every target spread over all classes"})
    class_balance: Literal["none", "sampling", "weights"] = field(
        default="none", metadata={"help": "draw rare classes as often as others, or weight them in the loss"}
    )
    teacher: str | None = field(
        default=None,
        metadata={"help": "folder or Hub id of a classifier of the same classes whose answers are targets"},
    )
    teacher_weight: float = field(default=0.5, metadata={"help": "share of the teacher's answers in every target"})
    mixup_alpha: float = field(default=0.0, metadata={"help": "alpha of mixup's beta distribution; 0 is no mixup"})
    rotation: float = field(default=15.0, metadata={"help": "augmentation: degrees to both sides"})
    zoom: float = field(default=0.15, metadata={"help": "augmentation: share of the side, to both sides"})
    shift: float = field(default=0.08, metadata={"help": "augmentation: share of the side, to all sides"})
    jitter: float = field(default=0.2, metadata={"help": "augmentation: of gain and offset of the pixels"})
    flip: bool = field(default=True, metadata={"help": "augmentation: mirror half of the images"})
    random_erasing: float = field(default=0.25, metadata={"help": "probability of an erased rectangle"})
    ema_decay: float = field(
        default=0.0, metadata={"help": "decay of the averaged weights, which are then kept; 0 keeps the plain weights"}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "end the run after N epochs without a better one on --eval_split"}
    )
    max_train_minutes: float | None = field(
        default=None, metadata={"help": "end after the epoch that passes N minutes"}
    )
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "precision of autocast; by default that of Accelerate's config, else no"}
    )
    seed: int = field(default=0, metadata={"help": "seed of the classifier, order and augmentation"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "latest, or the folder of a checkpoint"})

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
