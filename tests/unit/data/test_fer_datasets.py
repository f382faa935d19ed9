# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Names, FER+'s protocols, and every set in its owners' layout: numbering, splits, columns, and the sentence for a folder
that is wrong or half unpacked. The counts on the real FER+ files where they are.
"""

import csv
import shutil

import numpy as np
import pytest

from tests import official_layouts as layouts
from tests.real_data import FOLDER, needs_real_faces
from training.data import affectnet, class_folders, ferplus, rafdb, sfew
from training.data.expressions import EXPRESSIONS, expression_names, match_labels
from training.data.ferplus import FERPLUS_TAGS, ferplus_majority, ferplus_probability
from training.data.splits import held_out
from training.runtime.errors import InputError


def test_names_and_order():
    assert EXPRESSIONS == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    assert expression_names(["Angry", "happy", "NEUTRAL"]) == EXPRESSIONS[:7]
    assert expression_names(["contempt", "sad"]) == EXPRESSIONS
    assert expression_names(["cat", "happy"]) is None
    assert expression_names([]) is None


def test_match_labels_goes_by_name_and_names_what_it_cannot_place():
    labels = match_labels(["happy", "sad"], np.array([0, 1, 1]), ("sadness", "neutral", "happiness"))
    assert labels.tolist() == [2, 0, 0]
    assert match_labels(["happy", "cat"], np.array([0, 0]), EXPRESSIONS).tolist() == [1, 1]  # no cat occurs
    with pytest.raises(ValueError, match="have classes cat, which are none of"):
        match_labels(["happy", "cat"], np.array([0, 1]), EXPRESSIONS)
    assert match_labels(["A", "a", "b"], np.array([0, 1, 2]), ("a", "A", "B")).tolist() == [1, 0, 2]
    assert match_labels(["happiness", "happy"], np.array([0, 1]), ("happy", "happiness")).tolist() == [1, 0]


@pytest.mark.parametrize(
    "votes,label,soft",
    [
        ({"happiness": 10}, "happiness", {"happiness": 1.0}),
        ({"happiness": 6, "neutral": 4}, "happiness", {"happiness": 0.6, "neutral": 0.4}),
        (
            {"happiness": 5, "neutral": 4, "fear": 1},
            "happiness",
            {"happiness": 5 / 9, "neutral": 4 / 9},
        ),  # one vote: none
        ({"happiness": 5, "neutral": 5}, None, {"happiness": 0.5, "neutral": 0.5}),  # half is not more than half
        ({"anger": 4, "disgust": 3, "sadness": 3}, None, {"anger": 0.4, "disgust": 0.3, "sadness": 0.3}),
        ({"unknown": 8, "fear": 2}, None, {"fear": 1.0}),
        ({"not_face": 10}, None, {}),
        ({"anger": 4, "unknown": 4, "fear": 2}, None, {"anger": 2 / 3, "fear": 1 / 3}),
        (dict.fromkeys(FERPLUS_TAGS, 1), None, {}),
    ],
)
def test_majority_protocol(votes, label, soft):
    row = np.array([[votes.get(tag, 0) for tag in FERPLUS_TAGS]])
    keep, labels, soft_labels = ferplus_majority(row)
    assert bool(keep[0]) == (label is not None)
    if label is not None:
        assert EXPRESSIONS[labels[0]] == label
    assert soft_labels[0] == pytest.approx([soft.get(name, 0) for name in EXPRESSIONS])


@pytest.mark.parametrize(
    "votes,soft",
    [
        ({"happiness": 10}, {"happiness": 1.0}),
        ({"happiness": 6, "neutral": 3, "fear": 1}, {"happiness": 2 / 3, "neutral": 1 / 3}),  # one vote: none
        ({"happiness": 8, "neutral": 2}, {"happiness": 1.0}),  # three quarters are reached by the first
        ({"anger": 4, "disgust": 3, "sadness": 3}, {"anger": 0.4, "disgust": 0.3, "sadness": 0.3}),  # no majority
        ({"anger": 4, "sadness": 2, "fear": 2, "disgust": 2}, None),  # equal ones go together: four
        ({"anger": 5, "unknown": 3, "sadness": 2}, None),  # unknown ends it at half of the votes
        ({"anger": 6, "unknown": 4}, {"anger": 1.0}),
        ({"unknown": 4, "anger": 3, "sadness": 3}, None),
        ({"anger": 4, "unknown": 4, "fear": 2}, None),
        ({"not_face": 10}, None),
        (dict.fromkeys(FERPLUS_TAGS, 1), None),
    ],
)
def test_probability_protocol(votes, soft):
    row = np.array([[votes.get(tag, 0) for tag in FERPLUS_TAGS]])
    keep, labels, soft_labels = ferplus_probability(row)
    assert bool(keep[0]) == (soft is not None)
    if soft is not None:
        assert soft_labels[0] == pytest.approx([soft.get(name, 0) for name in EXPRESSIONS])
        assert EXPRESSIONS[labels[0]] == next(iter(soft))


def names_by_label(rows):
    names = rows.features["label"].names
    return {name: names[label] for name, label in zip(rows["name"], rows["label"], strict=True)}


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    return layouts.write_affectnet_lists(tmp_path_factory.mktemp("affectnet"))


@pytest.mark.parametrize("num_classes", [8, 7])
def test_affectnet_lists(lists, num_classes):
    found = affectnet.load(lists, num_classes=num_classes)
    classes = layouts.EIGHT[:num_classes]
    for split, rows in found.items():
        assert rows.features["label"].names == list(classes)
        for name, label in names_by_label(rows).items():
            assert name.split("_")[1] == label  # the drawn expression is in the file's name; 8, 9 and 10 are left out
            assert held_out(name.split("/")[1]) == (split == "validation") or split == "test"
    assert len(found["train"]) + len(found["validation"]) == layouts.NUM_TRAIN * num_classes
    assert len(found["test"]) == layouts.NUM_TEST * num_classes
    row = found["test"][0]
    assert row["image"].size == layouts.SCENE_SIZE
    assert row["box"] == [30, 20, 78, 68]
    _, landmarks = layouts.scene(layouts.drawn("test", "neutral", 0))
    np.testing.assert_allclose(row["landmarks"], landmarks, atol=0.01)
    assert "landmarks" not in affectnet.load(lists, details=False)["test"].column_names


def test_unlabelled_affectnet_is_the_whole_training_list(lists):
    train = affectnet.load(lists, splits=["train"], with_labels=False)["train"]
    assert len(train) == layouts.NUM_TRAIN * 8 + len(layouts.NO_EXPRESSION)
    assert "label" not in train.column_names


def test_affectnet_sets(tmp_path):
    root = layouts.write_affectnet_sets(tmp_path)
    found = affectnet.load(root)
    order = [expression for expression, _, _ in layouts.faces_of("train")]
    for name, label in (names_by_label(found["train"]) | names_by_label(found["validation"])).items():
        assert order[int(name.split(".")[0])] == label
    assert len(found["train"]) + len(found["validation"]) == len(order)
    row = found["test"][3]
    assert (row["name"], len(row["landmarks"])) == ("3.jpg", 68)
    assert len(affectnet.load(root, num_classes=7)["test"]) == 7 * layouts.NUM_TEST
    (root / "train_set" / "annotations" / "5_exp.npy").unlink()
    with pytest.raises(InputError, match=r"1 of the 80 files that .*images asks for are missing.*5_exp\.npy"):
        affectnet.load(root)
    assert len(affectnet.load(root, splits=["train"], with_labels=False)["train"]) == 80
    (root / "train_set" / "annotations" / "6_exp.npy").rename(root / "train_set" / "annotations" / "5_exp.npy")
    (root / "train_set" / "images" / "6.jpg").unlink()
    (root / "train_set" / "images" / "7.jpg").unlink()
    with pytest.raises(InputError, match=r"1 images that .* are missing from .*, the first that of 7_exp"):
        affectnet.load(root)
    shape = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}\n"
    for damaged in (b"\x93NUMPY", b"\x93NUMPY\x01\x00" + len(shape).to_bytes(2, "little") + shape):
        (root / "val_set" / "annotations" / "0_exp.npy").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"0_exp\.npy is not an array file"):
            affectnet.load(root, splits=["test"])


@pytest.mark.parametrize("images", ["aligned", "original"])
def test_rafdb(tmp_path, images):
    found = rafdb.load(layouts.write_rafdb(tmp_path, images))
    for part, splits in (("train", ("train", "validation")), ("test", ("test",))):
        order = [expression for expression, _, _ in layouts.faces_of(part, layouts.SEVEN)]
        labels = {name: label for split in splits for name, label in names_by_label(found[split]).items()}
        assert len(labels) == len(order)
        for name, label in labels.items():
            assert order[int(name.removesuffix(".jpg").split("_")[1]) - 1] == label
    assert found["train"].features["label"].names == list(layouts.SEVEN)
    assert 0 < len(found["validation"]) < len(found["train"]) / 3
    row = found["test"][0]
    if images == "original":
        left, top, right, bottom = row["box"]
        assert right - left == bottom - top
        eyes = np.array(row["landmarks"])[:2].mean(0)
        assert left < eyes[0] < right and top < eyes[1] < (top + bottom) / 2


def test_rafdb_prefers_aligned_images_unless_landmarks_are_needed(tmp_path):
    layouts.write_rafdb(tmp_path, "original")
    layouts.write_rafdb(tmp_path, "aligned")
    assert "box" not in rafdb.load(tmp_path)["test"].column_names
    assert "box" in rafdb.load(tmp_path, details=True)["test"].column_names


@pytest.mark.parametrize("write", [layouts.write_ferplus_csv, layouts.write_ferplus_parquet])
def test_ferplus_in_both_forms(write, tmp_path):
    found = ferplus.load(write(tmp_path))
    for split, rows in found.items():
        order = [expression for expression, _, _ in layouts.faces_of(split)]
        assert [layouts.EIGHT[label] for label in rows["label"]] == order  # train lost its repeat and the undecided
        assert [sum(vote.values()) for vote in rows["votes"]] == [10] * len(rows)
        assert np.sum(rows["soft_label"][:], 1) == pytest.approx(1)
    picture = np.asarray(found["test"][5]["image"].convert("L"))
    np.testing.assert_array_equal(picture, np.asarray(layouts.faces_of("test")[5][2].image.convert("L")))
    assert found["validation"]["repeats_training"][:] == [True] + [False] * 15
    assert not any(found["test"]["repeats_training"])
    more = ferplus.load(tmp_path, protocol="probability")
    assert len(more["train"]) == len(found["train"]) + 1  # the one without a majority
    assert more["train"]["soft_label"][:][-1] == pytest.approx([0, 0, 0, 0.3, 0.4, 0.3, 0, 0])
    assert len(more["validation"]) == len(found["validation"])  # always the majority
    assert len(ferplus.load(tmp_path, with_labels=False)["train"]) == len(found["train"]) + 2


def rewrite(path, change):
    """Applies `change` to a .csv file's rows."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    "name,change,message",
    [
        ("fer2013new.csv", lambda rows: rows.pop(), r"fer2013new\.csv ends before line \d+, which fer2013\.csv has"),
        ("fer2013.csv", lambda rows: rows[3].__setitem__(2, "PublicTest"), r"line 4: Usage is 'PublicTest', and 'Tr"),
        ("fer2013.csv", lambda rows: rows[3].__setitem__(1, "1 2 300 4"), "line 4: the pixels are not numbers from 0"),
        ("fer2013.csv", lambda rows: rows[3].__setitem__(1, "1 2 3"), "line 4: 3 pixels are no square"),
        ("fer2013new.csv", lambda rows: rows[3].__setitem__(4, "x"), "line 4: the ten counts of votes are not all"),
        ("fer2013new.csv", lambda rows: rows[0].__setitem__(4, "joy"), "has no column surprise; found Usage"),
        (
            "fer2013new.csv",
            lambda rows: rows[5].__delitem__(slice(1, None)),
            "line 6: the ten counts of votes",
        ),
        ("fer2013.csv", lambda rows: rows[3].append("9"), r"fer2013\.csv cannot be read \(.* line 4, saw 4"),
    ],
)
def test_ferplus_files_that_do_not_fit(tmp_path, name, change, message):
    layouts.write_ferplus_csv(tmp_path)
    rewrite(tmp_path / name, change)
    with pytest.raises(ValueError, match=message):
        ferplus.load(tmp_path)


def test_lists_with_a_byte_order_mark(tmp_path, lists):
    """As spreadsheets write them."""

    def mark(path):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    root = shutil.copytree(lists, tmp_path / "affectnet")
    mark(root / "Manually_Annotated_file_lists" / "training.csv")
    assert affectnet.load(root)["train"]["name"][:] == affectnet.load(lists)["train"]["name"][:]
    layouts.write_ferplus_csv(tmp_path / "ferplus")
    before = ferplus.load(tmp_path / "ferplus")["train"]["label"][:]
    for name in ("fer2013.csv", "fer2013new.csv"):
        mark(tmp_path / "ferplus" / name)
    assert ferplus.load(tmp_path / "ferplus")["train"]["label"][:] == before
    votes = tmp_path / "ferplus" / "fer2013new.csv"
    votes.write_bytes(votes.read_bytes().replace(b"Training", b"Train\xff", 1))
    with pytest.raises(ValueError, match=r"fer2013new\.csv cannot be read \('utf-8' codec"):
        ferplus.load(tmp_path / "ferplus")
    raf = layouts.write_rafdb(tmp_path / "raf")
    before = rafdb.load(raf)["train"]["name"][:]
    mark(raf / "EmoLabel" / "list_patition_label.txt")
    assert rafdb.load(raf)["train"]["name"][:] == before


def test_ferplus_with_one_of_its_files(tmp_path):
    layouts.write_ferplus_csv(tmp_path)
    (tmp_path / "fer2013new.csv").unlink()
    with pytest.raises(InputError, match=r"FER\+\'s fer2013new\.csv was expected; found fer2013\.csv"):
        ferplus.load(tmp_path)


def test_a_whole_ferplus_must_have_its_authors_counts(tmp_path, monkeypatch):
    layouts.write_ferplus_csv(tmp_path)
    monkeypatch.setattr(
        "training.data.ferplus.FULL_COUNTS", {name: (16, 16) for name in ("train", "validation", "test")}
    )
    ferplus.load(tmp_path)
    monkeypatch.setattr(
        "training.data.ferplus.FULL_COUNTS", {name: (16, 15) for name in ("train", "validation", "test")}
    )
    with pytest.raises(ValueError, match="16 of the 16 images have a majority, and its authors' 15 were expected"):
        ferplus.load(tmp_path)


def test_sfew(tmp_path):
    root = layouts.write_sfew(tmp_path)
    found = sfew.load(root)
    for rows in found.values():
        assert rows.features["label"].names == list(layouts.SEVEN)
        assert all(name.split("_")[1] == label for name, label in names_by_label(rows).items())
    assert len(found["train"]) + len(found["validation"]) == 7 * layouts.NUM_TRAIN
    assert len(found["test"]) == 7 * layouts.NUM_TEST
    assert len(sfew.load(root, splits=["train"], with_labels=False)["train"]) == 7 * layouts.NUM_TRAIN
    shutil.rmtree(root / "Val" / "Fear")  # a class may be missing from the reported split
    assert len(sfew.load(root)["test"]) == 6 * layouts.NUM_TEST
    shutil.rmtree(root / "Train" / "Fear")
    with pytest.raises(ValueError, match=r"the folders Angry, Disgust, .* were expected; found Angry, Disgust, Hap"):
        sfew.load(root)


def test_class_folders_share_their_classes(tmp_path):
    root = layouts.write_class_folders(tmp_path)
    shutil.rmtree(root / "validation" / "contempt")
    for path in (root / "train" / "disgust").iterdir():
        path.unlink()  # an empty class folder is a class
    found = class_folders.load(root)
    assert {rows.features["label"].names[-1] for rows in found.values()} == {"contempt"}
    assert np.bincount(found["train"]["label"][:], minlength=8).tolist() == [10, 10, 10, 10, 10, 0, 10, 10]
    assert np.bincount(found["validation"]["label"][:], minlength=8).tolist() == [2] * 7 + [0]


@pytest.mark.parametrize("part", ["", "train"])
def test_class_folders_without_validation_hold_out_the_fixed_tenth(tmp_path, capsys, part):
    shutil.move(layouts.write_class_folders(tmp_path / "set") / "train", tmp_path / "one" / part)
    (tmp_path / "one" / part / "fear" / "7.png").unlink()  # of 0.png to 9.png the tenth
    train = class_folders.load(tmp_path / "one", ["train"])["train"]
    validation = class_folders.load(tmp_path / "one", ["val"])["val"]
    assert set(validation["name"]) == {name for name in map("{}.png".format, range(10)) if held_out(name)} == {"7.png"}
    assert len(validation) == 7
    assert len(train) == 72
    assert "7.png" not in train["name"]
    said = capsys.readouterr().err
    assert said.count("no validation split: 7 of its 79 images, a fixed tenth by file name, are validation") == 1
    assert "the tenth has none of fear" in said
    both = class_folders.load(tmp_path / "one")
    assert {name: len(rows) for name, rows in both.items()} == {"train": 72, "validation": 7}
    with pytest.raises(ValueError, match="one has no split 'test'"):
        class_folders.load(tmp_path / "one", ["test"])


def test_an_empty_tenth_and_every_image_of_a_folder_without_splits(tmp_path):
    root = layouts.write_class_folders(tmp_path) / "test"  # 0.png and 1.png
    assert len(class_folders.load(root, ["all"])["all"]) == 8 * layouts.NUM_TEST
    assert list(class_folders.load(root)) == ["train"]
    with pytest.raises(ValueError, match=r"the fixed tenth of its 16 images .* is empty; give a folder with train/"):
        class_folders.load(root, ["validation"])
    with pytest.raises(ValueError, match="has no split 'all'; found train, validation, test"):
        class_folders.load(tmp_path, ["all"])


def test_the_held_out_tenth_is_a_tenth_and_stays_the_same():
    names = [f"train_{number:05d}.jpg" for number in range(1, 12272)]  # RAF-DB's
    assert 0.09 < sum(map(held_out, names)) / len(names) < 0.11
    first = ["train_00001.jpg", "train_00012.jpg", "train_00013.jpg", "train_00025.jpg"]
    assert [name for name in names[:30] if held_out(name)] == first


def test_an_unknown_label_is_named_with_its_file(tmp_path, lists):
    root = shutil.copytree(lists, tmp_path / "affectnet")
    rewrite(root / "Manually_Annotated_file_lists" / "training.csv", lambda rows: rows[4].__setitem__(6, "11"))
    with pytest.raises(ValueError, match=r"training\.csv line 5: the label '11' is none of 0 \(neutral\), 1 \(happ"):
        affectnet.load(root)
    layouts.write_affectnet_sets(tmp_path / "sets")
    np.save(tmp_path / "sets" / "val_set" / "annotations" / "3_exp.npy", np.array("12"))
    with pytest.raises(ValueError, match=r"3_exp\.npy: the label '12' is none of"):
        affectnet.load(tmp_path / "sets")
    layouts.write_rafdb(tmp_path / "raf")
    file = tmp_path / "raf" / "EmoLabel" / "list_patition_label.txt"
    file.write_text(file.read_text().replace("train_00002.jpg 4", "train_00002.jpg 8"))
    with pytest.raises(ValueError, match=r"label\.txt line 2: the label '8' is none of 1 \(surprise\)"):
        rafdb.load(tmp_path / "raf")
    layouts.write_sfew(tmp_path / "sfew")
    (tmp_path / "sfew" / "Val" / "Bored").mkdir()
    with pytest.raises(ValueError, match=r"Val: the folders Angry, .* were expected; found Angry, Bored, Disgust"):
        sfew.load(tmp_path / "sfew")


def test_half_unpacked_folders_say_what_is_missing(tmp_path, lists):
    for load, what in (
        (affectnet.load, "AffectNet's Manually_Annotated_file_lists, or train_set and val_set, was expected"),
        (rafdb.load, r"RAF-DB's EmoLabel/list_patition_label\.txt was expected; found nothing"),
        (sfew.load, "SFEW's Train was expected"),
        (ferplus.load, r"train\.parquet is missing; FER\+ has fer2013\.csv and fer2013new\.csv"),
    ):
        with pytest.raises(InputError, match=what):
            load(tmp_path)
    root = shutil.copytree(lists, tmp_path / "affectnet")
    shutil.rmtree(root / "Manually_Annotated_Images" / "103")
    with pytest.raises(InputError, match=r"8 of the 83 files that .*training\.csv asks for .*103/train_neutral"):
        affectnet.load(root)
    shutil.rmtree(root / "Manually_Annotated_Images")
    with pytest.raises(InputError, match="Manually_Annotated_Images was expected; found Manually_Annotated_fi"):
        affectnet.load(root)
    raf = layouts.write_rafdb(tmp_path / "raf", "original")
    (raf / "Annotation" / "manual" / "test_0002_manu_attri.txt").write_text("1 2\n3\n")
    with pytest.raises(ValueError, match=r"test_0002_manu_attri\.txt: the first five lines are not x and y of five"):
        rafdb.load(raf)
    shutil.rmtree(raf / "Annotation")
    with pytest.raises(InputError, match=r"Annotation/manual \(for Image/original\) was expected; found Emo"):
        rafdb.load(raf)
    shutil.rmtree(raf / "Image")
    with pytest.raises(InputError, match="RAF-DB's Image/aligned, or Image/original, was expected"):
        rafdb.load(raf)


def test_a_list_of_one_part_alone(tmp_path):
    raf = layouts.write_rafdb(tmp_path / "raf", "original")
    file = raf / "EmoLabel" / "list_patition_label.txt"
    file.write_text("".join(f"{line}\n" for line in file.read_text().splitlines() if line.startswith("train")))
    assert {split: len(rows) for split, rows in rafdb.load(raf).items()} == {"train": 60, "validation": 10, "test": 0}


def test_lines_that_are_not_the_owners(tmp_path, lists):
    root = shutil.copytree(lists, tmp_path / "affectnet")
    file = root / "Manually_Annotated_file_lists" / "training.csv"
    rewrite(file, lambda rows: rows[2].__setitem__(1, "left"))
    with pytest.raises(ValueError, match=r"training\.csv line 3: 'left' is no number of pixels"):
        affectnet.load(root)
    for value in ("nan", "inf"):
        rewrite(file, lambda rows, value=value: rows[2].__setitem__(1, value))
        with pytest.raises(ValueError, match=rf"training\.csv line 3: '{value}' is no number of pixels"):
            affectnet.load(root)
    rewrite(file, lambda rows: rows[2].__setitem__(slice(0, 2), ["9" * 5000, "0"]))  # longer than a file's name can be
    with pytest.raises(InputError, match="are missing"):
        affectnet.load(root)
    whole = file.read_bytes()
    file.write_bytes(b"\xe9" + whole)
    with pytest.raises(ValueError, match=r"training\.csv cannot be read \('utf-8' codec"):
        affectnet.load(root)
    file.write_bytes(whole)
    rewrite(file, lambda rows: rows[1].pop())
    with pytest.raises(
        ValueError, match=r"training\.csv line 2 has too few columns; subDirectory_filePath, .* expected"
    ):
        affectnet.load(root)
    raf = layouts.write_rafdb(tmp_path / "raf")
    (raf / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg 5\nvalid_1.jpg 1\n")
    with pytest.raises(ValueError, match=r"line 2: 'valid_1\.jpg 1' is not like 'train_00001\.jpg 5'"):
        rafdb.load(raf)


@pytest.mark.slow  # hashes 28,000 images
@needs_real_faces
def test_counts_of_the_real_files():
    labelled = ferplus.load(FOLDER / "ferplus")
    train, validation = labelled["train"], labelled["validation"]
    everything = ferplus.load(FOLDER / "ferplus", splits=["train"], with_labels=False)["train"]
    assert len(validation) == 3191
    assert 0 < sum(validation["repeats_training"]) < 279
    assert len(everything) == 28558 - 340  # without those that equal a validation image
    assert 24700 < len(train) < 25045
    np.testing.assert_allclose(np.sum(train["soft_label"][:], 1), 1, rtol=1e-6)


@needs_real_faces
def test_majority_count_of_the_whole_train_file():
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(FOLDER / "ferplus" / "train.parquet", columns=["votes"]).to_pylist()
    votes = np.array([[row["votes"][tag] for tag in FERPLUS_TAGS] for row in rows])
    assert ferplus_majority(votes)[0].sum() == 25045
