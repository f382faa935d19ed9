"""
Pretrains SimFLE, or an encoder by another self-supervised method, on faces without labels.

    python training/pretrain.py --dataset FOLDER --output_dir OUT          (or: accelerate launch training/pretrain.py)

The defaults are the paper's schedule (100 epochs, batch 256, learning rate 0.05 * batch / 256, cosine by epoch).
"""

from pathlib import Path

from training.data.faces import DatasetArguments
from training.models.loading import ModelArguments, ProcessorArguments
from training.pretraining.arguments import PretrainingArguments
from training.publishing.hub import HubArguments, push_run
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import run_errors
from training.runtime.run_record import read_command_line


def main(argv=None) -> int:
    """Returns the exit status: 0, or 128 plus the number of the signal that stopped the run."""
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, PretrainingArguments, HubArguments)
    data, model, processor, run, hub = parse_arguments(kinds, argv, __doc__)
    line = read_command_line("pretrain", argv, (data, model, processor, run))
    from training.pretraining.method import finished_model
    from training.pretraining.setup import Inputs, open_devices
    from training.runtime.agreement import check_same_program
    from training.runtime.resources import keep_freed_memory
    from training.runtime.run_folder import prepare_output_dir

    keep_freed_memory()
    folder = Path(run.output_dir)
    if not run.dry_run:
        folder = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None, can_resume=True)
    accelerator = open_devices(run, folder)  # first: one process makes a stream's index for all
    check_same_program(line.arguments)
    inputs = Inputs(line)
    if run.dry_run:
        accelerator.print(inputs.describe_schedule(accelerator))
        return 0
    with run_errors("the last checkpoint stands"):
        loop, training = inputs.build(accelerator, folder)
        done = loop.train()
        finished = done >= loop.sampler.last_step
        if training.is_main:
            training.save_model(finished_model(training.bare_model))
            ending = "finished" if finished else "stopped, to go on by --resume_from_checkpoint latest,"
            print(f"{ending} at step {done}; the model is in {folder}")
        training.end(done, finished)
    if training.is_main and finished:
        push_run(folder, hub)
    return 0 if loop.stop_signal is None else 128 + loop.stop_signal


if __name__ == "__main__":
    run_main("pretrain", main)
