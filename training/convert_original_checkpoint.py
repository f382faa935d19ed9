"""
Converts a checkpoint of the authors' released code into a folder that loads as SimFLEForPreTraining (a pretraining
file) or SimFLEForImageClassification (a linear probe's).

    python training/convert_original_checkpoint.py FILE OUTPUT_DIR [--dtype float64]

The file is read with weights_only=True: nothing in it is executed. Every name and shape is checked before anything is
written. Weights in this format are the authors' and carry CC BY-NC 4.0.
"""

import os
import re
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.models.loading import ModelArguments, read_config
from training.runtime.arguments import parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.lineage import make_lineage, typed_command
from training.runtime.run_folder import versions, write_json

LICENCE = (
    "Weights in this format were released by the SimFLE authors under CC BY-NC 4.0: no commercial use, and name them"
    " (https://creativecommons.org/licenses/by-nc/4.0/)."
)
LICENSE = {"license": {"license": "cc-by-nc-4.0"}}
# What torch.load (2.13) raises on bytes that are no checkpoint.
UNREADABLE = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, struct.error)
# Our names to the file's; the first that fits. Digits of stages and layers are worked out by `encoder_name`.
HEAD_PARTS = {"hidden": "0", "norm": "1", "output": "3"}
HEADS = {
    "projector": "online_network.projection",
    "target_projector": "target_network.projection",
    "predictor": "predictor",
    "global_distillation_head": "distil_GFL",
    "local_distillation_head": "distil_FFL",
}
GROUPING_PARTS = {"convolution": "0", "norm": "1"}
FACEMAE_PARTS = {
    "encoder.class_token.weight": "cls_token",
    "encoder.position_table.weight": "pos_embed",
    "encoder.patch_embedding": "patch_embed.proj",
    "encoder.": "",
    "decoder.embedding": "decoder_embed",
    "decoder.mask_token.weight": "mask_token",
    "decoder.position_table.weight": "decoder_pos_embed",
    "decoder.prediction": "decoder_pred",
    "decoder.": "decoder_",
}
BLOCK_PARTS = {
    "attention_norm": "norm1",
    "attention_output": "attn.proj",
    "qkv": "attn.qkv",
    "mlp_norm": "norm2",
    "mlp_input": "mlp.fc1",
    "mlp_output": "mlp.fc2",
}


@dataclass
class ConversionArguments:
    """How."""

    dtype: Literal["keep", "float32", "float64", "float16", "bfloat16"] = field(
        default="keep", metadata={"help": "of the weights written and of the loaded model; keep is the file's"}
    )
    model_config: str | None = field(
        default=None, metadata={"help": "JSON of config fields, for a model that is not the paper's size"}
    )
    labels: str | None = field(
        default=None, metadata={"help": "a probe's class names in the file's order, by comma; the file does not say"}
    )


def main(argv=None) -> None:
    positionals = (
        ("file", {"metavar": "FILE", "help": "checkpoint_NNN.pth.tar of the released code"}),
        ("output_dir", {"metavar": "OUTPUT_DIR", "help": "new folder"}),
    )
    arguments, where = parse_arguments((ConversionArguments,), argv, __doc__, positionals)
    from modeling_simfle.hub_folder_simfle import file_sha256

    output_dir = Path(where.output_dir)
    if output_dir.is_file() or (output_dir.is_dir() and any(output_dir.iterdir())):
        raise InputError(f"{output_dir} is a file or not empty; give a new folder.")
    state_dict, epoch = read_checkpoint(Path(where.file))
    config = read_config(ModelArguments(model_config=arguments.model_config))
    if "fc.weight" in state_dict and state_dict["fc.weight"].ndim == 2:
        convert = convert_probe
        config.id2label = probe_labels(arguments.labels, len(state_dict["fc.weight"]))
        config.label2id = {name: i for i, name in config.id2label.items()}
        kind = f"linear probe of {config.num_labels} classes"
    else:
        convert, kind = convert_pretraining, f"pretraining checkpoint of epoch {epoch}"
    tensors = convert(state_dict, config)
    source = {"name": where.file, "weights_sha256": {Path(where.file).name: file_sha256(Path(where.file))}, **LICENSE}
    lineage = make_lineage("conversion", typed_command("convert_original_checkpoint", argv), None, [source])
    run = {"arguments": vars(arguments), "versions": versions(), "lineage": lineage}
    save(tensors, config, arguments.dtype, is_probe=convert is convert_probe, output_dir=output_dir, run=run)
    print(f"{where.file}: {kind}, {len(tensors)} tensors, written to {output_dir}")
    print(LICENCE)


def read_checkpoint(path: Path):
    """The file's state dict without a leading `module.`, and its epoch. Raises ValueError on anything else."""
    import pickle

    import torch

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a checkpoint file of the released code.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Of torch's text the cause alone: the rest advises weights_only=False, which would execute the file.
        cause = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        reason = re.split(r"\. | Check ", cause)[0]
        raise InputError(
            f"{path} is no checkpoint of tensors alone, and was not executed ({reason}); give a checkpoint of the"
            " released code."
        ) from error
    except UNREADABLE as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"{path} is no PyTorch checkpoint, or is cut short: {reason}") from error
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else None
    named = isinstance(state_dict, dict) and all(isinstance(name, str) for name in state_dict)
    if not state_dict or not named or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise InputError(
            f"{path} holds no state_dict of tensors; the released code saves epoch, state_dict, optimizer."
        )
    return {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}, content.get(
        "epoch", "unknown"
    )


def encoder_name(name: str) -> str:
    """A name inside SimFLEModel -> torchvision's name of the same tensor."""
    kinds = {"convolution": "conv", "normalization": "bn"}
    if found := re.fullmatch(r"resnet\.embedder\.embedder\.(\w+)\.(\w+)", name):
        return f"{kinds[found[1]]}1.{found[2]}"
    found = re.fullmatch(r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.(layer\.(\d+)|shortcut)\.(\w+)\.(\w+)", name)
    stage, layer, _, position, kind, tensor = found.groups()
    if position is None:
        part = f"downsample.{list(kinds).index(kind)}"
    else:
        part = f"{kinds[kind]}{int(position) + 1}"
    return f"layer{int(stage) + 1}.{layer}.{part}.{tensor}"


def numbered_encoder_name(name: str) -> str:
    """The same with torchvision's children by number, as the released encoder has them: 0, 1, 4-7."""
    child, rest = encoder_name(name).split(".", 1)
    return f"{ {'conv1': 0, 'bn1': 1}.get(child, 3 + int(child[-1])) }.{rest}"


def original_name(name: str) -> str:
    """A name of SimFLEForPreTraining -> the released pretraining file's."""
    first, rest = name.split(".", 1)
    if first in ("encoder", "target_encoder"):
        network = "online_network" if first == "encoder" else "target_network"
        return f"{network}.encoder.{numbered_encoder_name(rest)}"
    if first in HEADS:
        part, tensor = rest.split(".", 1)
        return f"{HEADS[first]}.net.{HEAD_PARTS[part]}.{tensor}"
    if first == "channel_grouping":
        part, tensor = rest.split(".", 1)
        return f"facemae.semantic_masking.channel_grouping.convolution.{GROUPING_PARTS[part]}.{tensor}"
    ours = next(prefix for prefix in FACEMAE_PARTS if rest.startswith(prefix))
    theirs = FACEMAE_PARTS[ours] + rest.removeprefix(ours)
    for part, original in BLOCK_PARTS.items():
        theirs = theirs.replace(f".{part}.", f".{original}.")
    return f"facemae.autoencoder.{theirs}"


def convert_pretraining(state_dict, config):
    """The file's tensors under SimFLEForPreTraining's names."""
    from modeling_simfle import SimFLEForPreTraining

    return rename(state_dict, empty_model(SimFLEForPreTraining, config), original_name)


def convert_probe(state_dict, config):
    """The file's tensors under SimFLEForImageClassification's names."""
    from modeling_simfle import SimFLEForImageClassification

    def name_of(name: str) -> str:
        first, rest = name.split(".", 1)
        return f"fc.{rest}" if first == "classifier" else encoder_name(rest)

    return rename(state_dict, empty_model(SimFLEForImageClassification, config), name_of)


def empty_model(model_class, config):
    """The model without memory for its weights."""
    import torch

    with torch.device("meta"):
        return model_class(config)


def rename(state_dict, model, name_of):
    """Checks every name and shape of the file against the model; all that does not fit is listed in one ValueError."""
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
    """Class names of a probe; the file does not say which data set's order it has."""
    names = [name.strip() for name in labels.split(",")] if labels else [f"LABEL_{i}" for i in range(num_labels)]
    if len(names) != num_labels:
        raise InputError(f"--labels names {len(names)} classes, but the file's classifier has {num_labels}.")
    if "" in names or len(set(names)) < num_labels:
        raise InputError(f"--labels {labels} has an empty name, or one twice; give each class its own.")
    if not labels:
        print("The file does not name its classes: they are called LABEL_0 ...; name them by --labels.")
    return dict(enumerate(names))


def save(tensors, config, dtype: str, is_probe: bool, output_dir: Path, run: dict) -> None:
    """Writes the folder, with `run` as its run.json, under a temporary name, then renames it."""
    import torch

    from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining, SimFLEImageProcessor
    from training.runtime.run_folder import share_weights

    if dtype == "keep":
        kept = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        if len(kept) != 1:
            raise InputError(f"the file mixes {', '.join(map(str, kept))}; choose one by --dtype.")
        dtype = str(kept.pop()).removeprefix("torch.")
    wanted = getattr(torch, dtype)
    tensors = {n: (t.to(wanted) if t.is_floating_point() else t).contiguous() for n, t in tensors.items()}
    model = empty_model(SimFLEForImageClassification if is_probe else SimFLEForPreTraining, config)
    model.load_state_dict(tensors, assign=True)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{output_dir.name}.tmp", dir=output_dir.parent) as folder:
        staged = Path(folder) / output_dir.name
        model.save_pretrained(staged)
        SimFLEImageProcessor().save_pretrained(staged)
        share_weights(staged)
        write_json(staged / "run.json", run)
        (staged / "README.md").write_text(f"---\nlicense: cc-by-nc-4.0\n---\n{LICENCE}\n", encoding="utf-8")
        if output_dir.exists():
            output_dir.rmdir()  # empty: checked above
        os.replace(staged, output_dir)


if __name__ == "__main__":
    run_main("convert_original_checkpoint", main)
