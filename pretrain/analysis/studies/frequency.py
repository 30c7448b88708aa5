"""An image blurred against what the blur takes away, over the width of the blur.

Source: Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, the study of frequency.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import Field

from pretrain.analysis.api import Cell, Setting, Study, Trainer
from pretrain.analysis.config import StudyConfig, ViewsConfig
from pretrain.analysis.image_pairs import SplitTrainer
from pretrain.views.frequency import frequency_split


class FrequencyViews(ViewsConfig):
    """`[views]` of the study.

    Attributes:
        sigmas_px: Deviations of the Gaussian blur.
        crop_px: Side of the crop that is split.
    """

    sigmas_px: Annotated[tuple[Annotated[float, Field(gt=0.0, le=64.0)], ...], Field(min_length=1)]
    crop_px: Annotated[int, Field(ge=16, le=512)]


def _settings(config: StudyConfig[Any]) -> tuple[Setting, ...]:
    return tuple(
        Setting(f"sigma {sigma:g} px", "low-pass | residual", sigma) for sigma in config.views.sigmas_px
    )


def _trainer(cell: Cell) -> Trainer:
    split = partial(_views, sigma_px=float(cell.setting.knob or 0.0))
    return SplitTrainer(cell, split, (3, 3), cell.config.views.crop_px)


def _views(values: Any, *, sigma_px: float) -> Any:
    low, residual = frequency_split(values, sigma_px)
    return 2.0 * low - 1.0, 2.0 * residual


ENTRY = Study(
    name="frequency",
    version=1,
    summary="a blurred image against what the blur took away, by the width of the blur",
    source="Tian et al. 2020, section 3; its values are not confirmed by a source that we could read",
    views=FrequencyViews,
    knob_name="blur, sigma (px)",
    scores={"top1": "linear probe, top-1 (%)", "miou": "linear segmentation, mIoU (%)"},
    settings=_settings,
    trainer=_trainer,
)
