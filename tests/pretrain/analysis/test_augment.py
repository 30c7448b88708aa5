"""Augmentation: a setting has the views that its name says, and a ResNet leaves weights for a transfer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.core.weights import WEIGHTS_FILE, read_weights
from bench.report.study_files import WEIGHTS
from pretrain.analysis.plan import make_plan
from pretrain.analysis.studies.augment import RUNGS, view_of
from pretrain.plan import config_path, read_config
from tests.contracts.test_studies import options


def published(method: str) -> dict[str, object]:
    view = read_config(config_path(method, smoke=False))[1].views[0]
    return {**dict(view), "crop_px": 32}


def test_the_ladder_begins_with_mocos_set_and_ends_with_infomins() -> None:
    first, *between, last = (dict(view_of(rung, 32)) for rung in RUNGS)
    assert first == published("moco_v1")
    assert last == published("infomin")
    assert [view["blur"] is not None for view in between] == [False, True]
    assert all(view["jitter"] == last["jitter"] for view in between)
    assert all(view["randaugment"] is None for view in between)


@pytest.mark.parametrize(("name", "brightness", "hue"), [("jitter 1", 0.8, 0.2), ("jitter 4", 3.2, 0.5)])
def test_jitter_is_simclrs_times_its_strength(name: str, brightness: float, hue: float) -> None:
    jitter = view_of(name, 32).jitter
    assert jitter is not None
    assert (jitter.brightness, jitter.hue) == (pytest.approx(brightness), pytest.approx(hue))


def test_the_lower_bound_of_the_crop_is_the_only_change() -> None:
    found = dict(view_of("crop 0.05", 32))
    assert found == {**published("moco_v1"), "crop_area": (0.05, 1.0)}


def test_a_resnet_leaves_weights_whose_key_is_in_the_record(tmp_path: Path) -> None:
    plan = make_plan(options(tmp_path, "augment", 'network.arch="resnet18"'))
    trainer = plan.study.trainer(plan.cell(plan.settings[0], 0))
    trainer.step(0)
    measured = trainer.measure()
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(trainer.files()[WEIGHTS_FILE])
    weights = read_weights(path)
    assert weights.card.key == measured.details[WEIGHTS]
    assert weights.card.arch == "resnet18"
    own = trainer.module.state_dict()
    name = next(name for name in own if name.endswith("network.conv1.weight"))
    assert torch.equal(torch.from_numpy(weights.tensors["conv1.weight"]), own[name])
    plain = make_plan(options(tmp_path, "augment"))
    assert plain.study.trainer(plain.cell(plain.settings[0], 0)).files() == {}
