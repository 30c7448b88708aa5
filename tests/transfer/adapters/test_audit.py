"""Every fault in a checkpoint stops the load with its name; what passes is bit-equal to its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from bench.core.errors import WeightsError
from bench.core.tensor_ref import TensorRef
from tests.transfer.adapters.conftest import prefixed, reference
from transfer.adapters.audit import audit_backbone
from transfer.adapters.identify import identify
from transfer.adapters.keymap import SHAPES

State = Mapping[str, TensorRef]
CASES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {}


def case(words: str) -> Callable[[Callable[[dict[str, Any]], Any]], Callable[[dict[str, Any]], Any]]:
    """Register a change of a flat state dict, and the words of its refusal."""

    def register(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        CASES[change.__name__] = (change, words)
        return change

    return register


def _with(state: dict[str, Any], name: str, array: np.ndarray) -> None:
    state[name] = reference(array)


@case(r"1 of 265 backbone tensors are missing \(first: layer4.2.bn3.running_var\). Nothing was loaded.")
def one_missing(state: dict[str, Any]) -> None:
    del state["layer4.2.bn3.running_var"]


@case(r"5 of 265 backbone tensors are missing \(first: conv1.weight")
def stem_missing(state: dict[str, Any]) -> None:
    for name in ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
        del state[name]


@case(r"106 of 265 backbone tensors are missing \(first: bn1.running_mean")
def running_statistics_missing(state: dict[str, Any]) -> None:
    for name in [name for name in state if "running_" in name]:
        del state[name]


@case(r"50 of 265 backbone tensors are missing \(first: layer4.0")
def last_stage_missing(state: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith("layer4")]:
        del state[name]


@case(
    r'1 keys are not explained by the layout "torchvision" \(\(no prefix\)\) \(first: layer4.2.extra.weight\)'
)
def one_extra(state: dict[str, Any]) -> None:
    state["layer4.2.extra.weight"] = state["bn1.weight"]


@case(r"1 keys are not explained .*first: epoch")
def a_number_among_tensors(state: dict[str, Any]) -> None:
    state["epoch"] = 3


@case(r"1 keys are not explained .*first: 7\)")
def a_key_that_is_no_text(state: dict[str, Any]) -> None:
    state[7] = state["bn1.weight"]  # type: ignore[index]


@case(
    r"(?s)1 of 265 .* missing \(first: layer2.0.conv2.weight\).*not explained.*first: layer2.0.convolution2"
)
def one_renamed(state: dict[str, Any]) -> None:
    state["layer2.0.convolution2.weight"] = state.pop("layer2.0.conv2.weight")


@case(r"1 of 265 backbone tensors have another shape \(first: layer2.0.conv2.weight \(128, 128, 1, 9\), exp")
def wrong_shape(state: dict[str, Any]) -> None:
    array = state["layer2.0.conv2.weight"].read()
    _with(state, "layer2.0.conv2.weight", array.reshape(128, 128, 1, 9))


@case(r"2 of 265 backbone tensors have another shape")
def norms_as_columns(state: dict[str, Any]) -> None:
    for name in ("bn1.weight", "bn1.bias"):
        _with(state, name, state[name].read()[:, None])


@case(r"missing \(first: bn1.weight\)")
def a_list_for_a_tensor(state: dict[str, Any]) -> None:
    state["bn1.weight"] = [1.0] * 64


@case(r"1 of 265 backbone tensors are not of floating point \(first: layer1.0.bn1.weight \(int64\)\)")
def integers(state: dict[str, Any]) -> None:
    _with(state, "layer1.0.bn1.weight", np.ones(64, dtype=np.int64))


@case(r"not of floating point \(first: conv1.weight \(complex64\)")
def complex_numbers(state: dict[str, Any]) -> None:
    _with(state, "conv1.weight", state["conv1.weight"].read().astype(np.complex64))


@case(r"1 of 265 backbone tensors have nan or infinite values \(first: layer3.1.conv1.weight\)")
def one_nan(state: dict[str, Any]) -> None:
    array = state["layer3.1.conv1.weight"].read()
    array[3, 2, 0, 0] = np.nan
    _with(state, "layer3.1.conv1.weight", array)


@case(r"have nan or infinite values \(first: bn1.bias\)")
def one_infinity(state: dict[str, Any]) -> None:
    array = state["bn1.bias"].read()
    array[0] = -np.inf
    _with(state, "bn1.bias", array)


@case(r"have negative variances \(first: layer4.0.downsample.1.running_var\)")
def negative_variance(state: dict[str, Any]) -> None:
    _with(state, "layer4.0.downsample.1.running_var", np.full(2048, -0.5, dtype=np.float32))


@case(r"are constant \(first: layer4.1.conv2.weight\)")
def a_hole(state: dict[str, Any]) -> None:
    _with(state, "layer4.1.conv2.weight", np.zeros((512, 512, 3, 3), dtype=np.float32))


@case(r"106 of 265 backbone tensors are constant \(first: bn1.running_mean")
def never_trained(state: dict[str, Any]) -> None:
    for name, value in list(state.items()):
        if "running_" in name:
            _with(state, name, np.full(value.shape, float(name.endswith("var")), dtype=np.float32))


@case(r"1 of 265 backbone tensors are float64 with values that float32 does not hold \(first: bn1.weight\)")
def inexact_doubles(state: dict[str, Any]) -> None:
    _with(state, "bn1.weight", np.full(64, 0.1, dtype=np.float64))


@case(r"float32 does not hold")
def doubles_out_of_range(state: dict[str, Any]) -> None:
    _with(state, "bn1.weight", np.full(64, 1e300, dtype=np.float64))


@case(r"no ResNet-50 under any known names .*The file has 320 keys: 'x_conv1.weight'")
def all_keys_wrong(state: dict[str, Any]) -> None:
    for name in list(state):
        state[f"x_{name}"] = state.pop(name)


@case(r"several encoders, and no documented layout fits. Found: 'b\.' .*'a\.'")
def two_prefixes_mixed(state: dict[str, Any]) -> None:
    for count, name in enumerate(list(state)):
        state[f"{'a.' if count % 2 else 'b.'}{name}"] = state.pop(name)


@case(r"several encoders, .*'\(no prefix\)' \(133 of 265 names\), 'layer4.module.' \(132 of 265 names\)")
def half_prefixed_by_module(state: dict[str, Any]) -> None:
    names = [name for name in state if name in SHAPES]
    for name in names[1::2]:
        state[f"layer4.module.{name}"] = state.pop(name)


@case(r"an encoder at a place that no documented layout fits. Found: 'checkpoint/model:'")
def one_level_more(state: dict[str, Any]) -> Any:
    return {"checkpoint": {"model": state}}


@case(r"a deep stem of several convolutions \(ResNet-C or -D\)")
def deep_stem(state: dict[str, Any]) -> None:
    del state["conv1.weight"]
    _with(state, "conv1.0.weight", np.ones((32, 3, 3, 3), dtype=np.float32))


@case(r"a stem of one 3x3 convolution, for small images")
def cifar_stem(state: dict[str, Any]) -> None:
    _with(state, "conv1.weight", np.ones((64, 3, 3, 3), dtype=np.float32))


@case(r"shortcuts under other names")
def supcontrast_shortcuts(state: dict[str, Any]) -> None:
    for name in [name for name in state if "downsample" in name]:
        state[name.replace("downsample", "shortcut")] = state.pop(name)


@case(r"a stem that sees 2 colour channels of 3")
def two_channels(state: dict[str, Any]) -> None:
    _with(state, "conv1.weight", np.ones((64, 2, 7, 7), dtype=np.float32))


@pytest.mark.parametrize("name", sorted(CASES))
def test_mutations(references: State, name: str) -> None:
    change, words = CASES[name]
    state: dict[str, Any] = dict(references)
    checkpoint = change(state) or state
    with pytest.raises(WeightsError, match=words) as refusal:
        audit_backbone(identify(checkpoint, "x.pth"), "x.pth")
    lines = str(refusal.value).splitlines()
    assert all(line.startswith("x.pth: ") for line in lines)
    assert max(map(len, lines)) < 600


def test_a_damaged_query_encoder_is_not_mended_from_the_key_encoder(references: State) -> None:
    pair = prefixed("module.encoder_q.", references) | prefixed("module.encoder_k.", references)
    names = [name for name in references if name in SHAPES][:150]
    for name in names:
        del pair[f"module.encoder_q.{name}"]
    with pytest.raises(WeightsError, match=r"150 of 265 backbone tensors are missing \(first: conv1.weight"):
        audit_backbone(identify({"state_dict": pair}, "moco.pth"), "moco.pth")


@pytest.mark.parametrize(
    ("numpy_dtype", "dtype"), [(np.float16, "float16"), (np.uint16, "bfloat16"), (np.float64, "float64")]
)
def test_other_floats_become_float32_without_loss(references: State, numpy_dtype: Any, dtype: str) -> None:
    names = ["conv1.weight", "bn1.running_var"]
    state, expected = dict(references), {}
    for name in names:
        array = references[name].read()
        if dtype == "bfloat16":
            short = (array.view(np.uint32) >> 16).astype(np.uint16)
            expected[name] = (short.astype(np.uint32) << 16).view(np.float32)
        else:
            short = array.astype(numpy_dtype)
            expected[name] = short.astype(np.float32)
        state[name] = reference(short, dtype)
    audit = audit_backbone(identify(state, "x"), "x")
    assert all(np.array_equal(audit.tensors[name], expected[name]) for name in names)
    assert audit.notes == (f"2 tensors were {dtype}; converted to float32 without loss",)
    assert {value.dtype for value in audit.tensors.values()} == {np.dtype(np.float32)}
