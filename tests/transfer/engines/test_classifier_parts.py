"""The parts of a probe: rates, order, LARC, the rate of the linear layer, ranks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.card import InputSpec
from bench.core.errors import EngineError
from bench.core.paths import CONFIGS
from transfer.api import TASKS
from transfer.engines.torchvision.classify import ranked
from transfer.engines.torchvision.larc import TRUST_COEFFICIENT, Larc
from transfer.engines.torchvision.loader import epochs
from transfer.engines.torchvision.network import Backbone, FineTuned, build_classifier
from transfer.engines.torchvision.train import build_optimizer, rate_factor

# From the scripts: rate at each epoch as they write it.
SCRIPTS = {
    "in1k-linear-100ep": lambda epoch: 30.0 * 0.1 ** ((epoch >= 60) + (epoch >= 80)),
    "in1k-linear-60ep-pycontrast": lambda epoch: 30.0 * 0.2 ** sum(epoch + 1 > step for step in (30, 40, 50)),
    "in1k-linear-90ep-lars": lambda epoch: 0.1 * 4096 / 256 * 0.5 * (1 + math.cos(math.pi * epoch / 90)),
    "in1k-semi-1pct-swav": lambda epoch: 0.02 * 0.2 ** ((epoch >= 12) + (epoch >= 16)),
}


@pytest.mark.parametrize("slug", SCRIPTS)
def test_the_rate_of_each_epoch_is_the_script_s(slug: str) -> None:
    task = TASKS.get("low-shot" if "semi" in slug else "linear-probe")
    solver: Any = task.load_protocol(CONFIGS / "transfer" / f"{slug}.toml", ()).solver  # type: ignore[attr-defined]
    size = solver.iterations_per_epoch(1281167)
    for epoch in range(solver.epochs):
        for iteration in (epoch * size, (epoch + 1) * size - 1):
            rate = solver.learning_rate * rate_factor(solver, iteration / size)
            assert rate == pytest.approx(SCRIPTS[slug](epoch), rel=1e-9)
    assert solver.num_iterations(1281167) == solver.epochs * math.ceil(1281167 / solver.images_per_batch)


def test_an_epoch_shows_every_image_and_starts_anywhere() -> None:
    whole = epochs(10, images_per_batch=4, seed=3, start=0)
    first = [next(whole) for _ in range(9)]
    for epoch in range(3):
        numbers = [number for _, batch in first[3 * epoch : 3 * epoch + 3] for number in batch]
        assert set(numbers) == set(range(10))
        assert numbers[10:] == numbers[:2], "filled up from its beginning"
    assert first[0] != first[3], "another order"
    for start in range(9):
        later = epochs(10, images_per_batch=4, seed=3, start=start)
        assert [next(later) for _ in range(9 - start)] == first[start:]
    few = epochs(3, images_per_batch=8, seed=0, start=0)
    assert sorted(set(next(few)[1])) == [0, 1, 2]


def test_larc_is_its_formula() -> None:
    weights, bias = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.zeros(2))
    larc = Larc([{"params": [weights, bias]}], lr=2.0, momentum=0.9, weight_decay=0.1)
    velocity = torch.zeros(2)
    expected = torch.tensor([3.0, 4.0])
    for _ in range(3):
        weights.grad, bias.grad = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 0.0])
        size = expected.norm()
        ratio = TRUST_COEFFICIENT * size / (1.0 + 0.1 * size + 1e-8)
        velocity = 0.9 * velocity + ratio * (torch.tensor([0.6, 0.8]) + 0.1 * expected)
        expected = expected - 2.0 * velocity
        larc.step()
        assert torch.allclose(weights.detach(), expected, atol=1e-6)
        assert larc.param_groups[0]["weight_decay"] == 0.1
    # A tensor of zeros is not scaled at its first update; without a gradient there is none of decay, either.
    assert bias[0] < -2.0
    still = nn.Parameter(torch.ones(2))
    still.grad = torch.zeros(2)
    Larc([still], lr=1.0, momentum=0.0, weight_decay=0.1).step()
    assert torch.equal(still.detach(), torch.ones(2))


@pytest.mark.parametrize(("percent", "rates"), [(1, (5.0, 0.02)), (10, (0.2, 0.01))])
def test_the_linear_layer_of_a_low_shot_has_a_rate_of_its_own(
    percent: int, rates: tuple[float, float]
) -> None:
    """SwAV's README: --lr_last_layer 5 --lr 0.02, and 0.2 with 0.01."""
    path = CONFIGS / "transfer" / f"in1k-semi-{percent}pct-swav.toml"
    protocol: Any = TASKS.get("low-shot").load_protocol(path, ())
    backbone = Backbone(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), InputSpec(), channels_last=False
    )
    model = FineTuned(backbone, build_classifier(3, "uniform", seed=0))
    optimizer = build_optimizer(protocol.solver, model)
    names = {id(value): name for name, value in model.named_parameters()}
    found = {
        round(group["lr"], 9): {names[id(value)].split(".")[0] for value in group["params"]}
        for group in optimizer.param_groups
    }
    assert found == {rates[0]: {"classifier"}, rates[1]: {"backbone"}}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_equal_scores_take_the_lower_class_and_nan_is_no_result() -> None:
    scores = torch.tensor([[1.0, 5.0, 5.0, 0.0, 5.0, 2.0], [0.0] * 6])
    assert ranked(scores).tolist() == [[1, 2, 4, 5, 0], [0, 1, 2, 3, 4]]
    scores[0, 0] = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        ranked(scores)
