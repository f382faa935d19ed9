"""
Averages the weights of classifiers, BatchNorm's statistics included, into a run that can be released.

    python training/benchmarks/average_weights.py FIRST_EDITION RUN --shares 0.5 0.5 --dataset FACES --output_dir OUT

A classifier and another one fine-tuned from it lie in one basin of the loss. Their average is often more accurate than
either, and keeps the abilities of the first one (Wortsman et al. 2022, arXiv 2109.01903). The average is measured on
--eval_split. MODEL may be the last checkpoint of a fine-tuning with --ema_decay. Its averaged weights are then used,
whichever epoch the run kept.
"""

from dataclasses import dataclass
from pathlib import Path

from training.data.faces import DatasetArguments, open_faces
from training.models.evaluation import EvaluationArguments, measure_classifier
from training.runtime.arguments import flag, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.lineage import read_json, read_lineage
from training.runtime.public_paths import public
from training.runtime.run_folder import prepare_output_dir, save_model
from training.runtime.run_record import make_record, read_command_line, write_record

EMA = "average.safetensors"  # of a checkpoint of finetune.py
POSITIONALS = (("models", {"nargs": "+", "metavar": "MODEL", "help": "Folders or Hub ids of classifiers."}),)


@dataclass
class AverageArguments:
    """The average."""

    output_dir: str = flag("", "New folder.")
    shares: list[float] = flag([], "Share of each model; they sum to 1.")
    eval_split: str = flag("validation", "Split of --dataset to measure.")


def main(argv=None) -> None:
    data, run, where = parse_arguments((DatasetArguments, AverageArguments), argv, __doc__, POSITIONALS)
    if len(run.shares) != len(where.models) or abs(sum(run.shares) - 1) > 1e-6:
        raise InputError(
            f"--shares {run.shares} must be {len(where.models)} numbers that sum to 1, one for each model."
        )
    faces = open_faces(data, data.dataset, run.eval_split, with_labels=True)
    model, processor = average(where.models, run.shares)
    folder = prepare_output_dir(run.output_dir, resume=False)
    line = read_command_line("benchmarks/average_weights", argv, (data, run))
    entries = [entry for source in where.models for entry in lineage_of(source)]
    about = entries[-1].get("data") or {}
    write_record(folder, make_record(line, "averaging of weights", about, entries, {"shares": run.shares}))
    save_model(folder, model, processor)
    measure_classifier(data, EvaluationArguments(str(folder), run.output_dir), faces, {}, Path(folder))


def lineage_of(source: str) -> list[dict]:
    """Returns the lineage of a model. A checkpoint has its run's lineage, with its own name, epoch and weights."""
    from modeling_simfle.hub_folder_simfle import file_sha256

    folder = Path(source)
    if not (folder / EMA).is_file():
        return read_lineage(source)
    *earlier, own = read_lineage(folder.parents[1])
    results = {**(own.get("results") or {}), "epoch": read_json(folder / "training_state.json")["epochs"]}
    weights = {EMA: file_sha256(folder / EMA)}
    return [*earlier, {**own, "name": public(source), "weights_sha256": weights, "results": results}]


def average(sources: list[str], shares: list[float]):
    """
    Returns the classifier with the mean of the weights, and the image processor of the last source. Raises InputError
    if the weights have other shapes.
    """
    from safetensors.torch import load_file

    from training.models.loading import load_classifier

    models = []
    for source in sources:
        model, processor, _ = load_classifier(source)
        if (Path(source) / EMA).is_file():
            prefix, tensors = "module.", load_file(Path(source) / EMA)
            model.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        models.append(model)
    states = [each.state_dict() for each in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    for source, shape, each in zip(sources, shapes, models, strict=True):
        if shape != shapes[-1] or each.config.id2label != model.config.id2label:
            raise InputError(f"{source} has other weights or classes than {sources[-1]}; average models of one kind.")
    mean = {
        name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
        for name, tensor in states[-1].items()
        if tensor.is_floating_point()
    }
    model.load_state_dict({**states[-1], **mean})
    return model, processor


if __name__ == "__main__":
    run_main("average_weights", main)
