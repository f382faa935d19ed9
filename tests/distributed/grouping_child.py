# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Three steps of a model whose BatchNorm is in eval mode: on two processes with the similarity of all (or each its own),
or on one with the batches of both. grouping_child.py FILE global|own
"""

import os
import sys
from datetime import timedelta

import torch
from torch import distributed

from modeling_simfle import SimFLEForPreTraining
from tests.tiny import tiny_config, tiny_inputs
from training.pretraining.loop import mean_over_processes

LOSSES = ("loss", "similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss")


def main() -> None:
    file, kind = sys.argv[1:]
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    assert processes == int(os.environ["EXPECTED_WORLD_SIZE"])
    torch.manual_seed(0)
    bare_model = model = SimFLEForPreTraining(tiny_config()).double().eval()
    if processes > 1:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=300))
        model = torch.nn.parallel.DistributedDataParallel(bare_model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    history = []
    for step in range(3):
        inputs = tiny_inputs(8, seed=step, dtype=torch.float64)
        if processes > 1:
            inputs = {name: tensor.chunk(2)[rank] for name, tensor in inputs.items()}
        if kind == "global" and processes > 1:
            inputs["reduce_similarity"] = mean_over_processes
        output = model(**inputs)
        losses = torch.stack([output[name].detach() for name in LOSSES])
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        bare_model.update_target()
        if processes > 1:
            distributed.all_reduce(losses)
        history.append(losses / processes)
    if rank == 0:
        torch.save({"losses": torch.stack(history), "weights": bare_model.state_dict()}, file)
    if processes > 1:
        distributed.barrier()
        os._exit(0)  # see training.runtime.processes.leave


if __name__ == "__main__":
    main()
