"""Heads: from features to projections of unit length.

Source:
    HobbitLong/PyContrast `pycontrast/networks/build_backbone.py`, `networks/util.py`.
    Differs: the order of the nine patches is drawn with the view, as a function of (seed, epoch, index), and
    not in the head.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

HeadKind = Literal["linear", "mlp"]


def projector(kind: HeadKind, dim_in: int, dim_out: int) -> nn.Module:
    """One linear layer, or two with a ReLU between and as many hidden units as inputs."""
    if kind == "linear":
        return nn.Linear(dim_in, dim_out)
    return nn.Sequential(nn.Linear(dim_in, dim_in), nn.ReLU(inplace=True), nn.Linear(dim_in, dim_out))


class Projection(nn.Module):
    """Features to projections: [batch, dim_in] to [batch, dim_out], of length 1, in float32 or better."""

    def __init__(self, kind: HeadKind, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.layers = projector(kind, dim_in, dim_out)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return unit_length(self.layers(features))


class JigsawProjection(nn.Module):
    """Features of the patches of an image to one projection: [batch * patches, dim_in] to [batch, dim_out].

    Each patch is projected, the projections are put side by side in the order given, and projected again.

    Source:
        Misra and van der Maaten 2020, PIRL, section 3; PyContrast `networks/util.py`, `JigsawHead`.
    """

    def __init__(self, kind: HeadKind, dim_in: int, dim_out: int, *, num_patches: int) -> None:
        super().__init__()
        self.num_patches = num_patches
        self.patch_layers = projector(kind, dim_in, dim_out)
        self.join = nn.Linear(dim_out * num_patches, dim_out)

    def forward(self, features: Tensor) -> Tensor:
        """See the class; rows of one image stand together."""
        patches: Tensor = self.patch_layers(features)
        joined = patches.reshape(len(features) // self.num_patches, -1)
        return unit_length(self.join(joined))


def unit_length(values: Tensor) -> Tensor:
    """Rows of length 1; half precisions are raised to float32 first, in which similarities are taken."""
    if values.dtype in (torch.bfloat16, torch.float16):
        values = values.float()
    return functional.normalize(values, dim=1)
