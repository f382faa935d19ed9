"""Converting a checkpoint of the authors' released code into a folder that loads as one of our models."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.models.arguments import ModelArguments, read_config
from training.models.original_names import original_name, probe_name
from training.runtime.arguments import flag
from training.runtime.errors import InputError
from training.runtime.lineage import make_lineage
from training.runtime.run_folder import new_folder, share_weights, versions, write_json

LICENSE = {"license": "cc-by-nc-4.0"}
LICENSE_NOTE = (
    "Weights in this format were released by the SimFLE authors under CC BY-NC 4.0: no commercial use, and name them"
    " (https://creativecommons.org/licenses/by-nc/4.0/)."
)
# What torch.load (2.13) raises on bytes that are not a checkpoint.
UNREADABLE = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, struct.error)


@dataclass
class ConversionArguments:
    """Options of the conversion."""

    dtype: Literal["keep", "float32", "float64", "float16", "bfloat16"] = flag(
        "keep", "Type of the written weights and of the loaded model; keep is the type in the file."
    )
    model_config: str | None = flag(None, "JSON file of config fields, for a model that is not the paper's size.")
    labels: str | None = flag(None, "Class names of a linear probe in the file's order, separated by commas.")


def convert(file: Path, output_dir: Path, arguments: ConversionArguments, command: str) -> None:
    """
    Writes the model's folder, with the licence of the authors' weights in README.md and in the lineage of run.json.

    Args:
        file: checkpoint_NNN.pth.tar of the released code. output_dir: new or empty. command: as it was typed.
    Raises:
        InputError: a file that cannot be read or does not fit the model; nothing is written then.
    """
    import torch

    from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining, SimFLEImageProcessor
    from modeling_simfle.hub_folder_simfle import file_sha256

    with new_folder(output_dir) as folder:
        state_dict, epoch = read_checkpoint(file)
        model_class: type
        config = read_config(ModelArguments(model_config=arguments.model_config))
        if "fc.weight" in state_dict and state_dict["fc.weight"].ndim == 2:
            config.id2label = probe_labels(arguments.labels, len(state_dict["fc.weight"]))
            config.label2id = {name: i for i, name in config.id2label.items()}
            model_class, name_of = SimFLEForImageClassification, probe_name
            kind = f"linear probe of {config.num_labels} classes"
        else:
            model_class, name_of = SimFLEForPreTraining, original_name
            kind = f"pretraining checkpoint of epoch {epoch}"
        with torch.device("meta"):  # no memory for weights that the file's replace
            model = model_class(config)
        tensors = as_dtype(rename(state_dict, model, name_of), arguments.dtype)
        model.load_state_dict(tensors, assign=True)
        model.save_pretrained(folder)
        SimFLEImageProcessor().save_pretrained(folder)
        share_weights(folder)
        source = {"name": file.name, "weights_sha256": {file.name: file_sha256(file)}, "license": LICENSE}
        lineage = make_lineage("conversion", command, None, [source])
        write_json(folder / "run.json", {"lineage": lineage, "versions": versions()})
        (folder / "README.md").write_text(f"---\nlicense: cc-by-nc-4.0\n---\n{LICENSE_NOTE}\n", encoding="utf-8")
    print(f"{file}: {kind}, {len(tensors)} tensors, written to {output_dir}")
    print(LICENSE_NOTE)


def read_checkpoint(path: Path):
    """The file's state dict without a leading `module.`, and its epoch. Raises InputError on anything else."""
    import pickle

    import torch

    if not path.is_file():
        raise InputError(f"{path} does not exist; give a checkpoint file of the released code.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Of torch's text the cause alone: the rest advises weights_only=False, which would execute the file.
        cause = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        reason = re.split(r"\. | Check ", cause)[0]
        raise InputError(
            f"{path} is not a checkpoint of tensors alone and was not executed ({reason}); give a checkpoint of the"
            " released code."
        ) from error
    except UNREADABLE as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"{path} is not a PyTorch checkpoint, or is cut short: {reason}") from error
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else None
    named = isinstance(state_dict, dict) and all(isinstance(name, str) for name in state_dict)
    if not state_dict or not named or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise InputError(
            f"{path} holds no state_dict of tensors; the released code saves epoch, state_dict, optimizer."
        )
    plain = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    return plain, content.get("epoch", "unknown")


def rename(state_dict, model, name_of):
    """
    The file's tensors under the model's names. name_of: a name of the model -> the file's.

    Raises:
        InputError: names or shapes that do not fit, all in one sentence.
    """
    wanted = {name_of(name): (name, tensor) for name, tensor in model.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in state_dict]
    problems += [f"unknown {name}" for name in state_dict if name not in wanted]
    for name, (_, tensor) in wanted.items():
        if name in state_dict and state_dict[name].shape != tensor.shape:
            problems.append(f"{name} has shape {tuple(state_dict[name].shape)}, not {tuple(tensor.shape)}")
    if problems:
        raise InputError(f"the file does not fit the model, nothing was written: {'; '.join(problems)}")
    return {ours: state_dict[theirs] for theirs, (ours, _) in wanted.items()}


def probe_labels(labels: str | None, num_labels: int) -> dict[int, str]:
    """Class names of a probe by number. The file does not say the order of its classes."""
    names = [name.strip() for name in labels.split(",")] if labels else [f"LABEL_{i}" for i in range(num_labels)]
    if len(names) != num_labels:
        raise InputError(f"--labels names {len(names)} classes, but the file's classifier has {num_labels}.")
    if "" in names or len(set(names)) < num_labels:
        raise InputError(f"--labels {labels} has an empty name, or one twice; give each class its own.")
    if not labels:
        print("The file does not name its classes: they are called LABEL_0 ...; name them by --labels.")
    return dict(enumerate(names))


def as_dtype(tensors: dict, dtype: str) -> dict:
    """The tensors with their floating-point numbers in one type. dtype: a name of torch's, or keep."""
    import torch

    if dtype == "keep":
        types = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        if len(types) != 1:
            raise InputError(f"the file mixes {', '.join(map(str, types))}; choose one by --dtype.")
        wanted = types.pop()
    else:
        wanted = getattr(torch, dtype)
    return {n: (t.to(wanted) if t.is_floating_point() else t).contiguous() for n, t in tensors.items()}
