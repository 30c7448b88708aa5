"""Supervised pretraining: the baseline that every other method is held against.

Source:
    He et al. 2016, Deep Residual Learning; the 90-epoch recipe of pytorch/examples `imagenet/main.py`, by
    which torchvision's first weights were made.
    Differs: what is left over of a batch at the end of an epoch is dropped; there the last batch is smaller.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.losses import without_autocast


class SupervisedParts(MethodParts):
    """`[parts]` of supervised pretraining: `label_smoothing` is 0 in the recipe."""

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]

    @property
    def num_views(self) -> int:
        """One is enough for a class."""
        return 1


class Supervised(MethodModel):
    """A classifier of the training images' classes; its last layer is no part of the weights."""

    columns = ("loss", "top1")

    def __init__(self, config: PretrainConfig[SupervisedParts], num_classes: int) -> None:
        super().__init__()
        self.network = build_backbone(config.backbone)
        self.classifier = nn.Linear(feature_dim(config.backbone), num_classes)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=config.parts.label_smoothing)

    @property
    def backbone(self) -> nn.Module:
        """The only one."""
        return self.network

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy of the class."""
        if batch.labels is None:
            raise TypeError("a batch without labels")
        logits = self.classifier(self.network(self.normalise(batch.views[0])))
        loss: Tensor = without_autocast(self.criterion, logits, batch.labels)
        right = (logits.argmax(dim=1) == batch.labels).to(loss.dtype).mean()
        return loss, {"loss": loss.detach(), "top1": 100.0 * right}

    def classify(self, features: Tensor) -> Tensor | None:
        """Class scores, [batch, classes]."""
        scores: Tensor = self.classifier(features)
        return scores


def _build(config: PretrainConfig[Any], sizes: Sizes) -> MethodModel:
    return Supervised(config, sizes.num_classes)


ENTRY = Method(
    name="supervised",
    version=1,
    summary="Classes of the training images: the baseline (He et al. 2016).",
    with_labels=True,
    parts=SupervisedParts,
    build=_build,
    default_config="supervised_ep90",
    preset=Preset(
        modality="rgb",
        jigsaw=False,
        memory="none",
        augmentation="crop and flip",
        head="none",
        temperature=None,
    ),
    source="pytorch/examples, imagenet",
    published_as=("Supervised", "Supervised (torchvision)"),
)
