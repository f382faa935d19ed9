# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""From make_card.py's flags to what is published: card.json, LICENSE, and a card that was corrected by hand."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from modeling_simfle import SimFLEForImageClassification
from tests.hub.hub_state import REPO
from tests.hub.published_folders import call, read, spoil
from training import assemble_release, make_card, publish
from training.publishing import model_card
from training.publishing.card_checks import check_card
from training.publishing.card_sections import read_section
from training.publishing.folder_checks import check_staged
from training.publishing.staging import stage

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # the client's own
RECIPE = "# command:  python training/pretrain.py --dataset FACES\nview_size: 64\n"
TOLD = ["--hardware", "a laptop in /home/bob", "--assumed_watts", 30, "--remarks", "No better than chance."]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(params=["probe", "pretraining"])
def run(request, pretrained, classifier, tmp_path):
    return shutil.copytree({"probe": classifier[0], "pretraining": pretrained[0]}[request.param], tmp_path / "run")


def staged_card(run, target):
    staged = stage(run, target, REPO)
    check_staged(staged)
    assert "card.json" in staged.left_out
    return (staged.folder / "README.md").read_text()


def test_flags_of_a_card_are_published(run, recipe, tmp_path):
    call(make_card, run, *TOLD, "--training_recipes", recipe, "--data_terms", "Drawn by code.")
    card = staged_card(run, tmp_path / "sent" / "name")
    assert "- hardware: a laptop in ~\n" in card and "bob" not in card
    assert f"`example_face.png` lies there too (`hf download {REPO} example_face.png --local-dir .`): a face" in card
    assert "recipe `tiny.yaml`" in read_section(card, "Training procedure")
    assert "Drawn by code." in (tmp_path / "sent" / "name" / "LICENSE").read_text()
    metrics = read(tmp_path / "sent" / "name" / "metrics.json")
    assert (metrics["hardware"], metrics["assumed_watts"]) == ("a laptop in ~", 30)
    assert read_section(card, "Summary").split("\n\n")[0].endswith(" No better than chance.")
    # A card that is made on the way has them too, and so has a later one.
    (run / "README.md").unlink()
    assert "- hardware: a laptop in ~\n" in staged_card(run, tmp_path / "again" / "name")
    call(make_card, run, "--datasets", "org/faces", "--assumed_watts", 50, "--repo_id", REPO)
    card = staged_card(run, tmp_path / "last" / "name")
    assert f"\n# {REPO.rpartition('/')[2]}\n" in card and card.count("hf download") == 1
    assert "recipe `tiny.yaml`" in card and "a laptop in ~" in card
    assert ModelCard(card).data.datasets == ["org/faces"]
    assert read(tmp_path / "last" / "name" / "metrics.json")["assumed_watts"] == 50


def test_flags_of_a_card_are_assembled(pretrained, recipe, tmp_path):
    run = shutil.copytree(pretrained[0], tmp_path / "run")
    call(make_card, run, *TOLD, "--training_recipes", recipe, "--license", "cc0-1.0")
    call(assemble_release, run, tmp_path / "out", "--encoder_only", "--hardware", "two cores")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- hardware: two cores\n" in card and "recipe `tiny.yaml`" in card
    assert ModelCard(card).data.license == "cc0-1.0"
    assert not (tmp_path / "out" / "card.json").exists()


def test_a_published_folder_takes_what_it_does_not_say_yet(assembled, recipe, tmp_path):
    folder = shutil.copytree(assembled["encoder"], tmp_path / "encoder")
    call(make_card, folder, *TOLD, "--training_recipes", recipe)
    check_card(folder)
    assert "- hardware: a laptop in ~\n" in (folder / "README.md").read_text()
    assert not (folder / "card.json").exists()


@pytest.mark.parametrize("notes", [{"flags": {"colour": 1}}, {"flags": {"assumed_watts": "x"}}, {"flags": [1]}])
def test_a_card_json_that_is_none(notes, folder):
    (folder / "card.json").write_text(json.dumps(notes))
    with pytest.raises(ValueError, match=r"card\.json: .* is no flag of make_card\.py; delete that file"):
        call(make_card, folder)


def test_the_licence_file_follows_the_flags(folder):
    terms = folder / "LICENSE"
    call(make_card, folder)
    assert terms.read_text().startswith("# research-use-only\n")
    call(make_card, folder, "--license_name", "for-teaching", "--data_terms", "Drawn by code.")
    assert terms.read_text().startswith("# for-teaching\n") and "Drawn by code." in terms.read_text()
    call(make_card, folder, "--data_terms", "Painted by hand.")
    assert terms.read_text().startswith("# for-teaching\n") and "Painted by hand." in terms.read_text()
    call(make_card, folder, "--license", "cc0-1.0")
    assert not terms.exists()
    call(make_card, folder)  # the licence is kept
    assert not terms.exists() and "license: cc0-1.0\n" in (folder / "README.md").read_text()
    terms.write_text("Somebody's own words.\n")
    for flags in (["--license", "other"], ["--license", "mit"]):
        call(make_card, folder, *flags)
        assert terms.read_text() == "Somebody's own words.\n"


@pytest.mark.parametrize(
    "old,new", [("license: other", "license: mit"), ("license_name: research-use-only", "license_name: mine")]
)
def test_a_licence_file_of_another_licence_is_caught(old, new, copied):
    spoil(copied / "README.md", old, new)
    with pytest.raises(ValueError, match=r"LICENSE is of research-use-only, and the card's licence is m\w+; write the"):
        check_card(copied)


def test_a_licence_file_leaves_the_hub_with_its_licence(hub, here, folder, capsys):
    here(folder)
    call(make_card, folder, "--license", "cc0-1.0")
    here(folder)
    assert "LICENSE" not in hub.files(REPO) and "license: cc0-1.0\n" in hub.files(REPO)["README.md"].decode()
    assert "removed there, of earlier weights: LICENSE\n" in capsys.readouterr().out


def test_a_card_that_was_corrected_by_hand_is_kept(folder, capsys):
    card = folder / "README.md"
    call(make_card, folder)
    call(make_card, folder, *TOLD)
    assert "kept" not in capsys.readouterr().out  # what is replaced was made by it
    for backup, words in (("README.md.bak", "Mine."), ("README.md.bak2", "Mine again.")):
        card.write_text(card.read_text() + words)
        corrected = card.read_text()
        call(make_card, folder)
        assert (folder / backup).read_text() == corrected and words not in card.read_text()
        assert f"what stood there is kept as {folder / backup}\n" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["swapped", "renamed", "label2id"])
def test_other_labels_than_those_measured_are_caught(change, copied):
    config = read(copied / "config.json")
    labels = config["id2label"]
    if change == "swapped":
        labels["0"], labels["1"] = labels["1"], labels["0"]
    elif change == "renamed":
        labels["0"] = "calm"
    else:
        config["label2id"]["neutral"] = 1
    (copied / "config.json").write_text(json.dumps(config))
    name = "label2id" if change == "label2id" else "id2label"
    call(make_card, copied)
    with pytest.raises(ValueError, match=rf"config\.json has {name}: .*, and metrics\.json was measured with"):
        check_card(copied)


def test_a_run_with_other_weights_than_it_measured_is_refused(tuned_run, tmp_path):
    run = shutil.copytree(tuned_run, tmp_path / "run")
    model = SimFLEForImageClassification.from_pretrained(run)
    model.classifier.bias.data += 1
    model.save_pretrained(run)
    with pytest.raises(ValueError, match=r"model\.safetensors is not the file whose hash stands in metrics\.json"):
        publish.main([str(run), "--repo_id", REPO])


def test_a_folder_of_pictures_is_no_data_set_of_the_hub(classifier, tuned_run):
    data = ModelCard(model_card.make_card(classifier[0])).data
    assert data.datasets is None and {result.dataset_type for result in data.eval_results} == {"local"}
    card = model_card.make_card(tuned_run)
    assert "run.json" not in card and "`ferplus_protocol`" not in card
