"""BYOL: a network predicts what its own slow copy makes of another view; no negatives.

Source:
    Grill et al. 2020, Bootstrap Your Own Latent; recipe of open-mmlab/mmselfsup `configs/selfsup/byol/`,
    16xb256 200e (its linear probe: 71.8), `mmselfsup/models/algorithms/byol.py`. The loss is lightly's
    `NegativeCosineSimilarity`.
    Differs: biases before batch norm, which takes them out again, are left out. After the rise, the cosine
    falls step by step, as in the paper, and not once an epoch; the rise ends one step later. LARS: see
    `build_optimizer` in `pretrain/optim.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from lightly.loss import NegativeCosineSimilarity
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import Projector, mlp, norms_as_in_backbone
from pretrain.losses import without_autocast
from pretrain.momentum import cosine_momentum, momentum_copy, update_momentum


class BYOLParts(MethodParts):
    """`[parts]` of BYOL.

    Attributes:
        hidden_dim, projection_dim: Of projector and predictor, two layers each.
        ema_momentum: Of the slow copy at the start; it rises to 1 on a cosine.
    """

    hidden_dim: Annotated[int, Field(ge=2, le=65_536)]
    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]


class BYOL(MethodModel):
    """The projection of one view, through a predictor, must be the slow copy's projection of the other.

    Attributes:
        online: Backbone and projector that are trained.
        target: Their slow copy.
    """

    columns = ("loss",)

    def __init__(self, config: PretrainConfig[BYOLParts], sizes: Sizes) -> None:
        super().__init__()
        parts, backbone = config.parts, build_backbone(config.backbone)
        projector = mlp((feature_dim(config.backbone), parts.hidden_dim, parts.projection_dim))
        predictor = mlp((parts.projection_dim, parts.hidden_dim, parts.projection_dim))
        head = norms_as_in_backbone(projector, config.backbone)
        self.online = Projector(backbone, head)
        self.predictor = norms_as_in_backbone(predictor, config.backbone)
        self.target = momentum_copy(self.online)
        self.similarity = NegativeCosineSimilarity()
        self.ema_momentum, self.num_steps, self._step = parts.ema_momentum, sizes.num_steps(config), 0

    @property
    def backbone(self) -> nn.Module:
        """The trained one."""
        return self.online.backbone

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum over both directions of 2 - 2 cos: 0 where they agree, 8 at most."""
        self._step = place.step
        views = [self.normalise(view) for view in batch.views]
        first, second = (self.predictor(self.online(view)) for view in views)
        first_target, second_target = (self.target(view) for view in views)
        away = without_autocast(self.similarity, first, second_target.detach())
        back = without_autocast(self.similarity, second, first_target.detach())
        loss: Tensor = (2.0 + 2.0 * away) + (2.0 + 2.0 * back)
        return loss, {"loss": loss.detach()}

    def after_step(self) -> None:
        """The copy follows the new weights, with the momentum of the step that will use it."""
        momentum = cosine_momentum(self.ema_momentum, step=self._step + 1, num_steps=self.num_steps)
        update_momentum(self.target, self.online, momentum)


def _build(config: PretrainConfig[Any], sizes: Sizes) -> MethodModel:
    return BYOL(config, sizes)


ENTRY = Method(
    name="byol",
    version=1,
    summary="A network predicts its own slow copy (Grill et al. 2020).",
    with_labels=False,
    parts=BYOLParts,
    build=_build,
    default_config="byol_ep200",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="none", augmentation="BYOL", head="mlp", temperature=None
    ),
    source="mmselfsup, byol 16xb256 200e",
    published_as=("BYOL", "BYOL (SimSiam repro)"),
    takes=frozenset({"second_view"}),
)
