"""Detectron2's ResNet-50 with a converted file in it, built and read by Detectron2's own tools."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from bench.core.card import InputSpec
from transfer.adapters.detectron2_config import pixel_settings
from transfer.adapters.keymap import DETECTRON2_NAMES
from transfer.engines.detectron2.model import build_config, check_pixels
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.verify import Loaded, Setup

load_detectron2()

from detectron2.checkpoint import DetectionCheckpointer  # noqa: E402
from detectron2.layers import ShapeSpec  # noqa: E402
from detectron2.modeling.backbone import build_resnet_backbone  # noqa: E402

STAGES = ("res2", "res3", "res4", "res5")


def load_backbone(path: Path, spec: InputSpec, norm: str) -> Loaded:
    """Build the backbone as a config with the card's pixel settings has it, and read the file into it.

    Args:
        path: A `.pkl`.
        spec: Of the weights' card.
        norm: Detectron2's name of it: `BN`, `FrozenBN`, `SyncBN`.
    """
    entries = {
        **pixel_settings(spec),
        "MODEL.RESNETS.NORM": norm,
        "MODEL.RESNETS.OUT_FEATURES": list(STAGES),
        # Above 0 it would turn the norms of the lower stages into frozen ones.
        "MODEL.BACKBONE.FREEZE_AT": 0,
    }
    cfg = build_config(entries, "cpu")
    check_pixels(cfg, spec)
    model = build_resnet_backbone(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)))
    DetectionCheckpointer(model).load(str(path))
    model.eval()

    def features(images: Tensor) -> list[Tensor]:
        stages = model(images)
        return [stages[name] for name in STAGES]

    return Loaded(model, DETECTRON2_NAMES, features)


SETUPS = tuple(
    Setup(f"detectron2 {norm}", partial(load_backbone, norm=norm)) for norm in ("BN", "FrozenBN", "SyncBN")
)
"""The norms that transfers use. On one device and in eval mode, SyncBN needs no process group."""
