# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The methods' losses against their papers' equations, and which method a run takes."""

import math

import pytest
import torch

from modeling_simfle import SimFLEModel
from tests.tiny import tiny_config, tiny_inputs
from training.pretraining.method import choose_method, default_method, finished_model, load_method
from training.pretraining.methods import method_names
from training.pretraining.methods.barlow_twins import barlow_twins_loss
from training.pretraining.methods.moco import info_nce_loss
from training.pretraining.methods.simclr import nt_xent_loss
from training.pretraining.methods.simsiam import simsiam_loss
from training.runtime.errors import InputError

NUMBERS = torch.Generator().manual_seed(0)
A, B, C, D = torch.randn(4, 5, 3, generator=NUMBERS, dtype=torch.float64)  # four times five vectors


def cosine(one, other):
    return float(one @ other / one.norm() / other.norm())


def test_simclr_is_its_equation():
    views, temperature = [*A, *B], 0.3  # 2N vectors; i and i + N are views of one face
    terms = []
    for i, z in enumerate(views):
        j = (i + 5) % 10
        others = sum(math.exp(cosine(z, views[k]) / temperature) for k in range(10) if k != i)
        terms.append(-math.log(math.exp(cosine(z, views[j]) / temperature) / others))
    assert float(nt_xent_loss([A, B], [A, B], 0, temperature)) == pytest.approx(sum(terms) / 10, rel=1e-12)
    # Two processes: each has its own faces' terms, with the negatives of both.
    first, second = (nt_xent_loss([A[part], B[part]], [A[:4], B[:4]], 2 * p, 0.3) for p, part in enumerate(HALVES))
    whole = nt_xent_loss([A[:4], B[:4]], [A[:4], B[:4]], 0, 0.3)
    assert float(first + second) / 2 == pytest.approx(float(whole), rel=1e-12)


HALVES = (slice(0, 2), slice(2, 4))


def test_moco_is_its_equation():
    queue, temperature = torch.cat([C, D]), 0.2
    terms = []
    for q, key in zip(A, B, strict=True):
        positive = math.exp(cosine(q, key) / temperature)
        terms.append(-math.log(positive / (positive + sum(math.exp(cosine(q, k) / temperature) for k in queue))))
    assert float(info_nce_loss(A, B, queue, temperature)) == pytest.approx(sum(terms) / 5, rel=1e-12)


def test_simsiam_is_its_equation():
    terms = [-cosine(p1, z2) / 2 - cosine(p2, z1) / 2 for p1, p2, z1, z2 in zip(A, B, C, D, strict=True)]
    assert float(simsiam_loss(A, B, C, D)) == pytest.approx(sum(terms) / 5, rel=1e-12)


def test_barlow_twins_is_its_equation():
    total = 0.0
    for i in range(3):
        for j in range(3):
            a, b = A[:, i] - A[:, i].mean(), B[:, j] - B[:, j].mean()
            correlation = float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))
            total += (1 - correlation) ** 2 if i == j else 0.005 * correlation**2
    assert float(barlow_twins_loss(A, B, 0.005)) == pytest.approx(total, rel=1e-12)


def test_four_vectors_by_hand():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    axes = torch.eye(2)
    # Each of the four sees itself once (left out), its pair at cosine 1 and two others at 0: log((e + 2) / e).
    assert float(nt_xent_loss([axes, axes], [axes, axes], 0, 1.0)) == pytest.approx(math.log(math.e + 2) - 1)
    queue = torch.tensor([[0.0, 3.0], [-2.0, 0.0]])  # cosines 0 and -1; the key's is 0.6
    wanted = math.log(math.exp(1.2) + 1 + math.exp(-2)) - 1.2
    assert float(info_nce_loss(one, other, queue, 0.5)) == pytest.approx(wanted)
    # Cosines 0.6 of (p1, z2) and 0.8 of (p2, z1).
    p2, z1 = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    assert float(simsiam_loss(one, p2, z1, other)) == pytest.approx(-0.7)
    # Centred columns (1, -1), (-1, 1) in both views: C = [[1, -1], [-1, 1]].
    views = torch.tensor([[1.0, 0.0], [-1.0, 2.0]]), torch.tensor([[3.0, 1.0], [1.0, 3.0]])
    assert float(barlow_twins_loss(*views, 0.005)) == pytest.approx(0.01)


def test_gradients_stop_where_the_papers_stop_them():
    tensors = [x.clone().requires_grad_() for x in (A, B, C, D)]
    simsiam_loss(*tensors).backward()
    assert [x.grad is not None for x in tensors] == [True, True, False, False]
    tensors = [x.clone().requires_grad_() for x in (A, B, C)]
    info_nce_loss(*tensors, 0.2).backward()
    assert [x.grad is not None for x in tensors] == [True, False, False]


def others():
    return [name for name in method_names() if not load_method(name).is_simfle]


def make(name, **settings):
    method, config = load_method(name), tiny_config(use_local_branch=False)
    torch.manual_seed(0)
    pairs = [f"{key}={value}" for key, value in settings.items()]
    return method.make_model(config, method.read_settings(config, pairs), None)


@pytest.mark.parametrize("name", [*others()])
def test_a_model_trains_and_leaves_its_encoder(name, tmp_path):
    model = make(name, **({"queue_size": 20} if name == "moco" else {})).train()
    inputs = tiny_inputs(8)
    loss = model(inputs["view_1_pixel_values"], inputs["view_2_pixel_values"]).loss
    loss.backward()
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert [key for key, p in trained.items() if p.grad is None or not p.grad.isfinite().all()] == []
    assert loss.isfinite() and any(p.grad.abs().sum() > 0 for p in model.encoder.parameters())
    model.update_target()
    assert isinstance(finished_model(model), SimFLEModel)
    model.save_pretrained(tmp_path)  # a checkpoint
    loaded = SimFLEModel.from_pretrained(tmp_path)
    ours, theirs = model.encoder.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_mocos_queue_takes_the_newest_keys_and_its_copy_follows():
    model, inputs = make("moco", queue_size=20, decay=0.5).train(), tiny_inputs(8)
    before = model.queue.clone()
    model(inputs["view_1_pixel_values"], inputs["view_2_pixel_values"])
    assert torch.equal(model.queue[8:], before[:12])
    torch.testing.assert_close(model.queue[:8].norm(dim=1), torch.ones(8))
    with torch.no_grad():
        weight, own = model.projector[0].weight, model.target_projector[0].weight
        weight.add_(1)
        wanted = own / 2 + weight / 2
        model.update_target()
    torch.testing.assert_close(own, wanted)


def test_the_papers_sizes_at_resnet_50():
    config = tiny_config(use_local_branch=False, hidden_sizes=[256, 512, 1024, 2048])
    sizes = {name: load_method(name).settings(config) for name in others()}
    assert sizes["simclr"] == {"temperature": 0.1, "hidden_size": 2048, "projection_size": 128}
    assert (sizes["moco"]["queue_size"], sizes["moco"]["decay"], sizes["moco"]["temperature"]) == (65536, 0.999, 0.2)
    assert sizes["simsiam"] == {"projection_size": 2048, "predictor_hidden_size": 512}
    assert sizes["barlow_twins"] == {"off_diagonal_weight": 0.005, "projection_size": 8192, "loss_scale": 0.024}


@pytest.mark.parametrize(
    "name,flag,config_has,sentence",
    [
        ("simfle", False, False, "--method simfle has a local branch, which --use_local_branch false"),
        ("byol", True, True, "--method byol has no local branch, which --use_local_branch true"),
        ("simclr", True, True, "--method simclr has no local branch"),
        ("simfle", None, False, "which the config leaves out"),
        ("nonsense", None, True, "--method nonsense is not there; use one of barlow_twins, byol,"),
    ],
)
def test_contradictions_are_refused(name, flag, config_has, sentence):
    with pytest.raises(InputError, match=sentence):
        choose_method(name, flag, tiny_config(use_local_branch=config_has))


@pytest.mark.parametrize(
    "name,flag,config_has,chosen",
    [
        (None, None, True, "simfle"),
        (None, False, False, "byol"),
        ("byol", None, True, "byol"),
        ("byol", False, False, "byol"),
        ("simclr", None, True, "simclr"),
    ],
)
def test_the_config_follows_the_method(name, flag, config_has, chosen):
    config = tiny_config(use_local_branch=config_has)
    assert choose_method(name, flag, config)[0] == chosen
    assert config.use_local_branch == (chosen == "simfle")
    assert default_method(config) in ("simfle", "byol")


@pytest.mark.parametrize(
    "name,pair,sentence",
    [
        ("simclr", "temprature=1", "SimCLR does not take it; known are"),
        ("simclr", "temperature=warm", "must be NAME=NUMBER, such as temperature=0.1"),
        ("simclr", "temperature=0", "must be above 0"),
        ("byol", "ema_decay=0.9", "its settings are fields of --model_config"),
    ],
)
def test_settings_are_checked(name, pair, sentence):
    with pytest.raises(InputError, match=sentence):
        load_method(name).read_settings(tiny_config(), [pair])


def test_a_method_is_short():
    from tests.new_process import ROOT

    folder = ROOT / "training" / "pretraining" / "methods"
    assert [path.name for path in folder.glob("*.py") if len(path.read_text().splitlines()) > 80] == []
