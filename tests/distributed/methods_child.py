# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Three steps of each method whose BatchNorm is in eval mode, on two processes or on one with the batches of both, and
Barlow Twins' loss of given projections. methods_child.py FILE: losses, weights, and the gradient of the projections.
"""

import os
import sys
from datetime import timedelta

import torch
from torch import distributed

from modeling_simfle import SimFLEModel
from tests.tiny import tiny_config, tiny_inputs
from training.pretraining.all_processes import gather, mean_over_processes
from training.pretraining.methods.barlow_twins import barlow_twins_loss
from training.pretraining.methods.moco import MoCo
from training.pretraining.methods.simclr import SimCLR
from training.pretraining.methods.simsiam import SimSiam

RANK, PROCESSES = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
MODELS = {
    "simclr": (SimCLR, {"temperature": 0.1, "hidden_size": 16, "projection_size": 8}),
    "moco": (MoCo, {"temperature": 0.2, "decay": 0.9, "hidden_size": 16, "projection_size": 8, "queue_size": 12}),
    "simsiam": (SimSiam, {"projection_size": 16, "predictor_hidden_size": 8}),
}


def own(tensor: torch.Tensor) -> torch.Tensor:
    """This process's rows."""
    return tensor.chunk(PROCESSES)[RANK]


def mean(loss: torch.Tensor) -> float:
    return float(gather(loss.detach()[None]).mean())


def train(name: str) -> dict:
    torch.manual_seed(0)
    kind, settings = MODELS[name]
    bare_model = model = kind(SimFLEModel(tiny_config(use_local_branch=False)), **settings).double().eval()
    if PROCESSES > 1:
        model = torch.nn.parallel.DistributedDataParallel(bare_model, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses = []
    for step in range(3):
        inputs = tiny_inputs(8, seed=step, dtype=torch.float64)
        loss = model(own(inputs["view_1_pixel_values"]), own(inputs["view_2_pixel_values"])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bare_model.update_target()
        losses.append(mean(loss))
    return {"losses": losses, "weights": bare_model.state_dict()}


def correlate() -> dict:
    views = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z1, z2 = (own(view).clone().requires_grad_() for view in views)
    loss = barlow_twins_loss(z1, z2, 0.005, mean_over_processes)
    loss.backward()
    gradients = [gather(z.grad) / PROCESSES for z in (z1, z2)]  # DDP averages
    return {"views": views, "loss": mean(loss), "gradients": gradients}


def main() -> None:
    assert int(os.environ["EXPECTED_WORLD_SIZE"]) == PROCESSES
    if PROCESSES > 1:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=300))
    found = {name: train(name) for name in MODELS} | {"barlow_twins": correlate()}
    if RANK == 0:
        torch.save(found, sys.argv[1])
    if PROCESSES > 1:
        distributed.barrier()
        os._exit(0)  # see training.runtime.processes.leave


if __name__ == "__main__":
    main()
