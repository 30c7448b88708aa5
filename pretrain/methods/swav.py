"""SwAV: a view predicts to which prototypes another view of its image is assigned; multi-crop.

Source:
    Caron et al. 2020, Unsupervised Learning of Visual Features by Contrasting Cluster Assignments;
    facebookresearch/swav `main_swav.py` and `scripts/swav_200ep_bs256_pretrain.sh` (its linear probe: 72.7).
    Projector, prototypes and loss are lightly's `SwaVProjectionHead`, `SwaVPrototypes` and `SwaVLoss`.
    Differs: images are divided by ImageNet's deviation, .229 in the first channel, not .228. The queue counts
    as full after as many images as it holds; there, when its last row is not zero, which is the same. The
    projector's first layer has no bias, which batch norm takes out again. Blur is Pillow's, as in the newer
    `src/multicropdataset.py`; an older one has OpenCV's, of 23 taps.
"""

from __future__ import annotations

from typing import Annotated, Any

from lightly.loss import SwaVLoss
from lightly.models.modules.heads import SwaVProjectionHead, SwaVPrototypes
from pydantic import Field
from torch import Tensor, nn

from bench.core.errors import ConfigError
from pretrain.api import Method, MethodModel, Preset, Sizes
from pretrain.backbones.resnet import build_backbone, feature_dim
from pretrain.config import MethodParts, PretrainConfig
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.heads import norms_as_in_backbone, unit_length
from pretrain.losses import without_autocast
from pretrain.multi_crop import encode_crops
from pretrain.queue import KeyQueue


class SwAVParts(MethodParts):
    """`[parts]` of SwAV.

    Attributes:
        hidden_dim, projection_dim: Of the projector, two layers.
        num_prototypes: To which images are assigned.
        temperature: Divides a view's similarities to the prototypes.
        sinkhorn_epsilon, sinkhorn_iterations: Of the even assignment of a batch to the prototypes.
        frozen_prototype_steps: So many steps at first, they are not trained.
        queue_size: Projections of recent images, of all processes, that are assigned with the batch; 0 for
            none.
        queue_start_epoch: Before it, the queue is empty; from 0.
    """

    hidden_dim: Annotated[int, Field(ge=2, le=65_536)]
    projection_dim: Annotated[int, Field(ge=2, le=65_536)]
    num_prototypes: Annotated[int, Field(ge=2, le=1_048_576)]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    sinkhorn_epsilon: Annotated[float, Field(ge=0.0125, le=100.0)]
    sinkhorn_iterations: Annotated[int, Field(ge=1, le=1000)]
    frozen_prototype_steps: Annotated[int, Field(ge=0, le=100_000_000)]
    queue_size: Annotated[int, Field(ge=0, le=16_777_216)]
    queue_start_epoch: Annotated[int, Field(ge=0, le=100_000)]


class SwAV(MethodModel):
    """Each view's soft assignment must be the even one that Sinkhorn's algorithm finds for a whole view.

    Attributes:
        queues: Of each whole view, projections of recent images.
    """

    columns = ("loss",)
    trained_later = ("prototypes.",)

    def __init__(self, config: PretrainConfig[SwAVParts], sizes: Sizes) -> None:
        super().__init__()
        self.parts = parts = config.parts
        self.network = build_backbone(config.backbone)
        head = SwaVProjectionHead(feature_dim(config.backbone), parts.hidden_dim, parts.projection_dim)
        self.head = norms_as_in_backbone(head, config.backbone)
        self.prototypes = SwaVPrototypes(parts.projection_dim, parts.num_prototypes)
        for layer in self.prototypes.heads:
            layer.bias = None  # the published ones are directions alone
        self.prototypes.normalize()
        self.criterion = SwaVLoss(
            temperature=parts.temperature,
            sinkhorn_iterations=parts.sinkhorn_iterations,
            sinkhorn_epsilon=parts.sinkhorn_epsilon,
            sinkhorn_gather_distributed=True,
        )
        self.queues = nn.ModuleList(
            KeyQueue(parts.queue_size, parts.projection_dim)
            for _ in range(parts.num_views if parts.queue_size else 0)
        )
        self.queue_start = parts.queue_start_epoch * sizes.steps_per_epoch(config)
        self.batch_size, self._step = config.batch_size, 0
        self._new: list[list[Tensor]] = []

    @property
    def backbone(self) -> nn.Module:
        """The only one."""
        return self.network

    def forward(self, batch: Batch, place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross entropy of assignments, over each whole view and every other one."""
        self._step, whole = place.step, self.parts.num_views
        if self.parts.queue_size % self.world.size:
            raise ConfigError(
                f"parts.queue_size {self.parts.queue_size:,} does not divide by {self.world.size} processes"
            )
        crops = encode_crops(self.network, self.head, [self.normalise(view) for view in batch.views])
        projections = [unit_length(crop) for crop in crops]
        if self.queues:
            self._new.append([self.world.gather(values) for values in projections[:whole]])
        scores = [without_autocast(self.prototypes, values) for values in projections]
        loss: Tensor = self._swapped(scores[:whole], scores[whole:], self._remembered())
        return loss, {"loss": loss.detach()}

    def _swapped(self, whole: list[Tensor], local: list[Tensor], queued: list[Tensor] | None) -> Tensor:
        def swapped(*scores: Tensor) -> Tensor:
            count = len(whole)
            loss: Tensor = self.criterion(list(scores[:count]), list(scores[count:]), queued)
            return loss.squeeze()

        loss: Tensor = without_autocast(swapped, *whole, *local)
        return loss

    def _remembered(self) -> list[Tensor] | None:
        """This process's share of each queue's scores, once the queue is full."""
        seen = (self._step - self.queue_start) * self.batch_size
        if not self.queues or seen < self.parts.queue_size:
            return None
        share = self.parts.queue_size // self.world.size
        mine = slice(self.world.rank * share, (self.world.rank + 1) * share)
        return [
            without_autocast(self.prototypes, queue.keys[mine]).detach()  # type: ignore[index]
            for queue in self.queues
        ]

    def before_update(self) -> None:
        """Prototypes are not trained at first."""
        if self._step < self.parts.frozen_prototype_steps:
            for value in self.prototypes.parameters():
                value.grad = None

    def after_step(self) -> None:
        """Prototypes are brought back to length 1; the queues take the new projections."""
        self.prototypes.normalize()
        if self._step >= self.queue_start:
            for part in self._new:
                for queue, values in zip(self.queues, part, strict=True):
                    queue.enqueue(values)  # type: ignore[operator]
        self._new.clear()


def _build(config: PretrainConfig[Any], sizes: Sizes) -> MethodModel:
    frozen, steps = config.parts.frozen_prototype_steps, sizes.num_steps(config)
    if frozen >= steps:
        raise ConfigError(
            f"parts.frozen_prototype_steps {frozen:,}: of {steps:,} steps, prototypes are trained in none"
        )
    return SwAV(config, sizes)


def _problems(config: PretrainConfig[Any]) -> list[str]:
    size, start, problems = config.parts.queue_size, config.parts.queue_start_epoch, []
    if 0 < size < config.batch_size:
        problems.append(f"batch_size {config.batch_size:,} does not fit into parts.queue_size {size:,}")
    if size and start >= config.epochs:
        problems.append(
            f"parts.queue_start_epoch {start} never comes in {config.epochs} epochs; "
            "give parts.queue_size 0 for no queue"
        )
    return problems


ENTRY = Method(
    name="swav",
    version=1,
    summary="A view predicts the prototypes of another, with multi-crop (Caron et al. 2020).",
    with_labels=False,
    parts=SwAVParts,
    build=_build,
    default_config="swav_ep200",
    preset=Preset(
        modality="rgb", jigsaw=False, memory="prototypes", augmentation="SwAV", head="mlp", temperature=0.1
    ),
    source="facebookresearch/swav, 200 epochs, batch 256",
    problems=_problems,
    published_as=("SwAV", "SwAV (bs256)", "SwAV (bs256) (mmselfsup)", "SwAV (multi-crop)"),
    takes=frozenset({"local_view"}),
)
