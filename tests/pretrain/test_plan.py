"""The plan: what is refused before anything is read or written, what is said, what must stay within a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.core.errors import ConfigError, DataError
from pretrain.devices import Devices
from pretrain.plan import open_data
from tests.helpers.pretraining import make_images, toy_plan


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize(
    ("method", "override", "words"),
    [
        ("moco-v2", "name='../../evil'", "name"),
        ("moco-v2", "name='My Run'", "name"),
        ("moco-v2", "monitor.crop_px=33", "crop_px 33 is larger than resize_px 32"),
        ("moco-v2", "schedule.warmup_epochs=3", "warmup_epochs: 3 is more than 2 epochs"),
    ],
)
def test_what_would_do_something_else_is_refused(
    images: Path, method: str, override: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        toy_plan(images.parent, images, method, override)


def test_a_decay_that_never_comes_is_refused(images: Path) -> None:
    """100 epochs of a recipe that decays at 120 and 160 would be another recipe."""
    recipe = {"what": "moco_v1_ep200", "smoke": False}
    with pytest.raises(ConfigError, match="decay_epochs: 120 never comes in 100 epochs"):
        toy_plan(images.parent, images, "moco-v1", "epochs=100", **recipe)
    toy_plan(images.parent, images, "moco-v1", "epochs=161", **recipe)


def test_a_class_called_train_is_not_taken_for_all(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    for name, source in (("train", "disc"), ("tram", "star")):
        shutil.copytree(images / "train" / source, root / name)
    with pytest.raises(DataError, match="called train beside the folder tram"):
        open_data(root, None, with_labels=False)
    (root / "tram").rename(root / "unlabeled")
    train, _ = open_data(root, None, with_labels=False)
    assert (train.root, train.labels) == (root / "train", None)


def test_a_split_with_classes_may_have_other_folders_beside_it(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "data")
    (tmp_path / "data" / "annotations").mkdir()
    train, val = open_data(tmp_path / "data", None, with_labels=True)
    assert val is not None
    assert train.classes == val.classes


def test_devices_monitor_and_held_out_images_are_conditions_and_how_often_is_none(
    images: Path, tmp_path: Path
) -> None:
    def conditions(data: Path, *overrides: str, devices: int = 1) -> dict[str, object]:
        return toy_plan(tmp_path, data, "simclr", *overrides, num_devices=devices).conditions

    first = conditions(images)
    assert conditions(images, "monitor.every_epochs=2", "monitor.batch_size=7") == first
    assert conditions(images, devices=2)["processes"] != first["processes"]
    assert conditions(images, "monitor.neighbours=4")["knn"] != first["knn"]
    other = tmp_path / "data"
    shutil.copytree(images, other)
    next((other / "val" / "disc").iterdir()).unlink()
    assert conditions(other)["knn"] != first["knn"]


def test_the_plan_says_what_the_weights_are_not_for(images: Path, tmp_path: Path) -> None:
    def said(*overrides: str) -> bool:
        lines = toy_plan(tmp_path, images, "supervised", *overrides).lines()
        return any("bench transfer takes ResNet-50" in line for line in lines)

    group = ("backbone.norm='group'", "backbone.zero_init_residual=false")
    assert said()
    assert said("backbone.arch='resnet50'", *group)
    assert not said("backbone.arch='resnet50'")


def test_one_gpu_on_each_node_has_nobody_of_its_node_to_shuffle_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Devices, "here", lambda _: Devices(1, 2, "torchrun", 0))

    def said(shuffle: str) -> bool:
        lines = toy_plan(tmp_path, images, "moco-v2", f"parts.shuffle_bn='{shuffle}'").lines()
        return any("nobody to shuffle keys with" in line for line in lines)

    assert (said("node"), said("global"), said("none")) == (True, False, False)
