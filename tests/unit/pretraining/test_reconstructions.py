# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The picture of original, visible patches and reconstruction."""

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEForPreTraining, SimFLEImageProcessor
from tests.tiny import tiny_config
from training.data.drawn_faces import draw_faces
from training.pretraining.reconstructions import save_reconstructions


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_picture_has_the_original_the_mask_and_the_reconstruction(tmp_path, norm_pix_loss):
    torch.manual_seed(0)
    model = SimFLEForPreTraining(tiny_config(norm_pix_loss=norm_pix_loss)).train()
    faces = [face.image for face in draw_faces(3, seed=0, size=64)]
    save_reconstructions(model, SimFLEImageProcessor(size=64), faces, tmp_path / "sheet.png")
    assert model.training
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape == (3 * 64, 3 * 64, 3)
    for row, face in enumerate(faces):
        original, masked, rebuilt = np.split(sheet[64 * row : 64 * (row + 1)], 3, axis=1)
        assert np.abs(original - np.asarray(face)).max() <= 1
        gray = (masked == 128).all(-1)
        patches = gray.reshape(4, 16, 4, 16).mean((1, 3))
        assert (patches > 0.99).sum() == 12  # removed
        visible = ~np.kron(patches > 0.99, np.ones((16, 16), bool))
        assert np.abs(rebuilt - original)[visible].max() == 0
