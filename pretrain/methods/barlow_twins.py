"""Barlow Twins: the projections of two views must correlate, and their components must not.

Source:
    Zbontar et al. 2021, Barlow Twins; facebookresearch/barlowtwins `main.py`, at 300 epochs as
    open-mmlab/mmselfsup `configs/selfsup/barlowtwins/` 8xb256 300e (its linear probe: 71.8). The loss is
    lightly's `BarlowTwinsLoss`.
    Differs: the norms before the cross-correlation see the images of all processes, as in the authors' code,
    for which projections are gathered before lightly's loss (its own `gather_distributed`, and mmselfsup,
    normalise each process by itself). The gradient is that of the whole loss; in both sources it is divided
    by the number of processes, so that norms and biases, which LARS does not scale, move that many times as
    far here (8 in the recipe). The cosine of norms and biases ends at a thousandth of their start;
    mmselfsup's at that of the weights. What is left over of a batch is dropped. LARS: see
    `build_optimizer` in `pretrain/optim.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from lightly.loss import BarlowTwinsLoss
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import mlp, norms_as_in_backbone
from pretrain.losses import without_autocast


class BarlowTwinsParts(MethodParts):
    """`[parts]` of Barlow Twins.

    Attributes:
        projection_dim: Of the projector's three layers.
        redundancy_weight: Of the components' correlation with each other in the loss, lambda.
    """

    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    redundancy_weight: Annotated[float, Field(gt=0.0, le=100.0)]


class BarlowTwins(MethodModel):
    """The cross-correlation of two views' projections over the whole batch must be the identity."""

    columns = ("loss",)

    def __init__(self, config: PretrainConfig[BarlowTwinsParts]) -> None:
        super().__init__()
        dim = config.parts.projection_dim
        self.network = build_backbone(config.backbone)
        head = mlp((feature_dim(config.backbone), dim, dim, dim))
        self.head = norms_as_in_backbone(head, config.backbone)
        self.criterion = BarlowTwinsLoss(lambda_param=config.parts.redundancy_weight)

    @property
    def backbone(self) -> nn.Module:
        """The only one."""
        return self.network

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared distance from the identity, other components weighted."""
        views = [self.head(self.network(self.normalise(view))) for view in batch.views]
        first, second = (self.world.gather_with_gradient(view) for view in views)
        loss: Tensor = without_autocast(self.criterion, first, second)
        return loss, {"loss": loss.detach()}


def _build(config: PretrainConfig[Any], _sizes: Sizes) -> MethodModel:
    return BarlowTwins(config)


ENTRY = Method(
    name="barlow-twins",
    version=1,
    summary="Components correlate across views and not with each other (Zbontar et al. 2021).",
    with_labels=False,
    parts=BarlowTwinsParts,
    build=_build,
    default_config="barlow_twins_ep300",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="none", augmentation="BYOL", head="mlp", temperature=None
    ),
    source="facebookresearch/barlowtwins; mmselfsup, barlowtwins 8xb256 300e",
    published_as=("Barlow Twins", "Barlow Twins (mmselfsup)"),
    takes=frozenset({"second_view"}),
    min_images=2,
)
