"""Two ResNets of half the width side by side: one sees lightness, the other colour.

Source:
    Tian et al. 2020, Contrastive Multiview Coding, section 4; HobbitLong/PyContrast `networks/resnet.py` with
    width 0.5 and `networks/build_backbone.py`: the stem keeps its 64 filters, every stage has half of its
    channels.
    Differs: none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from pretrain.backbones.resnet import BackboneConfig, feature_dim, norm_layer

_BLOCKS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}
"""Source: He et al. 2016, table 1."""


class HalfWidthResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet whose stages have half of their channels, on `in_channels` channels."""

    def __init__(self, arch: str, in_channels: int, **values: Any) -> None:
        super().__init__(*_BLOCKS[arch], **values)
        self.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.fc = nn.Identity()

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        layer: nn.Sequential = super()._make_layer(block, planes // 2, blocks, stride, dilate)
        return layer


class TwoBranches(nn.Module):
    """Images, [batch, 3, height, width], to the features of lightness and of colour side by side.

    The output is as long as that of one ResNet of full width, [batch, feature_dim].
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.encoder1, self.encoder2 = (
            HalfWidthResNet(
                config.arch,
                in_channels,
                norm_layer=norm_layer(config),
                zero_init_residual=config.zero_init_residual,
            )
            for in_channels in (1, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        lightness, colour = images[:, :1], images[:, 1:]
        return torch.cat([self.encoder1(lightness), self.encoder2(colour)], dim=1)


def branch_dim(config: BackboneConfig) -> int:
    """Channels of the feature of one branch."""
    return feature_dim(config) // 2
