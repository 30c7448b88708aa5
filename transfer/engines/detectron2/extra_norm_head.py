"""The ROI head of the MoCo and InfoMin tables: res5, then one more norm on its 2048-channel output.

Importing this file registers the head with Detectron2; a stock Detectron2 that imports it can train from the
config files we write.

Source:
    facebookresearch/moco `detection/train_net.py` (`Res5ROIHeadsExtraNorm`).
    Differs: none in what is computed; the parameters have the same names, `roi_heads.res5.norm.*`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from transfer.adapters.detectron2_config import EXTRA_NORM_HEAD
from transfer.engines.detectron2.repairs import load_detectron2

load_detectron2()

from detectron2.layers import get_norm  # noqa: E402
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads  # noqa: E402


class Res5ROIHeadsExtraNorm(Res5ROIHeads):  # type: ignore[misc]
    """`Res5ROIHeads` with a norm, of the backbone's kind, behind the last block of res5."""

    @classmethod
    def _build_res5_block(cls, cfg: Any) -> tuple[nn.Sequential, int]:
        blocks, num_channels = super()._build_res5_block(cfg)
        blocks.add_module("norm", get_norm(cfg.MODEL.RESNETS.NORM, num_channels))
        return blocks, num_channels


if EXTRA_NORM_HEAD not in ROI_HEADS_REGISTRY:
    ROI_HEADS_REGISTRY.register(Res5ROIHeadsExtraNorm)
