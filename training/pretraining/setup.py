"""What a pretraining run is built from: devices, faces, model, optimizer, and the checkpoint that it goes on from."""

import json
import shutil
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

from training.data.expressions import match_labels
from training.data.faces import DatasetArguments, Faces, evenly, open_faces
from training.data.formats import describe_data
from training.data.split_checks import check_fills_batch, check_several_classes
from training.data.streams import open_stream
from training.models.loading import make_processor, read_config
from training.pretraining.arguments import FIXED_ON_RESUME, PretrainingArguments
from training.pretraining.batches import cosine_learning_rate, make_feeder
from training.pretraining.loop import PretrainingLoop
from training.pretraining.method import choose_method, default_method
from training.pretraining.monitor import Monitor
from training.pretraining.samplers import make_sampler
from training.pretraining.step_guard import StepGuard
from training.runtime.accelerator import make_accelerator
from training.runtime.agreement import check_alike, raised_in_all
from training.runtime.checkpoints import IMAGE_SIZES
from training.runtime.errors import InputError
from training.runtime.processes import from_main_process
from training.runtime.run_record import CommandLine, make_record
from training.runtime.training_run import TrainingRun


def open_devices(run: PretrainingArguments, output_dir: Path):
    """Accelerate's state. Raises InputError for flags that the devices do not allow."""
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    # torch 2.13 names a successor that still shares buffers at the start, and says itself to keep to this one for now.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    handlers = [
        InitProcessGroupKwargs(timeout=timedelta(seconds=run.timeout_seconds)),
        # Running statistics are each process's own, as in the released code; the main process's are saved.
        DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
    ]
    options = {"project_dir": output_dir, "kwargs_handlers": handlers}
    accelerator = make_accelerator(run.mixed_precision, run.gradient_accumulation_steps, run.report_to, **options)
    if run.sync_batchnorm and accelerator.device.type == "cpu":
        raise InputError("--sync_batchnorm needs GPUs: torch has no synchronised BatchNorm for CPUs; leave it out.")
    if run.cuda_graph and not run.dry_run:
        check_cuda_graph(accelerator)
    return accelerator


def check_cuda_graph(accelerator) -> None:
    """Raises InputError where `--cuda_graph` has nothing to record, cannot record it, or was not measured."""
    kind, processes = accelerator.device.type, accelerator.num_processes
    if kind != "cuda" or processes > 1 or accelerator.mixed_precision not in ("bf16", "no"):
        raise InputError(
            "--cuda_graph is for one process on an NVIDIA GPU, in bf16 or float32; this run has"
            f" {processes} on {kind} with mixed_precision {accelerator.mixed_precision}; leave it out."
        )
    if accelerator.gradient_accumulation_steps > 1:
        raise InputError("--cuda_graph keeps one batch's gradients; leave out --gradient_accumulation_steps.")


class Inputs:
    """What the flags name: the faces, the method, the model's config and the image processor."""

    def __init__(self, line: CommandLine):
        self.line = line
        self.data, self.model, self.processor_arguments, self.run = line.dataclasses
        self.faces: Faces | None = None
        if self.run.streaming:
            place = (self.data, self.data.dataset, self.data.train_split, self.run.stream_index)
            self.faces = from_main_process(lambda: open_stream(*place))
        raised_in_all(self.open)

    def open(self) -> None:
        """Opens what lies on this machine's disks."""
        self.config = read_config(self.model)
        name, self.method = choose_method(self.run.method, self.model.use_local_branch, self.config)
        self.settings = self.method.read_settings(self.config, self.run.method_settings)
        self.method_about = {"name": name, "settings": self.settings}
        self.processor = make_processor(self.processor_arguments, self.run.view_size)
        if self.faces is None:
            self.faces = open_faces(self.data, self.data.dataset, self.data.train_split, with_labels=False)
        self.monitored = open_monitored(self.data, self.run)

    def build(self, accelerator, folder: Path) -> tuple[PretrainingLoop, TrainingRun]:
        """The loop of the run, and the run in its folder, at the step that it goes on from."""
        data, run, faces, processor = self.data, self.run, self.faces, self.processor
        fixed = raised_in_all(lambda: fixed_settings(accelerator, self.config, processor, faces, run))
        fixed["pretraining_method"] = self.method_about
        check_alike(fixed)
        limit, checkpoint = run.checkpoints_total_limit, run.resume_from_checkpoint
        training = TrainingRun(accelerator, folder, processor, fixed, limit, checkpoint)
        torch.manual_seed(run.seed)
        model = raised_in_all(lambda: self.method.make_model(self.config, self.settings, self.model.model))
        model, optimizer = make_optimizer(model, run)
        sampler = make_sampler(accelerator, faces, run)
        bad_images = resume(training, model, optimizer, data.max_bad_images, sampler)
        step = sampler.first_step
        training.start(lambda: self.record(training, model), self.line.argv, step, sampler.last_step)
        if step >= sampler.last_step:
            accelerator.print(f"the run is already finished at step {step}; nothing to do but to save the model")
        if run.compile:
            model.compile()
        model, optimizer = training.prepare(model, optimizer)
        if run.report_to:
            plain = {k: v for k, v in self.line.arguments.items() if isinstance(v, (int, float, str))}
            accelerator.init_trackers("simfle", plain)
        feeder = make_feeder(accelerator, self.config, processor, faces, sampler, run, data.num_workers)
        guard = StepGuard(accelerator, optimizer, data.max_bad_images, bad_images)
        monitor = None
        if training.is_main:
            bank, queries = self.monitored
            monitor = Monitor(faces, processor, bank, queries, folder, data.num_workers, data.max_bad_images)
        return PretrainingLoop(training, model, feeder, sampler, run, guard, monitor), training

    def record(self, training: TrainingRun, model):
        """The record of the run, for run.json."""
        settings = {name: value for name, value in training.fixed.items() if name != IMAGE_SIZES}
        settings |= {"num_images": len(self.faces), "device": training.accelerator.device.type}
        about = {"title": self.method.title, "paper": self.method.paper}
        settings["pretraining_method"] = {**self.method_about, **about}
        settings["num_trained_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        data = describe_data(self.data.data_format, self.faces)
        return make_record(self.line, "pretraining", data, [self.model.model], settings)

    def describe_schedule(self, accelerator) -> str:
        """The steps and the learning rate of the run, in a few lines."""
        run, sampler = self.run, make_sampler(accelerator, self.faces, self.run)
        shape, epochs, steps = sampler.shape, run.num_train_epochs, sampler.steps_per_epoch
        limit = f", stopping at {run.max_train_steps}" if run.max_train_steps else ""
        rates = (
            f"{epoch}: {cosine_learning_rate(run.base_learning_rate, shape.images, epoch, epochs):.3g}"
            for epoch in sorted({0, epochs // 2, epochs - 1})
        )
        return (
            f"{len(self.faces)} images, {shape.images} a step ({shape.batch_size} a process and micro-batch,"
            f" {shape.accumulation} micro-batches, {shape.num_processes} processes)\n"
            f"{steps} steps an epoch, {epochs} epochs, {steps * epochs} steps{limit}\n"
            f"learning rate by epoch: {', '.join(rates)}"
            + ("" if steps else "\nthe data set is smaller than one batch: this run would be refused")
        )


def open_monitored(data: DatasetArguments, run: PretrainingArguments):
    """Labelled faces (bank, queries) of --monitor_dataset, or (None, None)."""
    if run.monitor_dataset is None:
        return None, None
    if run.monitor_dataset != data.dataset:  # it may have another format
        data = replace(data, data_format="auto")
    bank = open_faces(data, run.monitor_dataset, "train", with_labels=True)
    check_several_classes(bank)
    queries = open_faces(data, run.monitor_dataset, "validation", with_labels=True)
    queries.labels = match_labels(queries.class_names, queries.labels, bank.class_names)
    return bank.select(np.array(evenly(len(bank), run.monitor_images))), queries


def make_optimizer(model, run: PretrainingArguments):
    """The model as it is trained, and its SGD."""
    if run.sync_batchnorm:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.train().to(memory_format=torch.channels_last)  # convolutions are faster so, on CPUs too
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=run.base_learning_rate, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
    )
    for parameter in parameters if run.momentum else ():
        # The same numbers as torch's own start, but defined even where a loss scaler skips the first update.
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return model, optimizer


def fixed_settings(accelerator, config, processor, faces, run: PretrainingArguments) -> dict:
    """What a run and its checkpoints must share. Raises InputError for fewer images than one batch."""
    accumulation = accelerator.gradient_accumulation_steps
    batch_size = run.per_device_train_batch_size * accumulation * accelerator.num_processes
    check_fills_batch(faces, batch_size)
    return {
        "config": describe_config(config),
        "dataset_fingerprint": faces.fingerprint(),
        IMAGE_SIZES: faces.image_sizes(),
        "processor": {name: getattr(processor, name) for name in ("do_grayscale", "image_mean", "image_std")},
        **{name: getattr(run, name) for name in FIXED_ON_RESUME},
        "gradient_accumulation_steps": accumulation,
        "global_batch_size": batch_size,
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "shuffle_block": run.shuffle_block if run.streaming else None,
    }


def describe_config(config) -> dict:
    """The fields of a SimFLEConfig, as JSON values."""
    fields = {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}
    return json.loads(json.dumps(fields))


def resume(training: TrainingRun, model, optimizer, max_bad_images: int, sampler) -> list:
    """
    Loads the checkpoint, if there is one, moves the sampler to its step, counted in this run's batches, and prints what
    has changed since.

    Returns:
        The keys of the bad images so far.
    """
    default = {"name": default_method(model.config), "settings": training.fixed["pretraining_method"]["settings"]}
    defaults = {"config": describe_config(type(model.config)()), "pretraining_method": default}
    state = training.load(model, optimizer, max_bad_images, free=("mixed_precision",), defaults=defaults)
    if not state:
        return []
    fixed, say = training.fixed, training.accelerator.print
    skipped = sampler.go_on(state)
    say(f"resuming from step {sampler.first_step}")
    for name in ("num_processes", "global_batch_size", "mixed_precision"):
        if state[name] != fixed[name]:
            say(f"the checkpoint was made with {name} {state[name]}; this run has {fixed[name]}")
    if skipped:
        say(f"{skipped} images of the blocks that the earlier processes had begun are left out of this epoch")
    if state["global_batch_size"] != fixed["global_batch_size"] and training.is_main:
        # The run drops lines of its logs by its own count of steps: the logs so far are kept aside.
        for name in ("metrics", "monitor"):
            if (log := training.folder / f"{name}.jsonl").exists():
                shutil.copyfile(log, log.with_name(f"{name}_in_steps_of_{state['global_batch_size']}.jsonl"))
    return state["bad_images"]
