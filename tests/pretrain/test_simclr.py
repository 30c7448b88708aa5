"""SimCLR: NT-Xent in plain loops, and whole steps with projector and LARS by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from pretrain.distributed import Place, World
from pretrain.optim import build_optimizer
from tests.pretrain.test_contrast import (
    TOLERANCE,
    assert_near,
    batch_of,
    build,
    feed,
    gradients,
    part_of,
    small_config,
    torchvision_resnet,
    unit,
)
from tests.pretrain.test_optim import Velocity

PLACE = Place(5, 0)


def small_simclr(*, norm: str = "batch", **parts: Any) -> Any:
    config = small_config("simclr_ep200", **{"hidden_dim": 16, "projection_dim": 8, **parts})
    backbone = config.backbone.model_copy(update={"norm": norm})
    return config.model_copy(update={"backbone": backbone})


def nt_xent_by_hand(first: npt.NDArray[Any], second: npt.NDArray[Any], temperature: float) -> float:
    """Chen et al. 2020, eq. 1: over both orders of every pair, all other views being candidates."""
    views = [row / math.sqrt(float(row @ row)) for row in np.concatenate([first, second])]
    losses = []
    for anchor, view in enumerate(views):
        partner = (anchor + len(first)) % len(views)
        others = [other for other in range(len(views)) if other != anchor]
        total = sum(math.exp(float(view @ views[other]) / temperature) for other in others)
        losses.append(-math.log(math.exp(float(view @ views[partner]) / temperature) / total))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_nt_xent_is_the_sum_written_out(dtype: torch.dtype, tolerance: float, temperature: float) -> None:
    model = build(small_simclr(temperature=temperature), dtype)
    draw = np.random.default_rng(0)
    first, second = (draw.standard_normal((6, 8)) for _ in range(2))
    found = model.criterion(torch.from_numpy(first).to(dtype), torch.from_numpy(second).to(dtype))
    expected = nt_xent_by_hand(first, second, temperature)
    assert float(found) == pytest.approx(expected, abs=tolerance, rel=0)


def test_equal_projections_give_the_logarithm_of_the_candidates() -> None:
    model = build(small_simclr())
    same = torch.ones(4, 8, dtype=torch.float64)
    assert float(model.criterion(same, same)) == pytest.approx(math.log(7), abs=1e-12)


def batch_norm(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = values.mean(dim=0)
    variance = ((values - mean) ** 2).mean(dim=0)
    return (values - mean) / torch.sqrt(variance + 1e-5) * weight + bias


class Reference:
    """SimCLR with LARS by hand; all but the ResNet and its autograd."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        state = {
            name: value.double() if value.is_floating_point() else value for name, value in state.items()
        }
        self.network = torchvision_resnet(part_of(state, "network."))
        head = part_of(state, "head.layers.")
        self.head = {name: value for name, value in head.items() if name.endswith(("weight", "bias"))}
        self.optimizer = Velocity(
            momentum=0.9, weight_decay=1e-6, decays=lambda value: value.ndim > 1, lars=0.001
        )

    def loss_of(self, views: tuple[Tensor, ...]) -> Tensor:
        values = self.network(torch.cat([feed(view) for view in views]))
        values = batch_norm(values @ self.head["0.weight"].T, self.head["1.weight"], self.head["1.bias"])
        values = torch.where(values > 0, values, torch.zeros_like(values))
        values = batch_norm(values @ self.head["3.weight"].T, self.head["4.weight"], self.head["4.bias"])
        rows, losses = unit(values), []
        for anchor in range(len(rows)):
            logits = rows @ rows[anchor] / 0.1
            others = torch.cat([logits[:anchor], logits[anchor + 1 :]])
            partner = (anchor + len(rows) // 2) % len(rows)
            losses.append(torch.log(torch.exp(others).sum()) - logits[partner])
        return torch.stack(losses).mean()

    def step(self, views: tuple[Tensor, ...], rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        for value in self.head.values():
            value.requires_grad_()
        loss = self.loss_of(views)
        named = dict(self.parameters())
        grads = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        with torch.no_grad():
            old = {name: value.detach().clone() for name, value in named.items()}
            for name, value in self.optimizer.updated(old, grads, rate).items():
                named[name].copy_(value)
        return loss.detach(), grads

    def parameters(self) -> Any:
        yield from ((f"network.{name}", value) for name, value in self.network.named_parameters())
        yield from ((f"head.layers.{name}", value) for name, value in self.head.items())


@pytest.mark.parametrize("norm", ["batch", "sync_batch"])
def test_two_whole_steps_are_those_written_out(norm: str) -> None:
    config = small_simclr(norm=norm)
    model = build(config)
    reference, optimizer = (
        Reference(model.state_dict()),
        build_optimizer(config.optimizer, model, fused=True),
    )
    for step in range(2):
        batch = batch_of(step)
        optimizer.zero_grad()
        loss, _ = model(batch, PLACE)
        loss.backward()
        expected, grads = reference.step(batch.views, 0.3)
        assert float(loss.detach()) == pytest.approx(float(expected), abs=TOLERANCE, rel=0)
        assert_near(gradients(model), grads)
        optimizer.step()
        model.after_step()
        assert_near(dict(model.named_parameters()), dict(reference.parameters()))
    assert_near(
        {name: value for name, value in model.network.named_buffers()},
        {name: value for name, value in reference.network.named_buffers()},
    )


def test_the_first_loss_in_float32_is_that_of_float64() -> None:
    model = build(small_simclr(), torch.float32)
    reference, batch = Reference(model.state_dict()), batch_of(0, side=64)
    loss, scalars = model(batch, PLACE)
    expected = reference.loss_of(batch.views)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5, rel=0)
    assert loss.dtype == torch.float32
    assert set(scalars) == set(model.columns) and not any(v.requires_grad for v in scalars.values())


def test_information_counts_the_views_of_all_processes() -> None:
    model = build(small_simclr())
    _, scalars = model(batch_of(0), PLACE)
    assert float(scalars["i_nce"]) == pytest.approx(math.log(7) - float(scalars["loss"]), abs=1e-12)
    model.world = World(rank=0, size=3, node_size=3)
    _, scalars = model(batch_of(0), PLACE)
    assert float(scalars["i_nce"]) == pytest.approx(math.log(23) - float(scalars["loss"]), abs=1e-12)


def test_similarities_are_float32_under_mixed_precision() -> None:
    model, seen = build(small_simclr(), torch.float32), []
    model.criterion.register_forward_pre_hook(lambda _module, given: seen.extend(x.dtype for x in given))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model(batch_of(0), PLACE)
    assert loss.dtype == torch.float32
    assert seen == [torch.float32, torch.float32]


def test_the_projector_follows_the_norm_of_the_backbone() -> None:
    kinds = {
        norm: [type(module) for module in build(small_simclr(norm=norm)).head.layers]
        for norm in ("batch", "sync_batch")
    }
    linear = nn.Linear
    assert kinds["batch"] == [linear, nn.BatchNorm1d, nn.ReLU, linear, nn.BatchNorm1d]
    assert kinds["sync_batch"] == [linear, nn.SyncBatchNorm, nn.ReLU, linear, nn.SyncBatchNorm]
    config = small_simclr(norm="group")
    group = config.model_copy(
        update={"backbone": config.backbone.model_copy(update={"zero_init_residual": False})}
    )
    assert not [m for m in build(group).head.modules() if "Norm" in type(m).__name__]
