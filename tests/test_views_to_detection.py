"""From augmented views to boxes: weights of `bench views augment` in Detectron2, and their AP in its plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.core.store import Store
from bench.core.study import StudyStore
from tests.test_reproduce_command import bench

# MoCo's set has crops from .2 on: those of .5 are other views, and give other weights.
RESNET = ("--set", 'network.arch="resnet50"', "--set", "views.crop_low=[0.5]", "--seeds", "0,1")
SHORT = ("--smoke", "--set", "solver.iterations=2", "--set", "solver.steps=[1]",
         "--set", "solver.precise_bn_iterations=1")  # fmt: skip


@pytest.mark.slow
def test_detection_of_the_weights_of_each_setting_is_drawn_against_i_nce(voc: Path, tmp_path: Path) -> None:
    done = bench("views", "augment", *RESNET, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    studies = StudyStore(tmp_path / "results" / "views").scan().records
    weights = sorted((tmp_path / "runs" / "views").rglob("weights.safetensors"))
    assert len(weights) == len(studies) >= 4
    for path in weights:
        done = bench("transfer", "voc-det", "--checkpoint", path, "--data", voc, *SHORT, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    aps = {
        record.weights.key: record.metrics[record.main_metric].value
        for record in Store(tmp_path / "results" / "runs").scan().records
    }
    assert len(aps) == len(weights)
    done = bench("views", "plot", "--study", "augment", "--runs", "results/runs", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    group = entry["group"]
    (score,) = (name for name in group["scores"] if name.startswith("voc-det "))
    drawn = {
        (row["setting"], seed): value
        for row in group["rows"]
        for seed, value in zip(row["scores"][score]["seeds"], row["scores"][score]["values"], strict=True)
    }
    expected = {(one.setting, one.seed): aps[one.details["weights"]] for one in studies}
    assert drawn == expected
    assert list((tmp_path / "runs" / "views" / "plots").glob("augment-*.png"))
