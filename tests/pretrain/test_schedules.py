"""The learning rate of every step against the formulas of the sources, written out here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.core.paths import CONFIGS
from pretrain.plan import read_config
from pretrain.schedules import Schedule, learning_rate

STEPS = 7
Formula = Callable[[float, int, int], float]


def config_of(slug: str) -> Any:
    return read_config(CONFIGS / "pretrain" / f"{slug}.toml")[1]


def rates(schedule: Schedule, start: float, epochs: int, steps: int = STEPS) -> list[float]:
    return [
        learning_rate(schedule, start, step=step, steps_per_epoch=steps, epochs=epochs)
        for step in range(epochs * steps)
    ]


def pycontrast_cosine(start: float, epoch: int, epochs: int) -> float:
    """PyContrast `adjust_learning_rate`; epochs count from 1."""
    floor = start * 0.1**3
    return floor + (start - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def step_decay(*decays: int) -> Formula:
    def rate(start: float, epoch: int, _epochs: int) -> float:
        passed = 0
        for decay in decays:
            if epoch > decay:
                passed += 1
        return start * 0.1**passed

    return rate


BY_EPOCH: dict[str, Formula] = {
    "moco_v1_ep200": step_decay(120, 160),
    "moco_v1_ep800": step_decay(480, 640),
    "moco_v2_ep200": pycontrast_cosine,
    "moco_v2_ep800": pycontrast_cosine,
    "infomin_ep200": pycontrast_cosine,
    "infomin_ep800": pycontrast_cosine,
    "supervised_ep90": step_decay(30, 60),
}


@pytest.mark.parametrize("slug", BY_EPOCH)
def test_a_config_by_epochs_follows_its_source(slug: str) -> None:
    config = config_of(slug)
    start, epochs = config.optimizer.learning_rate, config.epochs
    assert start == (0.1 if slug.startswith("supervised") else 0.03)
    assert epochs == int(slug.rpartition("ep")[2])
    found = rates(config.schedule, start, epochs)
    expected = [BY_EPOCH[slug](start, epoch, epochs) for epoch in range(1, epochs + 1) for _ in range(STEPS)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_step_decay_comes_in_the_epoch_after_the_given_one() -> None:
    config = config_of("moco_v1_ep200")
    found = rates(config.schedule, 0.03, 200)
    assert found[120 * STEPS - 1] == 0.03
    assert found[120 * STEPS] == pytest.approx(0.003)
    assert found[160 * STEPS - 1] == pytest.approx(0.003)
    assert found[160 * STEPS] == found[-1] == pytest.approx(0.0003)


def test_a_cosine_never_uses_the_full_rate_and_ends_at_a_thousandth() -> None:
    config = config_of("infomin_ep200")
    found = rates(config.schedule, 0.03, 200)
    assert found[0] < 0.03
    assert found[-1] == pytest.approx(0.03e-3, rel=1e-12)
    assert sorted(found, reverse=True) == found


@pytest.mark.parametrize(("epochs", "warm_epochs"), [(200, 5), (800, 10)])
def test_a_warm_up_rises_to_the_cosines_value_at_its_end(epochs: int, warm_epochs: int) -> None:
    start = 0.12
    schedule = Schedule(
        kind="cosine", per="epoch", floor_ratio=0.001, warmup_epochs=warm_epochs, warmup_from=0.01
    )
    end = pycontrast_cosine(start, warm_epochs, epochs)
    expected = []
    for epoch in range(1, epochs + 1):
        for batch in range(STEPS):
            share = (batch + (epoch - 1) * STEPS) / (warm_epochs * STEPS)
            warm = 0.01 + share * (end - 0.01)
            expected.append(warm if epoch <= warm_epochs else pycontrast_cosine(start, epoch, epochs))
    found = rates(schedule, start, epochs)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == 0.01
    assert found[warm_epochs * STEPS] < end


def test_a_warm_up_of_a_step_decay_rises_to_the_full_rate() -> None:
    schedule = Schedule(kind="step", per="epoch", decay_epochs=(120, 160), warmup_epochs=5, warmup_from=0.01)
    found = rates(schedule, 0.12, 200)
    assert found[0] == 0.01
    assert found[: 5 * STEPS] == pytest.approx([0.01 + n / (5 * STEPS) * 0.11 for n in range(5 * STEPS)])
    assert found[5 * STEPS] == 0.12


@pytest.mark.parametrize(("slug", "start"), [("simclr_ep200", 0.3), ("simclr_ep800", 4.8)])
def test_simclr_rises_for_ten_epochs_and_falls_to_nothing(slug: str, start: float) -> None:
    config = config_of(slug)
    assert config.optimizer.learning_rate == start
    assert config.schedule.warmup_from == pytest.approx(1e-4 * start, rel=1e-12)
    found, rise = rates(config.schedule, start, config.epochs), 10 * STEPS
    expected = [1e-4 * start + (start - 1e-4 * start) * step / rise for step in range(rise)]
    left = (config.epochs - 10) * STEPS
    expected += [start * (1 + math.cos(math.pi * number / left)) / 2 for number in range(left)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert found[rise] == start
    assert found[-1] < 1e-5 * start


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize("slug", ["simclr_ep200", "simclr_ep800"])
def test_simclr_is_what_torchs_schedulers_make_of_it(slug: str) -> None:
    config, steps = config_of(slug), 3
    start, rise, left = config.optimizer.learning_rate, 10 * steps, (config.epochs - 10) * steps
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-4, 1.0, rise)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, left)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [linear, cosine], [rise])
    theirs = []
    for _ in range(rise + left):
        theirs.append(optimizer.param_groups[0]["lr"])
        both.step()
    found = rates(config.schedule, start, config.epochs, steps)
    assert found == pytest.approx(theirs, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("starts", ["with_warmup", "after_warmup"])
def test_a_cosine_by_steps_goes_on_where_the_warm_up_ends_and_falls_to_its_floor(starts: Any) -> None:
    schedule = Schedule(
        kind="cosine", per="step", floor_ratio=0.01, warmup_epochs=2, warmup_from=0.0, cosine_starts=starts
    )
    found, rise = rates(schedule, 1.0, 10), 2 * STEPS
    begins = 0 if starts == "with_warmup" else rise
    whole = 10 * STEPS - begins
    cosine = [
        0.01 + 0.99 * (1 + math.cos(math.pi * (n - begins) / whole)) / 2 for n in range(rise, 10 * STEPS)
    ]
    assert found[rise:] == pytest.approx(cosine, rel=1e-12)
    assert found[:rise] == pytest.approx([step / rise * cosine[0] for step in range(rise)])
    assert 0.01 < found[-1] < 0.011


def test_a_rate_by_epochs_is_that_of_its_end_and_one_by_steps_that_of_its_start() -> None:
    by_epoch = rates(Schedule(kind="cosine", per="epoch"), 1.0, 10)
    by_step = rates(Schedule(kind="cosine", per="step"), 1.0, 10)
    assert len(set(by_epoch)) == 10 and len(set(by_step)) == 10 * STEPS
    assert by_step[0] == 1.0 and by_epoch[-1] == 0.0
    assert by_epoch[:-STEPS:STEPS] == pytest.approx(by_step[STEPS::STEPS], abs=1e-15)


@pytest.mark.parametrize("warmup_epochs", [3, 5])
def test_a_run_no_longer_than_its_warm_up_only_rises(warmup_epochs: int) -> None:
    schedule = Schedule(kind="cosine", per="step", warmup_epochs=warmup_epochs, cosine_starts="after_warmup")
    found = rates(schedule, 1.0, 3)
    assert found == pytest.approx([step / (warmup_epochs * STEPS) for step in range(3 * STEPS)])


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "step", "per": "epoch"},
        {"kind": "step", "per": "step", "decay_epochs": (3,)},
        {"kind": "cosine", "per": "epoch", "decay_epochs": (3,)},
        {"kind": "step", "per": "epoch", "decay_epochs": (5, 3)},
        {"kind": "step", "per": "epoch", "decay_epochs": (3, 3)},
        {"kind": "step", "per": "epoch", "decay_epochs": (3,), "decay_rate": 1.0},
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Schedule(**values)
