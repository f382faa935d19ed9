"""
Fine-tunes an encoder and a classifier on labelled faces; without --model it is the supervised baseline from scratch.

    python training/finetune.py --model RUN --dataset FACES --output_dir OUT          (or: accelerate launch ...)

SGD with Nesterov momentum, warm-up and cosine by step. The epoch is chosen on --eval_split, a validation split, after
every epoch (`choices` in metrics.json counts them), without the images that repeat training ones where those are
known: report a test split by evaluate_classifier.py, once. The output folder's model is the best epoch's;
--resume_from_checkpoint latest goes on after the last whole epoch, and leaves a finished run as it is.
"""

from training.data.faces import DatasetArguments
from training.finetuning.arguments import FineTuningArguments
from training.models.loading import ModelArguments, ProcessorArguments
from training.publishing.hub import HubArguments, push_run
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import run_errors
from training.runtime.run_record import CommandLine, read_command_line


def main(argv=None) -> None:
    kinds = (DatasetArguments, ModelArguments, ProcessorArguments, FineTuningArguments, HubArguments)
    data, model, processor, run, hub = parse_arguments(kinds, argv, __doc__)
    line = read_command_line("finetune", argv, (data, model, processor, run))
    from training.finetuning.setup import open_all
    from training.runtime.accelerator import make_accelerator
    from training.runtime.agreement import check_same_program, raised_in_all
    from training.runtime.resources import keep_freed_memory
    from training.runtime.run_folder import prepare_output_dir

    keep_freed_memory()
    folder = prepare_output_dir(run.output_dir, run.resume_from_checkpoint is not None, can_resume=True)
    accelerator = make_accelerator(run.mixed_precision)
    check_same_program(line.arguments)
    faces = raised_in_all(lambda: open_all(data, run))
    with run_errors("the last checkpoint stands"):
        tuning = build(line, accelerator, folder, faces)
        training = tuning.training
        if was_finished := tuning.is_finished():
            accelerator.print(f"the run is already finished at step {tuning.step}")
        else:
            planned = run.num_train_epochs * tuning.steps_per_epoch
            training.start(lambda: record(line, tuning), line.argv, tuning.step, planned)
        tuning.train()
        if training.is_main:
            tuning.report(model)
        if was_finished:
            accelerator.wait_for_everyone()
        else:
            training.end(tuning.step, finished=True)
    if training.is_main:
        push_run(folder, hub)


def build(line: CommandLine, accelerator, folder, faces):
    """The run, at the epoch that it goes on from."""
    from training.finetuning.loop import FineTuning
    from training.finetuning.setup import fixed_settings
    from training.runtime.agreement import check_alike, raised_in_all
    from training.runtime.training_run import TrainingRun

    data, _, _, run = line.dataclasses
    model, processor, teachers = raised_in_all(lambda: load_models(line, accelerator.device, faces.class_names))
    fixed = raised_in_all(lambda: fixed_settings(accelerator, line.arguments, faces, run, teachers))
    check_alike(fixed)
    training = TrainingRun(accelerator, folder, processor, fixed, 1, run.resume_from_checkpoint)
    tuning = FineTuning(training, model, faces, data, run, teachers)
    tuning.resume()
    return tuning


def load_models(line: CommandLine, device, class_names):
    """The classifier to train, its image processor, and the teachers."""
    from training.finetuning.setup import make_classifier
    from training.finetuning.teachers import check_same_pixels, load_teacher

    _, model_arguments, processor_arguments, run = line.dataclasses
    model, processor = make_classifier(model_arguments, processor_arguments, run, class_names)
    teachers = [load_teacher(source, class_names, device) for source in run.teacher]
    if run.teacher_sees == "images":
        for teacher in teachers:
            check_same_pixels(teacher, processor)
    return model, processor, teachers


def record(line: CommandLine, tuning):
    """The record of the run, for run.json."""
    from training.data.formats import describe_data
    from training.runtime.run_record import make_record

    data, model, _, run = line.dataclasses
    fixed, accelerator = tuning.training.fixed, tuning.accelerator
    settings = {
        "dataset_fingerprint": {"train": fixed["dataset_fingerprint"], "eval": fixed["eval_dataset_fingerprint"]},
        "global_batch_size": fixed["global_batch_size"],
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "device": accelerator.device.type,
        **({"teacher_sha256": fixed["teacher_sha256"]} if fixed["teacher_sha256"] else {}),
    }
    method = "fine-tuning" if model.model else "supervised from scratch"
    about = describe_data(data.data_format, tuning.train_faces)
    if tuning.faces.unlabelled:
        about["unlabelled"] = [describe_data("auto", faces) for faces in tuning.faces.unlabelled]
    return make_record(line, method, about, [model.model, *run.teacher], settings)


if __name__ == "__main__":
    run_main("finetune", main)
