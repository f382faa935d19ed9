# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from modeling_simfle import SimFLEForPreTraining
from tests.tiny import tiny_config, tiny_inputs
from training.cuda_graph import WARM_UP, GraphedPass


def train(graphed: bool, num_steps: int, mixed: bool = False) -> tuple[torch.Tensor, dict]:
    """Losses of each step and the weights and buffers after them, of SGD-and-EMA steps on other inputs each time."""
    torch.manual_seed(0)
    model = SimFLEForPreTraining(tiny_config()).cuda().train().to(memory_format=torch.channels_last)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, fused=True)

    def compute_gradients(inputs):
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            loss = model(**inputs).loss
        loss.backward()
        return loss.detach()

    forward_backward = GraphedPass(compute_gradients, parameters) if graphed else compute_gradients
    losses = []
    for step in range(num_steps):
        inputs = {name: tensor.cuda() for name, tensor in tiny_inputs(16, seed=step).items()}
        losses.append(forward_backward(inputs).clone())
        optimizer.step()
        optimizer.zero_grad()
        model.update_target()
    return torch.stack(losses), model.state_dict()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mixed", [False, True])
def test_a_recorded_pass_computes_what_the_plain_one_does(mixed):
    losses, state = train(False, WARM_UP + 6, mixed)
    graphed_losses, graphed_state = train(True, WARM_UP + 6, mixed)
    torch.testing.assert_close(graphed_losses, losses, rtol=2e-2 if mixed else 1e-3, atol=0)
    assert len(set(graphed_losses.tolist())) == len(losses)  # no step repeats an earlier one's
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(graphed_state[name], tensor), name
        else:
            torch.testing.assert_close(graphed_state[name], tensor, rtol=5e-2, atol=5e-3 if mixed else 1e-3, msg=name)
