"""
Pretrains SimFLE on faces without labels.

    python training/pretrain.py --dataset FOLDER --output_dir OUT          (or: accelerate launch training/pretrain.py)

The defaults are the paper's schedule (100 epochs, batch 256, learning rate 0.05 * batch / 256, cosine by epoch).
"""

import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Literal

from training.face_data import DatasetArguments, open_faces
from training.model_setup import ModelArguments, ProcessorArguments, make_processor, read_config
from training.script_arguments import check_range, parse_arguments, run_main

LOSSES = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")
# What a resumed run must share with its checkpoint.
FIXED = ("config", "dataset_fingerprint", "seed", "view_size", "global_batch_size", "processor", "num_train_epochs")


@dataclass
class PretrainingArguments:
    """The run."""

    output_dir: str = field(default="", metadata={"help": "new folder; holds a loadable model at the end"})
    view_size: int = field(default=224, metadata={"help": "side of both views, in pixels; the saved processor's size"})
    per_device_train_batch_size: int = field(default=256, metadata={"help": "faces a process and micro-batch"})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "micro-batches an optimiser step"})
    num_train_epochs: int = field(default=100, metadata={"help": "epochs; the cosine ends with them"})
    max_train_steps: int | None = field(default=None, metadata={"help": "stop after so many steps, schedule unchanged"})
    base_learning_rate: float = field(default=0.05, metadata={"help": "of a batch of 256"})
    momentum: float = field(default=0.9, metadata={"help": "of SGD"})
    weight_decay: float = field(default=1e-4, metadata={"help": "on everything that trains"})
    mixed_precision: Literal["no", "bf16", "fp16"] = field(default="no", metadata={"help": "autocast"})
    seed: int = field(default=0, metadata={"help": "of weights, order, views and masks"})
    logging_steps: int = field(default=10, metadata={"help": "a line of metrics.jsonl each so many steps"})
    checkpointing_steps: int = field(default=500, metadata={"help": "a checkpoint each so many steps"})
    checkpoints_total_limit: int = field(default=2, metadata={"help": "checkpoints kept"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "latest, or a checkpoint's folder"})
    report_to: str | None = field(default=None, metadata={"help": "Accelerate's trackers, by comma"})

    def __post_init__(self):
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "view_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("max_train_steps", "logging_steps", "checkpointing_steps", "checkpoints_total_limit"):
            check_range(name, getattr(self, name), 1)
        for name in ("base_learning_rate", "momentum", "weight_decay", "seed"):
            check_range(name, getattr(self, name), 0)
        if self.per_device_train_batch_size < 2:
            raise ValueError("--per_device_train_batch_size 1 cannot train: BatchNorm needs at least 2 images.")


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, PretrainingArguments)
    data, model_arguments, processor_arguments, run = parse_arguments(kinds, argv, __doc__)
    from training.run_state import find_checkpoint, prepare_output_dir

    output_dir = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None)
    checkpoint = find_checkpoint(output_dir, run.resume_from_checkpoint) if run.resume_from_checkpoint else None
    config = read_config(model_arguments)
    processor = make_processor(processor_arguments, run.view_size)
    faces = open_faces(data, data.dataset, data.train_split, with_labels=False)

    from accelerate import Accelerator

    accelerator = Accelerator(
        mixed_precision=run.mixed_precision,
        gradient_accumulation_steps=run.gradient_accumulation_steps,
        log_with=run.report_to.split(",") if run.report_to else None,
        project_dir=output_dir,
    )
    arguments = {**asdict(data), **asdict(model_arguments), **asdict(processor_arguments), **asdict(run)}
    pretrain(accelerator, config, processor, faces, model_arguments.model, run, data, arguments, output_dir, checkpoint)


def pretrain(accelerator, config, processor, faces, start_from, run, data, arguments, output_dir, checkpoint) -> None:
    """Set-up, the loop and the end of a run."""
    from training.pretraining_data import BadImageCount, PretrainingSet, StepSampler, make_loader
    from training.run_state import MetricsLog, load_checkpoint, versions, write_json

    processes = accelerator.num_processes
    batch_size = run.per_device_train_batch_size * run.gradient_accumulation_steps * processes
    if len(faces) < batch_size:
        raise ValueError(
            f"{faces.source} has {len(faces)} images, fewer than one batch of {batch_size}; use a smaller"
            " --per_device_train_batch_size."
        )
    model, optimizer = make_model_and_optimizer(config, start_from, run)
    state = {
        "config": {k: v for k, v in config.to_diff_dict().items() if k != "transformers_version"},
        "dataset_fingerprint": faces.fingerprint(),
        "seed": run.seed,
        "view_size": run.view_size,
        "global_batch_size": batch_size,
        "processor": {name: getattr(processor, name) for name in ("do_grayscale", "image_mean", "image_std")},
        "num_train_epochs": run.num_train_epochs,
    }
    resumed = load_checkpoint(checkpoint, model, optimizer, state) if checkpoint else {"step": 0, "bad_images": 0}
    sampler = StepSampler(
        len(faces),
        run.per_device_train_batch_size,
        run.gradient_accumulation_steps,
        processes,
        accelerator.process_index,
        run.seed,
        resumed["step"],
        0,
    )
    last = sampler.steps_per_epoch * run.num_train_epochs
    sampler.last_step = min(last, run.max_train_steps or last)
    say_where_it_starts(accelerator, run, resumed["step"], sampler.last_step, bool(checkpoint))
    if accelerator.is_main_process:
        write_json(
            output_dir / "run.json",
            {
                "arguments": arguments,
                "versions": versions(),
                "num_images": len(faces),
                "num_processes": processes,
                **state,
            },
        )
    model, optimizer = accelerator.prepare(model, optimizer)
    if run.report_to:
        accelerator.init_trackers("simfle", {k: v for k, v in arguments.items() if isinstance(v, (int, float, str))})
    dataset = PretrainingSet(faces, processor, config.facemae_image_size, run.view_size, run.seed)
    loader = make_loader(dataset, sampler, data.num_workers)
    bad_images = BadImageCount(data.max_bad_images, resumed["bad_images"])
    log = MetricsLog(output_dir, resumed["step"]) if accelerator.is_main_process else None
    train(accelerator, model, optimizer, loader, sampler, run, state, bad_images, log, processor, output_dir)
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(output_dir)
        processor.save_pretrained(output_dir)
        print(f"finished at step {sampler.last_step}; the model is in {output_dir}")
    accelerator.end_training()


def make_model_and_optimizer(config, start_from: str | None, run: PretrainingArguments):
    import torch

    from modeling_simfle import SimFLEForPreTraining

    torch.manual_seed(run.seed)
    if start_from is None:
        model = SimFLEForPreTraining(config)
    else:
        model = SimFLEForPreTraining.from_pretrained(start_from, config=config)
    model.train().to(memory_format=torch.channels_last)  # convolutions are faster so, on CPUs too
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=run.base_learning_rate, momentum=run.momentum, weight_decay=run.weight_decay
    )
    return model, optimizer


def say_where_it_starts(
    accelerator, run: PretrainingArguments, step: int, last_step: int, has_checkpoint: bool
) -> None:
    if has_checkpoint:
        accelerator.print(f"resuming from step {step}")
        if step >= last_step:
            accelerator.print(f"the run is already finished at step {step}; nothing to do but to save the model")
    elif run.resume_from_checkpoint:
        accelerator.print("no checkpoint found; starting from step 0")


def train(accelerator, model, optimizer, loader, sampler, run, state, bad_images, log, processor, output_dir) -> None:
    """The loop. A step is one optimiser step; losses leave the device at `logging_steps` only."""
    import torch
    from tqdm import tqdm

    from training.pretraining_data import cosine_learning_rate, draw_masks
    from training.run_state import save_checkpoint

    bare_model, batches = accelerator.unwrap_model(model), iter(loader)
    accumulation, rank = run.gradient_accumulation_steps, accelerator.process_index
    sums = torch.zeros(len(LOSSES), device=accelerator.device)
    quiet = not (accelerator.is_main_process and sys.stderr.isatty())
    bar = tqdm(total=sampler.last_step, initial=sampler.first_step, disable=quiet, unit="step")
    started, waited, logged_step = time.perf_counter(), 0.0, sampler.first_step
    for step in range(sampler.first_step, sampler.last_step):
        epoch = step // sampler.steps_per_epoch
        rate = cosine_learning_rate(run.base_learning_rate, state["global_batch_size"], epoch, run.num_train_epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for micro in range(accumulation):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            bad_images.add(batch.pop("problem"))
            inputs = {
                name: images.to(accelerator.device, memory_format=torch.channels_last, non_blocking=True)
                for name, images in batch.items()
                if name != "index"
            }
            masks = draw_masks(bare_model.config, len(batch["index"]), run.seed, step, micro, rank)
            inputs |= {k: v.to(accelerator.device, non_blocking=True) for k, v in masks.items()}
            with accelerator.no_sync(model) if micro + 1 < accumulation else nullcontext():
                output = model(**inputs)
                accelerator.backward(output.loss)
            losses = (getattr(output, name) for name in LOSSES)
            sums += torch.stack([sums.new_zeros(()) if x is None else x.detach().float() for x in losses])
        optimizer.step()
        optimizer.zero_grad()
        bare_model.update_target()
        bar.update()
        done = step + 1
        if done % run.logging_steps == 0 or done == sampler.last_step:
            means = accelerator.reduce(sums, "mean") / (accumulation * (done - logged_step))
            seconds = time.perf_counter() - started
            if log is not None:
                rates = {
                    "images_per_second": state["global_batch_size"] * (done - logged_step) / seconds,
                    "data_wait": waited / seconds,
                }
                values = dict(zip(LOSSES, means.tolist(), strict=True))
                if not bare_model.config.use_local_branch:
                    values = {name: values[name] for name in ("loss", "similarity_loss")}
                log.write({"step": done, "epoch": epoch, **values, "learning_rate": rate, **rates})
                bar.set_postfix({k: f"{v:.3g}" for k, v in values.items()})
                accelerator.log(values | rates, step=done)
            sums.zero_()
            started, waited, logged_step = time.perf_counter(), 0.0, done
        if done % run.checkpointing_steps == 0 or done == sampler.last_step:
            if accelerator.is_main_process:
                state["bad_images"] = bad_images.seen
                save_checkpoint(output_dir, done, bare_model, processor, optimizer, state, run.checkpoints_total_limit)
            accelerator.wait_for_everyone()
    bar.close()


if __name__ == "__main__":
    run_main("pretrain", main)
