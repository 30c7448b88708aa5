"""Names and shapes against torchvision's own model and against Detectron2's source."""

from __future__ import annotations

import pickle
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from bench.core.card import Card, hash_tensors
from bench.core.weights import Weights, read_checkpoint
from transfer.adapters.detectron2 import detectron2_pkl, engine_names, to_detectron2
from transfer.adapters.keymap import COUNTERS, DETECTRON2_NAMES, SHAPES, names_of


def test_names_and_shapes_are_torchvisions(torch_state: dict[str, torch.Tensor]) -> None:
    backbone = {name: tuple(value.shape) for name, value in torch_state.items() if not name.startswith("fc.")}
    counters = {name for name in backbone if name.endswith("num_batches_tracked")}
    assert counters == COUNTERS
    assert {name: shape for name, shape in backbone.items() if name not in counters} == SHAPES
    assert len(SHAPES) == 265
    assert sum(len(shape) == 4 for shape in SHAPES.values()) == 53


@pytest.mark.parametrize(
    ("model", "stages"),
    [("resnet50", (3, 4, 6, 3)), ("resnet101", (3, 4, 23, 3)), ("resnet152", (3, 8, 36, 3))],
)
def test_names_of_other_depths_are_torchvisions(model: str, stages: tuple[int, ...]) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(model, weights=None).state_dict()
        basic = torchvision.models.resnet34(weights=None).state_dict()
    names = names_of(stages)
    assert len(names) == len(set(names))
    assert {*names, "fc.weight", "fc.bias"} == set(theirs)
    assert {name for name in basic if not name.startswith("fc.")} <= set(names)


def test_detectron2_names_by_hand() -> None:
    known = {
        "conv1.weight": "stem.conv1.weight",
        "bn1.running_var": "stem.conv1.norm.running_var",
        "layer1.0.conv1.weight": "res2.0.conv1.weight",
        "layer1.0.bn3.bias": "res2.0.conv3.norm.bias",
        "layer2.3.conv2.weight": "res3.3.conv2.weight",
        "layer3.0.downsample.0.weight": "res4.0.shortcut.weight",
        "layer4.0.downsample.1.running_mean": "res5.0.shortcut.norm.running_mean",
    }
    assert {name: DETECTRON2_NAMES[name] for name in known} == known
    assert len(set(DETECTRON2_NAMES.values())) == 265


def test_detectron2_names_are_those_of_its_converters() -> None:
    # The replacements of the public converters, in their order (protocols 4.1), as a second derivation.
    for name, ours in DETECTRON2_NAMES.items():
        theirs = name if "layer" in name else f"stem.{name}"
        for stage in range(1, 5):
            theirs = theirs.replace(f"layer{stage}", f"res{stage + 1}")
        for norm in range(1, 4):
            theirs = theirs.replace(f"bn{norm}", f"conv{norm}.norm")
        theirs = theirs.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        assert ours == theirs


def test_detectron2_source_has_these_parts() -> None:
    spec = find_spec("detectron2")
    if spec is None or spec.origin is None:
        pytest.skip("Detectron2 is not installed")
    modeling = Path(spec.origin).parent / "modeling"
    resnet = (modeling / "backbone" / "resnet.py").read_text()
    assert all(f"self.{part} = Conv2d(" in resnet for part in ("conv1", "conv2", "conv3", "shortcut"))
    assert "self.stem = stem" in resnet
    assert re.search(r'name = "res" \+ str\(i \+ 2\)', resnet)
    assert "self.bottom_up = bottom_up" in (modeling / "backbone" / "fpn.py").read_text()
    assert "self.res5 = res5" in (modeling / "roi_heads" / "roi_heads.py").read_text()


def test_engine_names() -> None:
    c4, fpn = engine_names("c4"), engine_names("fpn")
    assert list(c4) == list(fpn) == list(SHAPES)
    assert c4["layer3.5.conv3.weight"] == "backbone.res4.5.conv3.weight"
    assert c4["layer4.2.bn3.running_var"] == "roi_heads.res5.2.conv3.norm.running_var"
    assert fpn["conv1.weight"] == "backbone.bottom_up.stem.conv1.weight"
    assert fpn["layer4.0.downsample.1.bias"] == "backbone.bottom_up.res5.0.shortcut.norm.bias"
    assert sum(name.startswith("roi_heads.") for name in c4.values()) == 50
    assert len(set(c4.values())) == len(set(fpn.values())) == 265


def test_the_file_for_detectron2(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    tensors = {name: arrays[name] for name in SHAPES}
    weights = Weights(Card(name="x", layout="x", tensors_sha256=hash_tensors(tensors)), tensors)
    data = detectron2_pkl(weights)
    assert data == detectron2_pkl(weights)
    content = pickle.loads(data)
    assert content["matching_heuristics"] is True
    assert content["__author__"] == "transfer-bench"
    assert {name: value.shape for name, value in content["model"].items()} == {
        DETECTRON2_NAMES[name]: shape for name, shape in SHAPES.items()
    }
    assert all(value.dtype == np.float32 for value in content["model"].values())
    (tmp_path / "x.pkl").write_bytes(data)
    read = read_checkpoint(tmp_path / "x.pkl")["model"]
    for name, value in to_detectron2(weights).items():
        assert np.array_equal(read[name].read(), value)
