# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""SimFLEForImageClassification: labels, the frozen encoder, stock ResNets of equal logits."""

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_simfle import SimFLEForImageClassification, SimFLEForPreTraining, SimFLEImageProcessor
from tests.tiny import tiny_config

EIGHT = {"id2label": {i: str(i) for i in range(8)}, "label2id": {str(i): i for i in range(8)}}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = SimFLEForImageClassification(tiny_config(**EIGHT))
    model(torch.randn(8, 3, 64, 64), labels=torch.arange(8))  # running statistics that are not 0 and 1
    return model.eval()


def test_loss_of_integers_and_of_probabilities(model):
    images, labels = torch.randn(3, 3, 64, 64), torch.tensor([1, 5, 0])
    output = model(images, labels=labels)
    by_hand = -output.logits.log_softmax(1)[torch.arange(3), labels].mean()
    torch.testing.assert_close(output.loss, by_hand)
    torch.testing.assert_close(model(images, labels=labels.to(torch.int32)).loss, by_hand)
    soft = torch.rand(3, 8).softmax(1)
    torch.testing.assert_close(model(images, labels=soft).loss, -(soft * output.logits.log_softmax(1)).sum(1).mean())
    one_hot = torch.nn.functional.one_hot(labels, 8).float()
    torch.testing.assert_close(model(images, labels=one_hot).loss, by_hand)


def test_labels_of_no_class_are_a_sentence(model):
    model.eval()
    images = torch.randn(3, 3, 64, 64)
    for labels in ([0, 1, 8], [0, 1, -1]):
        with pytest.raises(ValueError, match=r"must lie in \[0, 8\), or be -100 for none"):
            model(images, labels=torch.tensor(labels))
    some = model(images, labels=torch.tensor([0, -100, 1])).loss
    torch.testing.assert_close(some, model(images[[0, 2]], labels=torch.tensor([0, 1])).loss)


@pytest.mark.parametrize("labels", [torch.zeros(2, 8), torch.zeros(3), torch.zeros(3, 7), torch.zeros(4).long()])
def test_labels_of_another_shape_are_a_sentence(model, labels):
    with pytest.raises(ValueError, match=r"give integers \(3,\) or probabilities \(3, 8\)"):
        model(torch.randn(3, 3, 64, 64), labels=labels)


def test_frozen_encoder_stays_in_eval_mode_and_does_not_move(model):
    model.freeze_encoder()
    model.train()
    assert model.training
    assert not model.encoder.training
    assert not any(module.training for module in model.encoder.modules())
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(4, 3, 64, 64), labels=torch.arange(4)).loss.backward()
    optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.encoder.state_dict().items())
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_inference_in_training_mode_warns_once(model, monkeypatch):
    from transformers.utils import logging

    warnings = []
    logger = logging.get_logger("modeling_simfle.modeling_simfle")
    monkeypatch.setattr(logger, "warning_once", warnings.append, raising=False)
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 64, 64))
        model.eval()(torch.randn(2, 3, 64, 64))
    assert len(warnings) == 1
    assert "call model.eval()" in warnings[0]


def test_labels_numbered_by_texts_are_numbers(model, tmp_path):
    names = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": "0", "b": "1"}}
    model.save_pretrained(tmp_path / "first")
    given = {"num_labels": 2, "ignore_mismatched_sizes": True, **names}
    other = SimFLEForImageClassification.from_pretrained(tmp_path / "first", **given)
    assert (other.config.id2label, other.config.label2id) == ({0: "a", 1: "b"}, {"a": 0, "b": 1})
    other.config.id2label = names["id2label"]
    other.save_pretrained(tmp_path / "second")
    assert SimFLEForImageClassification.from_pretrained(tmp_path / "second").config.id2label == {0: "a", 1: "b"}


@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_problems_of_another_loss_are_refused(model, problem_type):
    model.config.problem_type = problem_type
    with pytest.raises(ValueError, match=f"problem_type='{problem_type}' has a loss that is not computed here"):
        model(torch.randn(2, 3, 64, 64), labels=torch.tensor([0, 1]))
    assert model(torch.randn(2, 3, 64, 64)).logits.shape == (2, 8)


@pytest.mark.parametrize("mode", [True, False])
def test_compiles_in_one_graph(model, mode):
    compiled = torch.compile(model.train(mode), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert compiled(torch.randn(2, 3, 64, 64)).logits.shape == (2, 8)
    torch.compiler.reset()


def test_trainer_accumulates_gradients_as_one_batch(model, tmp_path):
    from transformers import Trainer, TrainingArguments

    images, moved, losses = torch.randn(8, 3, 64, 64), [], []
    rows = [{"pixel_values": image, "labels": label} for label, image in enumerate(images)]
    start = model.classifier.weight.detach().clone()
    model.freeze_encoder()  # else BatchNorm tells the two apart
    for batch_size, steps in ((8, 1), (2, 4)):
        with torch.no_grad():
            model.classifier.weight.copy_(start)
        settings = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps, "max_steps": 1}
        arguments = TrainingArguments(
            str(tmp_path), optim="sgd", learning_rate=1.0, max_grad_norm=0.0, report_to=[], save_strategy="no",
            use_cpu=True, disable_tqdm=True, **settings,
        )  # fmt: skip
        losses.append(Trainer(model, arguments, train_dataset=rows).train().training_loss)
        moved.append(model.classifier.weight.detach() - start)
        model.classifier.bias.data.zero_()
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(moved[1], moved[0], rtol=1e-4, atol=1e-6)


def test_to_resnet_has_equal_logits(model, tmp_path):
    images = torch.randn(3, 3, 64, 64)
    resnet = model.to_resnet()
    assert type(resnet).__name__ == "ResNetForImageClassification"
    assert torch.equal(resnet(images).logits, model(images).logits)
    assert resnet.config.id2label == model.config.id2label
    resnet.save_pretrained(tmp_path)
    again = type(resnet).from_pretrained(tmp_path)
    assert torch.equal(again(images).logits, model(images).logits)
    assert not list(tmp_path.glob("*.py"))


def test_to_resnet_of_a_frozen_encoder_keeps_its_statistics(model):
    model.freeze_encoder()
    model.train()
    images = torch.randn(3, 3, 64, 64)
    assert torch.equal(model.to_resnet()(images).logits, model(images).logits)


def test_folded_grayscale_gives_colour_input_equal_logits(model):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    options = {"size": 64, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    gray = SimFLEImageProcessor(**options, do_grayscale=True)(picture, return_tensors="pt").pixel_values
    colour = SimFLEImageProcessor(**options)(picture, return_tensors="pt").pixel_values
    folded = model.to_resnet(fold_grayscale=True)
    mixed = (
        (colour * torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    )
    torch.testing.assert_close(folded(colour).logits, model(mixed).logits, rtol=1e-4, atol=1e-5)  # exactly the mix
    torch.testing.assert_close(folded(colour).logits, model(gray).logits, rtol=0, atol=0.02)  # 8-bit rounding


def test_pretraining_folder_serves_encoder_and_classifier(tmp_path, capfd):
    pretrained = SimFLEForPreTraining(tiny_config(**EIGHT)).eval()
    pretrained.save_pretrained(tmp_path)
    capfd.readouterr()
    classifier = SimFLEForImageClassification.from_pretrained(tmp_path)
    said = capfd.readouterr()
    assert "facemae" not in said.err + said.out
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(classifier.encoder(images).pooler_output, pretrained.encoder(images).pooler_output)
    assert not classifier.training
