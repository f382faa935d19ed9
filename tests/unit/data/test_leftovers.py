# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What lies about in real folders: leftovers of file servers, empty folders, strange paths, a single expression."""

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from training.data.faces import DatasetArguments, open_faces
from training.data.facts import facts_of
from training.data.formats import DATA_SETS
from training.data.image_files import list_images
from training.data.split_checks import open_both
from training.data.streams import open_stream
from training.pretraining.arguments import PretrainingArguments
from training.pretraining.setup import open_monitored
from training.runtime.errors import InputError


def save_image(path, color=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (color, color, color)).save(path)
    return path


# Of Synology, QNAP, NetApp, Windows, Android, macOS and Jupyter.
LEFTOVERS = [
    *("@eaDir", "lost+found", ".hidden", "__MACOSX", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),
    *("@__thumb", "~snapshot", ".snapshot", "$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "System Volume Information"),
    *("FOUND.000", "LOST.DIR", "Network Trash Folder", "Temporary Items", ".AppleDouble", ".ipynb_checkpoints"),
    *(".Trash-1000", ".nfs0000000000000001"),
]


@pytest.mark.parametrize("name", LEFTOVERS)
def test_leftovers_hold_no_images_and_are_no_classes(name, tmp_path, capsys):
    for number, expression in enumerate(("fear", "anger")):
        save_image(tmp_path / expression / "a.png", number)
        save_image(tmp_path / expression / name / "thumbnail.png", number)
    save_image(tmp_path / name / "fear.png")
    for other in ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.png", "a.png@SynoEAStream"):
        (tmp_path / "fear" / other).write_bytes(b"no image")
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "a.png"]
    list_images(tmp_path)
    assert capsys.readouterr().err.count(f"images below {name} are skipped") == 1
    faces = open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=True, whole=True)
    assert [faces.class_names[label] for label in faces.labels] == ["anger", "fear"]


def test_an_empty_folder_is_no_class(tmp_path):
    save_image(tmp_path / "train" / "cat" / "a.png")
    save_image(tmp_path / "train" / "dog" / "a.png", 9)
    (tmp_path / "train" / "cow" / "deep").mkdir(parents=True)
    assert open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=True).class_names == ("cat", "dog")


def test_a_relative_path_is_looked_for_beside_its_table_first(tmp_path, monkeypatch):
    save_image(tmp_path / "set" / "a.png", 10)
    save_image(tmp_path / "work" / "a.png", 20)
    save_image(tmp_path / "work" / "b.png", 30)
    cells = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), tmp_path / "set" / "train.parquet")
    monkeypatch.chdir(tmp_path / "work")
    faces = open_faces(DatasetArguments(), str(tmp_path / "set"), "train", with_labels=False)
    assert [faces.image(index).getpixel((0, 0))[0] for index in range(2)] == [10, 30]
    assert faces.name(0) == str(tmp_path / "set" / "a.png")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "column",
    [
        ["file://{}/images/a%20b.png"],
        ["images\\a b.png"],
        ["./images/a b.png"],
        [{"bytes": b"", "path": "images/a b.png"}],
        [{"path": "{}/images/a b.png"}],
        pyarrow.array(["images/a b.png"]).dictionary_encode(),
        pyarrow.array(["images/a b.png"], pyarrow.large_string()),
    ],
    ids=["file URI", "Windows", "dot", "empty bytes", "struct", "dictionary", "large string"],
)
def test_every_spelling_of_a_path_in_a_table_is_found(column, streamed, tmp_path):
    """Also above data/, where the Hub keeps its Parquet files."""
    save_image(tmp_path / "images" / "a b.png", 40)
    if isinstance(column, list):
        cell = column[0]
        place = lambda text: text.format(tmp_path) if isinstance(text, str) else text  # noqa: E731
        column = [{key: place(value) for key, value in cell.items()} if isinstance(cell, dict) else place(cell)]
    for folder in (tmp_path, tmp_path / "data"):
        folder.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table({"image": column}), folder / "train.parquet")
        if streamed:
            faces = open_stream(DatasetArguments(), str(tmp_path), "train")
            (image,) = [faces.image(cell) for cell in faces.cells()]
        else:
            image = open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=False).image(0)
        assert image.getpixel((0, 0)) == (40, 40, 40)
        (folder / "train.parquet").unlink()


def test_apples_double_of_a_table_is_no_table(tmp_path):
    content = save_image(tmp_path / "a.png", 1).read_bytes()
    pyarrow.parquet.write_table(pyarrow.table({"image": [content]}), tmp_path / "train.parquet")
    (tmp_path / "._train.parquet").write_bytes(b"\0\5\x16\7")
    assert len(open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=False)) == 1
    assert len(open_stream(DatasetArguments(), str(tmp_path), "train")) == 1


def test_a_training_set_of_one_expression_is_refused(tmp_path):
    for number in range(3):
        save_image(tmp_path / "train" / "fear" / f"{number}.png", number)
        save_image(tmp_path / "validation" / "fear" / f"{number}.png", 9 + number)
    with pytest.raises(ValueError, match="training images of a single class, 'fear'"):
        open_both(DatasetArguments(dataset=str(tmp_path)), None, "validation")
    with pytest.raises(ValueError, match="training images of a single class, 'fear'"):
        open_monitored(DatasetArguments(), PretrainingArguments(monitor_dataset=str(tmp_path)))


def write_table(path, labels, names=None):
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names) if names else None}
    rows = datasets.Dataset.from_dict(
        {"image": [Image.new("RGB", (8, 8), (k, len(labels), 0)) for k in range(len(labels))], "label": labels}
    )
    rows = rows.cast_column("image", kinds["image"])
    (rows.cast_column("label", kinds["label"]) if names else rows).to_parquet(path)


@pytest.mark.parametrize(
    "labels,names", [(["fear"] * 3, None), ([4, 4, 4], None), ([1, 1, 1], ["anger", "fear", "joy"])]
)
def test_a_table_of_one_expression_is_refused(labels, names, tmp_path):
    """Texts, numbers, and class labels of which one occurs."""
    write_table(tmp_path / "train.parquet", labels, names)
    write_table(tmp_path / "validation.parquet", labels[:1], names)
    with pytest.raises(InputError, match="training images of a single class"):
        open_both(DatasetArguments(dataset=str(tmp_path)), None, "validation")


@pytest.mark.parametrize("names", [None, ["anger", "fear", "joy"]])
def test_expressions_of_the_validation_set(names, tmp_path, capsys):
    """One alone is measured; one that training lacks is named."""
    name = (lambda text: names.index(text)) if names else str
    write_table(tmp_path / "train.parquet", [name("anger"), name("fear"), name("fear")], names)
    write_table(tmp_path / "validation.parquet", [name("fear")] * 2, names)
    _, faces = open_both(DatasetArguments(dataset=str(tmp_path)), None, "validation")
    assert [faces.class_names[label] for label in faces.labels] == ["fear", "fear"]
    assert "warning" not in capsys.readouterr().err
    write_table(tmp_path / "validation.parquet", [name("fear"), name("joy")], names)
    open_both(DatasetArguments(dataset=str(tmp_path)), None, "validation")
    assert f"{tmp_path} has images of happiness; {tmp_path} has none" in capsys.readouterr().err
    if names is None:
        write_table(tmp_path / "validation.parquet", ["fear", "boredom"], names)
        with pytest.raises(InputError, match="have classes boredom, which are none of"):
            open_both(DatasetArguments(dataset=str(tmp_path)), None, "validation")


def test_every_owners_set_says_its_terms():
    for name in DATA_SETS:
        facts = facts_of(name)
        assert facts.name and facts.homepage and facts.terms.endswith(".")
        assert facts.citation.startswith("@") and facts.research_only
    assert facts_of("imagefolder") is None
