"""A protocol of semantic segmentation: a backbone, perhaps dilated, a decode head, crops, mean IoU.

Names follow MMSegmentation's configs where it has the field; the config files say which publication each
value comes from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity
from transfer.protocols.transfer import (
    Count,
    ExpectedData,
    Fraction,
    Pixels,
    TrainedProtocol,
    TransferModel,
    TransferSolver,
    rising,
)

Channels = Annotated[int, Field(ge=1, le=4096)]
Convs = Annotated[int, Field(ge=1, le=16)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Scale = tuple[Pixels, Pixels]
"""(long, short) sides in pixels that an image is shrunk or grown to fit into."""

DILATED_STAGES = 2
"""From the last one backwards; a stem and first stages without their strides fit no memory."""


class ExpectedLabels(ExpectedData):
    """`layout` is the word of `bench data check`; `folder` is any set of images and label maps."""

    layout: Literal["voc-seg", "cityscapes", "ade20k", "nyuv2", "folder"]


class FcnHead(Section):
    """3x3 convolutions on C5 with norm and ReLU, then one 1x1.

    `dilation` is that of the 3x3; with `concat_input` one more of them sees C5 and their result together.
    """

    kind: Literal["fcn"]
    channels: Channels
    num_convs: Convs
    dilation: Annotated[int, Field(ge=1, le=36)]
    concat_input: bool
    dropout: Dropout


class UPerHead(Section):
    """A pyramid from C2 to C5 with pooling at `pool_scales`, all of it of `channels`."""

    kind: Literal["upernet"]
    channels: Channels
    pool_scales: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(min_length=1)
    dropout: Dropout


class SemanticFpnHead(Section):
    """A pyramid of `pyramid_channels` without norm; its levels are brought to the finest and added."""

    kind: Literal["semfpn"]
    pyramid_channels: Channels
    channels: Channels
    dropout: Dropout


Head = FcnHead | UPerHead | SemanticFpnHead


class AuxiliaryHead(Section):
    """An FCN head on C4 in training alone; `weight` is that of its loss."""

    weight: Annotated[float, Field(gt=0.0, le=10.0)]
    channels: Channels
    num_convs: Convs
    dropout: Dropout


class Model(TransferModel):
    """The network.

    `strides` and `dilations` are those of the four stages. In a dilated stage the first block has the
    dilation of the stage before (`contract_dilation`), as in torchvision.
    """

    strides: tuple[int, int, int, int]
    dilations: tuple[int, int, int, int]
    contract_dilation: Literal[True]
    align_corners: bool
    decode_head: Annotated[Head, Field(discriminator="kind")]
    auxiliary_head: AuxiliaryHead | None = None

    @model_validator(mode="after")
    def _one_resnet(self) -> Model:
        if self.norm == "FrozenBN":
            raise ValueError("norm must not be FrozenBN: a decode head is new and has nothing to freeze")
        for dilated in range(DILATED_STAGES + 1):
            if self.strides == (1, *[2] * (3 - dilated), *[1] * dilated):
                expected = (*[1] * (4 - dilated), *[2 ** (place + 1) for place in range(dilated)])
                if self.dilations != expected:
                    raise ValueError(
                        f"dilations must be {list(expected)} with strides {list(self.strides)}: with others "
                        "the kernels meet other pixels than those they were trained on"
                    )
                return self
        raise ValueError("strides must be [1, 2, 2, 2], [1, 2, 2, 1] or [1, 2, 1, 1]")


class Input(Section):
    """Sizes in pixels.

    In training an image is brought to `train_scale_px` times a factor from `train_scale_factors`, its ratio
    of sides kept, and cut to a square of `crop_px`; a smaller one is filled up, with what is ignored. A crop
    in which one class has more than `max_class_share` of the pixels is drawn again, up to ten times; 1.0 sets
    no limit. `photometric_distortion` is MMSegmentation's, of brightness, contrast, saturation and hue.
    """

    train_scale_px: Scale
    train_scale_factors: tuple[
        Annotated[float, Field(gt=0.0, le=16.0)], Annotated[float, Field(gt=0.0, le=16.0)]
    ]
    crop_px: Pixels
    max_class_share: Annotated[float, Field(gt=0.0, le=1.0)]
    horizontal_flip: bool
    photometric_distortion: bool
    test_scale_px: Scale

    @model_validator(mode="after")
    def _factors_rise(self) -> Input:
        if self.train_scale_factors[0] > self.train_scale_factors[1]:
            raise ValueError("train_scale_factors must be the smallest and the largest")
        return self


class WholeImage(Section):
    """The network sees the whole image."""

    mode: Literal["whole"]


class Sliding(Section):
    """It sees squares of `crop_px`, `stride_px` apart; where they overlap, their scores are averaged."""

    mode: Literal["slide"]
    crop_px: Pixels
    stride_px: Pixels

    @model_validator(mode="after")
    def _no_gap(self) -> Sliding:
        if self.stride_px > self.crop_px:
            raise ValueError(f"stride_px must be at most crop_px ({self.crop_px}): pixels would be left out")
        return self


class Poly(Section):
    """The rate falls as (1 - t) to the `power`, to `min_learning_rate`."""

    kind: Literal["poly"]
    power: Annotated[float, Field(gt=0.0, le=10.0)]
    min_learning_rate: Annotated[float, Field(ge=0.0, le=100.0)]


class Steps(Section):
    """The rate falls by `gamma` after each of these iterations."""

    kind: Literal["steps"]
    steps: tuple[Count, ...]
    gamma: Fraction


class Solver(TransferSolver):
    """SGD with momentum; weight decay holds for every parameter."""

    schedule: Annotated[Poly | Steps, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _schedule_fits(self) -> Solver:
        if isinstance(self.schedule, Steps):
            rising(self.schedule.steps, self.iterations)
        elif self.schedule.min_learning_rate > self.learning_rate:
            raise ValueError("schedule.min_learning_rate must be at most learning_rate")
        return self

    def schedule_for(self, images_per_batch: int) -> dict[str, Any]:
        """The steps move with the iterations, the least rate with the rate."""
        ratio = images_per_batch / self.images_per_batch
        if isinstance(self.schedule, Steps):
            moved: dict[str, Any] = {"steps": tuple(round(step / ratio) for step in self.schedule.steps)}
        else:
            moved = {"min_learning_rate": self.schedule.min_learning_rate * ratio}
        values = {**self.schedule.model_dump(), **moved}
        return {**super().schedule_for(images_per_batch), "schedule": values}


class LabelMetric(Section):
    """Over which classes IoU is averaged: `classes_in_truth`, or MMSegmentation's `classes_in_union`."""

    miou_rule: Literal["classes_in_truth", "classes_in_union"]


class SegmentationProtocol(TrainedProtocol):
    """What a file of the task semseg says."""

    task: Literal["semseg"]
    data: ExpectedLabels = not_in_identity(...)
    model: Model
    input: Input
    inference: Annotated[WholeImage | Sliding, Field(discriminator="mode")]
    solver: Solver
    metric: LabelMetric
