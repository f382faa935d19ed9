"""The model and the optimizer of a pretraining run."""

import torch

from modeling_simfle import SimFLEForPreTraining
from training.models.loading import load_weights
from training.pretraining.arguments import PretrainingArguments


def make_model_and_optimizer(config, start_from: str | None, run: PretrainingArguments):
    """
    The model to train, from scratch or from the weights in `start_from`, and its SGD.

    Args:
        config: SimFLEConfig. start_from: folder or Hub id, or None.
    """
    torch.manual_seed(run.seed)
    if start_from is None:
        model = SimFLEForPreTraining(config)
    else:
        model = load_weights(SimFLEForPreTraining, start_from, needed="encoder.", config=config)
    if run.sync_batchnorm:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.train().to(memory_format=torch.channels_last)  # convolutions are faster so, on CPUs too
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=run.base_learning_rate, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
    )
    for parameter in parameters if run.momentum else ():
        # The same numbers as torch's own start, but defined even where a loss scaler skips the first update.
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return model, optimizer
