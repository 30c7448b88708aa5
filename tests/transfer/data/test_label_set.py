"""The reader of sets with label maps: what each layout gives, and what its fingerprint and notes see."""

from __future__ import annotations

import ast
import importlib.util
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.core.errors import DataError
from tests.helpers.label_sets import (
    CLASSES,
    encoded,
    gray_png,
    labels,
    palette_png,
    photo,
    picture,
    put,
    put_lines,
    write_ade20k,
    write_cityscapes,
    write_folder,
    write_nyuv2,
    write_voc_devkit,
    write_voc_folder,
)
from transfer.data.label_set import LAYOUTS, label_departures, read_segmentation
from transfer.data.segmentation import SegmentationDataset

WRITERS: dict[str, Callable[[Path], Path]] = {
    "voc-seg": write_voc_devkit,
    "cityscapes": write_cityscapes,
    "ade20k": write_ade20k,
    "nyuv2": write_nyuv2,
    "folder": write_folder,
}
PUBLISHED = {layout: write for layout, write in WRITERS.items() if layout != "folder"}


def read(root: Path, layout: str = "folder") -> SegmentationDataset:
    return read_segmentation(root, layout=layout)


@pytest.mark.parametrize("layout", WRITERS)
def test_each_layout_is_read(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    steps: list[tuple[int, int]] = []
    data = read_segmentation(tmp_path, layout=layout, progress=lambda done, num: steps.append((done, num)))
    known = LAYOUTS[layout]
    assert data.counts == {"train": 4, "test": 3}
    assert data.layout == layout
    assert data.zero_is_ignored == known.zero_is_ignored
    assert data.notes == ()
    assert steps[-1] == (7, 7)
    if layout in PUBLISHED:
        assert (data.name, data.classes) == (known.name, known.classes)
        assert data.split_counts == {known.train: 4, known.test: 3}
    for images in (data.train, data.test):
        ids = [str(image.image_id) for image in images]
        assert ids == sorted(ids)
        for image in images:
            assert image.path.is_file()
            assert image.label_path.is_file()
            assert (image.width, image.height) == (32, 24)
            assert image.path == image.pairs.image_dir / f"{image.image_id}{image.pairs.image_suffix}"
            above = len(data.classes) + data.zero_is_ignored
            assert image.values <= {*range(above), 255}


def test_voc_takes_its_own_maps_from_voc_and_the_others_from_the_sbd(tmp_path: Path) -> None:
    folder = write_voc_devkit(tmp_path)
    for root in (tmp_path, tmp_path / "VOCdevkit"):
        data = read(root, "voc-seg")
        assert {str(image.image_id): image.label_path.parent.name for image in data.train} == {
            "2007_000032": "SegmentationClass",
            "2007_000039": "SegmentationClass",
            "2008_000002": "SegmentationClassAug",
            "2008_000003": "SegmentationClassAug",
        }
        assert {image.label_path.parent.name for image in data.test} == {"SegmentationClass"}
    first = data.fingerprint
    # Whichever of the lists is there.
    (folder / "ImageSets/Segmentation/aug.txt").unlink()
    assert read(tmp_path, "voc-seg").fingerprint == first


def test_cityscapes_ids_have_the_city(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "cityscapes")
    data = read(tmp_path, "cityscapes")
    assert data.train[0].image_id == "aachen/aachen_000000_000019"
    assert data.train[0].label_path.name == "aachen_000000_000019_gtFine_labelTrainIds.png"


@pytest.mark.parametrize("layout", PUBLISHED)
@pytest.mark.parametrize("write", [write_voc_folder, write_folder])
def test_a_set_of_its_own_is_read_under_every_layout(
    tmp_path: Path, layout: str, write: Callable[[Path], Path]
) -> None:
    data = read(write(tmp_path / "mine"), layout)
    assert data.layout == ("folder" if write is write_folder else "voc-folder")
    assert data.name == "mine"
    assert data.classes == CLASSES
    assert list(data.split_counts) == (
        ["mine/train", "mine/val"] if write is write_folder else ["mine/trainval", "mine/test"]
    )


@pytest.mark.parametrize("layout", WRITERS)
def test_no_set_at_all_is_said_with_what_was_looked_for(tmp_path: Path, layout: str) -> None:
    for root, word in ((tmp_path, "looked for"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(DataError, match=word) as error:
            read(root, layout)
        assert str(root) in str(error.value)
        assert "classes.txt" in str(error.value)
        assert ("ImageSets/Segmentation" in str(error.value)) == (layout != "folder")


def test_a_folder_in_voc_layout_is_no_folder_of_images_and_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="looked for"):
        read(write_voc_folder(tmp_path), "folder")


def test_names_of_classes_tell_a_set_of_its_own_from_a_published_one(tmp_path: Path) -> None:
    ade = write_folder(tmp_path / "ade", ("training", "validation"), "annotations")
    nyu = write_folder(tmp_path / "nyu", ("train", "test"))
    assert read(ade, "ade20k").layout == read(nyu, "nyuv2").layout == "folder"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "trainval", "test"), ("trainval", "test")),
        (("train", "test"), ("train", "test")),
        (("train", "val"), ("train", "val")),
    ],
)
def test_splits_of_a_single_voc_folder(
    tmp_path: Path, names: tuple[str, ...], expected: tuple[str, str]
) -> None:
    root = write_voc_folder(tmp_path / "mine")
    for path in (root / "ImageSets/Segmentation").glob("*.txt"):
        if path.stem not in names:
            path.unlink()
    assert list(read(root, "voc-seg").split_counts) == [f"mine/{name}" for name in expected]


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test"), ("training", "validation")])
@pytest.mark.parametrize("maps", ["labels", "annotations"])
def test_splits_of_a_folder(tmp_path: Path, splits: tuple[str, str], maps: str) -> None:
    data = read(write_folder(tmp_path / "mine", splits, maps))
    assert list(data.split_counts) == [f"mine/{name}" for name in splits]
    assert data.train[0].label_path.parent.parent.name == maps


def test_ignore_as_first_class_is_no_class(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    first = read(root)
    put_lines(root / "classes.txt", ["ignore", *CLASSES[1:]])
    data = read(root)
    assert data.classes == CLASSES[1:]
    assert data.zero_is_ignored
    assert data.train[0].values == {0, 1, 2, 255}
    assert data.train[0].content_sha256 != first.train[0].content_sha256
    put(root / "labels/train/0000.png", gray_png(labels([0, 3])))
    with pytest.raises(DataError, match=r"label 3 .* expected 1 to 2, 0 or 255"):
        read(root)


@pytest.mark.parametrize("zero_is_ignored", [False, True])
def test_every_value_is_a_class_ignored_or_refused(tmp_path: Path, zero_is_ignored: bool) -> None:
    """By hand: 5 names, values 0 to 4 in the file, 255 always, whatever 0 means."""
    root = write_folder(tmp_path)
    (root / "palette.txt").unlink()
    first = "ignore" if zero_is_ignored else "background"
    put_lines(root / "classes.txt", [first, "a", "b", "c", "d"])
    path = root / "labels/train/0002.png"
    for value in range(256):
        pixels = labels([1])
        pixels[value % 24, value % 32] = value
        put(path, gray_png(pixels))
        if value < 5 or value == 255:
            assert read(root).train[2].values == {1, value}
        else:
            with pytest.raises(DataError) as error:
                read(root)
            assert error.value.problems[0].startswith(f"{path}: label {value} (1 px)")


def test_the_fingerprint_sees_images_labels_splits_and_classes(tmp_path: Path) -> None:
    def first(root: Path) -> Path:
        return root

    def image(root: Path) -> Path:
        return put(root / "images/val/0004.jpg", photo(77))

    def label(root: Path) -> Path:
        return put(root / "labels/val/0004.png", palette_png(labels([0, 1, 2, 2, 255])))

    def split(root: Path) -> Path:
        (root / "labels/val/0004.png").unlink()
        return (root / "images/val/0004.jpg").rename(root / "gone.jpg")

    def classes(root: Path) -> Path:
        (root / "palette.txt").unlink()
        return put_lines(root / "classes.txt", ("background", "ring", "arrow"))

    found = []
    for number, change in enumerate((first, first, image, label, split, classes)):
        root = write_folder(tmp_path / str(number))
        change(root)
        found.append(read(root).fingerprint)
    assert found[0] == found[1]
    assert len(set(found)) == 5


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    put(root / "labels/train/0001.png", gray_png(labels([0, 7], 24, 33)))
    put(root / "images/train/0002.jpg", b"")
    put(root / "labels/train/0002.png", b"")
    (root / "labels/val/0005.png").unlink()
    with pytest.raises(DataError) as error:
        read(root)
    assert [problem.split(": ")[0].removeprefix(f"{root}/") for problem in error.value.problems] == [
        "labels/val/0005.png",
        "labels/train/0001.png",
        "labels/train/0001.png",
        "images/train/0002.jpg",
        "labels/train/0002.png",
    ]
    assert "5 faults" in str(error.value)
    assert "bench data check folder" in str(error.value)


def test_pixels_are_not_kept(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for number in range(20):
        put(root / f"images/train/large{number}.png", encoded(picture(number, 400, 500), "PNG"))
        put(root / f"labels/train/large{number}.png", palette_png(labels([0, 1, 2], 400, 500)))
    tracemalloc.start()
    try:
        data = read(root)
        assert tracemalloc.get_traced_memory()[0] < 400_000
    finally:
        tracemalloc.stop()
    assert len(data.train) == 24


def _expected(layout: str, num_train: int = 4, num_test: int = 3) -> SimpleNamespace:
    known = LAYOUTS[layout]
    return SimpleNamespace(
        name=known.name,
        layout=layout,
        train=(known.train,),
        test=known.test,
        split_counts={known.train: num_train, known.test: num_test},
        num_classes=len(known.classes),
    )


@pytest.mark.parametrize("layout", PUBLISHED)
def test_departures_name_what_differs(tmp_path: Path, layout: str) -> None:
    PUBLISHED[layout](tmp_path / "set")
    data = read(tmp_path / "set", layout)
    known = LAYOUTS[layout]
    assert label_departures(data, _expected(layout)) == ()
    published = _expected(layout, 5_000, 900)
    assert label_departures(data, published) == (
        f"{known.train}: 4 images (protocol: 5,000)",
        f"{known.test}: 3 images (protocol: 900)",
    )
    (own,) = label_departures(read(write_folder(tmp_path / "own")), published)
    assert own == f"own, layout folder (protocol: {known.name}, {layout})"
    published.num_classes = 7
    assert "7" in label_departures(data, published)[0]


def test_classes_are_the_published_ones() -> None:
    counts = {layout: len(known.classes) for layout, known in LAYOUTS.items()}
    assert counts == {"voc-seg": 21, "cityscapes": 19, "ade20k": 150, "nyuv2": 40, "folder": 0}
    for known in LAYOUTS.values():
        assert len(set(known.classes)) == len(known.classes)


@pytest.mark.parametrize(
    ("layout", "file"), [("voc-seg", "voc"), ("cityscapes", "cityscapes"), ("ade20k", "ade")]
)
def test_classes_are_those_of_the_engine(layout: str, file: str) -> None:
    spec = importlib.util.find_spec("mmseg")
    if spec is None or spec.origin is None:
        pytest.skip("MMSegmentation is not installed")
    tree = ast.parse((Path(spec.origin).parent / "datasets" / f"{file}.py").read_text())
    found = next(
        node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "classes"
    )
    assert tuple(name.strip() for name in ast.literal_eval(found)) == LAYOUTS[layout].classes


def test_real_sets_are_read(real_data: Path) -> None:
    expected = {
        ("facades", "folder"): ("folder", 473, 125, 11),
        ("facades", "ade20k"): ("folder", 473, 125, 11),
        ("person_cc_voc", "voc-seg"): ("voc-folder", 199, 65, 2),
        ("voc_cc_mini", "voc-seg"): ("voc-folder", 45, 19, 21),
    }
    for (name, layout), found in expected.items():
        data = read(real_data / name, layout)
        assert (data.layout, len(data.train), len(data.test), len(data.classes)) == found, name


def test_the_generated_set_is_read(voc: Path) -> None:
    data = read(voc, "voc-seg")
    assert (data.layout, data.classes[0], len(data.classes)) == ("voc-folder", "background", 11)
    assert data.counts == {"train": 6, "test": 3}
    values = [image.values for image in (*data.train, *data.test)]
    assert all(found <= {*range(11), 255} for found in values)
    assert np.unique([len(found) for found in values]).size > 1
