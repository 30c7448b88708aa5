"""Flows: undone exactly, pixel by pixel, with the log-determinant that autograd finds."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from bench.core.errors import ConfigError
from pretrain.views.flows import FlowKind, PixelFlow, RealNVPFlow, VolumePreservingFlow, build_flow

KINDS = get_args(FlowKind)


def drawn_flow(kind: FlowKind, num_layers: int = 6, dtype: torch.dtype = torch.float64) -> PixelFlow:
    """Far from the identity: no convolution is zero."""
    flow = build_flow(kind, num_layers, hidden=16).to(dtype)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 0.3)
    return flow


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (values * 2 - 1).to(dtype)


def test_kinds_have_their_classes() -> None:
    assert type(build_flow("volume_preserving", 2, 4)) is VolumePreservingFlow
    assert type(build_flow("real_nvp", 2, 4)) is RealNVPFlow


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_flow_is_the_identity(kind: FlowKind) -> None:
    out, log_det = build_flow(kind, 6, 16)(images(torch.float32))
    assert torch.equal(out, images(torch.float32)) and log_det.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("num_layers", [1, 6, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_the_inverse_undoes_it(kind: FlowKind, num_layers: int, dtype: torch.dtype, within: float) -> None:
    flow = drawn_flow(kind, num_layers, dtype)
    out, log_det = flow(images(dtype))
    assert out.dtype == log_det.dtype == dtype and log_det.shape == (2,)
    assert (out - images(dtype)).abs().max() > 0.1
    assert (flow.inverse(out) - images(dtype)).abs().max() < within
    back, _ = flow(flow.inverse(images(dtype)))
    assert (back - images(dtype)).abs().max() < within


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_that_of_the_jacobians(kind: FlowKind) -> None:
    flow = drawn_flow(kind)

    def pixel(values: Tensor) -> Tensor:
        out: Tensor = flow(values.view(1, 3, 1, 1))[0].flatten()
        return out

    _, log_det = flow(images())
    for image, found in zip(images(), log_det.tolist(), strict=True):
        total = 0.0
        for values in image.flatten(1).T:
            jacobian = torch.autograd.functional.jacobian(pixel, values)
            sign, size = torch.linalg.slogdet(jacobian)
            assert sign == 1 and (jacobian - torch.eye(3)).abs().max() > 0.05
            total += size.item()
        assert found == pytest.approx(total, abs=1e-9)


def test_volume_is_kept_by_one_kind_and_changed_by_the_other() -> None:
    assert drawn_flow("volume_preserving")(images())[1].tolist() == [0.0, 0.0]
    assert drawn_flow("real_nvp")(images())[1].abs().min() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_do_not_see_each_other(kind: FlowKind) -> None:
    flow = drawn_flow(kind)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    shuffled = images().flatten(2)[..., order].view(2, 3, 4, 5)
    out, log_det = flow(images())
    moved, same_log_det = flow(shuffled)
    assert torch.allclose(moved.flatten(2), out.flatten(2)[..., order], atol=1e-13, rtol=0)
    assert torch.allclose(same_log_det, log_det, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_channel_depends_on_all(kind: FlowKind) -> None:
    values = images().requires_grad_()
    out, _ = drawn_flow(kind)(values)
    for channel in range(3):
        (gradient,) = torch.autograd.grad(out[:, channel].sum(), values, retain_graph=True)
        assert (gradient.abs().amax(dim=(0, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_from_the_identity_every_parameter_learns(kind: FlowKind) -> None:
    torch.manual_seed(3)
    flow = build_flow(kind, 6, 16).double()
    optimizer = torch.optim.SGD(flow.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        out, log_det = flow(images())
        (out.pow(2).mean() - log_det.mean()).backward()
        optimizer.step()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_scales_stay_bounded_for_any_parameters() -> None:
    flow = drawn_flow("real_nvp", num_layers=1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(1000)
    # One changed channel of 20 pixels, each by a factor of e at most.
    _, log_det = flow(images())
    assert log_det.abs().max() <= 20 + 1e-9 and log_det.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_parameters_are_all_of_it(kind: FlowKind) -> None:
    flow, other = drawn_flow(kind), build_flow(kind, 6, 16).double()
    other.load_state_dict(flow.state_dict())
    assert all(map(torch.equal, other(images()), flow(images())))


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_around_it_changes_nothing(kind: FlowKind) -> None:
    flow, values = drawn_flow(kind, dtype=torch.float32), images(torch.float32)
    plain = flow(values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, flow(values), plain))
        back = flow.inverse(plain[0])
    assert back.dtype == torch.float32 and (back - values).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("num_layers", "hidden", "name"), [(0, 4, "num_layers"), (2, 0, "hidden"), (-1, 4, "num")]
)
def test_counts_below_one_are_refused(num_layers: int, hidden: int, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        build_flow("real_nvp", num_layers, hidden)
