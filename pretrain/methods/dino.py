"""DINO: a network predicts the sharp, centred output of its own slow copy, small views that of whole ones.

The slow copy is what is transferred, as in the authors' evaluation.

Source:
    Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers; facebookresearch/dino
    README ("ResNet-50" command, 100 epochs at batch 512) and `main_dino.py`. The published linear probe,
    75.3, is of a longer run with another recipe; lightly's 100 epochs: 68.2. Head and loss are lightly's
    `DINOProjectionHead` and `DINOLoss`.
    Differs: the rise ends one step later. In each part of a batch that is taken in parts, the centre moves.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import DINOProjectionHead
from pydantic import Field
from torch import Tensor, nn

from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import Projector, norms_as_in_backbone, unit_length
from pretrain.losses import without_autocast
from pretrain.momentum import cosine_momentum, momentum_copy, update_momentum
from pretrain.multi_crop import encode_crops


class DINOParts(MethodParts):
    """`[parts]` of DINO.

    Attributes:
        hidden_dim, bottleneck_dim: Of the projector, three layers.
        num_prototypes: Of the last layer, whose weights have length 1.
        head_norm: Whether the projector has batch norm.
        temperature, teacher_temperature: Divide the outputs of the network and of its slow copy.
        center_momentum: Of the mean output that is taken off the slow copy's.
        frozen_head_epochs: So many epochs at first, the last layer is not trained.
        ema_momentum: Of the slow copy at the start; it rises to 1 on a cosine.
    """

    hidden_dim: Annotated[int, Field(ge=2, le=65_536)]
    bottleneck_dim: Annotated[int, Field(ge=2, le=65_536)]
    num_prototypes: Annotated[int, Field(ge=2, le=1_048_576)]
    head_norm: bool
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    teacher_temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    center_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    frozen_head_epochs: Annotated[int, Field(ge=0, le=100_000)]
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]


class _Head(DINOProjectionHead):  # type: ignore[misc]  # lightly has no types here
    """lightly's head with torch's newer weight norm, and a last layer that is never in half precision."""

    def __init__(self, dim: int, parts: DINOParts) -> None:
        with warnings.catch_warnings():
            # The older weight norm keeps the product beside the weights and cannot be copied.
            warnings.simplefilter("ignore", FutureWarning)
            super().__init__(
                dim,
                parts.hidden_dim,
                parts.bottleneck_dim,
                parts.num_prototypes,
                batch_norm=parts.head_norm,
            )
        # As the authors: torch's own start under a length of 1 that is not trained.
        layer = nn.Linear(parts.bottleneck_dim, parts.num_prototypes, bias=False)
        self.last_layer = nn.utils.parametrizations.weight_norm(layer)
        self.last_layer.parametrizations.weight.original0.requires_grad_(False).fill_(1.0)

    def forward(self, features: Tensor) -> Tensor:
        """Features [batch, dim] to the cosines with all prototypes, [batch, prototypes]."""
        # Of half precision's cosines, divided by a temperature of .04, little would be left.
        cosines: Tensor = without_autocast(self.last_layer, unit_length(self.layers(features)))
        return cosines


class DINO(MethodModel):
    """Every view's distribution over the prototypes must be the slow copy's of another, whole view.

    Attributes:
        student: Backbone and head that are trained.
        teacher: Their slow copy.
    """

    columns = ("loss",)
    trained_later = ("student.head.last_layer.",)

    def __init__(self, config: PretrainConfig[DINOParts], sizes: Sizes) -> None:
        super().__init__()
        self.parts = parts = config.parts
        head = norms_as_in_backbone(_Head(feature_dim(config.backbone), parts), config.backbone)
        self.student = Projector(build_backbone(config.backbone), head)
        self.teacher = momentum_copy(self.student)
        self.criterion = DINOLoss(
            output_dim=parts.num_prototypes,
            teacher_temp=parts.teacher_temperature,
            warmup_teacher_temp_epochs=0,
            student_temp=parts.temperature,
            center_momentum=parts.center_momentum,
        )
        self.frozen_steps = parts.frozen_head_epochs * sizes.steps_per_epoch(config)
        self.num_steps, self._step = sizes.num_steps(config), 0

    @property
    def backbone(self) -> nn.Module:
        """The slow copy's."""
        return self.teacher.backbone

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross entropy over each whole view of the slow copy and every other one."""
        self._step = place.step
        views = [self.normalise(view) for view in batch.views]
        with torch.no_grad():
            whole = encode_crops(self.teacher.backbone, self.teacher.head, views[: self.parts.num_views])
        every = encode_crops(self.student.backbone, self.student.head, views)

        def cross_entropy(*outputs: Tensor) -> Tensor:
            count = len(whole)
            found: Tensor = self.criterion(list(outputs[:count]), list(outputs[count:]))
            return found

        loss: Tensor = without_autocast(cross_entropy, *whole, *every)
        return loss, {"loss": loss.detach()}

    def before_update(self) -> None:
        """The last layer is not trained at first."""
        if self._step < self.frozen_steps:
            for value in self.student.head.last_layer.parameters():  # type: ignore[union-attr]
                value.grad = None

    def after_step(self) -> None:
        """The copy follows the new weights."""
        momentum = cosine_momentum(self.parts.ema_momentum, step=self._step, num_steps=self.num_steps)
        update_momentum(self.teacher, self.student, momentum)


def _build(config: PretrainConfig[Any], sizes: Sizes) -> MethodModel:
    return DINO(config, sizes)


def _problems(config: PretrainConfig[Any]) -> list[str]:
    frozen = config.parts.frozen_head_epochs
    if frozen >= config.epochs:
        return [
            f"parts.frozen_head_epochs {frozen}: the last layer is never trained in {config.epochs} epochs"
        ]
    return []


ENTRY = Method(
    name="dino",
    version=1,
    summary="Small views predict a slow copy's sharp output on whole ones (Caron et al. 2021).",
    with_labels=False,
    parts=DINOParts,
    build=_build,
    default_config="dino_ep100",
    preset=Preset(
        modality="rgb",
        jigsaw=False,
        memory="prototypes",
        augmentation="DINO",
        head="mlp",
        temperature=0.1,
        encoder="momentum copy",
    ),
    source="facebookresearch/dino, README, ResNet-50",
    problems=_problems,
    published_as=("DINO", "DINO (lightly)"),
    takes=frozenset({"second_view", "local_view"}),
)
