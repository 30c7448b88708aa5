"""The encoder of a contrastive method: backbone and projectors, one for each network inside of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.backbones.half_width import TwoBranches, branch_dim
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import PretrainConfig
from pretrain.contrast_parts import ContrastParts
from pretrain.heads import JigsawProjection, Projection
from pretrain.modality import num_branches


class Encoder(nn.Module):
    """Backbone and projectors; the jigsaw projectors beside them, where there are any.

    Attributes:
        branches: Networks in the backbone: one, or one for lightness and one for colour.

    Source:
        HobbitLong/PyContrast `networks/build_backbone.py`.
        Differs: none in value.
    """

    def __init__(self, config: PretrainConfig[ContrastParts]) -> None:
        super().__init__()
        parts = config.parts
        self.branches = num_branches(parts.modality)
        is_one = self.branches == 1
        self.backbone = build_backbone(config.backbone) if is_one else TwoBranches(config.backbone)
        dim = feature_dim(config.backbone) if is_one else branch_dim(config.backbone)
        self.heads = nn.ModuleList(
            Projection(parts.head, dim, parts.projection_dim) for _ in range(self.branches)
        )
        self.jigsaw_heads = nn.ModuleList()
        if config.jigsaw is not None:
            num_patches = config.jigsaw.grid**2
            self.jigsaw_heads.extend(
                JigsawProjection(parts.head, dim, parts.projection_dim, num_patches=num_patches)
                for _ in range(self.branches)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Images [batch, 3, height, width] to projections [batch, branches, dim]."""
        return self._project(self.heads, images)

    def project_patches(self, patches: Tensor) -> Tensor:
        """Patches [batch * patches, 3, side, side], those of an image together, to [batch, branches, dim]."""
        return self._project(self.jigsaw_heads, patches)

    def _project(self, heads: nn.ModuleList, images: Tensor) -> Tensor:
        features = self.backbone(images).chunk(self.branches, dim=1)
        return torch.stack([head(own) for head, own in zip(heads, features, strict=True)], dim=1)
