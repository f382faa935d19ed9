"""The names of weights in the authors' released checkpoints, from ours. Each table is applied from top to bottom."""

import re

# Inside SimFLEModel -> torchvision's.
ENCODER = {
    r"^resnet\.embedder\.embedder\.convolution": "conv1",
    r"^resnet\.embedder\.embedder\.normalization": "bn1",
    r"^resnet\.encoder\.stages\.(\d+)\.layers": lambda match: f"layer{int(match[1]) + 1}",
    r"shortcut\.convolution": "downsample.0",
    r"shortcut\.normalization": "downsample.1",
    r"layer\.(\d+)\.convolution": lambda match: f"conv{int(match[1]) + 1}",
    r"layer\.(\d+)\.normalization": lambda match: f"bn{int(match[1]) + 1}",
}
# torchvision's children by number, as the released encoder has them: 0, 1, 4-7.
NUMBERED = {r"^conv1": "0", r"^bn1": "1", r"^layer(\d)": lambda match: str(int(match[1]) + 3)}
# The rest of SimFLEForPreTraining -> the released names.
OTHERS = {
    r"^projector": "online_network.projection.net",
    r"^target_projector": "target_network.projection.net",
    r"^predictor": "predictor.net",
    r"^global_distillation_head": "distil_GFL.net",
    r"^local_distillation_head": "distil_FFL.net",
    r"net\.hidden": "net.0",
    r"net\.norm": "net.1",
    r"net\.output": "net.3",
    r"^channel_grouping\.convolution": "facemae.semantic_masking.channel_grouping.convolution.0",
    r"^channel_grouping\.norm": "facemae.semantic_masking.channel_grouping.convolution.1",
    r"^facemae\.encoder\.": "facemae.autoencoder.",
    r"^facemae\.decoder\.mask_token\.weight": "facemae.autoencoder.mask_token",
    r"^facemae\.decoder\.embedding": "facemae.autoencoder.decoder_embed",
    r"^facemae\.decoder\.prediction": "facemae.autoencoder.decoder_pred",
    r"^facemae\.decoder\.": "facemae.autoencoder.decoder_",
    r"class_token\.weight": "cls_token",
    r"position_table\.weight": "pos_embed",
    r"patch_embedding": "patch_embed.proj",
    r"attention_norm": "norm1",
    r"attention_output": "attn.proj",
    r"qkv": "attn.qkv",
    r"mlp_norm": "norm2",
    r"mlp_input": "mlp.fc1",
    r"mlp_output": "mlp.fc2",
}


def renamed(name: str, table: dict) -> str:
    """The name after every replacement of a table."""
    for pattern, replacement in table.items():
        name = re.sub(pattern, replacement, name)
    return name


def original_name(name: str) -> str:
    """A name of SimFLEForPreTraining -> the released checkpoint's."""
    first, rest = name.split(".", 1)
    if first in ("encoder", "target_encoder"):
        network = "online_network" if first == "encoder" else "target_network"
        return f"{network}.encoder.{renamed(renamed(rest, ENCODER), NUMBERED)}"
    return renamed(name, OTHERS)


def probe_name(name: str) -> str:
    """A name of SimFLEForImageClassification -> the released probe file's."""
    first, rest = name.split(".", 1)
    return f"fc.{rest}" if first == "classifier" else renamed(rest, ENCODER)
