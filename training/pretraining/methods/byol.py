"""
BYOL: an online network predicts the projection that a slow copy of it, the target, makes of the other view.

    L = mean over B of (2 - 2 p1.q1) + (2 - 2 p2.q2), all as unit vectors

It is SimFLE without its local branch: `similarity_loss` and `update_target` of modeling_simfle. SimFLE's paper has a
momentum of 0.99 throughout; BYOL's paper raises its momentum from 0.996 to 1.

Source: Grill et al., "Bootstrap your own latent", arXiv 2006.07733 (NeurIPS 2020), equation 2 and section 3.1.
"""

from modeling_simfle import SimFLEForPreTraining
from training.pretraining.method import Method


def settings(config) -> dict[str, float]:
    """Fields of the config."""
    return {name: getattr(config, name) for name in ("ema_decay", "projection_hidden_size", "projection_size")}


METHOD = Method(
    title="BYOL",
    paper="Grill et al., arXiv 2006.07733 (NeurIPS 2020)",
    model=SimFLEForPreTraining,
    settings=settings,
)
