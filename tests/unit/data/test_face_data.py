# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Opening data: folders, Parquet, a guess of the format, and the sentence for each thing that is wrong."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeling_simfle import SimFLEImageProcessor
from tests import official_layouts as layouts
from tests.drawn_dataset import make_dataset
from training.data.drawn_faces import write_image_folder
from training.data.expressions import EXPRESSIONS
from training.data.faces import DatasetArguments, Faces, image_faces, open_faces
from training.data.ferplus import FERPLUS_TAGS
from training.data.formats import guess_format
from training.data.images import BadImage
from training.data.split_checks import check_apart, open_both
from training.models.outputs import ProcessedFaces
from training.runtime.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    write_image_folder(root / "train", 16, seed=0, size=32)
    write_image_folder(root / "val", 8, seed=1, size=32)
    return root


def faces_of(dataset, split="train", with_labels=True, **arguments):
    return open_faces(DatasetArguments(**arguments), str(dataset), split, with_labels)


def png(value=0, size=8):
    buffer = io.BytesIO()
    Image.new("L", (size, size), value).save(buffer, "PNG")
    return buffer.getvalue()


def write_ferplus(folder, num_train=12, num_validation=4):
    """FER+'s Parquet form in small; validation row 0 equals train row 0, train row 1 has no majority."""
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "votes": {tag: datasets.Value("int32") for tag in FERPLUS_TAGS}}
    )
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, first in (("train", num_train, 0), ("validation", num_validation, 100)):
        values = [first + i if (split, i) != ("validation", 0) else 0 for i in range(count)]
        votes = [{tag: 10 * (j == i % 8) for j, tag in enumerate(FERPLUS_TAGS)} for i in range(count)]
        if split == "train":
            votes[1] = {tag: 5 * (j < 2) for j, tag in enumerate(FERPLUS_TAGS)}
        images = [{"bytes": png(value), "path": None} for value in values]
        datasets.Dataset.from_dict({"image": images, "votes": votes}, features=features).to_parquet(
            folder / f"{split}.parquet"
        )


def test_folder_of_class_folders(folder):
    faces = faces_of(folder)
    assert faces.class_names == EXPRESSIONS
    assert np.bincount(faces.labels).tolist() == [2] * 8
    for index in range(len(faces)):
        assert f"/{EXPRESSIONS[faces.labels[index]]}/" in faces.name(index)
    assert faces.image(0).size == (32, 32)
    assert len(faces_of(folder, "validation")) == 8  # written val there


def test_class_folders_of_other_names_keep_their_order(tmp_path):
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        Image.new("RGB", (8, 8)).save(tmp_path / name / "x.png")
    faces = faces_of(tmp_path)
    assert faces.class_names == ("a", "b")  # an empty folder is not a class
    assert faces.labels.tolist() == [0, 1]


def test_flat_or_nested_folder_without_labels(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for path in (tmp_path / "a.jpg", tmp_path / "deep" / "er" / "b.PNG", tmp_path / "deep" / "c.webp"):
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert len(faces_of(tmp_path, with_labels=False)) == 3
    assert len(image_faces([tmp_path, tmp_path / "a.jpg"])) == 4


def test_without_labels_a_folder_without_splits_is_whole(tmp_path):
    root = layouts.write_class_folders(tmp_path) / "train"
    assert len(faces_of(root, with_labels=False)) == 80
    assert len(faces_of(root)) == 72


def test_faces_that_were_trained_on_are_told_from_others_of_the_same_names(tmp_path, folder):
    root = layouts.write_class_folders(tmp_path / "set")
    check_apart(faces_of(root), faces_of(root, "validation"))
    validation, test = faces_of(root, "validation"), faces_of(root, "test")
    assert validation.fingerprint() == test.fingerprint()  # of file names, and they differ
    check_apart(validation, test)
    with pytest.raises(ValueError, match=r"8 of the 80 images of .*, split 'all', are training images too"):
        check_apart(faces_of(root / "train").select(np.arange(8)), faces_of(root / "train", "all"))
    shutil.rmtree(root / "test")
    shutil.copytree(root / "validation", root / "test")
    with pytest.raises(ValueError, match=r"16 of the 16 images of .*, split 'test', are training images too"):
        check_apart(faces_of(root, "validation"), faces_of(root, "test"))


def test_ferplus_in_two_folders_is_parted_as_in_one(tmp_path):
    write_ferplus(tmp_path / "one")
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        shutil.copy(tmp_path / "one" / f"{split}.parquet", tmp_path / split)
    one, one_eval = open_both(DatasetArguments(dataset=str(tmp_path / "one")), None, "validation")
    data = DatasetArguments(dataset=str(tmp_path / "train"))
    two, two_eval = open_both(data, str(tmp_path / "validation"), "validation")
    assert len(two) == len(one) == 10
    assert two.labels.tolist() == one.labels.tolist()
    assert two_eval.repeats_training.tolist() == one_eval.repeats_training.tolist() == [True, False, False, False]


def test_a_single_parquet_file_is_not_another_split(tmp_path):
    make_dataset(16, seed=0, size=32).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"has no file of split 'validation'; found train\.parquet"):
        faces_of(tmp_path, "validation")
    file = tmp_path / "train.parquet"
    with pytest.raises(ValueError, match="16 of the 16 images"):
        check_apart(faces_of(file), faces_of(file, "validation"))


def test_parquet_with_labels(tmp_path):
    make_dataset(16, seed=0, size=32).to_parquet(tmp_path / "train.parquet")
    make_dataset(8, seed=1, size=32).to_parquet(tmp_path / "validation.parquet")
    assert len(faces_of(tmp_path)) == 16
    validation = faces_of(tmp_path, "validation")
    assert validation.class_names == EXPRESSIONS
    assert validation.labels.tolist() == list(range(8))
    assert len(faces_of(tmp_path / "train.parquet", "anything")) == 16
    with pytest.raises(ValueError, match=r"has no file of split 'test'; found train\.parquet, validation\.parquet"):
        faces_of(tmp_path, "test")
    with pytest.raises(ValueError, match="picture"):
        faces_of(tmp_path, image_column="picture")
    with pytest.raises(ValueError, match="emotion"):
        faces_of(tmp_path, label_column="emotion")


def test_ferplus_parquet_is_recognised_and_its_repeats_are_left_out(tmp_path):
    write_ferplus(tmp_path)
    assert guess_format(tmp_path, str(tmp_path)) == "ferplus"
    assert len(faces_of(tmp_path, with_labels=False)) == 11  # row 0 equals a validation image
    train, validation = faces_of(tmp_path), faces_of(tmp_path, "validation")
    assert len(train) == 10  # nor row 1, without a majority
    assert train.class_names == EXPRESSIONS
    assert validation.repeats_training.tolist() == [True, False, False, False]
    with pytest.raises(InputError, match=r"test\.parquet is missing"):
        faces_of(tmp_path, "test")


@pytest.mark.parametrize("name", ["missing", "some/missing/folder"])
def test_missing_path(tmp_path, name):
    with pytest.raises(InputError, match="does not exist; --dataset takes a folder, a Parquet file or a Hub id"):
        faces_of(tmp_path / name)


def test_what_is_wrong_is_said(tmp_path, folder):
    with pytest.raises(ValueError, match="--dataset is missing"):
        faces_of("")
    with pytest.raises(ValueError, match="has no image in split 'train'"):
        faces_of(tmp_path, with_labels=False)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"is not a \.parquet file"):
        faces_of(tmp_path / "a.txt")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a folder of class folders: found 0 folders and 1 loose images"):
        faces_of(tmp_path)
    with pytest.raises(ValueError, match="has no split 'test'; found train, val"):
        faces_of(folder, "test")
    with pytest.raises(InputError, match="does not exist; give images"):
        image_faces([tmp_path / "missing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image file"):
        image_faces([tmp_path / "empty"])


def broken_avif():
    """Of which Pillow says RuntimeError."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "AVIF")
    return file.getvalue().replace(b"pitm", b"pith")


@pytest.mark.parametrize(
    "content", [b"", b"not an image", png()[:40], broken_avif()], ids=["empty", "text", "cut short", "avif"]
)
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    faces = image_faces([tmp_path / "bad.png"])
    with pytest.raises(BadImage, match=r"bad\.png is not a readable image"):
        faces.image(0)


def test_a_row_that_is_no_image_is_named_alike_at_every_reading(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"image": [{"bytes": b"not an image", "path": None}]})
    rows.to_parquet(tmp_path / "train.parquet")
    faces = open_faces(DatasetArguments(), str(tmp_path), "train", with_labels=False)
    messages = set()
    for _ in range(3):
        with pytest.raises(BadImage, match=r"row 0 of .*, split 'train' is not a readable image") as caught:
            faces.image(0)
        messages.add(str(caught.value))
    assert len(messages) == 1


LAYOUTS = {
    "affectnet8 lists": layouts.write_affectnet_lists,
    "affectnet8 sets": layouts.write_affectnet_sets,
    "rafdb aligned": layouts.write_rafdb,
    "rafdb original": lambda root: layouts.write_rafdb(root, "original"),
    "ferplus csv": layouts.write_ferplus_csv,
    "ferplus parquet": layouts.write_ferplus_parquet,
    "sfew": layouts.write_sfew,
    "imagefolder": layouts.write_class_folders,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_recognised_and_opens(tmp_path, name):
    root = LAYOUTS[name](tmp_path)
    assert guess_format(root, str(root)) == name.split()[0]
    train, validation, test = (faces_of(root, split) for split in ("train", "val", "test"))
    assert len(test) == layouts.NUM_TEST * len(test.class_names)
    assert {len(faces.labels) == len(faces) > 0 for faces in (train, validation, test)} == {True}
    assert {faces.class_names for faces in (train, validation, test)} == {train.class_names}
    assert (train.soft_labels is not None) == (validation.repeats_training is not None) == ("ferplus" in name)
    for index in range(len(test)):
        assert test.image(index).mode == "RGB"
        assert max(test.image(index).size) < layouts.SCENE_SIZE[1]
    unlabelled = faces_of(root, with_labels=False)
    assert len(unlabelled) >= len(train)
    assert unlabelled.labels is None
    some = test.select(np.array([3, 1]))
    assert np.array_equal(some.pixels(0, 999), test.pixels(3, 999))
    assert some.labels.tolist() == test.labels[[3, 1]].tolist()
    assert test.fingerprint() == faces_of(root, "test").fingerprint() != train.fingerprint()
    if name != "imagefolder":
        with pytest.raises(ValueError, match="has no split 'extra'; found train, validation, test"):
            faces_of(root, "extra")


def test_a_format_that_is_given_is_taken(tmp_path):
    root = layouts.write_affectnet_sets(tmp_path / "affectnet")
    assert faces_of(root, "test", data_format="affectnet7").class_names == EXPRESSIONS[:7]
    with pytest.raises(InputError, match=r"RAF-DB's EmoLabel.* was expected; found train_s"):
        faces_of(root, "test", data_format="rafdb")
    ferplus = layouts.write_ferplus_csv(tmp_path / "ferplus")
    assert len(faces_of(ferplus, ferplus_protocol="probability")) == len(faces_of(ferplus)) + 1
    parquet = layouts.write_ferplus_parquet(tmp_path / "parquet")
    assert len(faces_of(parquet / "test.parquet", "train")) == 16  # a file is taken as it is


def test_boxes_are_part_of_the_faces_identity_and_a_wrong_one_is_a_bad_image(tmp_path):
    root = layouts.write_affectnet_lists(tmp_path)
    before = faces_of(root, "test").fingerprint()
    file = root / "Manually_Annotated_file_lists" / "validation.csv"
    file.write_text(file.read_text().replace(",30,20,48,48,", ",500,20,48,48,", 1))
    faces = faces_of(root, "test")
    assert faces.fingerprint() != before
    with pytest.raises(BadImage, match=r"neutral_0\.jpg: the face box \[500, 20, 548, 68\] is outside of the image"):
        faces.image(0)
    assert faces.image(1).size == (48, 48)


def test_gray_rgba_16_bit_and_turned_images(tmp_path):
    root = layouts.write_affectnet_lists(tmp_path)
    files = sorted((root / "Manually_Annotated_Images").rglob("test_happiness_*.jpg"))
    files += sorted((root / "Manually_Annotated_Images").rglob("test_sadness_*.jpg"))
    upright = Image.open(files[0]).convert("RGB")
    gray = upright.convert("L")
    gray.save(files[0], format="PNG")
    upright.convert("RGBA").save(files[1], format="PNG")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(files[2], format="PNG")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(files[3], format="PNG", exif=exif)
    faces = faces_of(root, "test")
    pictures = {faces.name(i): np.asarray(faces.image(i), int) for i in range(len(faces))}
    wanted = np.asarray(upright.crop((30, 20, 78, 68)), int)
    gray_wanted = np.asarray(gray.convert("RGB").crop((30, 20, 78, 68)), int)
    for file, expected in zip(files, (gray_wanted, wanted, gray_wanted, wanted), strict=True):
        np.testing.assert_array_equal(pictures[str(file)], expected)


def test_a_turned_image_is_turned_once_on_every_road(tmp_path):
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
    processor = SimFLEImageProcessor(size=24)
    expected = processor(upright, return_tensors="np")["pixel_values"]
    for orientation, undone in ((3, 3), (6, 2), (8, 4), (5, 5), (2, 0)):  # what a camera held so stores
        exif = Image.Exif()
        exif[0x0112] = orientation
        for ending in ("png", "webp", "tiff"):
            file = tmp_path / f"{orientation}.{ending}"
            upright.transpose(Image.Transpose(undone)).save(file, exif=exif, lossless=True)
            faces = image_faces([file])
            read = faces.image(0)
            assert not read.getexif(), "it would be turned again"
            for picture in (file, str(file), Image.open(file), read, faces.sample(1)[0], read.resize((30, 40))):
                found = processor(picture, return_tensors="np")["pixel_values"]
                np.testing.assert_array_equal(found, expected, err_msg=f"{file} {picture}")
            np.testing.assert_array_equal(ProcessedFaces(faces, processor)[0][1], expected[0])


def test_linked_folders_are_entered_and_hidden_ones_are_not(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "set")
    fear = tmp_path / "set" / "train" / "fear"
    fear.rename(tmp_path / "elsewhere")
    fear.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set" / "train")  # a circle
    hidden = tmp_path / "set" / "train" / ".git"
    hidden.mkdir()
    shutil.copy(next((tmp_path / "elsewhere").glob("*.png")), hidden / "a.png")
    shutil.copy(hidden / "a.png", tmp_path / "elsewhere" / "._a.png")
    assert np.bincount(faces_of(tmp_path / "set").labels).tolist() == [2] * 8
    assert len(faces_of(tmp_path / "set", with_labels=False)) == 16


def write_table(file, **columns):
    import pyarrow
    import pyarrow.parquet

    columns = {"image": [{"bytes": png(value), "path": None} for value in range(4)]} | columns
    file.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.parent


@pytest.mark.parametrize("values", [["fear", None, "anger", None], [0, None, 1, -1], [0.0, float("nan"), 1.0, None]])
def test_rows_without_a_label_are_no_class(tmp_path, values):
    table = write_table(tmp_path / "set" / "train.parquet", label=values)
    with pytest.raises(ValueError, match="2 of the 4 rows have no 'label'"):
        faces_of(table)
    assert len(faces_of(table, with_labels=False)) == 4


@pytest.mark.parametrize("missing", [-1, None])
def test_unlabelled_rows_of_a_class_label_column_are_no_class(tmp_path, missing):
    import datasets

    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(EXPRESSIONS))}
    cells = [{"bytes": png(value), "path": None} for value in range(3)]
    rows = datasets.Dataset.from_dict({"image": cells, "label": [0, missing, 7]}, features=datasets.Features(kinds))
    rows.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="1 of the 3 rows have no 'label'"):
        faces_of(tmp_path)


def test_a_table_may_lack_a_image(tmp_path):
    cells = [{"bytes": png(0), "path": None}, None, {"bytes": None, "path": None}]
    faces = faces_of(write_table(tmp_path / "set" / "train.parquet", image=cells, label=["a", "b", "a"]))
    assert len(faces.fingerprint()) == 16 and faces.image_sizes() == []
    for index in (1, 2):
        with pytest.raises(BadImage, match=f"row {index} of .* has no image"):
            faces.image(index)


def test_rows_of_a_selection_keep_their_numbers(tmp_path):
    faces = faces_of(write_table(tmp_path / "set" / "train.parquet", label=["a", "b", "a", "b"]))
    chosen = faces.select(np.array([3, 1])).select(np.array([1, 0]))
    assert [chosen.name(index).split(" of ")[0] for index in (0, 1)] == ["row 1", "row 3"]


def test_tables_that_cannot_be_used_are_named(folder, tmp_path):
    numbers = write_table(tmp_path / "numbers" / "train.parquet", image=[1, 2])
    with pytest.raises(ValueError, match=r"Column 'image' holds .*int64.*, no images"):
        faces_of(numbers, with_labels=False)
    empty = write_table(tmp_path / "empty" / "train.parquet", image=[])
    with pytest.raises(ValueError, match=r"empty/train\.parquet cannot be read, or holds no row"):
        faces_of(empty, with_labels=False)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"no table at all")
    with pytest.raises(ValueError, match=r"damaged/train\.parquet is not a Parquet file"):
        faces_of(tmp_path / "damaged", with_labels=False)
    with pytest.raises(ValueError, match=r"holds no \.parquet file"):
        faces_of(folder, data_format="parquet")
    votes = write_table(tmp_path / "votes" / "train.parquet", votes=[3, 1, 4, 1], label=["a", "b", "a", "b"])
    assert guess_format(votes, str(votes)) == "parquet"
    assert len(faces_of(votes)) == 4


def test_a_broken_ferplus_image_is_named_where_it_is_used(tmp_path):
    import datasets

    write_ferplus(tmp_path)
    rows = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet")).cast_column(
        "image", datasets.Image(decode=False)
    )
    cells = rows["image"][:]
    cells[2] = {"bytes": cells[2]["bytes"][:40], "path": None}
    rows.remove_columns("image").add_column("image", cells, feature=datasets.Image()).to_parquet(
        tmp_path / "train.parquet"
    )
    for with_labels in (True, False):
        faces = faces_of(tmp_path, with_labels=with_labels)
        broken = [index for index in range(len(faces)) if not is_readable(faces, index)]
        assert len(broken) == 1
    assert len(faces_of(tmp_path, "validation")) == 4


def is_readable(faces, index):
    try:
        faces.image(index)
    except BadImage:
        return False
    return True


@pytest.mark.parametrize("name", ["num_workers", "max_bad_images"])
def test_negative_numbers_are_refused_at_once(name):
    with pytest.raises(ValueError, match=rf"--{name} -1 must be in \[0"):
        DatasetArguments(**{name: -1})


def test_a_class_may_be_missing_from_validation_and_a_class_folder_may_be_empty(tmp_path):
    root = layouts.write_class_folders(tmp_path / "folders")
    for path in [*(root / "validation" / "fear").iterdir(), *(root / "train" / "anger").iterdir()]:
        path.unlink()
    (root / "validation" / "fear").rmdir()
    train, validation = faces_of(root), faces_of(root, "validation")
    assert train.class_names == validation.class_names == EXPRESSIONS
    assert np.bincount(train.labels, minlength=8)[4] == np.bincount(validation.labels, minlength=8)[6] == 0
    sets = layouts.write_affectnet_sets(tmp_path / "sets")
    assert len(set(faces_of(sets, "validation").labels.tolist())) < 8 == len(faces_of(sets, "validation").class_names)


def test_fingerprint_tells_data_apart(folder, tmp_path):
    one = faces_of(folder).fingerprint()
    assert one == faces_of(folder).fingerprint()
    assert one != faces_of(folder, "val").fingerprint()


def test_a_dangling_link_is_a_bad_image_and_no_file_of_another_kind_is_one(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "set")
    fear = tmp_path / "set" / "train" / "fear"
    (fear / "lost.png").symlink_to(tmp_path / "unmounted" / "lost.png")
    for name in ("terms.pdf", "table.h5", "clip.mpg"):
        (fear / name).write_bytes(b"%PDF")
        (tmp_path / "set" / name).write_bytes(b"%PDF")
    (tmp_path / "set" / "train" / "__MACOSX").mkdir()
    faces = faces_of(tmp_path / "set")
    assert (len(faces), faces.class_names) == (17, EXPRESSIONS)
    lost = [index for index in range(17) if not is_readable(faces, index)]
    assert [Path(faces.name(index)).name for index in lost] == ["lost.png"]
    assert len(faces_of(tmp_path / "set", with_labels=False)) == 17
    assert len(faces.fingerprint()) == 16 and faces.image_sizes().count(-1) == 1


def test_a_name_that_is_no_utf_8_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    with open(os.path.join(os.fsencode(tmp_path), b"train", b"caf\xe9.png"), "wb") as file:
        file.write(png())
    with pytest.raises(ValueError, match=r"caf\\xe9\.png' is not a name in UTF-8; rename 1 files like it"):
        faces_of(tmp_path, with_labels=False)


def test_only_the_images_column_is_read_with_a_image(tmp_path):
    import datasets

    kinds = {"image": datasets.Image(), "scene": datasets.Image(), "label": datasets.Value("string")}
    cells = [{"bytes": png(value), "path": None} for value in range(2)]
    broken = [{"bytes": b"no picture", "path": None}] * 2
    rows = datasets.Dataset.from_dict(
        {"image": cells, "scene": broken, "label": ["a", "b"]}, features=datasets.Features(kinds)
    )
    rows.to_parquet(tmp_path / "train.parquet")
    faces = faces_of(tmp_path)
    assert [faces.image(index).size for index in range(2)] == [(8, 8)] * 2


@pytest.mark.parametrize("values", [[[1, 0], [0, 1], [1, 0], [0, 1]], [{"a": 1}] * 4], ids=["one-hot", "structs"])
def test_labels_that_are_no_classes_are_a_sentence(tmp_path, values):
    table = write_table(tmp_path / "set" / "train.parquet", label=values)
    with pytest.raises(ValueError, match=r"Column 'label' holds .*, which is not one class per row; name another"):
        faces_of(table)


@pytest.mark.parametrize("values", [["happy", "", "sad", " "], ["0", "1", "-1", "-1"]])
def test_texts_that_are_no_labels_are_no_class(tmp_path, values):
    table = write_table(tmp_path / "set" / "train.parquet", label=values)
    with pytest.raises(ValueError, match="2 of the 4 rows have no 'label'"):
        faces_of(table)


def test_whole_floats_are_numbers_of_classes(tmp_path):
    faces = faces_of(write_table(tmp_path / "set" / "train.parquet", label=[10.0, 2.0, 0.0, 10.0]))
    assert (faces.class_names, faces.labels.tolist()) == (("0", "2", "10"), [2, 1, 0, 2])


def test_the_content_hash_changes_with_a_file_and_for_missing_files_too(tmp_path):
    import datasets

    write_image_folder(tmp_path / "faces", 4, seed=0, size=16)
    before = image_faces([tmp_path / "faces"]).content_hash()
    assert before == image_faces([tmp_path / "faces"]).content_hash()
    Image.new("RGB", (16, 17)).save(next((tmp_path / "faces").rglob("*.png")))
    assert before != image_faces([tmp_path / "faces"]).content_hash()
    cells = [None, {"bytes": None, "path": str(tmp_path / "a.png")}]
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    faces = Faces(rows.cast_column("image", datasets.Image(decode=False)), "image")
    before = faces.content_hash()
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    assert faces.content_hash() != before
