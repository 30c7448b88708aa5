"""The VOC reader: what it reads, what it refuses before anything trains, and with which name."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import DataError
from tests.helpers.voc_set import annotation, copy_of, edit, first_id, make_devkit
from transfer.data.voc import VOC_CLASSES, VocDataset, read_voc

TRAIN, TEST = ("VOC2007/trainval", "VOC2012/trainval"), "VOC2007/test"


def read(root: Path) -> VocDataset:
    return read_voc(root, train=TRAIN, test=TEST)


def test_reads_a_folder_of_its_own_classes(voc: Path) -> None:
    data = read(voc)
    assert data.counts == {"train": 6, "test": 3}
    assert len(data.classes) == 10
    assert "background" not in data.classes
    image = data.train[0]
    assert image.path.is_file()
    assert all(0 <= item.class_index < 10 for item in image.objects)
    assert all(1 <= item.box[0] <= item.box[2] <= image.width for item in image.objects)


def test_reads_a_devkit(voc: Path, tmp_path: Path) -> None:
    make_devkit(voc, tmp_path)
    for root in (tmp_path, tmp_path / "VOCdevkit"):
        data = read(root)
        assert data.classes == VOC_CLASSES
        assert data.counts == {"train": 12, "test": 3}
        assert [split.label for split in data.train_splits] == list(TRAIN)


def test_a_devkit_without_2012_is_refused(voc: Path, tmp_path: Path) -> None:
    copy_of(voc, tmp_path / "VOC2007")
    with pytest.raises(DataError, match="VOC2012"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "trainval", "test"), ("trainval", "test")),
        (("train", "test"), ("train", "test")),
        (("train", "val"), ("train", "val")),
    ],
)
def test_splits_of_a_single_folder(
    voc: Path, tmp_path: Path, names: tuple[str, ...], expected: tuple[str, str]
) -> None:
    root = copy_of(voc, tmp_path / "set")
    main = root / "ImageSets" / "Main"
    ids = (main / "trainval.txt").read_text().splitlines()
    for path in main.glob("*.txt"):
        if path.stem not in names:
            path.unlink()
    for name, half in (("train", ids[:3]), ("val", ids[3:])):
        if name in names:
            (main / f"{name}.txt").write_text("".join(f"{line}\n" for line in half))
    data = read(root)
    assert (data.train_splits[0].name, data.test_split.name) == expected


def test_the_fingerprint_sees_pixels_boxes_and_splits(voc: Path, tmp_path: Path) -> None:
    first = read(voc).fingerprint
    assert read(copy_of(voc, tmp_path / "elsewhere")).fingerprint == first

    boxes = copy_of(voc, tmp_path / "boxes")
    edit(annotation(boxes, "test"), "<difficult>0", "<difficult>1")
    pixels = copy_of(voc, tmp_path / "pixels")
    path = pixels / "JPEGImages" / f"{first_id(pixels, 'test')}.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    splits = copy_of(voc, tmp_path / "splits")
    lines = (splits / "ImageSets/Main/test.txt").read_text().splitlines()
    (splits / "ImageSets/Main/test.txt").write_text("\n".join(lines[:-1]) + "\n")
    others = [read(root).fingerprint for root in (boxes, pixels, splits)]
    assert len({first, *others}) == 4


def test_the_order_of_split_files_moves_nothing(voc: Path, tmp_path: Path) -> None:
    """What is trained, and which of two equal detections is first, follow the ids, not the lists."""
    root = copy_of(voc, tmp_path / "set")
    for split in ("trainval", "test"):
        lines(split, lambda ids: ids[::-1])(root)
    first, second = read(voc), read(root)
    assert second.fingerprint == first.fingerprint
    for role in ("train", "test"):
        ids = [image.image_id for image in getattr(second, role)]
        assert ids == [image.image_id for image in getattr(first, role)] == sorted(ids)


def test_classes_without_objects_are_noted(voc: Path) -> None:
    notes = " ".join(read(voc).notes)
    present = {item.class_index for image in read(voc).test for item in image.objects if not item.difficult}
    absent = [name for index, name in enumerate(read(voc).classes) if index not in present]
    assert absent, "the small test split should lack some class, or this test shows nothing"
    assert "AP 0" in notes
    assert all(name in notes for name in absent)


def xml(old: str, new: str, split: str = "test") -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = annotation(root, split)
        edit(path, old, new)
        return path.name

    return spoil


def number(key: str, value: str, split: str = "test") -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = annotation(root, split)
        text, count = re.subn(f"<{key}>[^<]*</{key}>", f"<{key}>{value}</{key}>", path.read_text(), count=1)
        assert count == 1
        path.write_text(text)
        return path.name

    return spoil


def without(key: str, split: str = "test") -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = annotation(root, split)
        text, count = re.subn(f"<{key}>[^<]*</{key}>", "", path.read_text(), count=1)
        assert count == 1
        path.write_text(text)
        return path.name

    return spoil


def lines(split: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
        return ""

    return spoil


def split_bytes(split: str, data: bytes) -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.write_bytes(data)
        return path.name

    return spoil


def remove(folder: str, suffix: str) -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = root / folder / f"{first_id(root, 'test')}{suffix}"
        path.unlink()
        return path.name

    return spoil


def content(folder: str, suffix: str, data: bytes) -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        path = root / folder / f"{first_id(root, 'test')}{suffix}"
        path.write_bytes(data)
        return path.name

    return spoil


BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><annotation>&c;</annotation>'

FAULTS: dict[str, Callable[[Path], str]] = {
    "fractional test box": number("xmin", "3.5"),
    "test box in words": number("xmin", "three"),
    "nan box": number("xmin", "nan"),
    "exponent box": number("xmin", "1e1"),
    "exponent training box": number("xmin", "1e1", "trainval"),
    "huge box": number("xmax", "99999999999"),
    "negative box": number("xmin", "-4"),
    "box right of the image": number("xmax", "97"),
    "box below the image": number("ymax", "500"),
    "box turned round": number("xmin", "96"),
    "empty coordinate": number("ymin", ""),
    "no coordinate": without("ymin"),
    "no training coordinate": without("ymin", "trainval"),
    "no pose": without("pose"),
    "no truncated": without("truncated"),
    "no difficult": without("difficult"),
    "difficult in words": number("difficult", "no"),
    "difficult 2": number("difficult", "2"),
    "fractional truncated": number("truncated", "0.5"),
    "unknown class": xml("<name>", "<name>un"),
    "unknown training class": xml("<name>", "<name>un", "trainval"),
    "no class": without("name"),
    "two boxes": xml("</bndbox>", "</bndbox><bndbox/>"),
    "no box": xml("<bndbox>", "<bndbax>"),
    "width of another image": number("width", "97"),
    "height of another image": number("height", "50"),
    "no size": without("width"),
    "not XML": content("Annotations", ".xml", b"hello"),
    "empty annotation": content("Annotations", ".xml", b""),
    "entity bomb": content("Annotations", ".xml", BOMB),
    "external entity": content(
        "Annotations", ".xml", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>'
    ),
    "deep annotation": content("Annotations", ".xml", b"<a>" * 60 + b"</a>" * 60),
    "unknown encoding": content("Annotations", ".xml", b'<?xml version="1.0" encoding="klingon"?><a/>'),
    "two megabytes of XML": content("Annotations", ".xml", b"<a>" + b" " * 2_000_000 + b"</a>"),
    "missing annotation": remove("Annotations", ".xml"),
    "missing image": remove("JPEGImages", ".jpg"),
    "empty image": content("JPEGImages", ".jpg", b""),
    "text for an image": content("JPEGImages", ".jpg", b"no picture at all"),
    "single line": lines("test", lambda ids: ids[:1]),
    "split in Latin-1": split_bytes("trainval", "année\nx\n".encode("latin-1")),
    "flag column": lines("test", lambda ids: [f"{name} 1" for name in ids]),
    "empty line": lines("test", lambda ids: [*ids, ""]),
    "empty split": lines("test", lambda ids: []),
    "id twice": lines("test", lambda ids: [*ids, ids[0]]),
    "id that leaves the folder": lines("test", lambda ids: ["../../etc/passwd"]),
    "absolute id": lines("trainval", lambda ids: ["/etc/passwd"]),
    "id of no image": lines("trainval", lambda ids: [*ids, "999999"]),
    "class with a slash": lambda root: str(edit(root / "classes.txt", "arrow", "ar/row") or ""),
    "class twice": lambda root: str(edit(root / "classes.txt", "arrow", "cross") or ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_before_anything_trains(voc: Path, tmp_path: Path, fault: str) -> None:
    root = copy_of(voc, tmp_path / "set")
    place = FAULTS[fault](root)
    with pytest.raises(DataError) as error:
        read(root)
    assert place in str(error.value)


def test_a_test_image_in_the_training_split_is_a_fault(voc: Path, tmp_path: Path) -> None:
    root = copy_of(voc, tmp_path / "set")
    lines("trainval", lambda ids: [*ids, first_id(root, "test")])(root)
    with pytest.raises(DataError, match="in the training and in the test split"):
        read(root)


def test_a_set_without_a_training_object_is_refused(voc: Path, tmp_path: Path) -> None:
    # The loader would look for a batch for ever.
    root = copy_of(voc, tmp_path / "set")
    for name in (root / "ImageSets/Main/trainval.txt").read_text().split():
        path = root / "Annotations" / f"{name}.xml"
        path.write_text(re.sub("<object>.*</object>", "", path.read_text(), flags=re.DOTALL))
    with pytest.raises(DataError, match="no training image has an object"):
        read(root)


def test_fractional_training_boxes_are_read_as_they_are(voc: Path, tmp_path: Path) -> None:
    # Some training files of VOC2012 have them; Detectron2's loader takes them.
    root = copy_of(voc, tmp_path / "set")
    number("xmin", "3.25", "trainval")(root)
    assert read(root).train[0].objects[0].box[0] == 3.25


def test_all_faults_are_reported_together(voc: Path, tmp_path: Path) -> None:
    root = copy_of(voc, tmp_path / "set")
    number("xmin", "3.5")(root)
    number("difficult", "7", "trainval")(root)
    with pytest.raises(DataError) as error:
        read(root)
    text = str(error.value)
    assert annotation(root, "test").name in text
    assert annotation(root, "trainval").name in text
    assert "2 faults" in text and "2 of 9 images" in text
    assert len(error.value.problems) == 2


def test_a_link_out_of_the_set_is_refused(voc: Path, tmp_path: Path) -> None:
    root = copy_of(voc, tmp_path / "set")
    path = annotation(root, "test")
    outside = tmp_path / "outside.xml"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(DataError, match="link"):
        read(root)


def test_real_sets_are_read(real_data: Path) -> None:
    expected = {
        "voc_cc_mini": (45, 19, 20),
        "person_cc_voc": (199, 65, 1),
        "bccd_voc": (292, 72, 3),
        "openimages5_voc": (53, 19, 5),
        "fruits_nuts/voc": (16, 2, 3),
    }
    for name, (train, test, num_classes) in expected.items():
        data = read(real_data / name)
        assert (len(data.train), len(data.test), len(data.classes)) == (train, test, num_classes), name
