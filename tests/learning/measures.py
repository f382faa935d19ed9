# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
What a pretraining should improve, measured on drawn faces that no training has seen.

`retrieval` takes any encoder: a method of pretraining is measured by its features or by its projections.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from modeling_simfle.modeling_simfle import channel_similarity
from training.data.drawn_faces import draw_face
from training.data.views import apply_views, draw_view, normalize, stack_views, view_generator
from training.pretraining.monitor import batch_statistics

AMONG, NUM_FACES, SIDE = 64, 256, 64  # faces of a retrieval, faces in all, their side in pixels
HELD_OUT_SEED = 10**6  # of the faces; no training draws with it


@functools.cache
def held_out_faces() -> torch.Tensor:
    """(NUM_FACES, SIDE, SIDE, 3) uint8."""
    faces = [np.asarray(draw_face(HELD_OUT_SEED, index, SIDE).image) for index in range(NUM_FACES)]
    return torch.from_numpy(np.stack(faces))


def two_views(processor, size: int) -> list[torch.Tensor]:
    """
    Two crops of each held-out face, (NUM_FACES, 3, size, size), flipped and blurred as in training. Their colours stay:
    at full jitter neither these small encoders nor one trained by InfoNCE find a face again.
    """
    return [
        normalize(
            apply_views(
                held_out_faces(),
                stack_views(
                    [
                        replace(draw_view(view_generator(0, 0, index, view), SIDE, SIDE), jitter=False, grayscale=False)
                        for index in range(NUM_FACES)
                    ]
                ),
                size,
            ),
            processor,
        )
        for view in (1, 2)
    ]


@torch.no_grad()
def retrieval(encode: Callable[[torch.Tensor], torch.Tensor], views: list[torch.Tensor]) -> float:
    """
    How well two views of a face find each other among AMONG faces: the share of the other faces' views that lie
    farther, in percent, by the cosine of standardised features. Chance is 50.

    Args:
        encode: views (N, 3, S, S) -> features (N, D). views: of `two_views`.
    """
    shares = []
    for one, other in zip(*(encode(view).float().split(AMONG) for view in views)):
        units = [F.normalize((x - x.mean(0)) / (x.std(0) + 1e-6), dim=1) for x in (one, other)]
        similarity = units[0] @ units[1].T  # (AMONG, AMONG); a face's own views on the diagonal
        own = similarity.diagonal()
        shares += [(similarity < own[:, None]).float().mean(), (similarity < own[None]).float().mean()]
    return 100 * AMONG / (AMONG - 1) * float(torch.stack(shares).mean())


@torch.no_grad()
def retrieval_by_projections(model, views: list[torch.Tensor]) -> float:
    """`retrieval` by the model's projector, in the statistics of the batch."""
    model.eval()
    with batch_statistics(model):
        return retrieval(lambda view: model.projector(model.encoder(view).pooler_output), views)


@torch.no_grad()
def measure(model, processor) -> dict[str, float]:
    """
    For each of the four losses of a SimFLEForPreTraining, what it should improve, in the statistics of the batch:
    `retrieval` of the projections; the losses L_r and L_d; S between channel groups.
    """
    config = model.config
    views = two_views(processor, processor.size["height"])
    faces = [face.numpy() for face in held_out_faces()]
    origins = processor(faces, size=config.facemae_image_size, return_tensors="pt").pixel_values
    model.eval()
    with batch_statistics(model):
        output = model(origins, *views, group_ids=torch.arange(NUM_FACES) % config.num_channel_groups)
        similarity = channel_similarity(model.channel_grouping(model.encoder(origins).last_hidden_state))
        group = torch.arange(len(similarity)) // (len(similarity) // config.num_channel_groups)
        return {
            "similarity_loss": retrieval_by_projections(model, views),
            "reconstruction_loss": float(output.reconstruction_loss),
            "distillation_loss": float(output.distillation_loss),
            "grouping_loss": float(similarity[group[:, None] != group[None]].mean()),
        }
