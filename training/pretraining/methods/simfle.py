"""
SimFLE: both branches and the four losses, in modeling_simfle.

    L = L_s + L_r + 0.3 L_d + 0.03 L_g

Source: Moon, Jang, Park, arXiv 2303.07648 (IEEE TAFFC 2024).
"""

from modeling_simfle import SimFLEForPreTraining
from training.pretraining.method import Method


def settings(config) -> dict[str, float]:
    """Fields of the config."""
    names = (
        *("ema_decay", "projection_hidden_size", "projection_size", "num_channel_groups", "mask_ratio"),
        *("distillation_temperature", "distillation_loss_weight", "grouping_loss_weight"),
    )
    return {name: getattr(config, name) for name in names}


METHOD = Method(
    title="SimFLE",
    paper="Moon, Jang, Park, arXiv 2303.07648 (IEEE TAFFC 2024)",
    model=SimFLEForPreTraining,
    settings=settings,
    has_local_branch=True,
)
