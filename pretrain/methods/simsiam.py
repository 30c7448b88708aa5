"""SimSiam: a network predicts what it makes itself of another view; no negatives, no slow copy.

Source:
    Chen and He 2021, Exploring Simple Siamese Representation Learning; facebookresearch/simsiam
    `main_simsiam.py` and `simsiam/builder.py` (its linear probe: 68.1 after 100 epochs at batch 512). Heads
    and loss are lightly's `SimSiamProjectionHead`, `SimSiamPredictionHead` and `NegativeCosineSimilarity`.
    Differs: the projector's last layer has no bias; there it has one that is not trained and that batch norm
    takes out again. The cosine falls step by step and not once an epoch.
"""

from __future__ import annotations

from typing import Annotated, Any

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import norms_as_in_backbone
from pretrain.losses import without_autocast


class SimSiamParts(MethodParts):
    """`[parts]` of SimSiam.

    Attributes:
        projection_dim: Of the projector's three layers, and of the predictor's output.
        hidden_dim: Of the predictor's other layer.
        fixed_predictor_rate: Whether the predictor keeps its learning rate, as in the published recipe.
    """

    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    hidden_dim: Annotated[int, Field(ge=2, le=65_536)]
    fixed_predictor_rate: bool


class SimSiam(MethodModel):
    """The projection of one view, through a predictor, must be that of the other, which gets no gradient."""

    columns = ("loss",)

    def __init__(self, config: PretrainConfig[SimSiamParts]) -> None:
        super().__init__()
        parts, dim = config.parts, config.parts.projection_dim
        self.network = build_backbone(config.backbone)
        projector = SimSiamProjectionHead(feature_dim(config.backbone), dim, dim)
        predictor = SimSiamPredictionHead(dim, parts.hidden_dim, dim)
        self.projector = norms_as_in_backbone(projector, config.backbone)
        self.predictor = norms_as_in_backbone(predictor, config.backbone)
        self.similarity = NegativeCosineSimilarity()
        self.fixed_rate = ("predictor.",) if parts.fixed_predictor_rate else ()

    @property
    def backbone(self) -> nn.Module:
        """The only one."""
        return self.network

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over both directions of the negative cosine: -1 where they agree."""
        first, second = (self.projector(self.network(self.normalise(view))) for view in batch.views)
        away = without_autocast(self.similarity, self.predictor(first), second.detach())
        back = without_autocast(self.similarity, self.predictor(second), first.detach())
        loss: Tensor = 0.5 * (away + back)
        return loss, {"loss": loss.detach()}


def _build(config: PretrainConfig[Any], _sizes: Sizes) -> MethodModel:
    return SimSiam(config)


ENTRY = Method(
    name="simsiam",
    version=1,
    summary="A network predicts itself on another view (Chen and He 2021).",
    with_labels=False,
    parts=SimSiamParts,
    build=_build,
    default_config="simsiam_ep100",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="none", augmentation="MoCo v2", head="mlp", temperature=None
    ),
    source="facebookresearch/simsiam",
    published_as=("SimSiam", "SimSiam (base)", "SimSiam (mmselfsup)"),
    takes=frozenset({"second_view"}),
)
