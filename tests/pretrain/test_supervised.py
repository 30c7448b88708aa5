"""The supervised loop at toy size."""

from pathlib import Path

import numpy as np
import pytest

from bench.core.config import load_config
from bench.core.errors import DataError
from bench.core.paths import CONFIGS
from bench.core.weights import read_weights, write_weights
from bench.synth.generate import Counts, generate
from pretrain.supervised import SupervisedConfig, pretrain_supervised
from transfer.adapters.load import load_backbone

TOY = ("steps=3", "batch_size=4", "image_px=32", "warmup_steps=1", "crop_padding_px=2")
NAME = "resnet50.supervised_toy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder") / "data"
    generate(root, class_size_px=32, counts=Counts(0, 0, 2, 1))
    return root / "folder"


def config(*overrides: str) -> SupervisedConfig:
    return load_config(SupervisedConfig, CONFIGS / "smoke" / "supervised.toml", (*TOY, *overrides))


def test_equal_seeds_give_equal_weights_that_pass_the_audit(folder: Path, tmp_path: Path) -> None:
    first, accuracy = pretrain_supervised(config(), folder / "train", folder / "val", seed=0, name=NAME)
    again, _ = pretrain_supervised(config(), folder / "train", folder / "val", seed=0, name=NAME)
    other, _ = pretrain_supervised(config(), folder / "train", folder / "val", seed=1, name=NAME)
    assert 0.0 <= accuracy <= 100.0
    assert first.card.tensors_sha256 == again.card.tensors_sha256 != other.card.tensors_sha256

    path = tmp_path / "weights.safetensors"
    write_weights(path, first)
    assert read_weights(path).card == first.card
    loaded = load_backbone(path)
    assert loaded.card.tensors_sha256 == first.card.tensors_sha256
    assert len(loaded.tensors) == 265


def test_every_stage_learns(folder: Path) -> None:
    before, _ = pretrain_supervised(config("steps=1"), folder / "train", folder / "val", seed=0, name=NAME)
    after, _ = pretrain_supervised(config(), folder / "train", folder / "val", seed=0, name=NAME)
    for name in ("conv1.weight", "layer1.0.bn3.weight", "layer4.2.bn3.weight"):
        assert not np.array_equal(before.tensors[name], after.tensors[name]), name


def test_folders_of_different_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "val" / "zebra").mkdir(parents=True)
    source = next((folder / "val" / "disc").iterdir())
    (tmp_path / "val" / "zebra" / "a.jpg").write_bytes(source.read_bytes())
    with pytest.raises(DataError, match="classes"):
        pretrain_supervised(config(), folder / "train", tmp_path / "val", seed=0, name=NAME)
