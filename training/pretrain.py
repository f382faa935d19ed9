"""
Pretrains SimFLE on faces without labels.

    python training/pretrain.py --dataset FOLDER --output_dir OUT          (or: accelerate launch training/pretrain.py)

The defaults are the paper's schedule (100 epochs, batch 256, learning rate 0.05 * batch / 256, cosine by epoch).
"""

from pathlib import Path

from training.data.faces import DatasetArguments
from training.models.loading import ModelArguments, ProcessorArguments, make_processor, read_config
from training.pretraining.arguments import PretrainingArguments
from training.publishing.hub_arguments import HubArguments, push_run
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import run_errors
from training.runtime.run_record import CommandLine, read_command_line


def main(argv=None) -> int:
    """Returns the exit status: 0, or 128 plus the number of the signal that stopped the run."""
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, PretrainingArguments, HubArguments)
    data, model, processor, run, hub = parse_arguments(kinds, argv, __doc__)
    line = read_command_line("pretrain", argv, (data, model, processor, run))
    from training.pretraining.setup import open_devices
    from training.runtime.resources import keep_freed_memory
    from training.runtime.run_folder import prepare_output_dir

    keep_freed_memory()
    folder = Path(run.output_dir)
    if not run.dry_run:
        folder = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None, can_resume=True)
    inputs = Inputs(line)
    accelerator = open_devices(run, folder)
    if run.dry_run:
        accelerator.print(inputs.describe_schedule(accelerator))
        return 0
    with run_errors("the last checkpoint stands"):
        loop, training = inputs.build(accelerator, folder)
        done = loop.train()
        finished = done >= loop.sampler.last_step
        if training.is_main:
            training.save_model(training.bare_model)
            ending = "finished" if finished else "stopped, to go on by --resume_from_checkpoint latest,"
            print(f"{ending} at step {done}; the model is in {folder}")
        training.end(done, finished)
    if training.is_main and finished:
        push_run(folder, hub)
    return 0 if loop.stop_signal is None else 128 + loop.stop_signal


class Inputs:
    """What the flags name: the faces, the model's config and the image processor."""

    def __init__(self, line: CommandLine):
        from training.pretraining.setup import open_monitored, open_training_faces

        self.line = line
        self.data, self.model, processor, self.run = line.dataclasses
        self.config = read_config(self.model)
        self.processor = make_processor(processor, self.run.view_size)
        self.faces = open_training_faces(self.data, self.run)
        self.monitored = open_monitored(self.data, self.run)

    def build(self, accelerator, folder):
        """The loop of the run, and the run in its folder, at the step that it goes on from."""
        from training.pretraining.batches import make_feeder, make_sampler
        from training.pretraining.loop import PretrainingLoop
        from training.pretraining.monitor import Monitor
        from training.pretraining.setup import fixed_settings, make_model_and_optimizer, resume
        from training.pretraining.step_guard import StepGuard
        from training.runtime.training_run import TrainingRun

        data, run, faces, processor = self.data, self.run, self.faces, self.processor
        fixed = fixed_settings(accelerator, self.config, processor, faces, run)
        limit, checkpoint = run.checkpoints_total_limit, run.resume_from_checkpoint
        training = TrainingRun(accelerator, folder, processor, fixed, limit, checkpoint)
        model, optimizer = make_model_and_optimizer(self.config, self.model.model, run)
        step, bad_images = resume(training, model, optimizer, data.max_bad_images)
        sampler = make_sampler(accelerator, faces, run, step)
        training.start(lambda: self.record(training), self.line.argv, step, sampler.last_step)
        if step >= sampler.last_step:
            accelerator.print(f"the run is already finished at step {step}; nothing to do but to save the model")
        if run.compile:
            model.compile()
        model, optimizer = training.prepare(model, optimizer)
        if run.report_to:
            plain = {k: v for k, v in self.line.arguments.items() if isinstance(v, (int, float, str))}
            accelerator.init_trackers("simfle", plain)
        feeder = make_feeder(accelerator, self.config, processor, faces, sampler, run, data.num_workers)
        guard = StepGuard(accelerator, optimizer, data.max_bad_images, bad_images, run.streaming)
        monitor = None
        if training.is_main:
            monitor = Monitor(faces, processor, *self.monitored, folder, data.num_workers, data.max_bad_images)
        return PretrainingLoop(training, model, feeder, sampler, run, guard, monitor), training

    def record(self, training):
        """The record of the run, for run.json."""
        from training.data.formats import describe_data
        from training.runtime.checkpoints import IMAGE_SIZES
        from training.runtime.run_record import make_record

        settings = {name: value for name, value in training.fixed.items() if name != IMAGE_SIZES}
        settings |= {"num_images": len(self.faces), "device": training.accelerator.device.type}
        about = describe_data(self.data.data_format, self.faces)
        return make_record(self.line, "pretraining", about, [self.model.model], settings)

    def describe_schedule(self, accelerator) -> str:
        """The steps and the learning rate of the run, in a few lines."""
        from training.pretraining.batches import cosine_learning_rate, make_sampler

        run, sampler = self.run, make_sampler(accelerator, self.faces, self.run)
        images, epochs, steps = sampler.shape.images, run.num_train_epochs, sampler.steps_per_epoch
        limit = f", stopping at {run.max_train_steps}" if run.max_train_steps else ""
        rates = (
            f"{epoch}: {cosine_learning_rate(run.base_learning_rate, images, epoch, epochs):.3g}"
            for epoch in sorted({0, epochs // 2, epochs - 1})
        )
        lines = [
            f"{len(self.faces)} images, {images} a step ({sampler.batch_size} a process and micro-batch, "
            f"{sampler.accumulation} micro-batches, {sampler.num_processes} processes)",
            f"{steps} steps an epoch, {epochs} epochs, {steps * epochs} steps{limit}",
            f"learning rate by epoch: {', '.join(rates)}",
        ]
        if not steps:
            lines.append("the data set is smaller than one batch: this run would be refused")
        return "\n".join(lines)


if __name__ == "__main__":
    run_main("pretrain", main)
