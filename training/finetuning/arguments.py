"""The arguments of a fine-tuning run."""

from dataclasses import dataclass
from typing import Literal

from training.data.split_checks import check_chooses
from training.models.loading import check_model
from training.runtime.arguments import PRECISION, check_range, check_ranges, flag
from training.runtime.errors import InputError

# Arguments that may differ between a run and the start that goes on from it; data and teacher have their hashes.
FREE_ON_RESUME = (
    *("output_dir", "max_train_minutes", "resume_from_checkpoint", "early_stopping_patience"),
    *("dataset", "eval_dataset", "unlabelled_datasets", "teacher", "features_dir", "num_workers", "max_bad_images"),
)


@dataclass
class FineTuningArguments:
    """The run."""

    output_dir: str = flag("", "new folder; holds the best classifier and metrics.json")
    eval_dataset: str | None = flag(None, "data set that holds --eval_split; by default --dataset")
    eval_split: str = flag("validation", "validation split that chooses the epoch and is reported")
    unlabelled_datasets: list[str] = flag([], "further faces to learn from, whose targets are the teachers' answers")
    keep_classifier: bool = flag(False, "start from --model's own classifier, of the same classes, not from a new one")
    view_size: int | None = flag(None, "side in pixels; by default that of the processor", low=1)
    early_view_size: int | None = flag(None, "a smaller side for the --early_epochs", low=1)
    early_epochs: int = flag(0, "number of first epochs with images of --early_view_size", low=0)
    per_device_train_batch_size: int = flag(128, "images per process and step", low=1)
    num_train_epochs: int = flag(30, "epochs; the learning rate reaches zero at their end", low=1)
    base_learning_rate: float = flag(0.1, "learning rate of a batch of 256; it scales with the batch", low=0)
    warmup_epochs: float = flag(1.0, "epochs over which the rate rises from zero", low=0)
    layer_decay: float = flag(1.0, "learning rate of each stage, as a share of that of the next stage", low=0, high=1)
    momentum: float = flag(0.9, "momentum of SGD (Nesterov)", low=0, high=1)
    weight_decay: float = flag(5e-4, "weight decay of the convolutions and the classifier", low=0)
    labels: Literal["hard", "soft"] = flag("hard", "soft takes the annotators' votes as targets")
    label_smoothing: float = flag(0.0, "share of every target spread over all classes", low=0, high=1)
    class_balance: Literal["none", "sampling", "weights"] = flag(
        "none", "draw rare classes as often as others, or weight them in the loss"
    )
    logit_adjustment: float = flag(0.0, "times the log share of each class, added to the logits in the loss", low=0)
    teacher: list[str] = flag(
        [], "folders or Hub ids of classifiers of the same classes; targets hold their mean answer"
    )
    teacher_weight: float = flag(0.5, "share of the teachers' answers in every target", low=0, high=1)
    teacher_sees: Literal["images", "faces"] = flag(
        "images",
        "what teachers answer to: the augmented images of a step, or each face as it is, once",
    )
    features_dir: str | None = flag(None, "folder for the answers of --teacher_sees faces; by default --output_dir")
    mixup_alpha: float = flag(0.0, "alpha of mixup's beta distribution; 0 is no mixup", low=0)
    rotation: float = flag(15.0, "augmentation: degrees to both sides")
    zoom: float = flag(0.15, "augmentation: share of the side, to both sides", low=0)
    shift: float = flag(0.08, "augmentation: share of the side, to all sides", low=0)
    jitter: float = flag(0.2, "augmentation: of gain and offset of the pixels", low=0)
    flip: bool = flag(True, "augmentation: mirror half of the images")
    margins: list[float] = flag([0.0, 0.0], "augmentation: lowest and highest margin round the face, of its side")
    tight_share: float = flag(0.0, "share of the faces that keep margin 0", low=0, high=1)
    border: Literal["gray", "reflect"] = flag("gray", "augmentation: what lies outside of the face")
    softening: float = flag(0.0, "share of the faces that are brought down to 24 px or more", low=0, high=1)
    random_erasing: float = flag(0.25, "probability of an erased rectangle", low=0, high=1)
    ema_decay: float = flag(
        0.0, "decay of the averaged weights, which are then kept; 0 keeps the plain weights", low=0, high=1
    )
    early_stopping_patience: int | None = flag(
        None, "end the run after N epochs without a better one on --eval_split", low=1
    )
    max_train_minutes: float | None = flag(None, "end after the epoch that passes N minutes")
    mixed_precision: Literal["no", "bf16", "fp16"] | None = flag(None, PRECISION)
    seed: int = flag(0, "seed of the classifier, order and augmentation", low=0)
    resume_from_checkpoint: str | None = flag(None, "latest, or the folder of a checkpoint")

    def __post_init__(self):
        check_chooses(self.eval_split, self.eval_dataset)
        for teacher in self.teacher:
            check_model(teacher, "--teacher ")
        check_ranges(self)
        if len(self.margins) != 2 or not -0.5 < self.margins[0] <= self.margins[1]:
            raise InputError(f"--margins {self.margins} must be two numbers above -0.5, the lower one first.")
        if self.unlabelled_datasets and not (self.teacher and self.teacher_sees == "faces"):
            raise InputError("--unlabelled_datasets needs --teacher and --teacher_sees faces, which give the targets.")
        if self.unlabelled_datasets and self.class_balance != "none":
            raise InputError(f"--class_balance {self.class_balance} needs labels; --unlabelled_datasets has none.")
        if self.ema_decay == 1:
            raise InputError("--ema_decay 1 would never move from the first weights; use less, as 0.998.")
        check_range("early_epochs", self.early_epochs, 0, self.num_train_epochs)
        if self.early_epochs and self.early_view_size is None:
            raise InputError(f"--early_epochs {self.early_epochs} needs --early_view_size; give their side in pixels.")
        if self.per_device_train_batch_size < 2:
            raise InputError("--per_device_train_batch_size 1 cannot train: BatchNorm needs at least 2 images.")
