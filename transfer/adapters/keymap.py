"""The 265 tensors of a ResNet-50 backbone, and what each is called in Detectron2.

Every name is written down by a rule from the architecture and matched whole; nothing is guessed by suffix.

Source: pytorch/vision torchvision/models/resnet.py (names, shapes);
detectron2 tools/convert-torchvision-to-d2.py (renaming), detectron2/modeling/backbone/resnet.py and fpn.py,
detectron2/modeling/roi_heads/roi_heads.py, Res5ROIHeads (where the parts live in a detector).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Literal

STAGES = (3, 4, 6, 3)  # bottleneck blocks in layer1 to layer4
EXPANSION = 4  # a block gives four times its width
STEM_WIDTH = 64

DetectorVariant = Literal["c4", "fpn"]

Shape = tuple[int, ...]


def _conv_and_norm(conv: str, norm: str, out: int, into: int, kernel: int) -> dict[str, Shape]:
    """Names and shapes of a convolution without bias and the batch norm behind it."""
    shapes: dict[str, Shape] = {f"{conv}.weight": (out, into, kernel, kernel)}
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{norm}.{part}"] = (out,)
    return shapes


def _bottleneck_resnet(stages: tuple[int, ...]) -> dict[str, Shape]:
    shapes = _conv_and_norm("conv1", "bn1", STEM_WIDTH, 3, 7)
    into = STEM_WIDTH
    for stage, blocks in enumerate(stages, start=1):
        width = STEM_WIDTH * 2 ** (stage - 1)
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            shapes |= _conv_and_norm(f"{at}.conv1", f"{at}.bn1", width, into, 1)
            shapes |= _conv_and_norm(f"{at}.conv2", f"{at}.bn2", width, width, 3)
            shapes |= _conv_and_norm(f"{at}.conv3", f"{at}.bn3", width * EXPANSION, width, 1)
            if block == 0:
                down = f"{at}.downsample"
                shapes |= _conv_and_norm(f"{down}.0", f"{down}.1", width * EXPANSION, into, 1)
            into = width * EXPANSION
    return shapes


SHAPES: MappingProxyType[str, Shape] = MappingProxyType(_bottleneck_resnet(STAGES))
"""torchvision name to shape: 53 convolutions and 53 norms of four tensors each, 265 in all."""


def _counters(names: Iterable[str]) -> frozenset[str]:
    means = (name for name in names if name.endswith("running_mean"))
    return frozenset(name.removesuffix("running_mean") + "num_batches_tracked" for name in means)


COUNTERS = _counters(SHAPES)
"""The 53 step counters of the norms: no engine uses them, and files before torch 0.4.1 lack them."""


def names_of(stages: tuple[int, ...]) -> tuple[str, ...]:
    """Torchvision's names, counters too, for a ResNet of `stages` bottleneck blocks.

    Those of a ResNet of basic blocks are among them.
    """
    names = tuple(_bottleneck_resnet(stages))
    return (*names, *sorted(_counters(names)))


def detectron2_name(name: str) -> str:
    """Detectron2's name of a torchvision tensor, as its own converter gives it."""
    *place, module, part = name.split(".")
    stage, block = (place[0], place[1]) if place else ("stem", "")
    if place[2:] == ["downsample"]:
        module = {"0": "shortcut", "1": "shortcut.norm"}[module]
    elif module.startswith("bn"):
        module = f"conv{module[2:]}.norm"
    if not block:
        return f"stem.{module}.{part}"
    return f"res{int(stage.removeprefix('layer')) + 1}.{block}.{module}.{part}"


DETECTRON2_NAMES: MappingProxyType[str, str] = MappingProxyType(
    {name: detectron2_name(name) for name in SHAPES}
)
"""torchvision name to Detectron2's plain backbone name: `stem.conv1.norm.weight`, `res2.0.conv1.weight`."""


def engine_name(name: str, variant: DetectorVariant) -> str:
    """Where a torchvision tensor lives in a built detector.

    Args:
        name: One of `SHAPES`.
        variant: `c4`: stem to res4 are the backbone and res5 is in the RoI heads, whose extra norm is no part
            of the weights; `fpn`: all of it is below the pyramid.
    """
    plain = DETECTRON2_NAMES[name]
    if variant == "fpn":
        return f"backbone.bottom_up.{plain}"
    return f"roi_heads.{plain}" if plain.startswith("res5.") else f"backbone.{plain}"
