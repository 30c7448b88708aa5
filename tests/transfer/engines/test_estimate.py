"""What a trial is said to take: memory against a figure that was measured, time against a run."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.commands.transfer import _fits
from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.paths import CONFIGS
from tests.transfer.engines.test_detectron2 import make_job, run
from transfer.adapters.detectron2_config import detectron2_config
from transfer.api import Estimate
from transfer.comparability import Devices, Wishes, fit
from transfer.data.detection import DetectionImage
from transfer.engines import load_engine
from transfer.engines.detectron2.estimate import largest_size, training_bytes
from transfer.engines.detectron2.model import build_config, build_detector
from transfer.protocols.voc import VocProtocol

GIB = 2**30


def counted(
    slug: str = "voc0712-r50c4-24k",
    images: int = 16,
    precision: str = "fp32",
    size: tuple[int, int] = (800, 800),
) -> float:
    """GiB that the published protocol is said to take for a batch of that size."""
    protocol = load_config(VocProtocol, CONFIGS / "transfer" / f"{slug}.toml")
    protocol = fit(protocol, Devices(1, 1), Wishes(precision))
    entries = detectron2_config(
        protocol,
        InputSpec(),
        num_classes=10,
        train_names=("a",),
        test_name="b",
        weights_file="",
        seed=0,
    )
    model, _ = build_detector(build_config(entries, "cpu"), None, seed=0)
    return training_bytes(model, protocol, num_images=images, size=size) / GIB


def test_memory_is_near_what_was_measured() -> None:
    """docs/measurements.md: 63.9 and 32.6 GiB on an H100, two more models of 0.4 GiB each beside the one."""
    assert counted() == pytest.approx(63.9 - 0.8, rel=0.03)
    assert counted(precision="bf16") == pytest.approx(32.6 - 0.8, rel=0.03)


def test_half_of_the_images_in_bf16_fit_a_card_of_24_gb() -> None:
    """What --accumulate 2 --precision bf16 is for."""
    largest = (800, 1333)
    assert counted(images=8, precision="bf16", size=largest) < 22
    assert counted(images=4, size=largest) < 22
    assert counted(images=8) == pytest.approx(counted() / 2, rel=0.02)


def test_a_pyramid_takes_less() -> None:
    assert counted("voc0712-r50fpn-24k") < counted() / 2


def test_the_largest_batch_has_the_largest_sides_of_its_kind(tmp_path: Path, voc: Path) -> None:
    protocol = load_config(VocProtocol, CONFIGS / "transfer" / "voc0712-r50c4-24k.toml")
    entries = detectron2_config(
        protocol, InputSpec(), num_classes=1, train_names=("a",), test_name="b", weights_file="", seed=0
    )
    cfg = build_config(entries, "cpu")

    def image(width: int, height: int) -> DetectionImage:
        return DetectionImage("", tmp_path, width, height, (), "", "")

    images = [image(500, 375), image(500, 333)]
    # 375 becomes 800 px; 500 of 333 becomes 1201.
    assert largest_size(images, cfg) == (800, 1201)
    tall = image(375, 500)
    assert largest_size([*images, tall], cfg) == (800, 1201)
    assert largest_size([tall], cfg) == (1067, 800)


@pytest.mark.slow
def test_time_is_of_the_order_of_a_run(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc, "solver.iterations=12", "solver.images_per_batch=4")
    found = load_engine("detectron2").estimate_job(job)
    begun = time.perf_counter()
    run(job)
    spent = time.perf_counter() - begun
    assert 0.2 < (found.train_seconds + found.test_seconds) / spent < 5
    written = sum(path.stat().st_size for path in job.run_dir.rglob("*") if path.is_file())
    assert written <= found.disk_bytes * 1.01


def estimate_of(gib: float, device: float | None, **by_accumulation: float) -> Estimate:
    by = {int(name[1:]): int(value * GIB) for name, value in by_accumulation.items()}
    room = None if device is None else int(device * GIB)
    return Estimate(int(gib * GIB), by, room, 1.0, 1.0, 1, "")


def test_a_device_that_is_too_small_is_told_what_helps() -> None:
    parts = {"x1": 63.0, "x2": 32.0, "x4": 16.5, "x8": 8.0}
    assert _fits(estimate_of(63, None, **parts)) == ""
    assert _fits(estimate_of(63, 79, **parts)) == ""
    assert "23.0 GiB: --accumulate 4 " in _fits(estimate_of(63, 23, **parts))
    assert "no --accumulate" in _fits(estimate_of(63, 7, **parts))


def test_memory_is_told_for_each_way_of_taking_the_batch(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc, "solver.images_per_batch=4")
    found = load_engine("detectron2").estimate_job(job)
    assert list(found.memory_by_accumulation) == [1, 2]
    assert found.memory_by_accumulation[1] == found.memory_bytes > found.memory_by_accumulation[2]
    frozen = make_job(tmp_path, voc, "model.norm='FrozenBN'", "solver.accumulation_steps=2")
    assert load_engine("detectron2").estimate_job(frozen).memory_bytes > 0


def test_an_estimate_trains_nothing(tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no warm-up: at the full rate it might diverge, and end a run that would not."""
    kept: list[torch.nn.Module] = []

    def build(*arguments: Any, **values: Any) -> Any:
        model, verified = build_detector(*arguments, **values)
        kept.extend((model, copy.deepcopy(model)))
        return model, verified

    monkeypatch.setattr("transfer.engines.detectron2.estimate.build_detector", build)
    load_engine("detectron2").estimate_job(make_job(tmp_path, voc, "solver.learning_rate=0.5"))
    after, before = (dict(model.named_parameters()) for model in kept)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_an_estimate_leaves_no_trace(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc)
    load_engine("detectron2").estimate_job(replace(job))
    assert not job.run_dir.exists()
    several = replace(job, num_devices=2)
    assert load_engine("detectron2").estimate_job(several).memory_bytes > 0
    assert not torch.distributed.is_initialized()
