"""SimCLR: the other images of a large batch are the negatives; no queue, no second encoder.

Source:
    Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations; recipe of
    open-mmlab/mmselfsup `configs/selfsup/simclr/` (its linear probe: 62.7 at batch 256, 69.2 at 4,096 and 800
    epochs). PyContrast has no SimCLR. Loss and projector are lightly's `NTXentLoss` and
    `SimCLRProjectionHead`.
    Differs: of several processes, the gradient is that of the whole loss. In mmselfsup each passes back the
    gradient of its own images alone, and the mean over processes divides it by their number; LARS undoes that
    for weights, not for norms and biases, which move that many times as far here. No norm is decayed or
    scaled (mmselfsup's pattern misses those of the shortcuts). LARS: see `build_optimizer` in
    `pretrain/optim.py`. The rise ends one step later; the cosine falls step by step, as in the paper, not
    once an epoch; blur is Pillow's, as in mmselfsup (the paper: a Gaussian of a tenth of the side).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import norms_as_in_backbone
from pretrain.losses import mutual_information, without_autocast


class SimCLRParts(MethodParts):
    """`[parts]` of SimCLR.

    Attributes:
        hidden_dim, projection_dim: Of the projector, two layers with batch norm after each.
        temperature: Divides similarities.
    """

    hidden_dim: Annotated[int, Field(ge=2, le=65_536)]
    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]


class SimCLR(MethodModel):
    """Each view must find the other view of its image among all views of the batch, of all processes."""

    columns = ("loss", "i_nce")

    def __init__(self, config: PretrainConfig[SimCLRParts]) -> None:
        super().__init__()
        parts = config.parts
        self.network = build_backbone(config.backbone)
        head = SimCLRProjectionHead(feature_dim(config.backbone), parts.hidden_dim, parts.projection_dim)
        self.head = norms_as_in_backbone(head, config.backbone)
        self.criterion = NTXentLoss(temperature=parts.temperature, gather_distributed=True)

    @property
    def backbone(self) -> nn.Module:
        """The only one."""
        return self.network

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """NT-Xent of the two views; similarities are float32 under mixed precision, too."""
        first, second = batch.views
        num_images = len(first)
        views = self.normalise(torch.cat([first, second]))
        projections = self.head(self.network(views))
        loss: Tensor = without_autocast(self.criterion, projections[:num_images], projections[num_images:])
        candidates = 2 * num_images * self.world.size - 1
        return loss, {"loss": loss.detach(), "i_nce": mutual_information(loss, candidates)}


def _build(config: PretrainConfig[Any], _sizes: Sizes) -> MethodModel:
    return SimCLR(config)


ENTRY = Method(
    name="simclr",
    version=1,
    summary="Contrast within a large batch (Chen et al. 2020).",
    with_labels=False,
    parts=SimCLRParts,
    build=_build,
    default_config="simclr_ep200",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="batch", augmentation="SimCLR", head="mlp", temperature=0.1
    ),
    source="mmselfsup, simclr 8xb32 200e",
    min_images=2,
    published_as=("SimCLR", "SimCLR (bs256) (mmselfsup)", "SimCLR (SimSiam repro+)"),
)
