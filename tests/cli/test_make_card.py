# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""make_card.py over runs of every kind, and over what is none."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard

from tests.new_process import ROOT
from training import finetune
from training.data.ferplus_votes import FERPLUS_TAGS
from training.make_card import main
from training.publishing.card_commands import add_recipes, read_recipe_file
from training.publishing.card_facts import read_facts
from training.publishing.card_sections import preprocessing, read_section
from training.publishing.model_card import CardArguments, make_card

RECIPE = """# A tiny run.
# command:  python training/pretrain.py --recipe training/recipes/tiny.yaml \\
#               --dataset FACES          (or another folder)
num_train_epochs: 1
view_size: 64
num_workers: 7
"""
FERPLUS_WORDS = (
    *("MIT licence", "barsoum", "posed: expect", "test split is held back", "no list of persons"),
    "the majority's expression",
)


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


def read(path):
    return json.loads(path.read_text())


def change(path, **values):
    path.write_text(json.dumps(read(path) | values))


def change_arguments(folder, **values):
    change(folder / "run.json", arguments=read(folder / "run.json")["arguments"] | values)


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
    change_arguments(folder, data_format="ferplus")
    change(folder / "metrics.json", accuracy_without_repeats=0.25, accuracy_without_repeats_interval=[0.1, 0.5])
    change(folder / "metrics.json", num_images_without_repeats=12)
    text = make_card(folder)
    assert "barsoum2016training" in text and "1608.01041" in text
    assert "MIT licence" in read_section(text, "Training data") and "279" in text
    assert "48 pixels" in read_section(text, "Bias, risks and limitations")
    row = "| accuracy on the 12 images that repeat no training image | 25.00 % (95 % interval 10.00 % to 50.00 %) |"
    assert row in text


def test_every_trainings_images_are_named(copied, scratch, tmp_path):
    last = shutil.copytree(scratch, tmp_path / "last")
    change_arguments(last, model=str(copied))
    assert read_section(make_card(last), "Training data").startswith("faces, split `train`. ")
    change_arguments(copied, data_format="ferplus")
    call(last, "--data_terms", "My own faces.")
    text = (last / "README.md").read_text()
    data = read_section(text, "Training data")
    assert data.startswith("faces, split `train`. My own faces.\n\nFER+ (Barsoum") and "barsoum2016training" in text
    assert ModelCard(text).data.datasets == ["ferplus"]
    assert "My own faces. FER+'s images, on which they were trained too, are given" in (last / "LICENSE").read_text()
    with pytest.raises(ValueError, match=r"the licence mit may allow more than FER\+'s images do"):
        call(last, "--license", "mit")


@pytest.mark.parametrize(
    "flags,sentence",
    [
        ({"license": "foo"}, "the licence 'foo' is no id of the Hub"),
        ({"license": "Apache-2.0"}, "the licence 'Apache-2.0' is no id of the Hub"),
        ({"license": " "}, "the licence ' ' is no id"),
        ({"license": "other", "license_name": "mit"}, "mit is an id of the Hub and no licence's own name"),
        ({"license_name": "Apache-2.0"}, "Apache-2.0 is an id of the Hub"),
    ],
)
def test_licences_that_the_hub_does_not_know(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        CardArguments(**flags)


def test_a_licences_name_and_link_need_no_more(scratch):
    data = ModelCard(make_card(scratch, CardArguments(license_name="my-terms", license_link="https://a.org/t"))).data
    assert (data.license, data.license_name, data.license_link) == ("other", "my-terms", "https://a.org/t")
    # A recipe's name and link do not stand in a flag's way.
    given = CardArguments(license="cc-by-nc-4.0", license_name="my-terms", license_link="LICENSE")
    data = ModelCard(make_card(scratch, given)).data
    assert (data.license, data.license_name) == ("cc-by-nc-4.0", None)


def test_ferplus_is_known_by_its_data_and_not_by_its_name(scratch, tmp_path):
    folder, drawn = shutil.copytree(scratch, tmp_path / "run"), tmp_path / "ferplus"
    drawn.mkdir()
    change_arguments(folder, dataset=str(drawn))
    text = make_card(folder)
    for words in FERPLUS_WORDS:
        assert words not in text
    assert "for research" not in text and "not noted here: ask their owners" in text
    faces = tmp_path / "faces"
    faces.mkdir()
    pyarrow.parquet.write_table(
        pyarrow.table({"image": [b""], "votes": [dict.fromkeys(FERPLUS_TAGS, 1)]}), faces / "train.parquet"
    )
    change_arguments(folder, dataset=str(faces))
    text = make_card(folder)
    for words in FERPLUS_WORDS:
        assert words in text
    assert "datasets:\n- ferplus\n" in text
    for loose in ("cc0-1.0", "apache-2.0"):
        with pytest.raises(ValueError, match=rf"{loose} may allow more than FER\+'s images do"):
            make_card(folder, CardArguments(license=loose))
    assert ModelCard(make_card(folder, CardArguments(license="cc-by-nc-4.0"))).data.license == "cc-by-nc-4.0"


def test_a_recipe_stands_for_its_run(copied, tmp_path):
    recipe, arguments = tmp_path / "tiny.yaml", read(copied / "run.json")["arguments"]
    recipe.write_text(RECIPE)
    text = make_card(copied, CardArguments(training_recipes=[str(recipe)]))
    assert "recipe `tiny.yaml`" in text
    (command,) = re.findall(r"```console\n(python training/pretrain.*?)\n```", text, re.DOTALL)[:1]
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:4] == ["python", "training/pretrain.py", "--recipe", "training/recipes/tiny.yaml"]
    # All in which the run differs from recipe and defaults, and its own places.
    flags = dict(zip(words[4::2], words[5::2], strict=True))
    places = {f"--{name}": Path(arguments[name]).name for name in ("dataset", "output_dir", "model_config")}
    assert flags == {**places, "--per_device_train_batch_size": "8"}
    recipe.write_text(RECIPE.replace("view_size: 64", "view_size: 65"))
    with pytest.raises(ValueError, match=r"tiny\.yaml has view_size=65, but the run was made with 64"):
        make_card(copied, CardArguments(training_recipes=[str(recipe)]))
    recipe.write_text(RECIPE.replace("pretrain.py", "finetune.py"))
    with pytest.raises(ValueError, match=r"is of none of the trainings \(pretraining\) here"):
        make_card(copied, CardArguments(training_recipes=[str(recipe)]))
    recipe.write_text("view_size: 64\n")
    with pytest.raises(ValueError, match="under a header with '# command"):
        make_card(copied, CardArguments(training_recipes=[str(recipe)]))


def test_two_trainings_by_one_script_have_a_recipe_each(copied, tmp_path):
    (second,) = read_facts(copied).recipe
    first = {**second, "arguments": {**second["arguments"], "view_size": 32}}
    paths = [tmp_path / "tiny.yaml", tmp_path / "tinier.yaml"]
    for path, side in zip(paths, (64, 32), strict=True):
        path.write_text(RECIPE.replace("view_size: 64", f"view_size: {side}"))
    for order in (paths, paths[::-1]):
        trainings = [dict(first), dict(second)]
        add_recipes(trainings, order)
        assert [training["recipe"].rpartition("/")[2] for training in trainings] == ["tinier.yaml", "tiny.yaml"]
    with pytest.raises(ValueError, match="is of none of the trainings"):
        add_recipes([dict(second)], [paths[0], paths[0]])


def test_flags_beside_the_recipe_are_shown(copied, tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE.replace("--dataset FACES", "--dataset FACES --seed 5 --masking random"))
    change_arguments(copied, use_local_branch=False, image_mean=[0.1, 0.2, 0.3], seed=3)
    found = read_facts(copied, [tmp_path / "tiny.yaml"]).recipe[0]["command"]
    assert "--use_local_branch false" in found and "--image_mean 0.1 0.2 0.3" in found
    assert "--seed 3" in found and "--seed 5" not in found
    assert "--masking" not in found  # the header's, which the run had not
    assert "image_std" not in found and "num_workers" not in found


def test_a_recipe_says_what_the_script_takes_it_for(copied, tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE + "base_learning_rate: 5e-2\n")  # a text to YAML 1.1
    assert read_facts(copied, [tmp_path / "tiny.yaml"]).recipe[0]["recipe"].endswith("tiny.yaml")
    (tmp_path / "tiny.yaml").write_text(RECIPE + "base_learning_rate: 6e-2\n")
    with pytest.raises(ValueError, match=r"has base_learning_rate=0\.06, but the run was made with 0\.05"):
        read_facts(copied, [tmp_path / "tiny.yaml"])


def test_how_far_a_run_went_and_what_ended_it(copied, scratch, tmp_path):
    change_arguments(copied, num_train_epochs=3, max_train_minutes=2.5)
    section = read_section(make_card(copied), "Training procedure")
    assert "; 1 of 3 planned epochs done; the run was given at most 2.5 minutes)" in section
    assert "--max_train_minutes 2.5" in section
    folder = shutil.copytree(scratch, tmp_path / "tuned")
    change_arguments(folder, num_train_epochs=2, max_train_minutes=7, resume_from_checkpoint="latest")
    change(folder / "metrics.json", num_training_images=1234)
    section = read_section(make_card(folder), "Training procedure")
    assert "1,234 images; 1 of 2 planned epochs done; epoch 1 was kept" in section
    assert "its last start, from a checkpoint, was given at most 7 minutes)" in section
    assert "--max_train_minutes" not in section  # of one start, not of the run


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").glob("card_*.yaml")), ids=lambda p: p.stem)
def test_card_recipes_are_read(path):
    from training.runtime.arguments import read_recipe

    for recipe in CardArguments(**read_recipe(path, (CardArguments,))).training_recipes:
        assert "--recipe" in read_recipe_file(ROOT / recipe)[1]


def test_hours_of_a_pretraining_come_from_its_log(copied):
    lines = [{"step": 4, "images_per_second": 8.0}, {"step": 6, "images_per_second": 16.0}]
    (copied / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_facts(copied).recipe[0]["hours"] == pytest.approx((4 * 8 / 8 + 2 * 8 / 16) / 3600)


def test_channels_are_named_as_one_only_where_all_are_equal(pretrained):
    facts = read_facts(pretrained[0])
    facts.preprocessing |= {"image_mean": [0.5, 0.4, 0.5], "image_std": [0.2, 0.2, 0.2]}
    sentence = "the mean 0.5, 0.4, 0.5 is subtracted and the result divided by the standard deviation 0.2, 0.2, 0.2"
    assert f"{sentence}, for red, green and blue." in preprocessing(facts)
    facts.preprocessing |= {"image_mean": [0.5, 0.5, 0.5]}
    assert "the mean 0.5 is subtracted" in preprocessing(facts)
    assert "deviation 0.2, for each of the three channels" in preprocessing(facts)


@pytest.mark.parametrize(
    "file,name", [("metrics", "per_class"), ("metrics", "protocol"), ("metrics", "seed"), ("run", "versions")]
)
def test_what_a_file_lacks_is_named(file, name, scratch, tmp_path):
    path = shutil.copytree(scratch, tmp_path / "run") / f"{file}.json"
    content = read(path)
    del content[name]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{file}\.json lacks {name}; "):
        make_card(path.parent)


def test_a_non_commercial_licence_goes_with_the_weights(copied, scratch, tmp_path):
    (copied / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\nNot ours.\n")
    middle, last = (shutil.copytree(scratch, tmp_path / name) for name in ("middle", "last"))
    change_arguments(middle, model=str(copied))
    change_arguments(last, model=str(middle))
    for folder in (middle, last):
        text = make_card(folder)
        assert ModelCard(text).data.license == "cc-by-nc-4.0"
        assert "the weights that they were made from are under `cc-by-nc-4.0`" in read_section(text, "Licence")
    stricter = make_card(last, CardArguments(license="cc-by-nc-sa-4.0"))
    assert ModelCard(stricter).data.license == "cc-by-nc-sa-4.0"
    for loose in ("other", "apache-2.0", "cc-by-4.0", "openrail"):
        with pytest.raises(ValueError, match=r"may allow more than cc-by-nc-4\.0.*leave --license out"):
            make_card(last, CardArguments(license=loose))
    (copied / "README.md").write_text("---\nlicense: other\nlicense_name: for-research\nlicense_link: LICENSE\n---\n")
    call(last)
    assert "license_name: for-research" in (last / "README.md").read_text()
    assert (last / "LICENSE").read_text().startswith("# for-research\n")
    (copied / "README.md").write_text("---\nlicense: CC-BY-NC-4.0\nlicense_link: https://a.org/l\n---\n")
    assert ModelCard(make_card(last)).data.license == "cc-by-nc-4.0"
    (copied / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert ModelCard(make_card(last)).data.license == "other"


@pytest.mark.parametrize("name", ["/home/bob/base", "training/recipes", "a/b/c", "../base"])
def test_a_base_model_is_on_the_hub(name):
    with pytest.raises(ValueError, match=f"--base_model {name} must be a Hub id, such as org/name"):
        CardArguments(base_model=name)


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
    with pytest.raises(ValueError, match=r"scratch is not finished: it has no metrics\.json"):
        call(folder)
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"holds no run\.json and no recipe"):
        call(folder)


def test_an_error_is_one_sentence(script, tmp_path):
    done = script("make_card", tmp_path, check=1)
    assert done.stderr.startswith("make_card: ") and len(done.stderr.splitlines()) == 1
    assert script("make_card", tmp_path, "--watts", 3, check=2).stderr
