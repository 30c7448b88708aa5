"""What a study's images are: the embedded ones, those of folders, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError
from bench.synth.layout import CLASS_NAMES
from pretrain.analysis.config import PicturesConfig
from pretrain.analysis.pictures import Sources, open_pictures

CONFIG = PicturesConfig(size_px=32, num_train=24, num_probe=36, num_test=12)


def write_folder(root: Path, *, classes: tuple[str, ...] = ("a", "b"), count: int = 6) -> Path:
    for part in ("train", "val"):
        for number, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                level = 40 * number + 5 * index + (100 if part == "val" else 0)
                Image.new("RGB", (48, 40), (level, 0, 0)).save(root / part / name / f"{index}.png")
    return root


def test_embedded_images_have_classes_and_masks_of_their_objects() -> None:
    data = open_pictures(Sources(), CONFIG)
    assert [len(part) for part in (data.train, data.held_out, data.probe, data.test)] == [24, 12, 36, 12]
    assert data.classes == tuple(CLASS_NAMES)
    for part in (data.probe, data.test):
        assert part.masks is not None
        for label, mask in zip(part.known_labels.tolist(), part.masks, strict=True):
            assert set(np.unique(mask)) <= {0, label + 1, 255}
        assert np.mean(part.masks > 0) > 0.02


def test_no_part_shares_an_image_with_another_but_the_two_that_are_measured_on() -> None:
    data = open_pictures(Sources(), CONFIG)
    images = {
        name: {image.tobytes() for image in part.pixels}
        for name, part in (("train", data.train), ("probe", data.probe), ("test", data.test))
    }
    assert not images["train"] & images["probe"]
    assert not images["train"] & images["test"]
    assert not images["probe"] & images["test"]


def test_more_images_leave_the_others_as_they_were_and_are_other_data() -> None:
    few = open_pictures(Sources(), CONFIG)
    many = open_pictures(Sources(), CONFIG.model_copy(update={"num_train": 36}))
    assert np.array_equal(many.train.pixels[:24], few.train.pixels)
    assert many.stamp.fingerprint != few.stamp.fingerprint
    assert few.stamp.fingerprint == open_pictures(Sources(), CONFIG).stamp.fingerprint


def test_scenes_are_unlabelled_and_probes_may_have_another_size() -> None:
    data = open_pictures(Sources(), CONFIG, probe_px=16 * 2, scenes=True)
    assert data.train.labels is None
    with pytest.raises(TypeError):
        _ = data.train.known_labels
    assert data.probe.labels is not None


def test_the_embedded_images_have_no_end() -> None:
    with pytest.raises(DataError, match="0"):
        open_pictures(Sources(), CONFIG.model_copy(update={"num_train": 0}))


def test_a_folder_is_read_whole_or_as_many_as_asked_for(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    whole = PicturesConfig(size_px=32, num_train=0, num_probe=0, num_test=0)
    data = open_pictures(Sources(data=root), whole)
    assert [len(part) for part in (data.train, data.held_out, data.probe, data.test)] == [12, 12, 12, 12]
    assert data.classes == ("a", "b")
    assert data.train.pixels.shape == (12, 32, 32, 3)
    # The red level tells the file.
    assert sorted(data.test.pixels[:, 0, 0, 0].tolist()) == [
        100 + 40 * c + 5 * i for c in (0, 1) for i in range(6)
    ]
    assert np.array_equal(data.test.known_labels, (data.test.pixels[:, 0, 0, 0] >= 140).astype(int))
    some = open_pictures(Sources(data=root), whole.model_copy(update={"num_train": 4, "num_test": 3}))
    assert (len(some.train), len(some.probe), len(some.test)) == (4, 12, 3)
    again = open_pictures(Sources(data=root), whole.model_copy(update={"num_train": 4, "num_test": 3}))
    assert np.array_equal(some.train.pixels, again.train.pixels)
    assert some.stamp.fingerprint == again.stamp.fingerprint != data.stamp.fingerprint


def test_images_of_folders_come_in_no_order_of_classes(tmp_path: Path) -> None:
    """Else a batch of candidates would be of one class, and the first labelled images of few."""
    root = write_folder(tmp_path / "set", classes=("a", "b", "c", "d"), count=10)
    whole = PicturesConfig(size_px=32, num_train=0, num_probe=0, num_test=0)
    for config in (whole, whole.model_copy(update={"num_train": 20, "num_probe": 20, "num_test": 20})):
        data = open_pictures(Sources(data=root), config)
        for part in (data.train, data.held_out, data.probe, data.test):
            assert len(set(part.known_labels[:10].tolist())) >= 3


def test_images_without_classes_need_probe_data(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index in range(20):
        Image.new("RGB", (40, 40), (index, 0, 0)).save(flat / f"{index:02}.png")
    whole = PicturesConfig(size_px=32, num_train=0, num_probe=0, num_test=0)
    parted = tmp_path / "parted"
    for part in ("train", "val"):
        (parted / part).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(parted / part / "0.png")
    with pytest.raises(DataError, match="--probe-data"):
        open_pictures(Sources(data=parted), whole)
    labelled = write_folder(tmp_path / "set")
    data = open_pictures(Sources(data=flat, probe_data=labelled), whole)
    levels = [set(part.pixels[:, 0, 0, 0].tolist()) for part in (data.train, data.held_out)]
    assert levels[1] == {0, 10}, "one in ten is held out"
    assert levels[0] == set(range(20)) - levels[1]
    assert data.probe.labels is not None
    assert data.stamp.name == "flat and set"


def test_other_classes_in_val_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    (root / "val" / "b").rename(root / "val" / "c")
    with pytest.raises(DataError, match="other classes"):
        open_pictures(Sources(data=root), CONFIG.model_copy(update={"num_train": 0, "num_test": 0}))
