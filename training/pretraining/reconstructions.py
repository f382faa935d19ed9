"""
Draws what FaceMAE sees and predicts.

    python -m training.pretraining.reconstructions --model RUN --images FOLDER --output FILE.png
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.data.faces import image_faces
from training.models.loading import check_model, load_processor, load_weights
from training.runtime.arguments import check_ranges, flag, parse_arguments, run_main
from training.runtime.errors import InputError
from training.runtime.run_folder import make_folder, replaced

MASK_GRAY = 0.5


@dataclass
class ReconstructionArguments:
    """The reconstructions."""

    model: str = flag("", "folder or Hub id of a pretrained SimFLE")
    images: str = flag("", "an image, or a folder of images")
    output: str = flag("reconstructions.png", "the PNG file to write")
    count: int = flag(6, "number of images, spread evenly over the folder", low=1)
    seed: int = flag(0, "seed of the channel groups that mask", low=0)

    def __post_init__(self):
        if not self.model or not self.images:
            raise InputError("--model and --images are both needed; give a pretrained SimFLE and a folder of images.")
        check_model(self.model)
        check_ranges(self)


def main(argv=None) -> None:
    (arguments,) = parse_arguments((ReconstructionArguments,), argv, __doc__)
    from modeling_simfle import SimFLEForPreTraining

    path = Path(arguments.output)
    make_folder("--output", path.parent)
    model = load_weights(SimFLEForPreTraining, arguments.model)
    if not model.config.use_local_branch:
        raise InputError(f"--model {arguments.model} has no local branch, so it reconstructs nothing.")
    faces = image_faces([Path(arguments.images)]).sample(arguments.count)
    if not faces:
        raise InputError(f"--images {arguments.images}: no image can be read.")
    save_reconstructions(model, load_processor(arguments.model), faces, path, arguments.seed)
    print(f"{path}: original, visible patches and reconstruction of {len(faces)} faces, one row each")


def save_reconstructions(model, processor, faces: list[Image.Image], path: Path, seed: int = 0) -> None:
    """
    Writes one row a face: the original, what the semantic mask leaves visible, and the reconstruction (predicted
    patches in the removed places, `norm_pix_loss` undone).

    Args:
        model: SimFLEForPreTraining with its local branch; used in eval mode. faces: RGB images, any size.
        path: a .png. seed: of the groups that mask.
    """
    import torch

    from training.pretraining.batches import draw_masks  # imports torch: `--help` does not wait for it

    config, was_training = model.config, model.training
    size, patch = config.facemae_image_size, config.facemae_patch_size
    pixel_values = processor(faces, size=size, return_tensors="pt").pixel_values
    masks = {name: drawn.to(model.device) for name, drawn in draw_masks(config, len(faces), seed, 0, 0, 0).items()}
    with torch.no_grad():
        output = model.eval()(pixel_values.to(model.device), **masks)
    model.train(was_training)
    predicted = model.unpatchify(output.logits.cpu(), pixel_values)
    removed = output.mask.cpu().unflatten(1, (size // patch, -1))[:, None]  # (B, 1, grid, grid)
    removed = torch.nn.functional.interpolate(removed.float(), scale_factor=patch) > 0  # (B, 1, S, S)
    std, mean = (torch.tensor(v)[None, :, None, None] for v in (processor.image_std, processor.image_mean))
    original, predicted = pixel_values * std + mean, predicted * std + mean
    masked, rebuilt = original.masked_fill(removed, MASK_GRAY), torch.where(removed, predicted, original)
    rows = torch.cat([original, masked, rebuilt], dim=3)  # (B, 3, S, 3 S)
    sheet = torch.cat(list(rows), dim=1).clamp(0, 1).mul(255).round().byte()
    with replaced(path) as temporary:
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(temporary, format="PNG")


if __name__ == "__main__":
    run_main("reconstructions", main)
