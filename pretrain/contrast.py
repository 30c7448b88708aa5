"""Momentum contrast as a combination of parts: head, queue, temperature, shuffle-BN, jigsaw branch.

MoCo v1, MoCo v2 and InfoMin are this, with other parts and other views.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.core.config import Section
from pretrain.api import MethodModel, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import PretrainConfig
from pretrain.data.loader import Batch
from pretrain.distributed import Place, Shuffle, shuffled_keys
from pretrain.heads import HeadKind, JigsawProjection, Projection
from pretrain.losses import info_nce, mutual_information
from pretrain.momentum import momentum_copy, update_momentum
from pretrain.queue import KeyQueue


class ContrastParts(Section):
    """`[parts]` of a momentum contrast.

    Attributes:
        head: Of the projector.
        projection_dim: Length of a projection; 128 in all of PyContrast.
        temperature: Divides similarities.
        queue_size: Negatives.
        ema_momentum: Of the momentum encoder; .999 in PyContrast.
        shuffle_bn: Among which processes keys are shuffled; "node" in PyContrast, "global" in MoCo.
        jigsaw_weight: Share of the jigsaw branch in the loss, beta; None for no such branch.
    """

    head: HeadKind
    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    queue_size: Annotated[int, Field(ge=1, le=16_777_216)]
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    shuffle_bn: Shuffle
    jigsaw_weight: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None


class Encoder(nn.Module):
    """Backbone and projector; the jigsaw projector beside it, where there is one."""

    def __init__(self, config: PretrainConfig[ContrastParts]) -> None:
        super().__init__()
        parts, dim = config.parts, feature_dim(config.backbone)
        self.backbone = build_backbone(config.backbone)
        self.head = Projection(parts.head, dim, parts.projection_dim)
        self.jigsaw_head: nn.Module | None = None
        if config.jigsaw is not None:
            num_patches = config.jigsaw.grid**2
            self.jigsaw_head = JigsawProjection(
                parts.head, dim, parts.projection_dim, num_patches=num_patches
            )

    def forward(self, images: Tensor) -> Tensor:
        """Images [batch, 3, height, width] to projections [batch, dim]."""
        projections: Tensor = self.head(self.backbone(images))
        return projections

    def project_patches(self, patches: Tensor) -> Tensor:
        """Patches [batch * patches, 3, height, width], those of an image together, to [batch, dim]."""
        if self.jigsaw_head is None:
            raise TypeError("this encoder has no jigsaw head")
        projections: Tensor = self.jigsaw_head(self.backbone(patches))
        return projections


class MomentumContrast(MethodModel):
    """A query encoder learns to find, among a queue of keys, the key of another view of the same image.

    Attributes:
        query: The encoder that is trained; its backbone is the one transferred.
        key: Its momentum copy.
        queue: The negatives.

    Source:
        He et al. 2020, Momentum Contrast; Tian et al. 2020, InfoMin; HobbitLong/PyContrast
        `learning/contrast_trainer.py`, `memory/mem_moco.py`.
        Differs: what is left over of a batch at the end of an epoch is dropped (at batch 256 of ImageNet, one
        step of 5,005). Keys are put in the queue after the update and not before it, which changes no number:
        the loss is taken against the queue as it was.
    """

    def __init__(self, config: PretrainConfig[ContrastParts]) -> None:
        super().__init__()
        self.parts = config.parts
        self.query = Encoder(config)
        self.key = momentum_copy(self.query)
        self.queue = KeyQueue(config.parts.queue_size, config.parts.projection_dim)
        jigsaw = config.jigsaw is not None
        self.columns = ("loss", "i_nce", *(("loss_views", "loss_jigsaw") if jigsaw else ()))
        self._new_keys: list[Tensor] = []

    @property
    def backbone(self) -> nn.Module:
        """The query's, as PyContrast and MoCo evaluate it."""
        return self.query.backbone

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """InfoNCE of the two views, or its mean with that of the patches, weighted by beta."""
        keys, all_keys = shuffled_keys(
            lambda images: self.key(self.normalise(images)),
            batch.views[1],
            self.world,
            self.parts.shuffle_bn,
            place,
        )
        self._new_keys.append(all_keys)
        temperature = self.parts.temperature
        query = self.query(self.normalise(batch.views[0]))
        loss = info_nce(query, keys, self.queue.keys, temperature=temperature)
        scalars = {"i_nce": mutual_information(loss, 1 + self.parts.queue_size)}
        beta = self.parts.jigsaw_weight
        if beta is not None and batch.patches is not None:
            scalars["loss_views"] = loss.detach()
            patches = self.query.project_patches(self.normalise(batch.patches.flatten(0, 1)))
            jigsaw_loss = info_nce(patches, keys, self.queue.keys, temperature=temperature)
            scalars["loss_jigsaw"] = jigsaw_loss.detach()
            loss = (1.0 - beta) * loss + beta * jigsaw_loss
        return loss, {"loss": loss.detach(), **scalars}

    def after_step(self) -> None:
        """Momentum update with the new weights; the keys of this batch go to the queue."""
        update_momentum(self.key, self.query, self.parts.ema_momentum)
        self.queue.enqueue(torch.cat(self._new_keys))
        self._new_keys.clear()


def build_contrast(config: PretrainConfig[Any], _sizes: Sizes) -> MethodModel:
    """The method of a config whose parts are `ContrastParts`."""
    return MomentumContrast(config)


def contrast_problems(config: PretrainConfig[Any]) -> list[str]:
    """What does not fit together in such a config."""
    problems = []
    if (config.jigsaw is None) != (config.parts.jigsaw_weight is None):
        problems.append("[jigsaw] and parts.jigsaw_weight go together: give both or neither")
    if config.batch_size > config.parts.queue_size:
        problems.append(
            f"batch_size {config.batch_size:,} does not fit into parts.queue_size {config.parts.queue_size:,}"
        )
    return problems
