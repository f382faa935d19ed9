"""
What a method of pretraining is made of: the contract of the modules in training/pretraining/methods.

Each of these modules defines METHOD, a Method. No other file names the modules: `method_names` lists what is there, and
a module that is deleted takes its method with it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise

import torch
from torch import nn
from transformers.utils import ModelOutput

from modeling_simfle import SimFLEConfig, SimFLEForPreTraining, SimFLEModel
from training.models.loading import load_weights
from training.pretraining.methods import method_names
from training.runtime.errors import InputError


@dataclass
class LossOutput(ModelOutput):
    """What a SelfSupervisedModel returns."""

    loss: torch.Tensor | None = None


class SelfSupervisedModel(nn.Module):
    """
    A method's model: the encoder, the heads, and what else the method keeps.

    A subclass adds `projector` (encoder's features (B, C) -> (B, D), which the monitor watches for collapse), its other
    parts, and `compute_loss`. Whatever goes into a checkpoint is a parameter or a buffer.

    Args:
        encoder: new or loaded.
    """

    projector: nn.Module

    def __init__(self, encoder: SimFLEModel):
        super().__init__()
        self.encoder, self.config = encoder, encoder.config
        self.width = encoder.config.hidden_sizes[-1]  # C

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    def compute_loss(self, view_1: torch.Tensor, view_2: torch.Tensor) -> torch.Tensor:
        """The loss of two views (B, 3, H, W). It draws and decides nothing on the host: --cuda_graph records it."""
        raise NotImplementedError

    def forward(self, view_1_pixel_values: torch.Tensor, view_2_pixel_values: torch.Tensor) -> LossOutput:
        return LossOutput(loss=self.compute_loss(view_1_pixel_values, view_2_pixel_values))

    def features(self, view: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> the encoder's pooled features (B, C)."""
        return self.encoder(view, return_dict=True).pooler_output

    def update_target(self) -> None:
        """Called after every optimizer step, for a momentum encoder; nothing by default."""

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """A checkpoint's model: the whole state, of which SimFLEModel.from_pretrained takes the encoder."""
        self.encoder.save_pretrained(folder, state_dict=self.state_dict())


def make_mlp(sizes: list[int], norm: bool = False, norm_output: bool = False) -> nn.Sequential:
    """
    Linear layers with ReLU between them.

    Args:
        sizes: of the input, of each hidden layer, of the output. norm: BatchNorm after each hidden layer.
        norm_output: BatchNorm without scale and shift after the last layer.
    """
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes)):
        is_last = number + 2 == len(sizes)
        has_norm = norm_output if is_last else norm
        layers.append(nn.Linear(before, after, bias=not has_norm))
        layers += [nn.BatchNorm1d(after, affine=not is_last)] if has_norm else []
        layers += [] if is_last else [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Method:
    """
    Args:
        title, paper: as a card names them.
        model: SimFLEForPreTraining, or a subclass of SelfSupervisedModel, called as model(encoder, **settings).
        settings: config -> the paper's numbers by name. Widths follow the encoder's: they are the paper's at C = 2048.
        has_local_branch: whether the config's `use_local_branch` is set.
    """

    title: str
    paper: str
    model: type[nn.Module]
    settings: Callable[[SimFLEConfig], dict[str, float]]
    has_local_branch: bool = False

    @property
    def is_simfle(self) -> bool:
        """Whether the config holds the settings and a run saves the whole SimFLEForPreTraining."""
        return issubclass(self.model, SimFLEForPreTraining)

    def read_settings(self, config: SimFLEConfig, pairs: list[str]) -> dict[str, float]:
        """
        The settings with those of --method_settings NAME=VALUE in their place.

        Raises:
            InputError: a name that the method does not have, or no number.
        """
        settings = self.settings(config)
        for pair in pairs:
            name, _, text = pair.partition("=")
            if self.is_simfle or name not in settings:
                known = "its settings are fields of --model_config" if self.is_simfle else f"known are {[*settings]}"
                raise InputError(f"--method_settings {pair}: {self.title} does not take it; {known}.")
            try:
                settings[name] = type(settings[name])(text)
            except ValueError as error:
                example = f"{name}={settings[name]}"
                raise InputError(f"--method_settings {pair} must be NAME=NUMBER, such as {example}.") from error
            if settings[name] <= 0:
                raise InputError(f"--method_settings {pair} must be above 0.")
        return settings

    def make_model(self, config: SimFLEConfig, settings: dict[str, float], start_from: str | None) -> nn.Module:
        """The model to train, from scratch or from the weights in a folder or Hub id."""
        if self.is_simfle:
            if start_from is None:
                return self.model(config)
            return load_weights(self.model, start_from, needed="encoder.", config=config)
        encoder = SimFLEModel(config) if start_from is None else load_weights(SimFLEModel, start_from, config=config)
        return self.model(encoder, **settings)


def load_method(name: str) -> Method:
    """The method of a module. Raises InputError where there is no such module."""
    if name not in method_names():
        raise InputError(f"--method {name} is not there; use one of {', '.join(method_names())}.")
    return import_module(f"training.pretraining.methods.{name}").METHOD


def default_method(config: SimFLEConfig) -> str:
    """The method of a config, where no flag names one, and of checkpoints that name none."""
    return "simfle" if config.use_local_branch else "byol"


def choose_method(name: str | None, use_local_branch: bool | None, config: SimFLEConfig) -> tuple[str, Method]:
    """
    The method of a run; sets `use_local_branch` of its config.

    Args:
        name, use_local_branch: the flags.
    Raises:
        InputError: flags or a config that contradict each other.
    """
    chosen = name or default_method(config)
    method = load_method(chosen)
    has = "has a" if method.has_local_branch else "has no"
    if use_local_branch not in (None, method.has_local_branch):
        raise InputError(
            f"--method {chosen} {has} local branch, which --use_local_branch {str(use_local_branch).lower()}"
            " contradicts; leave one of the two out."
        )
    if method.has_local_branch and not config.use_local_branch:
        raise InputError(f"--method {chosen} {has} local branch, which the config leaves out.")
    config.use_local_branch = method.has_local_branch
    return chosen, method


def finished_model(model: nn.Module) -> nn.Module:
    """What a run leaves: SimFLE's model as a whole, of the other methods the encoder."""
    return model.encoder if isinstance(model, SelfSupervisedModel) else model
