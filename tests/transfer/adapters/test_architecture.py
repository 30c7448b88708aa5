"""Another network than a plain ResNet-50 is named as what it is."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
import torchvision

from transfer.adapters.architecture import why_not_resnet50
from transfer.adapters.keymap import SHAPES, Shape

Shapes = dict[str, Shape]


def _reason(shapes: Shapes) -> str:
    reason = why_not_resnet50(shapes)
    assert reason is not None
    return reason


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet18", "basic blocks of two convolutions (ResNet-18)"),
        ("resnet34", "basic blocks of two convolutions (ResNet-34)"),
        ("resnet101", "ResNet-101"),
        ("resnet152", "ResNet-152"),
        ("wide_resnet50_2", "128 channels"),
        ("resnext50_32x4d", "ResNeXt"),
    ],
)
def test_torchvisions_other_networks_are_named(model: str, words: str) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model(model, weights=None).state_dict()
    assert words in _reason({name: tuple(value.shape) for name, value in state.items()})


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet50c", "deep stem"),
        ("resnet50d", "deep stem"),
        ("resnet50s", "deep stem"),
        ("resnet26", "ResNet-26"),
        ("resnet14t", "deep stem"),
    ],
)
def test_timms_other_networks_are_named(model: str, words: str) -> None:
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    import timm

    with torch.device("meta"):
        state = timm.create_model(model, pretrained=False).state_dict()
    assert words in _reason({name: tuple(value.shape) for name, value in state.items()})


def _half() -> Shapes:
    return {name: tuple(n // 2 if n > 7 else n for n in shape) for name, shape in SHAPES.items()}


OTHERS: dict[str, tuple[Shapes, str]] = {
    "half": (_half(), "stages of 32 channels"),
    # The two-branch networks of PyContrast keep a stem of 64 filters.
    "half behind a whole stem": (
        _half() | {name: SHAPES[name] for name in SHAPES if name.startswith(("conv1", "bn1"))},
        "stages of 32 channels",
    ),
    "a wide stem alone": (
        dict(SHAPES) | {"conv1.weight": (128, 3, 7, 7), "bn1.weight": (128,)},
        "a stem of 128 filters",
    ),
    "CIFAR": (dict(SHAPES) | {"conv1.weight": (64, 3, 3, 3)}, "for small images such as CIFAR's"),
    "lightness": (dict(SHAPES) | {"conv1.weight": (64, 1, 7, 7)}, "sees 1 colour channels of 3"),
    "colour": (dict(SHAPES) | {"conv1.weight": (64, 2, 7, 7)}, "sees 2 colour channels of 3"),
    "SupContrast": (
        {name.replace("downsample", "shortcut"): shape for name, shape in SHAPES.items()},
        "shortcuts under other names",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_shapes_are_named(name: str) -> None:
    shapes, words = OTHERS[name]
    assert words in _reason(shapes)


HEADS: Shapes = {"fc.weight": (1000, 2048), "neck.conv3.weight": (1, 1, 3, 3), "layer9": ()}
DAMAGED: dict[str, Shapes] = {
    "whole": dict(SHAPES),
    "with heads": {**SHAPES, **HEADS},
    "no stem": {name: shape for name, shape in SHAPES.items() if not name.startswith(("conv1", "bn1"))},
    "no last stage": {name: shape for name, shape in SHAPES.items() if not name.startswith("layer4")},
    "no third block": {name: shape for name, shape in SHAPES.items() if not name.startswith("layer2.3.")},
    "one odd shape": {**SHAPES, "layer1.0.conv1.weight": (1, 64, 64)},
    "no statistics": {name: shape for name, shape in SHAPES.items() if "running_" not in name},
    "nothing": {},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_resnet50_is_left_to_the_audit(name: str) -> None:
    assert why_not_resnet50(DAMAGED[name]) is None


@pytest.mark.parametrize("stem", ["conv1.0.weight", "stem.0.weight"])
def test_a_deep_stem_under_either_name(stem: str) -> None:
    """torchvision-like names, and OpenMMLab's ResNetV1c."""
    shapes = {name: shape for name, shape in SHAPES.items() if name != "conv1.weight"}
    assert "deep stem" in str(why_not_resnet50({**shapes, stem: (32, 3, 3, 3)}))
