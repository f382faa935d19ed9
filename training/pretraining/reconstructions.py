"""Pictures of what FaceMAE sees and predicts."""

from pathlib import Path

import torch
from PIL import Image

from training.pretraining.batches import draw_masks
from training.runtime.run_folder import replaced

MASK_GRAY = 0.5


@torch.no_grad()
def save_reconstructions(model, processor, faces: list[Image.Image], path: Path, seed: int = 0) -> None:
    """
    Writes one row a face: the original, what the semantic mask leaves visible, and the reconstruction (predicted
    patches in the removed places, `norm_pix_loss` undone).

    Args:
        model: SimFLEForPreTraining with its local branch; used in eval mode. faces: RGB pictures, any size.
        path: a .png. seed: of the groups that mask.
    """
    config, was_training = model.config, model.training
    size, patch = config.facemae_image_size, config.facemae_patch_size
    pixel_values = processor(faces, size=size, return_tensors="pt").pixel_values
    masks = {name: drawn.to(model.device) for name, drawn in draw_masks(config, len(faces), seed, 0, 0, 0).items()}
    output = model.eval()(pixel_values.to(model.device), **masks)
    model.train(was_training)
    predicted = model.unpatchify(output.logits.cpu(), pixel_values)
    removed = output.mask.cpu().unflatten(1, (size // patch, -1))[:, None]  # (B, 1, grid, grid)
    removed = removed.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    std, mean = (torch.tensor(v)[None, :, None, None] for v in (processor.image_std, processor.image_mean))
    original, predicted = pixel_values * std + mean, predicted * std + mean
    masked = torch.where(removed > 0, torch.full_like(original, MASK_GRAY), original)
    rebuilt = torch.where(removed > 0, predicted, original)
    rows = torch.cat([original, masked, rebuilt], dim=3)  # (B, 3, S, 3 S)
    sheet = torch.cat(list(rows), dim=1).clamp(0, 1).mul(255).round().byte()
    with replaced(path) as temporary:
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(temporary, format="PNG")
