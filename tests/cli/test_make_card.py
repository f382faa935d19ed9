# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""make_card.py over runs of every kind, and over what is none."""

import json
import shutil

import pytest
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard

from tests.new_process import ROOT
from training import finetune
from training.card_facts import public, read_facts
from training.card_sections import read_section
from training.make_card import main, make_card
from training.model_card import CardArguments

RECIPE = """# A tiny run.
# command:  python training/pretrain.py --recipe training/recipes/tiny.yaml \\
#               --dataset FACES          (or another folder)
num_train_epochs: 1
view_size: 64
num_workers: 7
"""


def call(*arguments):
    main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def scratch(faces, config_file, tmp_path_factory):
    """A supervised run from scratch, of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "scratch"
    AcceleratorState._reset_state(reset_partial_state=True)
    flags = ["--model_config", config_file, "--dataset", faces, "--view_size", 64, "--num_workers", 0]
    flags += ["--per_device_train_batch_size", 20, "--num_train_epochs", 1, "--output_dir", folder]
    finetune.main([str(flag) for flag in flags])
    return folder


@pytest.fixture
def copied(pretrained, tmp_path):
    """A copy of the pretraining's folder, to be changed."""
    return shutil.copytree(pretrained[0], tmp_path / "run")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_pretraining(pretrained, tmp_path):
    call(pretrained[0], "--output", tmp_path / "card" / "README.md")
    text = (tmp_path / "card" / "README.md").read_text()
    data = ModelCard(text).data
    assert (data.pipeline_tag, data.license, data.license_name) == (
        "image-feature-extraction",
        "other",
        "research-use-only",
    )
    assert data.eval_results is None and data.metrics is None
    last = json.loads((pretrained[0] / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| similarity loss | {last['similarity_loss']:.4g} |" in read_section(text, "Evaluation")
    assert "not noted here: ask their owners" in read_section(text, "Training data")
    assert "energy: not measured" in read_section(text, "Environmental impact")
    assert str(tmp_path.parents[1]) not in text
    assert {path.name for path in (tmp_path / "card").iterdir()} == {"README.md", "example_face.png", "LICENSE"}


def test_a_probe_comes_after_its_pretraining(classifier):
    folder, metrics = classifier
    text = make_card(folder)
    data = ModelCard(text).data
    assert data.pipeline_tag == "image-classification"
    found = {result.metric_type: result for result in data.eval_results}
    assert found["accuracy"].metric_value == round(metrics["accuracy"], 6)
    assert found["accuracy"].dataset_split == "validation"
    assert found["accuracy"].dataset_args["protocol"] == metrics["protocol"]
    procedure = read_section(text, "Training procedure")
    assert procedure.index("1. Pretraining") < procedure.index("2. Linear probe")
    assert "With a linear probe it names" in read_section(text, "Summary")
    assert "linear probe: time not measured" in read_section(text, "Environmental impact")


def test_a_supervised_run(scratch):
    text = make_card(scratch, CardArguments(license="cc-by-nc-4.0", base_model="org/base", datasets=["org/faces"]))
    data = ModelCard(text).data
    assert (data.license, data.license_name, data.base_model, data.datasets) == (
        "cc-by-nc-4.0",
        None,
        "org/base",
        ["org/faces"],
    )
    assert "1. Supervised from scratch" in read_section(text, "Training procedure")
    assert "pretrained without labels" not in read_section(text, "Summary")


def test_ferplus_and_its_terms(scratch, tmp_path):
    folder = shutil.copytree(scratch, tmp_path / "run")
    arguments = json.loads((folder / "run.json").read_text())["arguments"]
    change(folder / "run.json", arguments=arguments | {"data_format": "ferplus"})
    change(folder / "metrics.json", accuracy_without_repeats=0.25, accuracy_without_repeats_interval=[0.1, 0.5])
    change(folder / "metrics.json", num_images_without_repeats=12)
    text = make_card(folder)
    assert "barsoum2016training" in text and "1608.01041" in text
    assert "MIT licence" in read_section(text, "Training data") and "279" in text
    assert "48 pixels" in read_section(text, "Bias, risks and limitations")
    row = "| accuracy on the 12 images that repeat no training image | 25.00 % (95 % interval 10.00 % to 50.00 %) |"
    assert row in text


def test_a_recipe_stands_for_its_run(copied, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    text = make_card(copied, CardArguments(training_recipes=[str(recipe)]))
    assert "recipe `tiny.yaml`" in text
    assert "python training/pretrain.py --recipe training/recipes/tiny.yaml --dataset FACES\n" in text
    recipe.write_text(RECIPE.replace("view_size: 64", "view_size: 65"))
    with pytest.raises(ValueError, match=r"tiny\.yaml has view_size=65, but the run was made with 64"):
        make_card(copied, CardArguments(training_recipes=[str(recipe)]))
    recipe.write_text(RECIPE.replace("pretrain.py", "finetune.py"))
    with pytest.raises(ValueError, match=r"is of none of the trainings \(pretraining\) here"):
        make_card(copied, CardArguments(training_recipes=[str(recipe)]))
    recipe.write_text("view_size: 64\n")
    with pytest.raises(ValueError, match="under a header with '# command"):
        make_card(copied, CardArguments(training_recipes=[str(recipe)]))


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").glob("card_*.yaml")), ids=lambda p: p.stem)
def test_card_recipes_are_read(path):
    from training.card_facts import read_recipe_file
    from training.script_arguments import read_recipe

    for recipe in CardArguments(**read_recipe(path, (CardArguments,))).training_recipes:
        assert "--recipe" in read_recipe_file(ROOT / recipe)[1]


def test_hours_of_a_pretraining_come_from_its_log(copied):
    lines = [{"step": 4, "images_per_second": 8.0}, {"step": 6, "images_per_second": 16.0}]
    (copied / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_facts(copied).recipe[0]["hours"] == pytest.approx((4 * 8 / 8 + 2 * 8 / 16) / 3600)


def test_paths_of_the_machine_are_taken_out():
    command = f"python a.py --dataset /nowhere/at/faces --model {ROOT}/runs/x ../z ~/.cache 1 / 2 https://a.b/c"
    expected = "python a.py --dataset faces --model runs/x ../z ~/.cache 1 / 2 https://a.b/c"
    assert public([{"command": command}]) == [{"command": expected}]


def test_no_folder_no_run_and_an_unfinished_one(copied, scratch, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json does not exist; give the folder of a finished run"):
        call(tmp_path / "none")
    with pytest.raises(ValueError, match=r"README must be the name of a \.md file"):
        call(copied, "--output", tmp_path / "README")
    (copied / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        call(copied)
    (copied / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a mapping, not a list"):
        call(copied)
    (copied / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="names no architecture"):
        call(copied)
    folder = shutil.copytree(scratch, tmp_path / "scratch")
    change(folder / "metrics.json", method="k-NN")
    with pytest.raises(ValueError, match="is a run of k-NN: nothing was trained"):
        call(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"not finished, it has no metrics\.json"):
        call(folder)
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"holds no run\.json and no recipe"):
        call(folder)


def test_an_error_is_one_sentence(script, tmp_path):
    done = script("make_card", tmp_path, check=1)
    assert done.stderr.startswith("make_card: ") and len(done.stderr.splitlines()) == 1
    assert script("make_card", tmp_path, "--watts", 3, check=2).stderr
