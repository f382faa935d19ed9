"""
How a pretraining run is doing, at its start and every --monitor_epochs epochs.

The monitor looks for collapse, and measures the channel groups and the masks. It draws an image of reconstructions.
Where labelled faces are given, it measures the k-nearest-neighbour accuracy of the encoder and of the target encoder.
It moves no weight, no running statistic and no random state. Each time it writes a line of monitor.jsonl.
"""

import copy
import math
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn import functional as F

from modeling_simfle.modeling_simfle import channel_similarity
from training.data.images import BadImages
from training.measuring.knn import knn_predict
from training.models.outputs import ImagePass, compute_outputs, estimate_batch_norm
from training.pretraining.batches import draw_masks
from training.pretraining.reconstructions import save_reconstructions

NUM_SAMPLE, NUM_DRAWN = 256, 8
# Below either value, the projector maps all faces to almost one point.
COLLAPSED_DEVIATION, COLLAPSED_RANK = 0.1, 2.0


@contextmanager
def batch_statistics(model):
    """BatchNorm uses each batch's statistics, as in training; the running ones stay, no process waits for another."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    saved = [(norm.running_mean, norm.running_var) for norm in norms]
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, saved, strict=True):
            norm.running_mean, norm.running_var = mean, variance


def entropy(weights: torch.Tensor) -> float:
    """Entropy, in nats, of the distribution with these weights (N,)."""
    shares = weights / weights.sum()
    return -(shares * shares.clamp(min=1e-12).log()).sum().item()


class Monitor:
    """
    Args:
        faces: the training faces; the monitor looks at a fixed sample of them.
        bank, queries: labelled faces for k-NN (training.data.faces.Faces), or None. Their unreadable images count
            against max_bad_images once a start, apart from those of the training.
        folder: the run's; reconstructions go to its pictures/.
    """

    def __init__(self, faces, processor, bank, queries, folder: Path, num_workers: int, max_bad_images: int):
        self.processor, self.bank, self.queries, self.folder = processor, bank, queries, folder
        self.num_workers, self.bad_images = num_workers, BadImages(max_bad_images)
        self.sample = faces.sample(NUM_SAMPLE)

    @torch.no_grad()
    def __call__(self, model, epoch: int) -> dict:
        """One line of monitor.jsonl. model: the method's bare model, left in training mode."""
        if not self.sample:  # nothing could be read: training will say so
            return {"collapsing": False}
        model.eval()
        measures = self.collapse(model)
        if model.config.use_local_branch:
            measures |= self.groups(model)
            path = self.folder / "pictures" / f"epoch_{epoch:04d}.png"
            path.parent.mkdir(exist_ok=True)
            save_reconstructions(model, self.processor, self.sample[:NUM_DRAWN], path)
        if self.bank is not None:
            measures |= self.neighbours(model, epoch)
        model.train()
        return measures

    def pixel_values(self, model, size: int) -> torch.Tensor:
        return self.processor(self.sample, size=size, return_tensors="pt").pixel_values.to(model.device)

    def collapse(self, model) -> dict:
        """Spread of the normalised projections (1: random directions, 0: one point) and their effective rank."""
        pixels = self.pixel_values(model, self.processor.size["height"])
        projections = torch.cat([model.projector(model.encoder(part).pooler_output) for part in pixels.split(64)])
        units = F.normalize(projections.float(), dim=1)
        deviation = units.std(0).mean().item() * math.sqrt(units.shape[1])
        rank = math.exp(entropy(torch.linalg.svdvals(units - units.mean(0))))
        collapsing = not (deviation > COLLAPSED_DEVIATION and rank > COLLAPSED_RANK)
        return {"projection_deviation": deviation, "effective_rank": rank, "collapsing": collapsing}

    def groups(self, model) -> dict:
        """S within and between channel groups, and the entropy of where the visible patches lie (1: uniform)."""
        config = model.config
        pixels = self.pixel_values(model, config.facemae_image_size)
        masks = draw_masks(config, len(pixels), 0, 0, 0, 0)
        masks["group_ids"] = torch.arange(len(pixels)) % config.num_channel_groups
        maps, visible = [], torch.zeros(config.num_patches, device=pixels.device)
        with batch_statistics(model):  # as in the loss
            for places in torch.arange(len(pixels)).chunk(math.ceil(len(pixels) / 64)):  # alike in size
                part, drawn = pixels[places], {name: values[places].to(pixels.device) for name, values in masks.items()}
                maps.append(model.channel_grouping(model.encoder(part).last_hidden_state))
                visible += (1 - model.local_branch(part, **drawn)["mask"]).sum(0)
        similarity = channel_similarity(torch.cat(maps))
        group = torch.arange(len(similarity), device=pixels.device) // (len(similarity) // config.num_channel_groups)
        same, itself = group[:, None] == group[None], torch.eye(len(group), dtype=torch.bool, device=pixels.device)
        parts = {"between": similarity[~same], "within": similarity[same & ~itself]}
        return {
            **{f"similarity_{name}_groups": s.mean().item() if len(s) else None for name, s in parts.items()},
            "mask_entropy": entropy(visible) / math.log(len(visible)),
        }

    def neighbours(self, model, epoch: int) -> dict:
        """
        k-NN accuracy of the encoder, and of a target encoder, with its 95 % interval (normal approximation).

        Before training also that of the encoder with BatchNorm's statistics estimated on the bank.
        """
        names = [name for name in ("encoder", "target_encoder") if hasattr(model, name)]
        encoders = {name: getattr(model, name) for name in names}
        image_pass = ImagePass(256, self.num_workers, self.bad_images, model.device)
        # In training mode SyncBatchNorm would wait for processes that are not here.
        if epoch == 0 and not any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.encoder.modules()):
            encoders["estimated"] = copy.deepcopy(model.encoder)
            estimate_batch_norm(encoders["estimated"], self.bank, self.processor, image_pass)

        def encode(pixels: torch.Tensor) -> torch.Tensor:  # (B, 3, S, S) -> (B, encoders, C): one pass over the images
            return torch.stack([encoder(pixels).pooler_output for encoder in encoders.values()], dim=1).nan_to_num()

        sides = []
        for faces, part in ((self.bank, "train"), (self.queries, "validation")):
            rows, features = compute_outputs(encode, faces, self.processor, image_pass, "k-NN", part)
            sides.append((features, torch.from_numpy(faces.labels[rows])))
        (bank, bank_labels), (queries, labels) = sides
        measures: dict[str, float] = {"knn_images": len(self.queries)}
        for index, name in enumerate(encoders):
            predictions = knn_predict(bank[:, index], bank_labels, queries[:, index], int(bank_labels.max()) + 1)
            share = (predictions == labels).float().mean().item()
            measures[f"{name}_knn_accuracy"] = share
            measures[f"{name}_knn_interval"] = 1.96 * math.sqrt(share * (1 - share) / len(self.queries))
        return measures
