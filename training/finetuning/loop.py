"""The loop of fine-tuning: epochs, their evaluation, the best model, checkpoints, and the report at the end."""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from modeling_simfle import SimFLEForImageClassification
from modeling_simfle.hub_folder_simfle import check_weights, weights_sha256
from training.data.images import BadImages
from training.finetuning.arguments import FineTuningArguments
from training.finetuning.batches import (
    AugmentedFaces,
    class_weights,
    epoch_batches,
    make_epoch_loader,
    mix,
)
from training.finetuning.setup import FineTuningFaces, make_optimizer, schedule
from training.finetuning.teachers import Teacher
from training.measuring.classification import (
    classification_measures,
    measures_without_repeats,
    print_measures,
    write_metrics,
    write_predictions,
)
from training.models.outputs import ImagePass, compute_outputs
from training.runtime.errors import InputError, RunError
from training.runtime.processes import any_process, gather_problems
from training.runtime.run_folder import MetricsLog
from training.runtime.training_run import TrainingRun

RESULTS = ("metrics.json", "predictions.csv")  # of a run that has ended
EVALUATION_BATCH = 256


def epoch_accuracies(labels, predictions, repeats_training, rows) -> dict[str, float]:
    """
    An epoch's accuracies under metrics.json's names; the last one of them chooses the epoch.

    Args:
        labels, predictions: (N,), of the images `rows` (N,). repeats_training: (all,) bool, or None.
    Returns:
        accuracy, and, where it is known and leaves any image, accuracy_without_repeats; fractions.
    """
    correct = predictions == labels
    accuracies = {"accuracy": float(correct.mean())}
    if repeats_training is not None and not repeats_training[rows].all():
        accuracies["accuracy_without_repeats"] = float(correct[~repeats_training[rows]].mean())
    return accuracies


class FineTuning:
    """
    One run.

    Args:
        training: the run in its folder. model: the classifier, in training mode. data, run: the arguments.
        teachers: classifiers whose mean answer is a part of the targets.
    """

    def __init__(
        self,
        training: TrainingRun,
        model,
        faces: FineTuningFaces,
        data,
        run: FineTuningArguments,
        teachers: list[Teacher],
    ):
        self.training, self.accelerator, self.processor = training, training.accelerator, training.processor
        self.data, self.run, self.output_dir, self.teachers = data, run, training.folder, teachers
        self.faces, self.train_faces, self.eval_faces = faces, faces.train, faces.evaluation
        self.global_batch_size = training.fixed["global_batch_size"]
        self.steps_per_epoch = len(faces.labels) // self.global_batch_size
        device = self.accelerator.device
        self.targets = faces.targets(run)
        shares = self.targets.mean(0).clamp_min(1 / len(self.targets))
        self.adjustment = run.logit_adjustment * shares.log().to(device)  # (classes,), arXiv 2007.07314
        if run.teacher_sees == "faces" and teachers:
            self.targets, self.teachers = self.targets_for_faces(), []
        balanced = run.class_balance == "weights"
        self.weights = class_weights(faces.train.labels, len(faces.class_names)).to(device) if balanced else None
        self.bad_images = BadImages(data.max_bad_images, says=training.is_main)
        self.state: dict = {"epochs": 0, "seconds": 0.0, "best_accuracy": -1.0, "best_epoch": 0}
        self.bare_model = model.to(device)
        self.optimizer = make_optimizer(model, run, run.base_learning_rate * self.global_batch_size / 256)
        self.average = None
        if run.ema_decay:  # BatchNorm's statistics are averaged too
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(run.ema_decay), use_buffers=True)

    def targets_for_faces(self) -> torch.Tensor:
        """Targets (N, classes) of all training faces, with the teachers' answers to the unaugmented faces."""
        folder = Path(self.run.features_dir or self.output_dir)
        images = ImagePass(
            *(EVALUATION_BATCH, self.data.num_workers, BadImages(self.data.max_bad_images), self.accelerator.device)
        )
        with self.accelerator.main_process_first():  # the others read what it has stored
            answers = [
                torch.stack([teacher.answers(faces, images, folder) for teacher in self.teachers]).mean(0)
                for faces in (self.train_faces, *self.faces.unlabelled)
            ]
        return torch.cat([torch.lerp(self.targets, answers[0], self.run.teacher_weight), *answers[1:]])

    def resume(self) -> None:
        """Loads weights, their average, momentum and position, if there is a checkpoint. InputError: what differs."""
        limit = self.data.max_bad_images
        defaults = {**asdict(type(self.data)()), **asdict(type(self.run)())}
        saved = self.training.load(self.bare_model, self.optimizer, limit, defaults=defaults)
        if saved:
            self.state = {name: saved[name] for name in self.state}
            if self.average is not None:
                self.average.load_state_dict(load_file(self.training.checkpoint / "average.safetensors"))
            self.bad_images.known = set(saved["bad_images"])
            self.accelerator.print(f"resuming from step {saved['step']}")
        self.model, self.optimizer = self.training.prepare(self.bare_model, self.optimizer)

    @property
    def step(self) -> int:
        return self.state["epochs"] * self.steps_per_epoch

    def is_finished(self) -> bool:
        """Whether all epochs are done, or the patience is over."""
        patience = self.run.early_stopping_patience or self.run.num_train_epochs
        done = self.state["epochs"]
        return done >= self.run.num_train_epochs or done - self.state["best_epoch"] >= patience

    def train(self) -> None:
        """Runs to the end, or until the time is over; does nothing where the run is finished."""
        if self.is_finished():
            return
        if self.accelerator.is_main_process:
            for name in RESULTS:  # of a run that ended earlier; the weights beside them will be others
                (self.output_dir / name).unlink(missing_ok=True)
            self.metrics = MetricsLog(self.output_dir / "metrics.jsonl", self.step)
        started, before, ended = time.perf_counter(), self.state["seconds"], False
        upcoming = self.load_epoch(self.state["epochs"])
        while not ended:
            loss = self.train_epoch(self.state["epochs"], upcoming)
            self.state["epochs"] += 1
            if self.state["epochs"] < self.run.num_train_epochs:  # its workers start while this one is evaluated
                upcoming = self.load_epoch(self.state["epochs"])
            self.state["seconds"] = before + time.perf_counter() - started
            if self.accelerator.is_main_process:
                self.evaluate_epoch(loss)
            limit = self.run.max_train_minutes
            out_of_time = limit is not None and time.perf_counter() - started > 60 * limit
            # The main process, which evaluates, decides for all.
            decided = [out_of_time or self.is_finished(), self.bad_images.known]
            ended, self.bad_images.known = broadcast_object_list(decided)

    def load_epoch(self, epoch: int) -> Iterator:
        """This process's batches of an epoch, which its workers begin to make."""
        run = self.run
        size = run.early_view_size if epoch < run.early_epochs else self.processor.size["height"]
        dataset = AugmentedFaces(self.faces, self.processor, run, size)
        accelerator = self.accelerator
        batches = epoch_batches(self.faces, epoch, run, accelerator.process_index, accelerator.num_processes)
        return iter(make_epoch_loader(dataset, batches, self.data.num_workers))

    def train_epoch(self, epoch: int, loader: Iterator) -> float:
        """
        One pass over the training faces, as `load_epoch` has them; returns its mean loss.

        Raises:
            RunError: a loss that is not finite. InputError: too many bad images, or no batch that could be used.
        """
        quiet = not (self.accelerator.is_main_process and sys.stderr.isatty())
        self.model.train()
        total, done = torch.zeros((), device=self.accelerator.device), 0
        title = f"epoch {epoch + 1}/{self.run.num_train_epochs}"
        loaded = tqdm(loader, desc=title, total=self.steps_per_epoch, disable=quiet, leave=False)
        for step, (indices, pixels, problems) in enumerate(loaded):
            if self.must_skip(indices, problems):
                continue
            total += self.train_step(epoch, step, indices, pixels)
            done += 1
        if done == 0:
            raise InputError(f"no batch of epoch {epoch + 1} had two images that can be read; see the names above.")
        mean = float(self.accelerator.reduce(total / done, "mean"))
        if not math.isfinite(mean):
            raise RunError(
                f"the loss of epoch {epoch + 1} is {mean}; use a smaller --base_learning_rate. The last checkpoint"
                " stands."
            )
        return mean

    def must_skip(self, indices: list[int], problems: dict[int, str]) -> bool:
        """
        Counts unreadable images; whether any process has fewer than two readable ones (BatchNorm needs two).

        Several processes agree in one small reduction per step, so that none waits for gradients that never come.
        """
        fresh = self.bad_images.fresh({f"train {index}": problem for index, problem in problems.items()})
        too_few, some_fresh = any_process(self.accelerator, len(indices) < 2, bool(fresh))
        if some_fresh:
            self.bad_images.add(gather_problems(fresh))
        return too_few

    def train_step(self, epoch: int, step: int, indices: list[int], pixels: torch.Tensor) -> torch.Tensor:
        """One update from the images `indices`, (B, 3, S, S); returns the loss, (), detached."""
        run = self.run
        generator = np.random.default_rng([run.seed, epoch, step, self.accelerator.process_index])
        pixels, targets = (
            tensor.to(self.accelerator.device, non_blocking=True) for tensor in (pixels, self.targets[indices])
        )
        pixels, targets = mix(pixels, targets, run.mixup_alpha, generator)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.teachers:
            with self.accelerator.autocast():
                answers = torch.stack([teacher(pixels) for teacher in self.teachers]).mean(0)
            targets = torch.lerp(targets, answers, run.teacher_weight)
        share = schedule(epoch + (step + 1) / self.steps_per_epoch, run.warmup_epochs, run.num_train_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * share
        logits = self.model(pixels).logits.float()
        loss = F.cross_entropy(logits + self.adjustment, targets, weight=self.weights)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.bare_model)
        return loss.detach()

    def evaluate_epoch(self, loss: float) -> None:
        """
        Accuracy on the evaluation split; the best epoch's model goes to the top of the folder; a checkpoint.

        Under --mixed_precision epochs are compared in that precision; the figures of metrics.json are float32's.
        """
        with self.accelerator.autocast():
            rows, predictions = self.predict(self.evaluated_model())
        accuracies = epoch_accuracies(self.eval_faces.labels[rows], predictions, self.eval_faces.repeats_training, rows)
        choosing = list(accuracies)[-1]
        accuracy, state = accuracies[choosing], self.state
        if accuracy > state["best_accuracy"]:
            state |= {"best_accuracy": accuracy, "best_epoch": state["epochs"]}
            self.training.save_model(self.evaluated_model())
        line = {"step": self.step, "epoch": state["epochs"], "loss": loss, **accuracies}
        line |= {"learning_rate": self.optimizer.param_groups[-1]["lr"], "seconds": state["seconds"]}
        self.metrics.write(line)
        print(
            f"epoch {state['epochs']}/{self.run.num_train_epochs}: loss {loss:.4f},"
            f" {self.run.eval_split} {choosing.replace('_', ' ')}"
            f" {100 * accuracy:.2f} % (best {100 * state['best_accuracy']:.2f} %, epoch {state['best_epoch']})"
        )
        more = {} if self.average is None else {"average": self.average.state_dict()}
        self.training.save(self.step, self.bad_images.known, state, more)

    def evaluated_model(self):
        return self.bare_model if self.average is None else self.average.module

    def predict(self, model):
        """Indices (N,) of the evaluation images that can be read, and their classes (N,) by the model, in eval mode."""
        model.eval()
        images = ImagePass(EVALUATION_BATCH, self.data.num_workers, self.bad_images, self.accelerator.device)
        rows, logits = compute_outputs(
            lambda pixel_values: model(pixel_values).logits,
            self.eval_faces,
            self.processor,
            images,
            "evaluating",
            "evaluation",
        )
        return rows, logits.argmax(1).numpy()

    def report(self, model_arguments) -> None:
        """metrics.json and predictions.csv of the best epoch's model, read back from the folder, if not there yet."""
        check_weights(self.output_dir)
        if (self.output_dir / RESULTS[0]).is_file():
            return
        best = SimFLEForImageClassification.from_pretrained(self.output_dir).to(self.accelerator.device)
        rows, predictions = self.predict(best)
        labels = self.eval_faces.labels[rows]
        write_predictions(self.output_dir / RESULTS[1], rows, labels, predictions)
        num_unread = sum(key.startswith("train") for key in self.bad_images.known)
        metrics = write_metrics(  # last: a run without it is unfinished
            self.output_dir / RESULTS[0],
            classification_measures(labels, predictions, self.train_faces.class_names),
            split=self.run.eval_split,
            protocol=f"{self.state['epochs']} epochs, best of them on {self.run.eval_split}, without images that"
            " repeat training ones where those are known",
            processor=self.processor,
            model=model_arguments.name,
            seed=self.run.seed,
            method="fine-tuning" if model_arguments.model else "supervised from scratch",
            label_percent=100,
            dataset={"source": self.eval_faces.source, "fingerprint": self.eval_faces.fingerprint()},
            choices=self.state["epochs"],
            epoch=self.state["best_epoch"],
            num_training_images=len(self.faces.labels) - num_unread,
            num_bad_images=len(self.bad_images.known),
            weights_sha256=weights_sha256(self.output_dir),
            training_hours=self.state["seconds"] / 3600,
            **measures_without_repeats(labels, predictions, self.eval_faces.repeats_training, rows),
        )
        print_measures(metrics)
