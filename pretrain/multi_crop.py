"""Multi-crop: views of several sizes, those of one size through the backbone together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn


def encode_crops(backbone: nn.Module, head: nn.Module, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Each view's output; batch norm sees views of one size in the backbone, all of them in the head.

    Args:
        backbone: Images to features.
        head: Features to outputs.
        views: [batch, 3, side, side] each, those of one size in a row.

    Returns:
        [batch, dim] for each view, in their order.

    Source:
        Caron et al. 2020, SwAV, section 3.3; facebookresearch/swav `src/resnet50.py`, facebookresearch/dino
        `utils.py`, `MultiCropWrapper`.
        Differs: none.
    """
    sizes = [list(same) for _, same in groupby(views, key=lambda view: view.shape[-1])]
    features = torch.cat([backbone(torch.cat(same)) for same in sizes])
    outputs: tuple[Tensor, ...] = head(features).split(len(views[0]))
    return outputs
