# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The card of an encoder that another method has pretrained."""

from huggingface_hub import ModelCard

from tests.hub.published_folders import call, read
from training import pretrain, release


def test_the_card_names_the_method_its_paper_and_its_settings(pretraining_flags, tmp_path):
    flags = [*pretraining_flags, "--method", "simclr", "--method_settings", "temperature=0.2", "--max_train_steps", "1"]
    pretrain.main([*flags, "--output_dir", str(tmp_path / "run")])
    call(release, tmp_path / "run", tmp_path / "encoder")
    card = ModelCard.load(tmp_path / "encoder" / "README.md")
    assert "pretrained without labels by SimCLR." in card.text
    assert "- Method: SimCLR, self-supervised learning (Chen, Kornblith, Norouzi, Hinton, arXiv 2002.05709" in card.text
    assert "temperature 0.2, hidden size 32, projection size 128" in card.text
    assert "arxiv:2002.05709" in card.data.tags and "arxiv:2303.07648" not in card.data.tags
    assert read(tmp_path / "encoder" / "metrics.json")["lineage"][-1]["pretraining_method"]["name"] == "simclr"
