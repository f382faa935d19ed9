# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
import copy

import pytest
import torch

from modeling_simfle import SimFLEForPreTraining
from tests.tiny import tiny_config, tiny_inputs
from training.pretraining.cuda_graph import WARM_UP, GraphedPass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mixed", [False, True])
def test_a_recorded_pass_computes_what_the_plain_one_does(mixed):
    """Step by step from the same weights: apart, two trainings drift by the loss's own instability."""
    torch.manual_seed(0)
    model = SimFLEForPreTraining(tiny_config()).cuda().train().to(memory_format=torch.channels_last)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.002, momentum=0.9, fused=True)

    def compute_gradients(model, inputs):
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            loss = model(**inputs).loss
        loss.backward()
        return loss.detach()

    graphed, losses = GraphedPass(lambda inputs: compute_gradients(model, inputs), parameters), set()
    for step in range(WARM_UP + 5):
        inputs = {name: tensor.cuda() for name, tensor in tiny_inputs(16, seed=step).items()}
        plain = copy.deepcopy(model)
        plain_loss, loss = compute_gradients(plain, inputs), graphed(inputs).clone()
        torch.testing.assert_close(loss, plain_loss, rtol=1e-2 if mixed else 1e-3, atol=0)
        gradients = [[p.grad for p in each.parameters() if p.requires_grad] for each in (model, plain)]
        assert [g is None for g in gradients[0]] == [g is None for g in gradients[1]]
        ours, theirs = ([g for g in each if g is not None] for each in gradients)
        difference = torch.nn.utils.get_total_norm([one - other for one, other in zip(ours, theirs, strict=True)])
        # Of all together: a bias before a BatchNorm has no gradient but rounding. bfloat16 and TF32 round the others.
        assert difference < (0.2 if mixed else 1e-2) * torch.nn.utils.get_total_norm(theirs)
        for (name, one), other in zip(model.named_buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3, msg=f"{step}: {name}")
        losses.add(float(loss))
        optimizer.step()
        optimizer.zero_grad()
        model.update_target()
    assert len(losses) == WARM_UP + 5  # no step repeats an earlier one's
