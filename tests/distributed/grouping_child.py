# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Three steps of a model whose BatchNorm is in eval mode: on two processes with the similarity of all (or each its own),
or on one with the batches of both. grouping_child.py FILE global|own...: of each kind losses and weights.
"""

import os
import sys
from datetime import timedelta

import torch
from torch import distributed

from modeling_simfle import SimFLEForPreTraining
from tests.tiny import tiny_config, tiny_inputs
from training.pretraining.all_processes import mean_over_processes

LOSSES = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")


RANK, PROCESSES = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def train(kind: str) -> dict:
    torch.manual_seed(0)
    bare_model = model = SimFLEForPreTraining(tiny_config()).double().eval()
    if PROCESSES > 1:
        model = torch.nn.parallel.DistributedDataParallel(bare_model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    history = []
    for step in range(3):
        inputs = tiny_inputs(8, seed=step, dtype=torch.float64)
        if PROCESSES > 1:
            inputs = {name: tensor.chunk(2)[RANK] for name, tensor in inputs.items()}
        if kind == "global" and PROCESSES > 1:
            inputs["reduce_similarity"] = mean_over_processes
        output = model(**inputs)
        losses = torch.stack([output[name].detach() for name in LOSSES])
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        bare_model.update_target()
        if PROCESSES > 1:
            distributed.all_reduce(losses)
        history.append(losses / PROCESSES)
    return {"losses": torch.stack(history), "weights": bare_model.state_dict()}


def main() -> None:
    file, *kinds = sys.argv[1:]
    assert int(os.environ["EXPECTED_WORLD_SIZE"]) == PROCESSES
    if PROCESSES > 1:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=300))
    found = {kind: train(kind) for kind in kinds}
    if RANK == 0:
        torch.save(found, file)
    if PROCESSES > 1:
        distributed.barrier()
        os._exit(0)  # see training.runtime.processes.leave


if __name__ == "__main__":
    main()
