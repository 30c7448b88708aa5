"""The ResNet family in torchvision's key layout, without its classifier.

Source:
    He et al. 2016, Deep Residual Learning; pytorch/vision `torchvision/models/resnet.py`, which builds it.
    Differs: none; `fc` is an identity, so that the output is the feature.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torchvision
from pydantic import model_validator
from torch import Tensor, nn

from bench.core.card import Arch
from bench.core.config import Section

Norm = Literal["batch", "sync_batch", "group"]

GROUPS = 32
"""Of GroupNorm. Source: Wu and He 2018, Group Normalization, section 4, the default G = 32."""


class BackboneConfig(Section):
    """`norm`: batch norm of each process, of all processes together (GPUs only), or GroupNorm.

    `zero_init_residual`: the last norm of every residual branch starts at zero (Goyal et al. 2017).
    """

    arch: Arch = "resnet50"
    norm: Norm = "batch"
    zero_init_residual: bool = False

    @model_validator(mode="after")
    def _norm_is_possible(self) -> BackboneConfig:
        if self.norm == "group" and self.zero_init_residual:
            # torchvision's own rule is written for batch norm.
            raise ValueError("zero_init_residual goes with batch norm; set it to false for group")
        return self


def build_backbone(config: BackboneConfig) -> nn.Module:
    """A randomly initialised ResNet; its output is the feature, [batch, feature_dim].

    Initialised from torch's global generator, as torchvision does.
    """
    build = getattr(torchvision.models, config.arch)
    network: nn.Module = build(
        weights=None, norm_layer=norm_layer(config), zero_init_residual=config.zero_init_residual
    )
    network.fc = nn.Identity()
    return network


def norm_layer(config: BackboneConfig) -> Callable[..., nn.Module]:
    """Channels to a norm of them."""
    norms: dict[Norm, Callable[..., nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "sync_batch": nn.SyncBatchNorm,
        "group": partial(nn.GroupNorm, GROUPS),
    }
    return norms[config.norm]


def feature_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """What the backbone pools: [batch, 3, height, width] to [batch, channels, rows, columns]."""
    values = images
    for name, stage in backbone.named_children():
        if name == "avgpool":
            break
        values = stage(values)
    return values


def feature_dim(config: BackboneConfig) -> int:
    """Channels of the feature: 512 for basic blocks, 2,048 for bottlenecks."""
    return 512 if config.arch in ("resnet18", "resnet34") else 2048


def backbone_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """What is transferred: every parameter and running statistic, float32 on the CPU, without counters."""
    return {
        name: value.detach().float().cpu().contiguous()
        for name, value in backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
