"""A protocol of VOC detection: Faster R-CNN, and one of VOC's two rules of average precision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.core.config import Section
from bench.core.protocol import not_in_identity
from transfer.protocols.detection import DetectionProtocol
from transfer.protocols.transfer import ExpectedData

SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+/[A-Za-z0-9_]+$")]


class ExpectedVoc(ExpectedData):
    """`train` and `test` name splits of a VOCdevkit, "VOC2007/trainval"."""

    train: tuple[SplitName, ...] = Field(min_length=1)
    test: SplitName


class VocMetric(Section):
    """How AP is computed: `voc07_11point` or `area`."""

    ap_rule: Literal["voc07_11point", "area"]


class VocProtocol(DetectionProtocol):
    """What a file of the task voc-det says."""

    task: Literal["voc-det"]
    data: ExpectedVoc = not_in_identity(...)
    metric: VocMetric

    @model_validator(mode="after")
    def _boxes_alone(self) -> VocProtocol:
        if self.model.has_masks:
            raise ValueError(f"model.architecture: VOC detection has no masks for {self.model.architecture}")
        return self
