"""What a pretraining run would do: steps, memory, schedule."""

import torch

from training.pretraining.batches import cosine_learning_rate


def describe_run(config, faces, run, accelerator) -> None:
    """Prints it. Memory is that of float32 training; what autocast saves and the allocator wastes is not in it."""
    batch_size = run.per_device_train_batch_size * run.gradient_accumulation_steps * accelerator.num_processes
    steps = len(faces) // batch_size
    model, activations = saved_activations(config, run.view_size, run.per_device_train_batch_size)
    numbers = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = 4 * (numbers + 2 * trained)  # weights; gradients and momentum of what trains
    lines = [
        f"{len(faces)} images, {batch_size} a step ({run.per_device_train_batch_size} a process and micro-batch, "
        f"{run.gradient_accumulation_steps} micro-batches, {accelerator.num_processes} processes)",
        f"{steps} steps an epoch, {run.num_train_epochs} epochs, {steps * run.num_train_epochs} steps"
        + (f", stopping at {run.max_train_steps}" if run.max_train_steps else ""),
        f"{numbers:,} numbers in the model, {trained:,} of them trained",
        f"memory a process, float32: {weights / 1e9:.2f} GB of weights, gradients and momentum,"
        f" {activations / 1e9:.2f} GB of activations",
        "learning rate by epoch: "
        + ", ".join(
            f"{epoch}: {cosine_learning_rate(run.base_learning_rate, batch_size, epoch, run.num_train_epochs):.3g}"
            for epoch in sorted({0, run.num_train_epochs // 2, run.num_train_epochs - 1})
        ),
    ]
    if steps == 0:
        lines.append("the data set is smaller than one batch: this run would be refused")
    accelerator.print("\n".join(lines))


def saved_activations(config, view_size: int, batch_size: int):
    """A model, and the bytes that a forward pass of `batch_size` keeps: measured at 2 and 4 images, linear in them."""
    from modeling_simfle import SimFLEForPreTraining

    model = SimFLEForPreTraining(config).train()
    two, four = (kept_by_forward(model, config, view_size, images) for images in (2, 4))
    return model, two + (four - two) * (batch_size - 2) // 2


def kept_by_forward(model, config, view_size: int, batch_size: int) -> int:
    """Bytes of the tensors saved for the backward pass, parameters left out."""
    views = torch.zeros(batch_size, config.num_channels, view_size, view_size)
    origin = torch.zeros(batch_size, config.num_channels, config.facemae_image_size, config.facemae_image_size)
    parameters = {tensor.data_ptr() for tensor in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(origin, views, views)  # held: what is saved must not be freed and its place used again
    del output
    return sum(kept.values())
