"""The config of a pretraining: one file describes one run completely."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity
from bench.images.view_config import JigsawConfig, ViewConfig
from pretrain.backbones.resnet import BackboneConfig
from pretrain.optim import OptimizerConfig
from pretrain.schedules import Schedule


class MethodParts(Section):
    """`[parts]`: what a method is made of; each method has its own."""

    @property
    def num_views(self) -> int:
        """Views of each image, besides small ones."""
        return 2


Parts = TypeVar("Parts", bound=MethodParts)
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=80)]


class LoopConfig(Section):
    """How it is computed.

    Attributes:
        precision: fp16 needs a GPU; there its loss is scaled.
        channels_last: Memory order of images and filters; faster on most devices.
        compile: torch.compile of the backbones; the first steps take minutes.
        accumulation_steps: Parts in which each process takes its share of a batch; batch norm sees a part.
        views: `batched` makes them with the operations of `pretrain.views`, on a GPU where there is one;
            `pillow` one by one with Pillow, the reference: the same pixels, slower.
        num_workers: Processes that read images, for each device; None for the cores at hand, at most 16, and
            one on a CPU.
        checkpoint_minutes: A checkpoint at least so often, besides the one after each epoch.
        log_steps: A line of the log each so many steps.
    """

    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool
    accumulation_steps: Annotated[int, Field(ge=1, le=4096)]
    views: Literal["batched", "pillow"] = "batched"
    num_workers: int | None = not_in_identity(None, ge=0, le=256)
    checkpoint_minutes: float = not_in_identity(15.0, gt=0.0, le=1440.0)
    log_steps: int = not_in_identity(50, ge=1, le=100_000)


class MonitorConfig(Section):
    """The k-NN classifier on the features, now and then; it changes nothing in the run.

    Attributes:
        every_epochs: So often, and at the end; 0 for never.
        neighbours: That vote; 200 in Wu et al. 2018.
        temperature: Of their weights, exp(similarity / temperature); .07 there.
        max_train_images: Of the training set at most so many vote, the same in every run.
        resize_px: Short side that a picture is brought to.
        crop_px: Side of the centre crop.
        batch_size: Images at once.
    """

    every_epochs: int = not_in_identity(10, ge=0, le=100_000)
    neighbours: int = not_in_identity(200, ge=1, le=10_000)
    temperature: float = not_in_identity(0.07, gt=0.0, le=100.0)
    max_train_images: int = not_in_identity(50_000, ge=1)
    resize_px: int = not_in_identity(256, ge=8, le=4096)
    crop_px: int = not_in_identity(224, ge=8, le=4096)
    batch_size: int = not_in_identity(256, ge=1, le=65_536)

    @model_validator(mode="after")
    def _crop_fits(self) -> MonitorConfig:
        if self.crop_px > self.resize_px:
            raise ValueError(f"crop_px {self.crop_px} is larger than resize_px {self.resize_px}")
        return self


class PretrainConfig(Section, Generic[Parts]):
    """One file of `configs/pretrain` or `configs/smoke`.

    Attributes:
        name: Of the weights, after their architecture: `resnet50.<name>`.
        method: Of the registry, "moco-v2".
        epochs: Passes over the training images; what is left over of a batch is dropped.
        batch_size: Images an update, over all devices and parts.
        parts: What the method is made of; its keys are the method's.
        view: How a view of an image is made.
        second_view: How the second one is, where it is made otherwise.
        local_view, num_local_views: Small views beside them (multi-crop).
        jigsaw: The patches beside it, for methods that have that branch.
    """

    name: Name
    method: Name
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=2, le=1_048_576)]
    backbone: BackboneConfig
    parts: Parts
    view: ViewConfig
    second_view: ViewConfig | None = None
    local_view: ViewConfig | None = None
    num_local_views: Annotated[int, Field(ge=0, le=64)] = 0
    jigsaw: JigsawConfig | None = None
    optimizer: OptimizerConfig
    schedule: Schedule
    loop: LoopConfig
    monitor: MonitorConfig = not_in_identity(MonitorConfig())

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """How each view of an image is made, in the order of a batch's views."""
        whole = (self.view, self.second_view or self.view)[: self.parts.num_views]
        return whole + (self.local_view,) * self.num_local_views if self.local_view else whole

    @model_validator(mode="after")
    def _views_fit(self) -> PretrainConfig[Parts]:
        if (self.local_view is None) != (self.num_local_views == 0):
            raise ValueError("[local_view] and num_local_views go together: give both or neither")
        if self.second_view and self.parts.num_views < 2:
            raise ValueError("[second_view]: these parts take one view of an image")
        if self.second_view and self.second_view.crop_px != self.view.crop_px:
            raise ValueError("second_view.crop_px and view.crop_px must be equal")
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> PretrainConfig[Parts]:
        """A decay or the end of a rise that never comes would be another recipe under the same name."""
        late = [epoch for epoch in self.schedule.decay_epochs if epoch >= self.epochs]
        if late:
            raise ValueError(f"schedule.decay_epochs: {late[0]} never comes in {self.epochs} epochs")
        if self.schedule.warmup_epochs > self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs: {self.schedule.warmup_epochs} is more than {self.epochs} epochs"
            )
        return self
