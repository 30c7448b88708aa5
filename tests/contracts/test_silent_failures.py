"""The 33 ways to get a wrong number without noticing, each made on purpose, each caught.

README.md shows them; the number of a row is the number of its test, here or in test_silent_masks.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.errors import BenchError, ConfigError, UsageError, WeightsError
from bench.core.paths import CONFIGS
from bench.core.protocol import digest, number_changing
from bench.core.weights import Weights
from tests.contracts import test_silent_masks, test_silent_probes
from tests.helpers.weights import make_state
from transfer.adapters.convert import file_bytes
from transfer.adapters.detectron2_config import detectron2_config
from transfer.adapters.load import load, load_backbone
from transfer.comparability import Devices, fit, judge
from transfer.engines.detectron2.model import build_config, build_detector, check_pixels
from transfer.protocols.voc import VocProtocol

PROTOCOL = CONFIGS / "transfer" / "voc0712-r50c4-24k.toml"
EIGHT_GPUS, ONE_GPU, CPU = Devices(8, 8), Devices(1, 1), Devices(1, 0)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return make_state()


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> Weights:
    return load_backbone(checkpoint)


def protocol(*overrides: str) -> VocProtocol:
    return load_config(VocProtocol, PROTOCOL, overrides)


def departures(*overrides: str, devices: Devices = EIGHT_GPUS) -> tuple[str, str]:
    """(status, what the record says of it) of the published protocol with changes, on published data."""
    changed = protocol(*overrides)
    status, lines = judge(
        protocol(),
        changed,
        fit(changed, devices),
        data_departures=(),
        smoke_file=None,
    )
    return status, "\n".join(lines)


def entries(weights: Weights, *overrides: str) -> dict[str, Any]:
    """Detectron2's config for these weights on one device."""
    return detectron2_config(
        fit(protocol(*overrides), CPU),
        weights.card.input,
        num_classes=20,
        train_names=("train",),
        test_name="test",
        weights_file="",
        seed=0,
    )


def saved(folder: Path, value: object) -> Path:
    path = folder / "x.pth"
    torch.save(value, path)
    return path


def under(prefix: str, state: dict[str, torch.Tensor], **changes: Any) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in {**state, **changes}.items()}


def test_01_nothing_loads(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = saved(tmp_path, {"state_dict": {f"x_{name}": value for name, value in state.items()}})
    with pytest.raises(WeightsError, match=r"no ResNet-50 .* Nothing was loaded"):
        load_backbone(path)


def test_02_a_part_loads(tmp_path: Path, state: dict[str, torch.Tensor], weights: Weights) -> None:
    part = {name: value for name, value in state.items() if not name.startswith("layer4.")}
    with pytest.raises(WeightsError, match=r"50 of 265 .* missing \(first: layer4\.0"):
        load_backbone(saved(tmp_path, part))
    # And a tensor that the engine's own loader would leave out: res5 is in the RoI heads of a C4 detector.
    half = Weights(weights.card, {n: v for n, v in weights.tensors.items() if n != "layer4.2.conv3.weight"})
    with pytest.raises(WeightsError, match="1 backbone tensors of the model in Detectron2 got no weights"):
        build_detector(build_config(entries(weights), "cpu"), half, seed=0)


def test_03_the_wrong_encoder(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    key = {name: value + 1 for name, value in state.items()}
    moco = under("module.encoder_q.", state) | under("module.encoder_k.", key)
    card = load_backbone(saved(tmp_path, {"state_dict": moco})).card
    assert card.encoder == "state_dict:module.encoder_q."
    assert any("also there: key (state_dict:module.encoder_k.)" in note for note in card.notes)
    undocumented = under("student.", state) | under("teacher.", key)
    with pytest.raises(WeightsError, match=r"several encoders.*--encoder"):
        load_backbone(saved(tmp_path, {"weights": undocumented}))


def test_04_stride_in_the_wrong_convolution(weights: Weights) -> None:
    config = build_config({**entries(weights), "MODEL.RESNETS.STRIDE_IN_1X1": True}, "cpu")
    with pytest.raises(WeightsError, match="STRIDE_IN_1X1"):
        check_pixels(config, weights.card.input)
    with pytest.raises(WeightsError, match="C3 differs"):
        build_detector(config, weights, seed=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.FORMAT", "BGR"),
        ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675]),
        ("MODEL.PIXEL_MEAN", [0.485, 0.456, 0.406]),
        ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]),
    ],
)
def test_05_other_pixels_than_the_weights_expect(weights: Weights, key: str, value: Any) -> None:
    with pytest.raises(WeightsError, match=key):
        check_pixels(build_config({**entries(weights), key: value}, "cpu"), weights.card.input)


def test_06_frozen_norms(weights: Weights) -> None:
    assert entries(weights)["MODEL.RESNETS.NORM"] == "BN"
    status, lines = departures("model.norm='FrozenBN'")
    assert (status, "model.norm" in lines) == ("custom", True)


def test_07_frozen_stages(weights: Weights) -> None:
    assert entries(weights)["MODEL.BACKBONE.FREEZE_AT"] == 0
    model, _ = build_detector(build_config(entries(weights), "cpu"), weights, seed=0)
    assert all(value.requires_grad for value in model.parameters())
    status, lines = departures("model.freeze_at=2")
    assert (status, "model.freeze_at" in lines) == ("custom", True)


def test_08_a_deep_stem(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    deep = {name: value for name, value in state.items() if name != "conv1.weight"}
    deep |= {f"conv1.{place}.weight": torch.randn(32, 3, 3, 3) for place in (0, 3, 6)}
    with pytest.raises(WeightsError, match="deep stem"):
        load_backbone(saved(tmp_path, deep))


def test_09_synchronised_norms_on_one_device() -> None:
    for devices in (ONE_GPU, CPU):
        assert fit(protocol(), devices).model.norm == "BN"
        status, lines = departures(devices=devices)
        assert (status, "model.norm" in lines) == ("substituted", True)


def test_10_naive_for_real_synchronised_norms() -> None:
    status, lines = departures(devices=Devices(2, 0))
    assert (status, "naiveSyncBN" in lines) == ("substituted", True)
    # Unequal images a device would be another statistic; so would BN of a device's own images.
    with pytest.raises(UsageError, match="does not divide"):
        fit(protocol(), Devices(3, 3))
    with pytest.raises(UsageError, match="norm BN"):
        fit(protocol("model.norm='BN'"), EIGHT_GPUS)


@pytest.mark.parametrize(("extra", "count"), [("true", 1), ("false", 0)])
def test_11_the_extra_norm_behind_res5(weights: Weights, extra: str, count: int) -> None:
    config = build_config(entries(weights, f"model.extra_norm={extra}"), "cpu")
    model, verified = build_detector(config, weights, seed=0)
    norms = [name for name, _ in model.named_modules() if name.startswith("roi_heads.res5.norm")]
    assert len(norms) == count
    assert [name for name in verified["new_layers"] if "res5" in name] == ["roi_heads.res5.norm"] * count
    assert (departures(f"model.extra_norm={extra}")[0] == "exact") == bool(count)


def test_12_precise_norms_before_the_test(weights: Weights) -> None:
    config = entries(weights)
    assert (config["TEST.PRECISE_BN.ENABLED"], config["TEST.PRECISE_BN.NUM_ITER"]) == (True, 200)
    status, lines = departures("solver.precise_bn_iterations=0")
    assert (status, "precise_bn_iterations" in lines) == ("custom", True)


def test_13_the_learning_rate_of_another_batch() -> None:
    # The batch is that of all devices together, so their number moves neither batch nor rate.
    solvers = {fit(protocol(), devices).solver for devices in (EIGHT_GPUS, Devices(4, 4), ONE_GPU)}
    assert {(solver.images_per_batch, solver.learning_rate) for solver in solvers} == {(16, 0.02)}
    status, lines = departures("solver.images_per_batch=8")
    assert (status, "images_per_batch" in lines) == ("custom", True)


def test_14_equal_keys_in_a_config(tmp_path: Path) -> None:
    text = PROTOCOL.read_text()
    for bad in (text.replace("gamma =", "gamma = 0.5\ngamma ="), text.replace("gamma =", "gama =")):
        path = tmp_path / "x.toml"
        path.write_text(bad)
        with pytest.raises(ConfigError, match=r"x\.toml"):
            load_config(VocProtocol, path)


def _other_networks(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    half = {}
    for name, value in state.items():
        sizes = [slice(0, n // 2) if n > 7 else slice(None) for n in value.shape]
        half[name] = value if name.startswith(("conv1", "bn1")) else value[tuple(sizes)]
    yield "32 channels", half
    yield "3x3 convolution", {**state, "conv1.weight": torch.randn(64, 3, 3, 3)}
    yield "2 colour channels", {**state, "conv1.weight": torch.randn(64, 2, 7, 7)}


def test_15_half_width_small_stem_two_channels(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    for words, other in _other_networks(state):
        with pytest.raises(WeightsError, match=words):
            load_backbone(saved(tmp_path, other))


def test_16_counters_hide_no_other_key(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    without = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) == len(state) - 53
    expected = load_backbone(saved(tmp_path, state)).card.tensors_sha256
    assert load_backbone(saved(tmp_path, without)).card.tensors_sha256 == expected
    with pytest.raises(WeightsError, match=r"not explained .*layer5\.0\.bn1\.num_batches_tracked"):
        load_backbone(saved(tmp_path, {**state, "layer5.0.bn1.num_batches_tracked": torch.tensor(1)}))


def test_17_padding_of_tensorflow(weights: Weights, tmp_path: Path) -> None:
    from transfer.engines.proof import prove

    spec = InputSpec(padding="tf_same")
    ported = replace(weights, card=weights.card.model_copy(update={"input": spec}))
    with pytest.raises(WeightsError, match=r"tf_same|SAME"):
        entries(ported)
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_bytes(ported, "torchvision", ".safetensors"))
    with pytest.raises(WeightsError, match="C2 differs"):
        prove("torchvision", path, ported)


def test_18_teacher_or_student(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    other = {name: value * 2 for name, value in state.items() if "fc." not in name}
    same = {name: value for name, value in state.items() if "fc." not in name}
    path = saved(
        tmp_path,
        {
            "teacher": under("module.backbone.", same),
            "student": under("module.backbone.", other),
            "epoch": 800,
        },
    )
    teacher, student = load_backbone(path), load_backbone(path, encoder="student")
    assert torch.equal(torch.from_numpy(teacher.tensors["bn1.bias"]), state["bn1.bias"])
    assert (teacher.card.name, student.card.name) == ("resnet50.x", "resnet50.x.student")
    assert (teacher.card.encoder, student.card.encoder) == (
        "teacher:module.backbone.",
        "student:module.backbone.",
    )
    assert teacher.card.key != student.card.key


def test_19_a_classifier_in_the_file(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    weights = load_backbone(saved(tmp_path, state))
    assert "fc.* (2)" in weights.card.dropped
    for target, suffix in (("torchvision", ".pth"), ("mmseg", ".pth"), ("detectron2", ".pkl")):
        path = tmp_path / f"out{suffix}"
        path.write_bytes(file_bytes(weights, target, suffix))
        again = load(path)
        assert not any("fc" in rule for rule in again.dropped)
        assert again.weights.card.tensors_sha256 == weights.card.tensors_sha256


def test_20_the_rule_of_ap() -> None:
    plain, other = protocol(), protocol("metric.ap_rule='area'")
    assert plain.metric.ap_rule == "voc07_11point"
    assert digest(number_changing(plain)) != digest(number_changing(other))
    status, lines = departures("metric.ap_rule='area'")
    assert (status, "metric.ap_rule" in lines) == ("custom", True)


@pytest.mark.parametrize("prefix", ["module.momentum_encoder.", "x.module.encoder_q.", "my_backbone."])
def test_21_prefixes_are_anchored(tmp_path: Path, state: dict[str, torch.Tensor], prefix: str) -> None:
    """A prefix that ends or begins like a known one is another one, and is asked for."""
    with pytest.raises(BenchError, match=re.escape(prefix)):
        load_backbone(saved(tmp_path, {"state_dict": under(prefix, state)}))


def test_the_readme_shows_each() -> None:
    root = Path(__file__).parents[2]
    rows = re.findall(r"^\| (\d+) \|", (root / "README.md").read_text(), re.MULTILINE)
    names = [*globals(), *vars(test_silent_masks), *vars(test_silent_probes)]
    tests = [int(name[5:7]) for name in names if re.match(r"test_\d\d_", name)]
    assert [int(row) for row in rows] == tests == list(range(1, 34))


def test_random_initialisation_is_asked_for_by_name(weights: Weights) -> None:
    """The baseline has no weights; nothing else may end there."""
    _, verified = build_detector(build_config(entries(weights), "cpu"), None, seed=0)
    assert verified == {"backbone": "random initialisation by the engine"}
    assert not any(np.isnan(value).any() for value in weights.tensors.values())
