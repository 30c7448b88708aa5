"""What all detection protocols have in common: the detector, its input, its solver.

A file in `configs/transfer` is one of `transfer.protocols.voc` or `transfer.protocols.coco`.
Names follow Detectron2's `config/defaults.py` where it has the field; the config files say which
publication each value comes from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.core.config import Section
from transfer.protocols.transfer import (
    Count,
    Fraction,
    Pixels,
    TrainedProtocol,
    TransferModel,
    TransferSolver,
    rising,
)

FPN_LEVELS = 5
"""P2 to P6."""


class Model(TransferModel):
    """The detector.

    `norm` is that of the backbone and of the layers that follow its pattern: res5 and the extra norm in a C4
    head, the pyramid in an FPN. `extra_norm`: one more norm on the output of res5 in the ROI head (MoCo).
    `box_head`: `res5` is C4's, `2fc` two linear layers of 1,024 without norm, `4conv1fc` four 3x3
    convolutions of 256, each with the norm, and one linear layer of 1,024. The regions that the RPN keeps
    (`rpn_pre_nms_*`) are counted for each level of a pyramid, and an FPN has one anchor size a level.
    """

    architecture: Literal[
        "faster-rcnn-r50-c4", "faster-rcnn-r50-fpn", "mask-rcnn-r50-c4", "mask-rcnn-r50-fpn"
    ]
    box_head: Literal["res5", "2fc", "4conv1fc"]
    extra_norm: bool
    freeze_at: Annotated[int, Field(ge=0, le=5)]
    anchor_sizes_px: tuple[Pixels, ...] = Field(min_length=1)
    anchor_aspect_ratios: tuple[Annotated[float, Field(gt=0.0, le=16.0)], ...] = Field(min_length=1)
    rpn_batch_per_image: Count
    rpn_pre_nms_train: Count
    rpn_post_nms_train: Count
    rpn_pre_nms_test: Count
    rpn_post_nms_test: Count
    rpn_nms_iou: Fraction
    roi_batch_per_image: Count
    roi_positive_fraction: Fraction
    roi_pool_resolution: Annotated[int, Field(ge=1, le=64)]
    test_score_threshold: Fraction
    test_nms_iou: Fraction
    test_detections_per_image: Count

    @model_validator(mode="after")
    def _parts_fit(self) -> Model:
        if self.is_fpn != (self.box_head != "res5"):
            raise ValueError(
                f"box_head {self.box_head!r} does not go with architecture {self.architecture!r}"
            )
        if self.is_fpn and self.extra_norm:
            raise ValueError("extra_norm must be false: an FPN has no res5 in its head")
        if self.is_fpn and self.norm == "FrozenBN":
            raise ValueError("norm must not be FrozenBN: the pyramid is new and has nothing to freeze")
        if self.is_fpn and len(self.anchor_sizes_px) != FPN_LEVELS:
            raise ValueError(
                f"anchor_sizes_px must have {FPN_LEVELS} sizes, one for each level of the pyramid"
            )
        return self

    @property
    def is_fpn(self) -> bool:
        """Whether regions are cut from a pyramid, and not from C4."""
        return self.architecture.endswith("fpn")

    @property
    def has_masks(self) -> bool:
        """Whether each box comes with a mask."""
        return self.architecture.startswith("mask-rcnn")


class Input(Section):
    """Sizes in pixels; the short side is drawn from `train_short_sides_px`, the long side is bounded."""

    train_short_sides_px: tuple[Pixels, ...] = Field(min_length=1)
    train_max_side_px: Pixels
    test_short_side_px: Pixels
    test_max_side_px: Pixels
    horizontal_flip: bool
    aspect_ratio_grouping: bool


class Solver(TransferSolver):
    """SGD with momentum and a linear warm-up; `steps` are iterations at which the rate falls by `gamma`."""

    steps: tuple[Count, ...]
    gamma: Annotated[float, Field(gt=0.0, le=1.0)]
    warmup_iterations: Annotated[int, Field(ge=0, le=1_000_000)]
    warmup_factor: Fraction
    weight_decay_norm: Annotated[float, Field(ge=0.0, le=1.0)]
    precise_bn_iterations: Annotated[int, Field(ge=0, le=100_000)]

    @model_validator(mode="after")
    def _steps_rise(self) -> Solver:
        rising(self.steps, self.iterations)
        return self

    def schedule_for(self, images_per_batch: int) -> dict[str, Any]:
        """Steps and warm-up move with the iterations."""
        ratio = images_per_batch / self.images_per_batch
        return {
            **super().schedule_for(images_per_batch),
            "steps": tuple(round(step / ratio) for step in self.steps),
            "warmup_iterations": round(self.warmup_iterations / ratio),
        }


class DetectionProtocol(TrainedProtocol):
    """One file of a detection task; each task has a kind of its own."""

    model: Model
    input: Input
    solver: Solver
