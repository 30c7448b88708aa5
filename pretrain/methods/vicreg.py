"""VICReg: projections of two views are near, every component varies, and no two vary together.

Source:
    Bardes et al. 2022, VICReg; facebookresearch/vicreg `main_vicreg.py` and README (its linear probe: 73.2
    after 1,000 epochs at batch 2,048). The loss is lightly's `VICRegLoss`.
    Differs: biases before batch norm, which takes them out again, are left out. What is left over of a batch
    is dropped. LARS: see `build_optimizer` in `pretrain/optim.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from lightly.loss import VICRegLoss
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import mlp, norms_as_in_backbone
from pretrain.losses import without_autocast

Weight = Annotated[float, Field(ge=0.0, le=1000.0)]


class VICRegParts(MethodParts):
    """`[parts]` of VICReg.

    Attributes:
        projection_dim: Of the projector's three layers.
        invariance_weight, variance_weight, covariance_weight: Of the three terms; 25, 25 and 1.
    """

    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    invariance_weight: Weight
    variance_weight: Weight
    covariance_weight: Weight


class VICReg(MethodModel):
    """Distance of the two views, variance and covariance over the images of all processes."""

    columns = ("loss",)

    def __init__(self, config: PretrainConfig[VICRegParts]) -> None:
        super().__init__()
        parts, dim = config.parts, config.parts.projection_dim
        self.network = build_backbone(config.backbone)
        head = mlp((feature_dim(config.backbone), dim, dim, dim))
        self.head = norms_as_in_backbone(head, config.backbone)
        self.criterion = VICRegLoss(
            lambda_param=parts.invariance_weight,
            mu_param=parts.variance_weight,
            nu_param=parts.covariance_weight,
            gather_distributed=True,
        )

    @property
    def backbone(self) -> nn.Module:
        """The only one."""
        return self.network

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the three terms."""
        first, second = (self.head(self.network(self.normalise(view))) for view in batch.views)
        loss: Tensor = without_autocast(self.criterion, first, second)
        return loss, {"loss": loss.detach()}


def _build(config: PretrainConfig[Any], _sizes: Sizes) -> MethodModel:
    return VICReg(config)


ENTRY = Method(
    name="vicreg",
    version=1,
    summary="Near projections whose components vary, each by itself (Bardes et al. 2022).",
    with_labels=False,
    parts=VICRegParts,
    build=_build,
    default_config="vicreg_ep1000",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="none", augmentation="BYOL", head="mlp", temperature=None
    ),
    source="facebookresearch/vicreg",
    published_as=("VICReg", "VICReg (lightly)"),
    takes=frozenset({"second_view"}),
    min_images=2,
)
