"""The comparison itself, and the source network against padding and strides worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.core.errors import WeightsError
from bench.core.weights import Weights
from tests.helpers.converted import MSRA, TF, fed_as
from transfer.engines.source import Reference, reference, source_network
from transfer.engines.verify import verify_features, verify_tensors

NAMES = {"conv1.weight": "conv1.weight", "bn1.bias": "bn1.bias"}


def state_of(weights: Weights) -> dict[str, Tensor]:
    return {name: torch.from_numpy(weights.tensors[name].copy()) for name in NAMES}


def test_equal_tensors_are_counted(source: Weights) -> None:
    assert verify_tensors(source, state_of(source), NAMES) == 2


def one_step_up(value: Tensor) -> Tensor:
    changed = value.clone()
    changed[0] = torch.nextafter(changed[0], torch.tensor(torch.inf))
    return changed


@pytest.mark.parametrize(
    "change",
    [one_step_up, lambda v: v[:32], lambda v: v.half(), lambda v: v.double(), lambda v: v + torch.nan],
    ids=["one step", "shape", "half", "double", "nan"],
)
def test_any_other_tensor_is_found(source: Weights, change: Callable[[Tensor], Tensor]) -> None:
    state = state_of(source)
    with pytest.raises(WeightsError, match=r"1 of 2 .*bn1\.bias"):
        verify_tensors(source, {**state, "bn1.bias": change(state["bn1.bias"])}, NAMES)


def test_a_sign_of_zero_and_an_absent_tensor_are_found(source: Weights) -> None:
    zero = Weights(source.card, {**source.tensors, "bn1.bias": np.zeros(64, np.float32)})
    state = state_of(zero)
    assert verify_tensors(zero, state, NAMES) == 2
    with pytest.raises(WeightsError, match=r"bn1\.bias"):
        verify_tensors(zero, {**state, "bn1.bias": -state["bn1.bias"]}, NAMES)
    with pytest.raises(WeightsError, match=r"bn1\.bias"):
        verify_tensors(zero, {"conv1.weight": state["conv1.weight"]}, NAMES)


def features(*scales: float) -> Reference:
    """C2 to C5 whose largest value is `scale`."""
    stage = torch.linspace(0.5, 1, 8).view(1, 2, 2, 2)
    return Reference(torch.zeros(1, 3, 4, 4), tuple(scale * stage for scale in scales))


@pytest.mark.parametrize("offset", [0.0, 5e-6])
def test_small_differences_pass_and_the_largest_is_told(source: Weights, offset: float) -> None:
    expected = features(1.0, 1.0, 1.0, 1.0)
    found = [value.clone() for value in expected.features]
    found[2] += offset
    assert verify_features(source, lambda _: found, expected=expected) == pytest.approx(offset, abs=1e-7)


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1.0, 2e-5), (1000.0, 1e-3), (1e-6, 1e-7), (1.0, np.nan), (1.0, np.inf)],
    ids=["unit", "large", "tiny", "nan", "inf"],
)
@pytest.mark.parametrize("stage", [2, 3, 4, 5])
def test_larger_ones_are_refused_with_their_stage(
    source: Weights, stage: int, scale: float, offset: float
) -> None:
    """Where features are tiny, 1e-5 would let everything pass: the limit goes with them."""
    expected = features(scale, scale, scale, scale)
    found = [value.clone() for value in expected.features]
    found[stage - 2][0, 0, 0, 0] += offset
    with pytest.raises(WeightsError, match=rf"C{stage} differs by .* somewhere .*Stop\.$"):
        verify_features(source, lambda _: found, expected=expected, where="somewhere", outcome="Stop.")


def test_another_shape_is_refused(source: Weights) -> None:
    found = [value[..., :1] for value in features(1, 1, 1, 1).features]
    with pytest.raises(WeightsError, match="C2 has shape"):
        verify_features(source, lambda _: found, expected=features(1, 1, 1, 1))


def test_images_are_as_strong_as_the_cards_pixels(source: Weights) -> None:
    ordinary, msra = reference(source).images, reference(fed_as(source, MSRA)).images
    assert 0.9 < float(ordinary.std()) < 1.1
    assert 50 < float(msra.std()) < 65


def impulse(network: torch.nn.Module, name: str, row: int, column: int) -> torch.nn.Conv2d:
    """Make a convolution hand on one input pixel: channel 0 at one place of its kernel."""
    conv = network.get_submodule(name)
    assert isinstance(conv, torch.nn.Conv2d)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, row, column] = 1.0
    return conv


@pytest.mark.parametrize(
    ("name", "before", "tf_before"),
    [("conv1", 3, 2), ("layer2.0.conv2", 1, 0), ("layer1.0.conv2", 1, 1)],
)
def test_tensorflows_padding_starts_where_its_rule_says(
    source: Weights, name: str, before: int, tf_before: int
) -> None:
    """The first output of a kernel's last place looks at pixel k - 1 - (padding before)."""
    for spec, padding in ((source.card.input, before), (TF, tf_before)):
        network = source_network(fed_as(source, spec))
        kernel = network.get_submodule(name).kernel_size[0]  # type: ignore[index, union-attr]
        conv = impulse(network, name, kernel - 1, kernel - 1)
        images = torch.rand(1, conv.in_channels, 16, 16)
        with torch.no_grad():
            out = conv(images)[0, 0]
        stride = conv.stride[0]
        assert out.shape == (16 // stride, 16 // stride)
        at = kernel - 1 - padding
        assert out[0, 0] == images[0, 0, at, at]
        assert out[1, 2] == images[0, 0, at + stride, at + 2 * stride]


def test_tensorflows_pool_has_its_padding_at_the_end(source: Weights) -> None:
    images = -torch.rand(1, 64, 16, 16)  # below zero: padding with zeros would win
    pool = source_network(fed_as(source, TF)).get_submodule("maxpool")
    out = pool(images)
    assert out.shape == (1, 64, 8, 8)
    assert torch.equal(out[..., 0, 0], images[..., 0:3, 0:3].amax((2, 3)))
    assert torch.equal(out[..., 7, 7], images[..., 14:16, 14:16].amax((2, 3)))


def test_the_stride_is_where_the_card_says(source: Weights) -> None:
    for spec, strides in ((source.card.input, (1, 2)), (MSRA, (2, 1))):
        network = source_network(fed_as(source, spec))
        for stage in (2, 3, 4):
            found = [network.get_submodule(f"layer{stage}.0.conv{i}").stride[0] for i in (1, 2)]  # type: ignore[index, union-attr]
            assert tuple(found) == strides


def test_dilation_keeps_the_size(source: Weights) -> None:
    for dilated, sides in (((False, True, True), (32, 16, 16, 16)), ((False, False, True), (32, 16, 8, 8))):
        found = reference(source, dilated).features
        assert tuple(value.shape[-1] for value in found) == sides


def test_weights_without_features_prove_nothing(source: Weights) -> None:
    """Biases that leave no unit alive: every engine agrees on zeros."""
    dead = ("bn3.bias", "downsample.1.bias", "bn1.bias")
    tensors = {name: array - 100 if name.endswith(dead) else array for name, array in source.tensors.items()}
    weights = replace(source, tensors=tensors)
    expected = reference(weights)
    with pytest.raises(WeightsError, match=r"C2 of the source network is 0 everywhere"):
        verify_features(weights, lambda images: expected.features, expected=expected)
