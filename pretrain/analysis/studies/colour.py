"""The channels of a colour space split in two views, over the colour spaces.

Source: Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, the study of colour spaces.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from torch import Tensor

from bench.core.errors import did_you_mean
from pretrain.analysis.api import Cell, Setting, Study, Trainer
from pretrain.analysis.config import StudyConfig, ViewsConfig
from pretrain.analysis.image_pairs import SplitTrainer
from pretrain.views.colour_spaces import SPACES, split

ChannelSplit = Literal["1|23", "2|13", "3|12"]


class ColourViews(ViewsConfig):
    """`[views]` of the study.

    Attributes:
        spaces: Colour spaces, by their names.
        splits: Which channel is the first view; the other two are the second.
        crop_px: Side of the crop that is split.
    """

    spaces: Annotated[tuple[str, ...], Field(min_length=1)]
    splits: Annotated[tuple[ChannelSplit, ...], Field(min_length=1)] = ("1|23",)
    crop_px: Annotated[int, Field(ge=16, le=512)]

    @field_validator("spaces")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SPACES:
                near = did_you_mean(name, list(SPACES))
                raise ValueError(f"no colour space {name!r}.{near} Known: {', '.join(SPACES)}")
        return names


def _settings(config: StudyConfig[Any]) -> tuple[Setting, ...]:
    views = config.views
    return tuple(Setting(f"{name} {parts}", parts) for name in views.spaces for parts in views.splits)


def _trainer(cell: Cell) -> Trainer:
    name, parts = cell.setting.name.split(" ")
    return SplitTrainer(
        cell, partial(_views, space=name, first=int(parts[0]) - 1), (1, 2), cell.config.views.crop_px
    )


def _views(values: Tensor, *, space: str, first: int) -> tuple[Tensor, Tensor]:
    found = SPACES[space]
    return split(found.normalise(found.to(values)), (first,))


ENTRY = Study(
    name="colour",
    version=1,
    summary="the channels of a colour space split in two, by the space",
    source="Tian et al. 2020, section 3; its values are not confirmed by a source that we could read",
    views=ColourViews,
    knob_name="",
    scores={"top1": "linear probe, top-1 (%)", "miou": "linear segmentation, mIoU (%)"},
    settings=_settings,
    trainer=_trainer,
)
