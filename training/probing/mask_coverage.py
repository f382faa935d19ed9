"""Mask coverage: the parts of the face that the semantic masks of a pretrained model leave visible, against chance."""

from dataclasses import asdict

import numpy as np
import torch

from modeling_simfle import SimFLEForPreTraining
from modeling_simfle.facemae_simfle import group_patch_scores, semantic_mask
from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.data.landmarks import LandmarkArguments, read_landmarks
from training.measuring.classification import describe_preprocessing
from training.measuring.patch_coverage import coverage, draw_coverage, patches_on_regions
from training.models.arguments import saved_config
from training.models.loading import load_processor, load_weights
from training.models.outputs import ImagePass, compute_outputs
from training.probing.arguments import CoverageArguments
from training.runtime.errors import InputError
from training.runtime.run_folder import prepare_output_dir, versions, write_json


def load_masking_model(source: str):
    """
    A pretraining folder's model in eval mode, the image processor of its origins, and the device.

    Raises:
        InputError: another kind of folder, or masks that no channel group chooses.
    """
    if not source:
        raise InputError("--model is missing; give a pretraining folder.")
    config = saved_config(source)
    architectures = config.architectures or ["bare config"]
    if "SimFLEForPreTraining" not in architectures:
        raise InputError(
            f"--model {source} holds a {', '.join(architectures)}, which masks nothing; give a pretraining folder."
        )
    if not config.use_local_branch or config.masking != "semantic":
        why = "has no local branch" if not config.use_local_branch else "masks at random"
        raise InputError(f"--model {source} {why}: its groups choose no patch; give a run with semantic masking.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processor = load_processor(source)
    processor.size = {"height": config.facemae_image_size, "width": config.facemae_image_size}
    return load_weights(SimFLEForPreTraining, source).eval().to(device), processor, device


def visible_patches(model, pixel_values: torch.Tensor) -> torch.Tensor:
    """
    The patches that each of G groups leaves visible, from one pass of the encoder.

    Args:
        model: SimFLEForPreTraining in eval mode: in training a face's mask depends on the batch through BatchNorm.
        pixel_values: origins, (B, 3, S, S).
    Returns:
        (B, G * L) bool, L patches in row-major order: the inverse of the model's `mask` for every group.
    """
    config = model.config
    activations = model.channel_grouping(model.encoder(pixel_values).last_hidden_state)  # (B, C, h, w)
    sizes = config.num_channel_groups, config.facemae_image_size, config.facemae_patch_size
    group_ids = torch.arange(config.num_channel_groups, device=activations.device)[:, None].expand(-1, len(activations))
    scores = [group_patch_scores(activations, ids, *sizes) for ids in group_ids]
    return torch.cat([semantic_mask(each, config.num_visible_patches)[0] for each in scores], dim=1) == 0


def measure_masks(data: DatasetArguments, columns: LandmarkArguments, arguments: CoverageArguments) -> None:
    """Writes coverage.png and coverage.json."""
    output_dir = prepare_output_dir(arguments.output_dir, resume=False)
    faces = open_faces(data, arguments.eval_dataset or data.dataset, arguments.eval_split, with_labels=False)
    points, people = read_landmarks(faces, columns)
    model, processor, device = load_masking_model(arguments.model)
    bad_images, config = BadImages(data.max_bad_images), model.config
    images = ImagePass(arguments.per_device_eval_batch_size, data.num_workers, bad_images, device)
    rows, visible = compute_outputs(lambda pixels: visible_patches(model, pixels), faces, processor, images, "masking")
    points, people = points[rows], people[rows]
    visible = visible.unflatten(1, (config.num_channel_groups, -1)).numpy() > 0  # (N, G, L)
    grid = config.facemae_image_size // config.facemae_patch_size
    measures = coverage(visible, patches_on_regions(points, grid), people)
    draw_coverage(output_dir / "coverage.png", visible, points)
    about = {
        "model": arguments.model,
        "split": arguments.eval_split,
        "dataset": {"source": faces.source, "fingerprint": faces.fingerprint()},
        "num_images": len(rows),
        "num_persons": len(np.unique(people)),
        "num_bad_images": len(bad_images.known),
        **{name: getattr(config, name) for name in ("num_channel_groups", "num_patches", "num_visible_patches")},
        "on_a_region": "a patch that holds at least one of the region's landmarks",
        "chance": "share of all patches of the image on the region: the mean of a mask drawn uniformly",
        "preprocessing": describe_preprocessing(processor),
        "arguments": {name: value for part in (data, columns, arguments) for name, value in asdict(part).items()},
        "versions": versions(),
    }
    write_json(output_dir / "coverage.json", {**about, **measures})
    ratios = [
        f"{name} {region['ratio']:.2f} [{region['ratio_interval'][0]:.2f}, {region['ratio_interval'][1]:.2f}]"
        for name, region in measures["overall"]["regions"].items()
        if region["ratio"] is not None
    ]
    print(
        f"visible patches over chance: {', '.join(ratios)}; entropy {measures['overall']['entropy']:.2f} nats of"
        f" {measures['entropy_of_chance']:.2f}; {len(rows)} images of {about['num_persons']} persons"
    )
