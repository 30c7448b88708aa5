"""MoCo v3: a predictor must find the slow copy's key of another view in a large batch; no queue.

Source:
    Chen et al. 2021, An Empirical Study of Training Self-Supervised Vision Transformers; facebookresearch/
    moco-v3 `moco/builder.py`, `main_moco.py` and `CONFIG.md` (ResNet-50, 100 epochs; its linear probe: 68.9).
    Differs: none but LARS: see `build_optimizer` in `pretrain/optim.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import Projector, mlp, norms_as_in_backbone, unit_length
from pretrain.losses import batch_nce, mutual_information
from pretrain.momentum import cosine_momentum, momentum_copy, update_momentum


class MoCoV3Parts(MethodParts):
    """`[parts]` of MoCo v3.

    Attributes:
        hidden_dim, projection_dim: Of projector and predictor, two layers each.
        temperature: Divides similarities.
        ema_momentum: Of the slow copy at the start; it rises to 1 on a cosine.
    """

    hidden_dim: Annotated[int, Field(ge=2, le=65_536)]
    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]


class MoCoV3(MethodModel):
    """The prediction of one view must find the key of the other among those of all processes.

    Attributes:
        online: Backbone and projector that are trained.
        target: Their slow copy, which makes the keys.
    """

    columns = ("loss", "i_nce")

    def __init__(self, config: PretrainConfig[MoCoV3Parts], sizes: Sizes) -> None:
        super().__init__()
        parts, backbone = config.parts, build_backbone(config.backbone)
        dims = (feature_dim(config.backbone), parts.hidden_dim, parts.projection_dim)
        head = norms_as_in_backbone(mlp(dims, last_norm=True), config.backbone)
        self.online = Projector(backbone, head)
        predictor = mlp((parts.projection_dim, parts.hidden_dim, parts.projection_dim))
        self.predictor = norms_as_in_backbone(predictor, config.backbone)
        self.target = momentum_copy(self.online)
        self.temperature = parts.temperature
        self.ema_momentum, self.num_steps, self._step = parts.ema_momentum, sizes.num_steps(config), 0

    @property
    def backbone(self) -> nn.Module:
        """The trained one."""
        return self.online.backbone

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum over both directions of the cross entropy, times twice the temperature."""
        self._step = place.step
        views = [self.normalise(view) for view in batch.views]
        first, second = (unit_length(self.predictor(self.online(view))) for view in views)
        with torch.no_grad():
            keys = [self.world.gather(unit_length(self.target(view))) for view in views]
        rank = self.world.rank
        away = batch_nce(first, keys[1], rank=rank, temperature=self.temperature)
        back = batch_nce(second, keys[0], rank=rank, temperature=self.temperature)
        loss = 2.0 * self.temperature * (away + back)
        i_nce = mutual_information(0.5 * (away + back), len(keys[0]))
        return loss, {"loss": loss.detach(), "i_nce": i_nce}

    def after_step(self) -> None:
        """The copy follows the new weights, with the momentum of the step that will use it."""
        momentum = cosine_momentum(self.ema_momentum, step=self._step + 1, num_steps=self.num_steps)
        update_momentum(self.target, self.online, momentum)


def _build(config: PretrainConfig[Any], sizes: Sizes) -> MethodModel:
    return MoCoV3(config, sizes)


ENTRY = Method(
    name="moco-v3",
    version=1,
    summary="A prediction finds a slow copy's key in a large batch (Chen et al. 2021).",
    with_labels=False,
    parts=MoCoV3Parts,
    build=_build,
    default_config="moco_v3_ep100",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="batch", augmentation="MoCo v3", head="mlp", temperature=1.0
    ),
    source="facebookresearch/moco-v3, CONFIG.md",
    published_as=("MoCo v3", "MoCo v3 (mmselfsup)"),
    takes=frozenset({"second_view"}),
    min_images=2,
)
