"""A good set in COCO layout: where it lies, what is read of it, its fingerprint, its notes, its arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from bench.core.errors import DataError
from tests.helpers.coco_corpus import GOOD, Json, changed, with_object, write_image, write_set
from transfer.data.coco import CocoDataset, read_coco, truth_of
from transfer.data.coco_splits import find_splits
from transfer.data.run_lengths import unpack_counts

PUBLISHED = ("train2017",), "val2017"


def other_half() -> Json:
    return changed(lambda it: [item.update(file_name=f"t-{item['file_name']}") for item in it["images"]])


def read(root: Path) -> CocoDataset:
    return read_coco(root, train=PUBLISHED[0], test=PUBLISHED[1])


def made(tmp_path: Path, train: Json = GOOD, name: str = "set") -> Path:
    return write_set(tmp_path / name, train, other_half())


@pytest.mark.parametrize("place", ["images/{}", "{}", "images"])
def test_images_are_found_in_each_place(tmp_path: Path, place: str) -> None:
    root = made(tmp_path)
    for split in ("train", "val"):
        for path in list((root / "images" / split).iterdir()):
            target = root / place.format(split) / path.name
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        if place != "images/{}":
            (root / "images" / split).rmdir()
    data = read(root)
    assert data.counts == {"train": 3, "test": 3}
    assert all(image.path.is_file() for image in (*data.train, *data.test))


def test_an_exported_set_has_a_folder_for_each_split(tmp_path: Path) -> None:
    for name, value in (("train", GOOD), ("valid", other_half())):
        for image in value["images"]:
            write_image(tmp_path / name / image["file_name"], image, image["id"])
        (tmp_path / name / "_annotations.coco.json").write_text(json.dumps(value))
    assert read(tmp_path).split_counts == {"train": 3, "valid": 3}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train2017", "val2017", "train", "val"), ("train2017", "val2017")),
        (("train", "val", "test"), ("train", "test")),
        (("trainval", "train", "test"), ("trainval", "test")),
        (("train", "val"), ("train", "val")),
        (("train", "valid", "extra"), ("train", "valid")),
    ],
)
def test_which_splits_are_taken(tmp_path: Path, names: tuple[str, ...], expected: tuple[str, str]) -> None:
    (tmp_path / "annotations").mkdir()
    for name in names:
        (tmp_path / "annotations" / f"instances_{name}.json").touch()
    assert tuple(split.label for split in find_splits(tmp_path, *PUBLISHED)) == expected


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_splits(tmp_path / "none", *PUBLISHED)
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "instances_other.json").touch()
    with pytest.raises(DataError, match="splits found: other"):
        find_splits(tmp_path, *PUBLISHED)
    (folder / "instances_train2017.json").touch()
    with pytest.raises(DataError, match=r"instances_val2017\.json: missing"):
        find_splits(tmp_path, *PUBLISHED)
    (folder / "instances_val2017.json").touch()
    with pytest.raises(DataError, match=r"train2017.*images are not there"):
        read(tmp_path)


def test_labels_follow_the_ids_and_images_too(tmp_path: Path) -> None:
    """Whatever the order of the lists in the file."""
    turned = {key: values[::-1] for key, values in GOOD.items()}
    for name, value in (("a", GOOD), ("b", turned)):
        data = read(made(tmp_path, value, name))
        assert data.classes == ("cat", "dog", "traffic light")
        assert [image.image_id for image in data.train] == [2, 5, 9]
        labels = {item.annotation_id: item.class_index for image in data.train for item in image.objects}
        assert labels == {7: 0, 1: 2, 12: 1, 3: 0, 20: 1}


CHANGES: dict[str, Json] = {
    "box": with_object(7, bbox=[4, 5, 10, 8.5]),
    "area": with_object(7, area=81),
    "class": with_object(7, category_id=3),
    "crowd": with_object(7, iscrowd=1),
    "polygon": with_object(7, segmentation=[[4, 5, 14, 5, 14, 13, 4, 12]]),
    "parts": with_object(7, segmentation=[[4, 5, 14, 5, 14, 13, 4, 13], [4, 5, 6, 5, 6, 7]]),
    "an object less": GOOD | {"annotations": GOOD["annotations"][1:]},
    "a class": GOOD | {"categories": [*GOOD["categories"], {"id": 90, "name": "cow"}]},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_moves_a_number_moves_the_fingerprint(tmp_path: Path, what: str) -> None:
    train, test = CHANGES[what], other_half()
    test["categories"] = train["categories"]
    before = read(made(tmp_path, name="before")).fingerprint
    assert read(write_set(tmp_path / "after", train, test)).fingerprint != before


def test_what_moves_none_does_not(tmp_path: Path) -> None:
    before = read(made(tmp_path, name="before")).fingerprint
    told = GOOD | {"info": {"year": 2017}, "licenses": [{"id": 1}]}
    told["images"] = [{**image, "flickr_url": "x"} for image in GOOD["images"]][::-1]
    told["annotations"] = [{**item, "note": 1} for item in GOOD["annotations"]]
    told["annotations"][0]["area"] = float(told["annotations"][0]["area"])
    root = made(tmp_path, told, "after")
    assert read(root).fingerprint == before
    write_image(root / "images" / "train" / "a.jpg", GOOD["images"][0], 99)
    assert read(root).fingerprint != before


def notes(tmp_path: Path, train: Json) -> str:
    return "\n".join(read(made(tmp_path, train)).notes)


def test_what_is_odd_is_noted_with_its_id(tmp_path: Path) -> None:
    plain = notes(tmp_path / "0", GOOD)
    assert "1 to 3" in plain, "category ids have gaps"
    assert "bit masks" in plain, "an object has run lengths"
    assert "annotation" not in plain
    flat = with_object(7, bbox=[4, 5, 10, 0], area=0, segmentation=[[4, 5, 14, 5, 9, 5]])
    assert "annotation 7: boxes with a side of 0" in notes(tmp_path / "1", flat)
    corners = with_object(20, bbox=[2, 2, 17.5, 14])
    assert "annotation 20" not in notes(tmp_path / "2", corners), "near enough"
    elsewhere = with_object(7, bbox=[24, 15, 10, 8])
    assert "annotation 7: boxes lie elsewhere" in notes(tmp_path / "3", elsewhere)
    of_box = with_object(20, area=15.5 * 12 * 3)
    assert "annotation 20: areas are not those" in notes(tmp_path / "4", of_box)
    absent = GOOD | {"annotations": [item for item in GOOD["annotations"] if item["category_id"] != 18]}
    assert "train: no object (crowds aside) of traffic light" in notes(tmp_path / "5", absent)
    lone = GOOD | {"annotations": [item for item in GOOD["annotations"] if item["image_id"] != 9]}
    assert "train: 1 images have no object" in notes(tmp_path / "6", lone)


@pytest.mark.parametrize("name", ["./a.jpg", "x/../a.jpg", "link.jpg"])
def test_one_file_under_two_names_is_a_fault(tmp_path: Path, name: str) -> None:
    """It would count twice."""
    second = {**GOOD["images"][0], "id": 4, "file_name": name}
    root = made(tmp_path)
    (root / "images" / "train" / "link.jpg").symlink_to("a.jpg")
    path = root / "annotations" / "instances_train.json"
    path.write_text(json.dumps(GOOD | {"images": [*GOOD["images"], second]}))
    with pytest.raises(DataError, match="image 4:"):
        read(root)


def test_a_copy_in_the_split_is_noted(tmp_path: Path) -> None:
    copied = GOOD | {"images": [*GOOD["images"], {**GOOD["images"][0], "id": 4, "file_name": "d.jpg"}]}
    root = made(tmp_path, copied)
    folder = root / "images" / "train"
    (folder / "d.jpg").write_bytes((folder / "a.jpg").read_bytes())
    assert [note for note in read(root).notes if note.startswith("train: 1 images are there again")]


def test_boxes_without_a_side_alone_are_nothing_to_train_on(tmp_path: Path) -> None:
    flat = {"bbox": [1, 1, 5, 0], "area": 0, "segmentation": [[1, 1, 6, 1, 3, 1]], "iscrowd": 0}
    train = GOOD | {"annotations": [{**item, **flat} for item in GOOD["annotations"]]}
    with pytest.raises(DataError, match=r"instances_train\.json: .*nothing to train on"):
        read(made(tmp_path, train))


@pytest.mark.parametrize("name", ["a" * 300, "a/b"])
def test_a_folder_that_cannot_be_looked_into_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "/" in name:

        def denied(self: Path, *, follow_symlinks: bool = True) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(DataError, match=r"cannot be read|no such folder"):
        find_splits(tmp_path / name, *PUBLISHED)


def test_test_images_that_are_training_images_are_noted(tmp_path: Path) -> None:
    """The same file under two names: what is found on it says nothing."""
    root = made(tmp_path)
    assert not [note for note in read(root).notes if "training images, too" in note]
    source = root / "images" / "train" / "b.jpg"
    (root / "images" / "val" / "t-b.jpg").write_bytes(source.read_bytes())
    assert [note for note in read(root).notes if "1 of 3 test images are training images" in note]


def test_arrays_are_what_the_reference_reads(tmp_path: Path) -> None:
    """Polygons, run lengths and packed ones decode to the masks that pycocotools makes of the same file."""
    root = made(tmp_path)
    data = read(root)
    truth = truth_of(data.train, data.classes)
    theirs = COCO(str(root / "annotations" / "instances_train.json"))
    index = 0
    for place, image in enumerate(data.train):
        for annotation in theirs.imgToAnns[image.image_id]:
            assert truth.image[index] == place
            assert truth.boxes[index].tolist() == annotation["bbox"]
            assert truth.area[index] == annotation["area"]
            assert truth.crowd[index] == bool(annotation["iscrowd"])
            name = theirs.cats[annotation["category_id"]]["name"]
            assert truth.classes[truth.label[index]] == name
            packed: Any = {"size": truth.sizes[place].tolist(), "counts": truth.masks[index]}
            assert np.array_equal(coco_mask.decode(packed), theirs.annToMask(annotation))
            index += 1
    assert index == len(truth.label) == 5


def test_packed_run_lengths_are_read_as_they_were_written() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        height, width = generator.integers(1, 60, 2)
        pixels = np.asfortranarray(generator.random((height, width)) < generator.random(), np.uint8)
        packed = coco_mask.encode(pixels)
        counts = unpack_counts(packed["counts"].decode(), "here")
        assert sum(counts) == height * width
        again = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        assert np.array_equal(coco_mask.decode(again), pixels)


def test_the_embedded_set_is_read(coco: Path) -> None:
    data = read(coco)
    assert data.counts == {"train": 6, "test": 3}
    assert len(data.classes) == 10
    assert not data.has_run_lengths


@pytest.mark.parametrize(
    ("name", "counts", "num_classes"),
    [
        ("coco_cc_mini", {"train": 58, "test": 25}, 80),
        ("facades", {"train": 473, "test": 125}, 10),
        ("fruits_nuts/coco", {"train": 12, "test": 6}, 3),
    ],
)
def test_real_sets_are_read(real_data: Path, name: str, counts: dict[str, int], num_classes: int) -> None:
    data = read(real_data / name)
    assert (data.counts, len(data.classes)) == (counts, num_classes)


def test_the_splits_have_detectron2s_own_names(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", GOOD, other_half(), names=(PUBLISHED[0][0], PUBLISHED[1]))
    data = read(root)
    assert (data.name, data.train_names, data.test_name) == ("COCO", ("coco_2017_train",), "coco_2017_val")
    own = read(made(tmp_path, name="mine"))
    assert (own.name, own.train_names, own.test_name) == ("mine", ("coco_train",), "coco_val")


def test_a_class_without_a_test_object_is_in_no_mean(tmp_path: Path) -> None:
    test = other_half()
    test["annotations"] = [item for item in test["annotations"] if item["category_id"] != 18]
    data = read(write_set(tmp_path / "set", GOOD, test))
    assert [note for note in data.notes if note.startswith("test: no object") and "in no mean" in note]
