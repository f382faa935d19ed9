"""The loop of fine-tuning: epochs, their evaluation, the best model, checkpoints, and the report at the end."""

import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from modeling_simfle import SimFLEForImageClassification
from training.features import BadImageCount, compute_outputs
from training.fine_tuning_data import (
    Augmentation,
    AugmentedFaces,
    class_weights,
    epoch_batches,
    make_epoch_loader,
    make_targets,
    mix,
)
from training.run_metrics import (
    classification_measures,
    measures_without_repeats,
    print_measures,
    write_metrics,
    write_predictions,
)
from training.run_state import MetricsLog, load_checkpoint, save_checkpoint, save_model

# Arguments that may differ between a run and the one that goes on from it.
FREE = ("output_dir", "max_train_minutes", "resume_from_checkpoint", "early_stopping_patience")


def make_optimizer(model, run, rate: float):
    """SGD; stage i of n has rate * layer_decay^(n - i), the classifier the full rate; no decay of norms and biases."""
    num_stages = len(model.config.depths)
    groups: dict[tuple[int, bool], list] = {}
    for name, parameter in model.named_parameters():
        depth = num_stages + 1 if name.startswith("classifier") else 0  # 0: the embedder
        if ".stages." in name:
            depth = int(name.split(".stages.")[1].split(".")[0]) + 1
        groups.setdefault((depth, parameter.ndim > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "rate": rate * run.layer_decay ** (num_stages + 1 - depth),
                "weight_decay": run.weight_decay if decays else 0.0,
            }
            for (depth, decays), parameters in groups.items()
        ],
        lr=rate,
        momentum=run.momentum,
        nesterov=run.momentum > 0,
    )


def schedule(progress: float, warmup: float, total: float) -> float:
    """The share of the learning rate after `progress` of `total` epochs: linear to 1 over `warmup`, cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(total - warmup, 1e-9)))


class FineTuning:
    """
    One run.

    Args:
        accelerator: Accelerate's. model, processor: see `make_model`. train_faces, eval_faces: labelled, one order of
        classes. data, run: the arguments; `arguments`: all of them, for checkpoints. output_dir: the run's folder.
    """

    def __init__(self, accelerator, model, processor, train_faces, eval_faces, data, run, arguments, output_dir: Path):
        self.accelerator, self.processor, self.data, self.run = accelerator, processor, data, run
        self.train_faces, self.eval_faces, self.output_dir = train_faces, eval_faces, output_dir
        self.global_batch_size = run.per_device_train_batch_size * accelerator.num_processes
        self.steps_per_epoch = len(train_faces) // self.global_batch_size
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"{train_faces.source} has {len(train_faces)} images, fewer than one batch of {self.global_batch_size};"
                " use a smaller --per_device_train_batch_size."
            )
        self.augmentation = Augmentation(run.rotation, run.zoom, run.shift, run.jitter, run.random_erasing, run.flip)
        self.targets = make_targets(train_faces, run.labels == "soft", run.label_smoothing)
        balanced = run.class_balance == "weights"
        self.weights = class_weights(train_faces.labels, len(train_faces.class_names)) if balanced else None
        self.bad_images = BadImageCount(data.max_bad_images)
        self.shared = {name: value for name, value in arguments.items() if name not in FREE}
        self.shared |= {"dataset_fingerprint": train_faces.fingerprint(), "num_processes": accelerator.num_processes}
        self.shared["global_batch_size"] = self.global_batch_size
        self.state: dict = {**self.shared, "epochs": 0, "seconds": 0.0, "best_accuracy": -1.0, "best_epoch": 0}
        self.bare_model = model.to(accelerator.device)
        self.optimizer = make_optimizer(model, run, run.base_learning_rate * self.global_batch_size / 256)
        self.average = self.make_average()

    def make_average(self):
        """The averaged model, BatchNorm's statistics included, or None."""
        if not self.run.ema_decay:
            return None
        return AveragedModel(self.bare_model, multi_avg_fn=get_ema_multi_avg_fn(self.run.ema_decay), use_buffers=True)

    def resume(self, checkpoint: Path | None) -> None:
        """Loads weights, their average, momentum and position. Raises ValueError naming what differs."""
        if checkpoint is not None:
            self.state |= load_checkpoint(checkpoint, self.bare_model, self.optimizer, self.shared)
            if self.average is not None:
                self.average.load_state_dict(load_file(checkpoint / "average.safetensors"))
            self.bad_images.seen = self.state["bad_images"]
            self.accelerator.print(f"resuming from step {self.state['step']}")
        elif self.run.resume_from_checkpoint:
            self.accelerator.print("no checkpoint found; starting from step 0")
        self.metrics = MetricsLog(self.output_dir / "metrics.jsonl", self.state["epochs"] * self.steps_per_epoch)
        self.model, self.optimizer = self.accelerator.prepare(self.bare_model, self.optimizer)

    def train(self) -> None:
        started, before = time.perf_counter(), self.state["seconds"]
        while self.state["epochs"] < self.run.num_train_epochs:
            loss = self.train_epoch(self.state["epochs"])
            self.state["epochs"] += 1
            self.state["seconds"] = before + time.perf_counter() - started
            if self.accelerator.is_main_process:
                self.evaluate_epoch(loss)
            if self.must_end(started):
                break

    def must_end(self, started: float) -> bool:
        """Whether the time or the patience is over; the main process decides for all."""
        run = self.run
        patience = run.early_stopping_patience or run.num_train_epochs
        out_of_time = run.max_train_minutes is not None and time.perf_counter() - started > 60 * run.max_train_minutes
        decision = [out_of_time or self.state["epochs"] - self.state["best_epoch"] >= patience]
        return broadcast_object_list(decision)[0]

    def train_epoch(self, epoch: int) -> float:
        """One pass over the training faces; returns its mean loss. Raises ValueError: a loss that is not finite."""
        run, device = self.run, self.accelerator.device
        size = run.early_view_size if epoch < run.early_epochs else self.processor.size["height"]
        dataset = AugmentedFaces(self.train_faces, self.processor, self.augmentation, size, run.seed)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        batches = epoch_batches(
            self.train_faces, epoch, run.per_device_train_batch_size, run.seed, run.class_balance == "sampling",
            rank, processes,
        )  # fmt: skip
        loader = make_epoch_loader(dataset, batches, self.data.num_workers)
        quiet = not (self.accelerator.is_main_process and sys.stderr.isatty())
        self.model.train()
        total, weights = torch.zeros((), device=device), None if self.weights is None else self.weights.to(device)
        title = f"epoch {epoch + 1}/{run.num_train_epochs}"
        for step, (indices, pixels, problems) in enumerate(tqdm(loader, desc=title, disable=quiet, leave=False)):
            self.bad_images.add(problems)
            generator = np.random.default_rng([run.seed, epoch, step, rank])
            pixels, targets = mix(pixels.to(device), self.targets[indices].to(device), run.mixup_alpha, generator)
            share = schedule(epoch + (step + 1) / self.steps_per_epoch, run.warmup_epochs, run.num_train_epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = group["rate"] * share
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(self.model(pixels).logits.float(), targets, weight=weights)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.average is not None:
                self.average.update_parameters(self.bare_model)
            total += loss.detach()
        mean = float(self.accelerator.reduce(total / self.steps_per_epoch, "mean"))
        if not math.isfinite(mean):
            raise ValueError(f"the loss of epoch {epoch + 1} is {mean}; use a smaller --base_learning_rate.")
        return mean

    def evaluate_epoch(self, loss: float) -> None:
        """Accuracy on the evaluation split; the best epoch's model goes to the top of the folder; a checkpoint."""
        with self.accelerator.autocast():
            kept, logits = self.predict()
        accuracy = self.accuracy_of_choice(kept, logits.argmax(1).numpy())
        state = self.state
        if accuracy > state["best_accuracy"]:
            state |= {"best_accuracy": accuracy, "best_epoch": state["epochs"]}
            save_model(self.output_dir, self.kept_model(), self.processor)
        rate, step = self.optimizer.param_groups[-1]["lr"], state["epochs"] * self.steps_per_epoch
        line = {"step": step, "epoch": state["epochs"], "loss": loss, "accuracy": accuracy, "learning_rate": rate}
        self.metrics.write({**line, "seconds": state["seconds"]})
        print(
            f"epoch {state['epochs']}/{self.run.num_train_epochs}: loss {loss:.4f}, {self.run.eval_split} accuracy"
            f" {100 * accuracy:.2f} % (best {100 * state['best_accuracy']:.2f} %, epoch {state['best_epoch']})"
        )
        state["bad_images"] = self.bad_images.seen
        more = {} if self.average is None else {"average": self.average.state_dict()}
        save_checkpoint(self.output_dir, step, self.bare_model, self.processor, self.optimizer, state, 1, more)

    def accuracy_of_choice(self, kept, predictions) -> float:
        """What the epoch is chosen by: the accuracy without pictures that repeat training ones, where that is known."""
        repeats, correct = self.eval_faces.repeats_training, predictions == self.eval_faces.labels[kept]
        fresh = slice(None) if repeats is None or repeats[kept].all() else ~repeats[kept]
        return float(correct[fresh].mean())

    def kept_model(self):
        return self.bare_model if self.average is None else self.average.module

    def predict(self):
        """Indices (N,) and logits (N, classes) of the evaluation split by the kept model in eval mode."""
        model = self.kept_model().eval()
        bad_images = BadImageCount(self.data.max_bad_images)
        return compute_outputs(
            lambda pixel_values: model(pixel_values).logits, self.eval_faces, self.processor, 256,
            self.data.num_workers, bad_images, self.accelerator.device, title="evaluating",
        )  # fmt: skip

    def report(self, model_arguments) -> None:
        """metrics.json and predictions.csv of the best epoch's model, read back from the folder."""
        best = SimFLEForImageClassification.from_pretrained(self.output_dir).to(self.accelerator.device)
        self.average, self.bare_model = None, best
        kept, logits = self.predict()
        labels, predictions = self.eval_faces.labels[kept], logits.argmax(1).numpy()
        metrics = write_metrics(
            self.output_dir / "metrics.json",
            classification_measures(labels, predictions, self.train_faces.class_names),
            split=self.run.eval_split,
            protocol=f"{self.state['epochs']} epochs, best of them on {self.run.eval_split}, without pictures that"
            " repeat training ones where those are known; see run.json",
            processor=self.processor,
            model=model_arguments.model or f"untrained {model_arguments.model_config or 'default configuration'}",
            seed=self.run.seed,
            method="fine-tuning" if model_arguments.model else "supervised from scratch",
            label_percent=100,
            dataset={"source": self.eval_faces.source, "fingerprint": self.eval_faces.fingerprint()},
            choices=self.state["epochs"],
            epoch=self.state["best_epoch"],
            num_bad_images=self.bad_images.seen,
            training_hours=self.state["seconds"] / 3600,
            **measures_without_repeats(labels, predictions, self.eval_faces.repeats_training, kept),
        )
        write_predictions(self.output_dir / "predictions.csv", kept, labels, predictions)
        print_measures(metrics)
