"""Which network a set of tensors is, when it is no plain ResNet-50."""

from __future__ import annotations

import re
from collections.abc import Mapping

from transfer.adapters.keymap import SHAPES, STAGES, Shape

# Blocks in the four stages -> the network; the first two are of basic blocks, the others of bottlenecks.
_BASIC_DEPTHS: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "ResNet-18", (3, 4, 6, 3): "ResNet-34"}
_DEPTHS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "ResNet-26",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


def why_not_resnet50(shapes: Mapping[str, Shape]) -> str | None:
    """The reason why tensors under torchvision's names are no plain ResNet-50, or None.

    Only what tells another architecture: a damaged ResNet-50 is for the audit to describe.

    Args:
        shapes: Name without prefix to shape, heads included.
    """
    if {"encoder1.conv1.weight", "encoder2.conv1.weight"} <= shapes.keys():
        return "two networks of half the width, of which one sees lightness and one colour (CMC)"
    if "conv1.weight" not in shapes and not shapes.keys().isdisjoint(("conv1.0.weight", "stem.0.weight")):
        return "a deep stem of several convolutions (ResNet-C or -D)"
    stem = shapes.get("conv1.weight", SHAPES["conv1.weight"])
    if len(stem) == 4 and stem[2:] == (3, 3):
        return "a stem of one 3x3 convolution, for small images such as CIFAR's"
    if len(stem) == 4 and stem[1] in (1, 2):
        return f"a stem that sees {stem[1]} colour channels of 3 (one branch of a two-branch network)"
    if any(".shortcut." in key for key in shapes) and not any(".downsample." in key for key in shapes):
        return "shortcuts under other names, as in the CIFAR variant of SupContrast"
    if any(".mixing_conv." in key for key in shapes):
        return "selective kernels (SK-ResNet), with a deep stem"
    blocks = _blocks(shapes)
    bottleneck = any(re.fullmatch(r"layer\d+\.\d+\.conv3\.weight", key) for key in shapes)
    if not bottleneck and any(blocks):
        return f"basic blocks of two convolutions ({_BASIC_DEPTHS.get(blocks, f'blocks {blocks}')})"
    if blocks in _DEPTHS:
        return f"a {_DEPTHS[blocks]} (blocks {blocks}, not {STAGES})"
    first, second = shapes.get("layer1.0.conv1.weight"), shapes.get("layer1.0.conv2.weight")
    if (
        first
        and second
        and len(second) == 4
        and second[1] != second[0]
        and shapes.get("layer1.0.bn2.weight") == (second[0],)
    ):
        return "grouped convolutions (ResNeXt)"
    if first and first[0] != 64 and shapes.get("layer1.0.bn1.weight") == first[:1]:
        return f"stages of {first[0]} channels where a ResNet-50 has 64 (half-width or wide ResNet)"
    if len(stem) == 4 and stem[0] != 64 and shapes.get("bn1.weight") == stem[:1]:
        return f"a stem of {stem[0]} filters where a ResNet-50 has 64 (half-width or wide ResNet)"
    return None


def _blocks(shapes: Mapping[str, Shape]) -> tuple[int, ...]:
    numbers: tuple[set[int], ...] = (set(), set(), set(), set())
    for key in shapes:
        match = re.match(r"layer([1-4])\.(\d{1,3})\.", key)
        if match:
            numbers[int(match[1]) - 1].add(int(match[2]))
    return tuple(map(len, numbers))
