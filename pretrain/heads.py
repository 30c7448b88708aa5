"""Heads: from features to projections of unit length.

Source:
    HobbitLong/PyContrast `pycontrast/networks/build_backbone.py`, `networks/util.py`.
    Differs: the order of the nine patches is drawn with the view, as a function of (seed, epoch, index), and
    not in the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn
from torch.nn import functional

from pretrain.backbones.resnet import BackboneConfig

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


def norms_as_in_backbone(head: nn.Module, config: BackboneConfig) -> nn.Module:
    """A head whose batch norms follow the backbone's.

    Those of all processes together where the backbone's are; none at all where that has GroupNorm, with which
    no image depends on another.
    """
    if config.norm == "sync_batch":
        together: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(head)  # type: ignore[no-untyped-call]
        return together
    if config.norm == "group":
        for parent in [*head.modules()]:
            for name, child in [*parent.named_children()]:
                if isinstance(child, nn.BatchNorm1d):
                    setattr(parent, name, nn.Identity())
    return head


def mlp(dims: Sequence[int], *, last_norm: bool = False) -> nn.Module:
    """Linear layers without biases, batch norm and a ReLU between them.

    From [batch, dims[0]] to [batch, dims[-1]]. For the methods of which lightly's own head departs from the
    published code in a bias or a scale.

    Args:
        dims: Of the input, of what lies between, of the output.
        last_norm: Whether batch norm, without scale and shift, comes after the last layer.
    """
    pairs = list(pairwise(dims))
    blocks: list[tuple[int, int, nn.Module | None, nn.Module | None, bool]] = [
        (before, after, nn.BatchNorm1d(after), nn.ReLU(), False) for before, after in pairs[:-1]
    ]
    last = nn.BatchNorm1d(dims[-1], affine=False) if last_norm else None
    head: nn.Module = ProjectionHead([*blocks, (*pairs[-1], last, None, False)])
    return head


class Projector(nn.Module):
    """Backbone and head: images to projections."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        projections: Tensor = self.head(self.backbone(images))
        return projections
