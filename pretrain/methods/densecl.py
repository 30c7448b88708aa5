"""DenseCL: momentum contrast of whole views, and of each place in one with the place most like it in another.

Source:
    Wang et al. 2021, Dense Contrastive Learning for Self-Supervised Visual Pre-Training; WXinlong/DenseCL
    `configs/selfsup/densecl/densecl_imagenet_200ep.py`, `openselfsup/models/densecl.py` and `necks.py`
    (linear probe of open-mmlab/mmselfsup's run: 63.5). lightly has no DenseCL loss; this one is ours.
    Differs: keys enter the queues in the order in which they were computed, shuffled. The cosine falls step
    by step and not once an epoch.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim, feature_map
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place, Shuffle, shuffled_keys
from pretrain.heads import Projection, unit_length
from pretrain.losses import info_nce, mutual_information
from pretrain.momentum import momentum_copy, update_momentum
from pretrain.queue import KeyQueue


class DenseCLParts(MethodParts):
    """`[parts]` of DenseCL.

    Attributes:
        projection_dim: Length of a projection, of a view and of a place in it.
        temperature: Divides similarities.
        dense_weight: Share of the places in the loss, lambda.
        queue_size: Negatives of each kind.
        ema_momentum: Of the momentum encoder.
        shuffle_bn: Among which processes keys are shuffled.
    """

    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    dense_weight: Annotated[float, Field(gt=0.0, lt=1.0)]
    queue_size: Annotated[int, Field(ge=1, le=16_777_216)]
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    shuffle_bn: Shuffle


class _Encoder(nn.Module):
    """Backbone, the projector of a view, and that of a place: two 1x1 convolutions."""

    def __init__(self, config: PretrainConfig[DenseCLParts]) -> None:
        super().__init__()
        dim, length = feature_dim(config.backbone), config.parts.projection_dim
        self.backbone = build_backbone(config.backbone)
        self.head = Projection("mlp", dim, length)
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):  # as published; convolutions start as torch's do
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.dense_head = nn.Sequential(
            nn.Conv2d(dim, dim, 1), nn.ReLU(inplace=True), nn.Conv2d(dim, length, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is compared, each of length 1.

        Returns:
            Of the view, [batch, length]; of its places, [batch, places, length]; of the mean of the places
            before they have length 1, [batch, length]; the features by which places are matched,
            [batch, places, dim], without gradient.
        """
        features = feature_map(self.backbone, images)
        places = self.dense_head(features)
        return (
            self.head(features.mean(dim=(2, 3))),
            _by_place(places),
            unit_length(places.mean(dim=(2, 3))),
            _by_place(features.detach()),
        )


def _by_place(values: Tensor) -> Tensor:
    """[batch, channels, rows, columns] to [batch, places, channels], each of length 1."""
    return unit_length(values.flatten(2)).transpose(1, 2)


class DenseCL(MethodModel):
    """MoCo's loss of the views, and that of places: each must find its match among means of other images.

    Attributes:
        query: The encoder that is trained; its backbone is the one transferred.
        key: Its momentum copy.
        queue, dense_queue: Keys of views, and means of the keys of places.
    """

    columns = ("loss", "i_nce", "loss_views", "loss_places")

    def __init__(self, config: PretrainConfig[DenseCLParts]) -> None:
        super().__init__()
        self.parts = parts = config.parts
        self.query = _Encoder(config)
        self.key = momentum_copy(self.query)
        self.queue = KeyQueue(parts.queue_size, parts.projection_dim)
        self.dense_queue = KeyQueue(parts.queue_size, parts.projection_dim)
        self._new_keys: list[tuple[Tensor, Tensor]] = []

    @property
    def backbone(self) -> nn.Module:
        """The query's."""
        return self.query.backbone

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of views and that of places, weighted by 1 - lambda and lambda."""
        temperature, weight = self.parts.temperature, self.parts.dense_weight
        query, places, _, features = self.query(self.normalise(batch.views[0]))
        key, key_places, key_features = self._keys(batch, place, features)
        views = info_nce(query, key, self.queue.keys, temperature=temperature)
        with torch.autocast(query.device.type, enabled=False):
            match = torch.einsum("bpc,bqc->bpq", features, key_features).argmax(dim=2)
        wanted = key_places.gather(1, match[..., None].expand_as(places))
        dense = info_nce(
            places.flatten(0, 1), wanted.flatten(0, 1), self.dense_queue.keys, temperature=temperature
        )
        loss = (1.0 - weight) * views + weight * dense
        return loss, {
            "loss": loss.detach(),
            "i_nce": mutual_information(views, 1 + self.parts.queue_size),
            "loss_views": views.detach(),
            "loss_places": dense.detach(),
        }

    def _keys(self, batch: Batch, place: Place, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys of the second view, of its places, and their features; new ones are noted for the queues."""
        length, (count, dim) = self.parts.projection_dim, like.shape[1:]

        def encode(images: Tensor) -> Tensor:
            # Side by side, as they travel together to the process that the image is of.
            return torch.cat([values.flatten(1) for values in self.key(self.normalise(images))], dim=1)

        own, everyone = shuffled_keys(encode, batch.views[1], self.world, self.parts.shuffle_bn, place)
        sizes = [length, count * length, length, count * dim]
        new, _, new_means, _ = torch.split(everyone, sizes, dim=1)
        self._new_keys.append((new, new_means))
        key, places, _, features = torch.split(own, sizes, dim=1)
        return key, places.view(-1, count, length), features.view(-1, count, dim)

    def after_step(self) -> None:
        """Momentum update with the new weights; the keys of this batch go to the queues."""
        update_momentum(self.key, self.query, self.parts.ema_momentum)
        for new, new_means in self._new_keys:
            self.queue.enqueue(new)
            self.dense_queue.enqueue(new_means)
        self._new_keys.clear()


def _build(config: PretrainConfig[Any], _sizes: Sizes) -> MethodModel:
    return DenseCL(config)


def _problems(config: PretrainConfig[Any]) -> list[str]:
    size, problems = config.parts.queue_size, []
    if config.batch_size > size:
        problems.append(f"batch_size {config.batch_size:,} does not fit into parts.queue_size {size:,}")
    if config.loop.compile:
        problems.append(
            "loop.compile: the stages of the backbone are called one by one, which is not compiled"
        )
    return problems


ENTRY = Method(
    name="densecl",
    version=1,
    summary="Momentum contrast of views and of places in them (Wang et al. 2021).",
    with_labels=False,
    parts=DenseCLParts,
    build=_build,
    default_config="densecl_ep200",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="queue", augmentation="MoCo v2", head="mlp", temperature=0.2
    ),
    source="WXinlong/DenseCL, ImageNet 200 epochs",
    problems=_problems,
    published_as=("DenseCL", "DenseCL (mmselfsup)"),
    takes=frozenset({"second_view"}),
)
