"""
Mask coverage: which parts of the face the semantic masks of a pretrained model leave visible, against chance.

    python training/mask_coverage.py --model RUN --dataset LANDMARKS --output_dir OUT

For every channel group of a pretraining folder (local branch, semantic masking): how often its visible patches fall on
brows, eyes, nose, mouth and jaw, or on any landmark, as a ratio to a mask drawn uniformly over the same image, with a
95 % interval by person. A patch is on a region where it holds at least one of the region's landmarks. The model runs in
eval mode on the whole face, resized as in pretraining.

A uniform mask is a low bar: masks that keep to the middle of the picture pass it on every centred face. Compare with
the same figures of another model, and look at the maps.

--dataset is as for landmark_probe.py. OUT holds coverage.json (by group and overall, entropies, counts) and
coverage.png, in which there is no face.
"""

from dataclasses import asdict, dataclass, field

from training.data.faces import DatasetArguments, open_faces
from training.data.images import BadImages
from training.data.landmarks import LandmarkArguments, read_landmarks
from training.runtime.arguments import check_range, parse_arguments, run_main
from training.runtime.errors import InputError


@dataclass
class CoverageArguments:
    """The measurement."""

    model: str = field(default="", metadata={"help": "pretraining folder or Hub id, with its local branch"})
    output_dir: str = field(default="", metadata={"help": "new folder; holds coverage.json and coverage.png"})
    eval_dataset: str | None = field(default=None, metadata={"help": "where --eval_split is; default --dataset"})
    eval_split: str = field(default="validation", metadata={"help": "split of the faces with landmarks"})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "faces a pass"})

    def __post_init__(self):
        check_range("per_device_eval_batch_size", self.per_device_eval_batch_size, 1)


def main(argv=None) -> None:
    kinds = (DatasetArguments, LandmarkArguments, CoverageArguments)
    data, columns, arguments = parse_arguments(kinds, argv, __doc__)
    from training.runtime.run_folder import prepare_output_dir

    output_dir = prepare_output_dir(arguments.output_dir, resume=False)
    faces = open_faces(data, arguments.eval_dataset or data.dataset, arguments.eval_split, with_labels=False)
    points, people = read_landmarks(faces, columns)
    model, processor, device = load_masking_model(arguments.model)
    measure(model, processor, device, (faces, points, people), (data, columns, arguments), output_dir)


def load_masking_model(source: str):
    """
    A pretraining folder's model in eval mode, the image processor of its origins, and the device.

    Raises:
        ValueError: another kind of folder, or masks that no channel group chooses.
    """
    import torch

    from modeling_simfle import SimFLEConfig, SimFLEForPreTraining
    from training.models.loading import load_processor, load_weights

    if not source:
        raise InputError("--model is missing; give a pretraining folder.")
    config = SimFLEConfig.from_pretrained(source)
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


def measure(model, processor, device, landmarks, parts, output_dir) -> None:
    """
    Writes coverage.png and coverage.json.

    Args:
        landmarks: faces, their points (N, 68, 2) and people (N,). parts: the script's argument dataclasses.
    """
    from training.measuring.classification import describe_preprocessing
    from training.measuring.patch_coverage import coverage, draw_coverage, patches_on_regions, visible_patches
    from training.models.outputs import compute_outputs
    from training.runtime.run_folder import versions, write_json

    (faces, points, people), (data, columns, arguments) = landmarks, parts
    bad_images, config = BadImages(data.max_bad_images), model.config
    common = (arguments.per_device_eval_batch_size, data.num_workers, bad_images, device, "masking")
    kept, visible = compute_outputs(lambda pixels: visible_patches(model, pixels), faces, processor, *common)
    points, people = points[kept], people[kept]
    visible = visible.unflatten(1, (config.num_channel_groups, -1)).numpy() > 0  # (N, G, L)
    grid = config.facemae_image_size // config.facemae_patch_size
    found = coverage(visible, patches_on_regions(points, grid), people)
    draw_coverage(output_dir / "coverage.png", visible, points, found)
    about = {
        "model": arguments.model,
        "split": arguments.eval_split,
        "dataset": {"source": faces.source, "fingerprint": faces.fingerprint()},
        "num_images": len(kept),
        "num_persons": len(set(people.tolist())),
        "num_bad_images": len(bad_images.known),
        "num_channel_groups": config.num_channel_groups,
        "num_patches": config.num_patches,
        "num_visible_patches": config.num_visible_patches,
        "on_a_region": "a patch that holds at least one of the region's landmarks",
        "chance": "share of all patches of the image on the region: the mean of a mask drawn uniformly",
        "preprocessing": describe_preprocessing(processor),
        "arguments": {name: value for part in (data, columns, arguments) for name, value in asdict(part).items()},
        "versions": versions(),
    }
    write_json(output_dir / "coverage.json", {**about, **found})
    print_coverage(found, len(kept), about["num_persons"])


def print_coverage(found: dict, num_images: int, num_persons: int) -> None:
    """One line for people."""
    ratios = [
        f"{name} {region['ratio']:.2f} [{region['ratio_interval'][0]:.2f}, {region['ratio_interval'][1]:.2f}]"
        for name, region in found["overall"]["regions"].items()
        if region["ratio"] is not None
    ]
    print(
        f"visible patches over chance: {', '.join(ratios)}; entropy {found['overall']['entropy']:.2f} nats of"
        f" {found['entropy_of_chance']:.2f}; {num_images} images of {num_persons} persons"
    )


if __name__ == "__main__":
    run_main("mask_coverage", main)
