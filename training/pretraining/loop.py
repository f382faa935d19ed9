"""The training loop of pretraining: optimiser steps, and what is logged, watched and saved between them."""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from accelerate.utils import send_to_device
from tqdm import tqdm

from training.pretraining.all_processes import mean_over_processes
from training.pretraining.batches import cosine_learning_rate, draw_masks
from training.pretraining.cuda_graph import GraphedPass
from training.pretraining.step_guard import StepGuard
from training.runtime.lineage import LOSSES
from training.runtime.processes import StopRequest
from training.runtime.run_folder import MetricsLog
from training.runtime.training_run import TrainingRun


class PretrainingLoop:
    """
    Args:
        training: the run in its folder. model: prepared by Accelerate. feeder: Feeder. sampler: StepSampler.
        run: PretrainingArguments. guard: StepGuard. monitor: Monitor, or None but in the main process.
    """

    def __init__(self, training: TrainingRun, model, feeder, sampler, run, guard: StepGuard, monitor):
        self.training, self.model, self.feeder, self.sampler = training, model, feeder, sampler
        self.run, self.guard, self.monitor = run, guard, monitor
        self.accelerator = accelerator = training.accelerator
        self.optimizer, self.bare_model = training.optimizer, training.bare_model
        self.global_batch_size = training.fixed["global_batch_size"]
        self.forward_backward: Callable[[dict], torch.Tensor] = self.compute_gradients
        if run.cuda_graph:
            trained = [p for p in self.bare_model.parameters() if p.requires_grad]
            self.forward_backward = GraphedPass(self.compute_gradients, trained)
        self.is_main = accelerator.is_main_process
        self.metrics = MetricsLog(training.folder / "metrics.jsonl", sampler.first_step) if self.is_main else None
        self.monitored = MetricsLog(training.folder / "monitor.jsonl", sampler.first_step) if self.is_main else None
        self.loss_scale: float | None = None  # of fp16's gradients
        self.computed: list[str] = []  # the LOSSES that the model returns
        self.sums = torch.zeros(len(LOSSES), device=accelerator.device)
        self.started = self.logged_at = time.perf_counter()
        self.logged_step = self.saved_step = sampler.first_step
        quiet = not (self.is_main and sys.stderr.isatty())
        self.bar = tqdm(total=sampler.last_step, initial=sampler.first_step, disable=quiet, unit="step")

    def train(self) -> int:
        """Runs to the last step, or until a stop is asked for; returns the steps done, all of them saved."""
        done = self.sampler.first_step
        if done == 0:
            self.watch(0)
        with StopRequest() as request:
            while done < self.sampler.last_step and not self.guard.stop:
                self.step(done, request)
                done += 1
                self.bar.update()
                epoch, position = divmod(done, self.sampler.steps_per_epoch)
                if done % self.run.logging_steps == 0:
                    self.log(done)
                if position == 0 and epoch % self.run.monitor_epochs == 0:
                    self.watch(done)
                if done % self.run.checkpointing_steps == 0:
                    self.save(done)
            if done > self.logged_step:
                self.log(done)
            self.save(done)
            if request.signal is None:  # whoever sends one gives little time
                self.watch(done)
        self.guard.settle()
        self.bar.close()
        self.stop_signal = request.signal
        return done

    def step(self, step: int, request: StopRequest) -> None:
        """One optimiser step: forward and backward of each micro-batch, agreement, update, target."""
        run, epoch = self.run, step // self.sampler.steps_per_epoch
        self.rate = cosine_learning_rate(run.base_learning_rate, self.global_batch_size, epoch, run.num_train_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        losses, problems, indices = [], [], []
        for micro in range(self.sampler.shape.accumulation):
            batch = self.feeder.next()
            inputs = batch["inputs"] | self.masks(step, micro, len(batch["indices"]))
            is_last = micro + 1 == self.sampler.shape.accumulation
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                losses.append(self.forward_backward(inputs))
            self.feeder.prefetch()
            problems += batch["problems"]
            indices += batch["indices"]
        gradients = [p.grad for p in self.bare_model.parameters() if p.grad is not None]
        self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        minutes, limit = (time.perf_counter() - self.started) / 60, run.max_train_minutes
        must_stop = request.signal is not None or (limit is not None and minutes > limit)
        self.guard.check(torch.stack(losses), self.gradient_norm, problems, indices, must_stop)
        self.sums += torch.stack(losses).float().mean(0)
        scaler = self.accelerator.scaler
        if scaler is not None:
            self.loss_scale = scaler.get_scale()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if scaler is None or scaler.get_scale() >= self.loss_scale:  # fp16 skips an update that overflows; asking waits
            self.bare_model.update_target()

    def compute_gradients(self, inputs: dict) -> torch.Tensor:
        """Forward and backward of a micro-batch; returns the losses (5,), in the order of LOSSES, 0 for none."""
        output = self.model(**inputs)
        self.accelerator.backward(output.loss)
        terms = [getattr(output, name, None) for name in LOSSES]
        self.computed = [name for name, term in zip(LOSSES, terms, strict=True) if term is not None]
        return torch.stack([output.loss.detach().new_zeros(()) if x is None else x.detach() for x in terms])

    def masks(self, step: int, micro: int, batch_size: int) -> dict:
        """Group ids and noise of one micro-batch, and what the processes share."""
        rank, device = self.accelerator.process_index, self.accelerator.device
        drawn = draw_masks(self.bare_model.config, batch_size, self.run.seed, step, micro, rank)
        inputs: dict = send_to_device(drawn, device, non_blocking=True)
        if drawn and self.run.global_grouping and self.accelerator.num_processes > 1:
            inputs["reduce_similarity"] = mean_over_processes
        return inputs

    def log(self, done: int) -> None:
        """A line of metrics.jsonl: means since the last one. Losses leave the device here alone."""
        self.guard.settle()
        num_steps = done - self.logged_step
        means = self.accelerator.reduce(self.sums / num_steps, "mean").tolist()
        now = time.perf_counter()
        seconds, waited = now - self.logged_at, self.feeder.waited
        self.sums.zero_()
        self.logged_at, self.logged_step, self.feeder.waited = now, done, 0.0
        if not self.is_main:
            return
        values = {name: mean for name, mean in zip(LOSSES, means, strict=True) if name in self.computed} | {
            "learning_rate": self.rate,
            "gradient_norm": float(self.gradient_norm) / (self.loss_scale or 1.0),
            "images_per_second": self.global_batch_size * num_steps / seconds,
            "data_wait": waited / seconds,
        }
        self.metrics.write({"step": done, "epoch": (done - 1) // self.sampler.steps_per_epoch, **values})
        self.bar.set_postfix({k: f"{v:.3g}" for k, v in values.items() if k in (*LOSSES, "images_per_second")})
        self.accelerator.log(values, step=done)

    def watch(self, done: int) -> None:
        """Writes a line of monitor.jsonl before the first step, every --monitor_epochs and at the end; one per step."""
        self.guard.settle()
        if self.is_main and done > self.monitored.last_step:
            started = time.perf_counter()
            epoch = done // self.sampler.steps_per_epoch
            with torch.compiler.set_stance("force_eager"):  # its few batches are not worth compiling for
                measures = self.monitor(self.bare_model, epoch)
            self.monitored.write({"step": done, "epoch": epoch, **measures})
            self.accelerator.log({f"monitor/{k}": float(v) for k, v in measures.items() if v is not None}, step=done)
            if measures["collapsing"] and done > 0:  # narrow projections before training are no sign
                self.bar.write(f"step {done}: the projections are collapsing: {measures}")
            self.logged_at += time.perf_counter() - started  # not the loop's time

    def save(self, done: int) -> None:
        """Writes a checkpoint, after all processes have agreed that the losses up to it are finite."""
        self.guard.settle()
        if self.is_main and done > self.saved_step:
            self.training.save(done, self.guard.bad_images.known, self.sampler.state())
            self.saved_step = done
        self.accelerator.wait_for_everyone()
