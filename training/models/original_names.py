"""The names and shapes of weights in the authors' released checkpoints, against ours."""

import re

from training.runtime.errors import InputError

# Our names to the file's; the first that fits. `encoder_name` computes the digits of stages and layers.
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


def empty_model(model_class, config):
    """The model without memory for its weights."""
    import torch

    with torch.device("meta"):
        return model_class(config)


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
