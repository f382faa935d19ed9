"""The model against tests/oracle.py, which was written without a look at it: every loss to 1e-9 in float64."""

import dataclasses

import pytest
import torch

from modeling_simfle import SimFLEForPreTraining
from tests.oracle import TEST_SIZES, Oracle
from tests.original_format import write_checkpoint
from training import convert_original_checkpoint
from training.models.original_names import original_name

LOSSES = ("similarity_loss", "reconstruction_loss", "distillation_loss", "grouping_loss", "loss")
BASIC_SIZES = dataclasses.replace(TEST_SIZES, layer_type="basic", norm_pix_loss=False)


@pytest.mark.parametrize("sizes", [TEST_SIZES, BASIC_SIZES], ids=["bottleneck", "basic"])
def test_losses_of_three_sgd_and_ema_steps_equal_the_oracles(tmp_path, sizes):
    file, config, state_dict = write_checkpoint(tmp_path, sizes)
    folder = tmp_path / "converted"
    convert_original_checkpoint.main([str(file), str(folder), "--model_config", str(config)])
    model = SimFLEForPreTraining.from_pretrained(folder).train()
    assert model.dtype == torch.float64
    oracle = Oracle(state_dict, sizes)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9, weight_decay=1e-4
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        origin, view_1, view_2 = (
            torch.randn(4, 3, sizes.image_size, sizes.image_size, generator=generator, dtype=torch.float64)
            for _ in range(3)
        )
        group_ids = torch.randint(sizes.num_channel_groups, (4,), generator=generator)
        expected = oracle.train_step(origin, view_1, view_2, group_ids, learning_rate=0.05)
        output = model(origin, view_1, view_2, group_ids=group_ids)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.update_target()
        for name in LOSSES:
            torch.testing.assert_close(
                output[name], expected[name], rtol=1e-9, atol=0, msg=lambda m, n=name: f"{n}: {m}"
            )
        assert torch.equal(output.mask.double(), expected["mask"].double())
        torch.testing.assert_close(output.patch_scores, expected["patch_scores"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(output.logits, expected["logits"], rtol=1e-7, atol=1e-9)
        assert torch.equal(output.ids_restore, expected["ids_restore"])
    ours = {original_name(name): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in oracle.state_dict().items():  # running statistics, target and weights after the steps
        torch.testing.assert_close(ours[name], tensor, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
