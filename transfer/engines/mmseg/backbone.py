"""MMSegmentation's plain ResNet-50 with a converted file in it, and whether a config fits the card."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from transfer.adapters.keymap import SHAPES
from transfer.adapters.mmseg import pixel_settings
from transfer.engines.mmseg.repairs import load_mmseg
from transfer.engines.source import NOT_DILATED, Dilated
from transfer.engines.verify import Loaded, Setup

load_mmseg()

from mmseg.models.backbones import ResNet  # noqa: E402


@dataclass(frozen=True)
class Shape:
    """Strides and dilations of the four stages, and the same in torchvision's words."""

    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilated: Dilated = NOT_DILATED


PLAIN = Shape()

# Source: open-mmlab/mmsegmentation configs/_base_/models/fcn_r50-d8.py.
D8 = Shape(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), dilated=(False, True, True))

# Source: CVMI-Lab/SlotCon transfer/segmentation/configs/voc12aug/fcn_d6_r50-d16_513x513_30k_voc12aug_moco.py
# (on the same base, which has contract_dilation).
D16_MOCO = Shape(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), dilated=(False, False, True))


def load_backbone(path: Path, spec: InputSpec, shape: Shape) -> Loaded:
    """Build the plain ResNet as the card says, and let it read the file through `init_cfg`.

    Args:
        path: A `.pth`.
        spec: Of the weights' card.
        shape: Strides and dilations.
    """
    settings = pixel_settings(spec)
    model = ResNet(
        depth=settings["model.backbone.depth"],
        style=settings["model.backbone.style"],
        strides=shape.strides,
        dilations=shape.dilations,
        # The first block of a dilated stage has the dilation of the stage before it, as in torchvision.
        contract_dilation=True,
        norm_cfg={"type": "BN", "requires_grad": True},
        init_cfg={"type": "Pretrained", "checkpoint": str(path)},
    )
    model.init_weights()
    model.eval()
    return Loaded(model, {name: name for name in SHAPES}, model)


SETUPS = tuple(
    Setup(name, partial(load_backbone, shape=shape), shape.dilated)
    for name, shape in (("mmseg", PLAIN), ("mmseg d8", D8), ("mmseg d16 MoCo", D16_MOCO))
)
"""As FCN heads use it: not dilated, stages 4 and 5 dilated, stage 5 alone."""


def check_pixels(cfg: Any, spec: InputSpec) -> None:
    """Refuse a config that would feed these weights otherwise than their card says.

    What a data pipeline does to the pixels before, this cannot see: MMSegmentation's own reads BGR and does
    not normalise.

    Args:
        cfg: An `mmengine.Config` with a `model`.
        spec: Of the weights' card.

    Raises:
        WeightsError: a key is missing or says another thing; each with what was found and expected.
    """
    problems = []
    for key, expected in pixel_settings(spec).items():
        found: Any = cfg
        for part in key.split("."):
            found = found.get(part) if hasattr(found, "get") else None
        if isinstance(expected, list):
            found = list(found) if isinstance(found, list | tuple) else found
        if found != expected or isinstance(found, bool) != isinstance(expected, bool):
            problems.append(f"{key} is {found!r}; the card of the weights says {expected!r}")
    if problems:
        raise WeightsError.of(
            [f"config of MMSegmentation: {problem}" for problem in problems],
            hint="Take the values of the card, or correct the card with --input-spec.",
        )
