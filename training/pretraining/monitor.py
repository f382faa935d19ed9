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
    """BatchNorm by each batch's own statistics, as in training; none is moved, and no process waits for others."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, variance


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
        """One line of monitor.jsonl. model: the bare SimFLEForPreTraining, left in training mode."""
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
            measures |= self.neighbours(model)
            if epoch == 0:
                measures |= self.untrained_neighbours(model)
        model.train()
        return measures

    def pixel_values(self, model, size: int) -> torch.Tensor:
        return self.processor(self.sample, size=size, return_tensors="pt").pixel_values.to(model.device)

    def collapse(self, model) -> dict:
        """Spread of the unit projections: 1 is that of random directions, 0 one point; and their effective rank."""
        pixels = self.pixel_values(model, self.processor.size["height"])
        projections = torch.cat([model.projector(model.encoder(part).pooler_output) for part in pixels.split(64)])
        units = F.normalize(projections.float(), dim=1)
        deviation = units.std(0).mean().item() * math.sqrt(units.shape[1])
        shares = torch.linalg.svdvals(units - units.mean(0))
        shares = shares / shares.sum()
        rank = math.exp(-(shares * shares.clamp(min=1e-12).log()).sum().item())
        collapsing = not (deviation > COLLAPSED_DEVIATION and rank > COLLAPSED_RANK)
        return {"projection_deviation": deviation, "effective_rank": rank, "collapsing": collapsing}

    def groups(self, model) -> dict:
        """S within and between channel groups, and the entropy of the visible patches' places; 1 is uniform."""
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
        shares = visible / visible.sum()
        entropy = -(shares * shares.clamp(min=1e-12).log()).sum().item() / math.log(len(shares))
        found = {"similarity_between_groups": similarity[~same].mean().item() if (~same).any() else None}
        within = similarity[same & ~itself]
        return found | {
            "similarity_within_groups": within.mean().item() if len(within) else None,
            "mask_entropy": entropy,
        }

    def neighbours(self, model) -> dict:
        """k-NN accuracy with its 95 % interval (normal approximation)."""
        found: dict[str, float] = {"knn_images": len(self.queries)}
        names = ("encoder", "target_encoder")
        shares = self.accuracies([model.get_submodule(name) for name in names], model.device)
        for name, share in zip(names, shares, strict=True):
            found[f"{name}_knn_accuracy"] = share
            found[f"{name}_knn_interval"] = 1.96 * math.sqrt(share * (1 - share) / len(self.queries))
        return found

    def untrained_neighbours(self, model) -> dict:
        """The accuracy before training; BatchNorm's statistics are estimated on the bank."""
        if any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.encoder.modules()):
            return {}  # in training mode it would wait for processes that are not here
        encoder = copy.deepcopy(model.encoder)
        images = ImagePass(256, self.num_workers, self.bad_images, model.device)
        estimate_batch_norm(encoder, self.bank, self.processor, images)
        return {"estimated_knn_accuracy": self.accuracies([encoder], model.device)[0]}

    def accuracies(self, encoders, device) -> list[float]:
        """k-NN accuracy of each encoder, in one pass over the images."""
        features, labels = [], []
        for faces in (self.bank, self.queries):
            kept, found = compute_outputs(
                lambda pixels: torch.cat([encoder(pixels).pooler_output for encoder in encoders], dim=1).nan_to_num(),
                faces,
                self.processor,
                ImagePass(256, self.num_workers, self.bad_images, device),
                "k-NN",
                "train" if faces is self.bank else "validation",
            )
            features.append(found.chunk(len(encoders), dim=1))
            labels.append(torch.from_numpy(faces.labels[kept]))
        num_classes = int(labels[0].max()) + 1
        predicted = [
            knn_predict(bank, labels[0], queries, num_classes) for bank, queries in zip(*features, strict=True)
        ]
        return [(classes == labels[1]).float().mean().item() for classes in predicted]
