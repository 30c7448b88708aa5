"""Class folders for classification, subsets of them, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import DataError
from bench.core.paths import CONFIGS
from tests.helpers.known_network import COLOURS, colour_set
from transfer.api import TASKS
from transfer.data.image_classes import (
    ClassificationDataset,
    classification_departures,
    drawn,
    read_classification,
)


def protocol(slug: str, *overrides: str, folder: str = "transfer") -> Any:
    task = "low-shot" if "semi" in slug else "linear-probe"
    return TASKS.get(task).load_protocol(CONFIGS / folder / f"{slug}.toml", overrides)


def read(root: Path, slug: str = "in1k-linear-100ep", *overrides: str) -> ClassificationDataset:
    return read_classification(root, protocol(slug, *overrides).data)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return colour_set(tmp_path / "set")


def test_a_set_is_read(colours: Path) -> None:
    data = read(colours)
    assert data.classes == tuple(COLOURS)
    assert data.stamp().counts == {"train": 36, "test": 30}
    assert data.train_labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert data.notes == ()


def test_the_fingerprint_follows_names_classes_and_the_subset(colours: Path) -> None:
    before = read(colours).fingerprint
    assert before == read(colours).fingerprint
    lists = []
    for number, names in enumerate((["blue/000.png", "red/001.png"], ["blue/000.png", "red/002.png"])):
        path = colours.parent / f"{number}.txt"
        path.write_text("\n".join(names))
        lists.append(read(colours, "in1k-semi-1pct-swav", f"data.train_list='{path}'").fingerprint)
    (colours / "val/red/000.png").rename(colours / "val/red/zzz.png")
    assert len({before, *lists, read(colours).fingerprint}) == 4


def flatten(root: Path) -> None:
    for path in list((root / "train").rglob("*.png")):
        path.rename(root / "train" / f"{path.parent.name}-{path.name}")
    for name in COLOURS:
        (root / "train" / name).rmdir()


def leave_one_class(root: Path) -> None:
    for split in ("train", "val"):
        for name in ("red", "blue"):
            shutil.rmtree(root / split / name)


FAULTS: dict[str, tuple[Any, str]] = {
    "no train": (lambda root: shutil.rmtree(root / "train"), "train"),
    "no test": (lambda root: shutil.rmtree(root / "val"), "val or test"),
    "another class": (lambda root: (root / "val/red").rename(root / "val/rot"), "classes are not those of"),
    "flat": (flatten, "no classes"),
    "one class": (leave_one_class, "one class only"),
    "an empty class": (
        lambda root: [path.unlink() for path in (root / "train/red").iterdir()],
        "no image",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_set_is_refused(colours: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    spoil(colours)
    with pytest.raises(DataError, match=message) as caught:
        read(colours)
    assert str(colours) in str(caught.value)


LISTS = {
    "unknown": ("blue/000.png\nblue/999.png\n", "line 2.*no such image"),
    "several": ("000.png\n", "3 images have this name"),
    "again": ("blue/000.png\n\nblue/000.png\n", "line 3.*line 1 already"),
    "empty": ("\n\n", "no name of an image"),
    "outside": ("../val/blue/000.png\n", "no such image"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_does_not_fit_is_refused(colours: Path, name: str) -> None:
    text, message = LISTS[name]
    (colours / "1percent.txt").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read(colours, "in1k-semi-1pct-swav")
    assert "1percent.txt" in str(caught.value)


def test_a_list_of_bytes_is_refused(colours: Path) -> None:
    (colours / "1percent.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8 at byte 0"):
        read(colours, "in1k-semi-1pct-swav")


def test_without_its_list_a_low_shot_says_what_to_do(colours: Path) -> None:
    with pytest.raises(DataError, match=r"1percent\.txt.*data\.train_list"):
        read(colours, "in1k-semi-1pct-swav")


def test_names_of_files_alone_are_enough_where_they_are_unique(colours: Path) -> None:
    """As in the lists of ImageNet: the name of the file, which has its class in it."""
    for path in sorted((colours / "train").rglob("*.png")):
        path.rename(path.with_name(f"{path.parent.name}_{path.name}"))
    (colours / "10percent.txt").write_text("red_004.png\nblue_011.png\n")
    data = read(colours, "in1k-semi-10pct-swav")
    assert [data.train.name(int(index)) for index in data.chosen] == ["blue/blue_011.png", "red/red_004.png"]
    assert data.list_sha256 == hashlib.sha256(b"red_004.png\nblue_011.png\n").hexdigest()
    assert any("1 classes have no image" in note for note in data.notes)
    assert data.stamp().counts["train"] == 2


def test_a_share_of_each_class_is_the_same_for_every_seed() -> None:
    labels = np.repeat(np.arange(4), [50, 100, 3, 1])
    chosen = drawn(labels, 0.1)
    assert np.bincount(labels[chosen]).tolist() == [5, 10, 1, 1]
    assert chosen.tolist() == drawn(labels, 0.1).tolist() == sorted(set(chosen.tolist()))
    assert drawn(labels, 1.0).tolist() == list(range(154))


def named_like_imagenet(root: Path) -> Path:
    for split in ("train", "val"):
        for number, name in enumerate(COLOURS):
            (root / split / name).rename(root / split / f"n0000000{number}")
    return root


COUNTS = ("data.num_train=[36]", "data.num_test=30", "data.num_classes=3")


def test_only_the_published_set_departs_from_nothing(colours: Path) -> None:
    own = classification_departures(read(colours), protocol("in1k-linear-100ep").data)
    assert own == ("set, 3 classes of its own (protocol: ImageNet-1K)",)
    named_like_imagenet(colours)
    expected = protocol("in1k-linear-100ep", *COUNTS).data
    data = read_classification(colours, expected)
    assert data.name == "ImageNet-1K"
    assert classification_departures(data, expected) == ()
    (colours / "train/n00000000/000.png").unlink()
    data = read_classification(colours, expected)
    assert classification_departures(data, expected) == ("train: 35 images (protocol: 36)",)


def test_a_pack_departs(colours: Path, tmp_path: Path) -> None:
    """Its pixels are others, whatever its names and counts."""
    from click.testing import CliRunner

    from bench.commands.data import command

    named_like_imagenet(colours)
    for split in ("train", "val"):
        packed = ["--out", str(tmp_path / "packed" / split), "--long-side", "32"]
        arguments = ["pack", str(colours / split), *packed]
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    expected = protocol("in1k-linear-100ep", *COUNTS).data
    lines = classification_departures(read_classification(tmp_path / "packed", expected), expected)
    assert [line.split(":")[0] for line in lines] == ["train", "val"]


def test_the_split_of_the_protocol_comes_first(colours: Path) -> None:
    shutil.copytree(colours / "val", colours / "test")
    shutil.rmtree(colours / "test" / "red")
    shutil.copytree(colours / "val" / "red", colours / "test" / "red")
    expected = protocol("in1k-linear-100ep", "data.test='test'", "data.class_pattern='.+'", *COUNTS).data
    data = read_classification(colours, expected)
    assert data.test_split == "test"
    assert classification_departures(data, expected) == ()
    shutil.rmtree(colours / "test")
    lines = classification_departures(read_classification(colours, expected), expected)
    assert lines == ("tested on val (protocol: test)",)


def test_another_list_departs(colours: Path) -> None:
    named_like_imagenet(colours)
    (colours / "1percent.txt").write_text("n00000000/000.png\n")
    expected = protocol("in1k-semi-1pct-swav", *COUNTS).data
    (line,) = classification_departures(read_classification(colours, expected), expected)
    assert "1percent.txt" in line
    assert "71e82a48ba78" in line
    sha256 = hashlib.sha256(b"n00000000/000.png\n").hexdigest()
    expected = protocol("in1k-semi-1pct-swav", *COUNTS, f"data.train_list_sha256='{sha256}'").data
    assert classification_departures(read_classification(colours, expected), expected) == ()
