"""Every fault in a checkpoint stops the load with its name; what passes is bit-equal to its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from bench.core.card import InputSpec, hash_tensors
from bench.core.errors import UsageError, WeightsError
from bench.core.tensor_ref import TensorRef
from bench.core.weights import sha256_file, write_weights
from tests.transfer.adapters.conftest import prefixed, reference
from transfer.adapters.audit import audit_backbone, default_name, load_backbone, why_not_resnet50
from transfer.adapters.keymap import COUNTERS, SHAPES
from transfer.adapters.layouts import identify

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


@case(r"are zero everywhere \(first: layer4.1.conv2.weight\)")
def a_hole(state: dict[str, Any]) -> None:
    _with(state, "layer4.1.conv2.weight", np.zeros((512, 512, 3, 3), dtype=np.float32))


@case(r"1 of 265 backbone tensors are float64 with values that float32 does not hold \(first: bn1.weight\)")
def inexact_doubles(state: dict[str, Any]) -> None:
    _with(state, "bn1.weight", np.full(64, 0.1, dtype=np.float64))


@case(r"float32 does not hold")
def doubles_out_of_range(state: dict[str, Any]) -> None:
    _with(state, "bn1.weight", np.full(64, 1e300, dtype=np.float64))


@case(r"no ResNet-50 under torchvision's names .*The file has 320 keys: 'x_conv1.weight'")
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
    ("model", "words"),
    [
        ("resnet18", "ResNet-18"),
        ("resnet34", "ResNet-34"),
        ("resnet101", "ResNet-101"),
        ("resnet152", "ResNet-152"),
        ("wide_resnet50_2", "128 channels"),
        ("resnext50_32x4d", "ResNeXt"),
    ],
)
def test_other_networks_are_named(model: str, words: str) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(model, weights=None).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    reason = why_not_resnet50(shapes)
    assert reason is not None
    assert words in reason


def test_half_width_is_named() -> None:
    half = {name: tuple(n // 2 if n > 3 and n != 7 else n for n in shape) for name, shape in SHAPES.items()}
    assert "32 channels" in str(why_not_resnet50(half))
    # The two-branch networks of PyContrast keep a stem of 64 filters.
    half |= {name: SHAPES[name] for name in SHAPES if name.startswith(("conv1", "bn1"))}
    assert "32 channels" in str(why_not_resnet50(half))
    assert why_not_resnet50(SHAPES) is None


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


def test_an_untrained_network_is_noted(references: State) -> None:
    state = dict(references)
    for name, value in references.items():
        if "running_" in name:
            state[name] = reference(np.full(value.shape, float(name.endswith("var")), dtype=np.float32))
    assert "never trained" in audit_backbone(identify(state, "x"), "x").notes[0]


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_files_arrive_bit_equal(tmp_path: Path, torch_state: dict[str, torch.Tensor], container: str) -> None:
    path = tmp_path / "resnet50-19c8e357.pth"
    if container == "safetensors":
        safetensors.torch.save_file(torch_state, path)
    else:
        torch.save(torch_state, path, _use_new_zipfile_serialization=container == "zip")
    weights = load_backbone(path)
    assert list(weights.tensors) == list(SHAPES)
    for name, array in weights.tensors.items():
        assert array.tobytes() == torch_state[name].numpy().tobytes()
    card = weights.card
    assert (card.name, card.layout, card.encoder) == ("resnet50.resnet50-19c8e357", "torchvision", "")
    assert (card.source_file, card.source_sha256) == (path.name, sha256_file(path))
    assert card.tensors_sha256 == hash_tensors(weights.tensors)
    assert sorted(card.dropped) == ["fc.* (2)", f"num_batches_tracked ({len(COUNTERS)})"]
    assert card.notes == ()
    assert card.input == InputSpec()


def test_checksums_that_were_switched_off_are_noted(
    tmp_path: Path, torch_state: dict[str, torch.Tensor]
) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(torch_state, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    weights = load_backbone(tmp_path / "x.pth")
    assert weights.card.notes == ("the file's checksums are all 0: read unverified",)
    assert weights.tensors["bn1.bias"].tobytes() == torch_state["bn1.bias"].numpy().tobytes()
    write_weights(tmp_path / "ours", weights)
    assert load_backbone(tmp_path / "ours").card.notes == weights.card.notes


def test_moco_from_file_to_ours_and_back(tmp_path: Path, torch_state: dict[str, torch.Tensor]) -> None:
    other = {name: tensor + 1 for name, tensor in torch_state.items()}
    state = prefixed("module.encoder_q.", torch_state) | prefixed("module.encoder_k.", other)
    state |= {"module.queue": torch.randn(128, 64), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    path = tmp_path / "moco v2.pth.tar"
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}, path)
    bgr = InputSpec(channel_order="bgr")
    query, key = load_backbone(path), load_backbone(path, encoder="key", name="resnet50.key", input_spec=bgr)
    assert np.array_equal(query.tensors["bn1.bias"], torch_state["bn1.bias"].numpy())
    assert np.array_equal(key.tensors["bn1.bias"], other["bn1.bias"].numpy())
    assert (query.card.name, query.card.encoder) == ("resnet50.moco-v2", "module.encoder_q.")
    assert (key.card.name, key.card.encoder, key.card.input) == ("resnet50.key", "module.encoder_k.", bgr)
    assert "module.encoder_k.* (320)" in query.card.dropped
    assert "optimizer (beside the container)" in query.card.dropped

    ours = tmp_path / "ours.safetensors"
    write_weights(ours, query)
    first = ours.read_bytes()
    again = load_backbone(ours)
    assert again.card == query.card
    write_weights(ours, again)
    assert ours.read_bytes() == first
    assert load_backbone(ours, name="resnet50.b", input_spec=bgr).card.input == bgr
    with pytest.raises(UsageError, match="one encoder"):
        load_backbone(ours, encoder="key")


def test_ours_must_still_be_a_resnet50(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    from bench.core.card import Card
    from bench.core.weights import Weights

    tensors = {"conv1.weight": arrays["conv1.weight"]}
    card = Card(name="x", layout="torchvision", tensors_sha256=hash_tensors(tensors))
    write_weights(tmp_path / "x", Weights(card, tensors))
    with pytest.raises(WeightsError, match="264 of 265 backbone tensors are missing"):
        load_backbone(tmp_path / "x")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("moco_v2_800ep_pretrain.pth.tar", "resnet50.moco_v2_800ep_pretrain"),
        ("resnet50.infomin_ep200.safetensors", "resnet50.infomin_ep200"),
        ("my weights (1).pth", "resnet50.my-weights-1"),
        (".pth", "resnet50.unnamed"),
        ("été.PTH", "resnet50.t"),
    ],
)
def test_names_from_files(file: str, name: str) -> None:
    assert default_name(Path("some/where") / file) == name


def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"name of weights '\.\./x'"):
        load_backbone(tmp_path / "none", name="../x")
