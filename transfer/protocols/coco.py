"""A protocol of COCO instance segmentation: Mask R-CNN, its mask head, COCO's average precision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity
from transfer.protocols.detection import DetectionProtocol
from transfer.protocols.transfer import ExpectedData

SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class ExpectedCoco(ExpectedData):
    """`train` and `test` name files, "train2017" for `annotations/instances_train2017.json`."""

    train: tuple[SplitName, ...] = Field(min_length=1, max_length=1)
    test: SplitName


class MaskHead(Section):
    """What turns a region's feature into a mask, one for each class.

    `num_convs` 3x3 convolutions of 256 come before the one that doubles the side; with `norm`, each has the
    norm of the backbone. `pool_resolution` is the side of a region in features of a pyramid; a C4 head takes
    the output of res5.
    """

    num_convs: Annotated[int, Field(ge=0, le=16)]
    norm: bool
    pool_resolution: Annotated[int, Field(ge=1, le=64)]


class CocoMetric(Section):
    """How AP is computed: COCO's mean over 101 points of recall and the classes that are there.

    `evaluator` computes it: hotcoco, or pycocotools, which is slower and gives the same numbers bit for bit.
    """

    ap_rule: Literal["coco_101point"]
    evaluator: Literal["hotcoco", "pycocotools"] = not_in_identity("hotcoco")


class CocoProtocol(DetectionProtocol):
    """What a file of the task coco-instseg says."""

    task: Literal["coco-instseg"]
    data: ExpectedCoco = not_in_identity(...)
    mask_head: MaskHead
    metric: CocoMetric

    @model_validator(mode="after")
    def _masks_and_a_head(self) -> CocoProtocol:
        if not self.model.has_masks:
            raise ValueError(f"model.architecture: {self.model.architecture} has no masks")
        if not self.model.is_fpn and (self.mask_head.num_convs or self.mask_head.norm):
            raise ValueError("mask_head: a C4 head has no convolutions and no norm before the last ones")
        return self
