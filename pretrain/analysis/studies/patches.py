"""Two patches of one image, over the distance between them.

Source: Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, the study of spatial distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.core.errors import ConfigError
from pretrain.analysis.api import Cell, Measured, Setting, Study
from pretrain.analysis.config import StudyConfig, ViewsConfig
from pretrain.analysis.image_pairs import to_values
from pretrain.analysis.pair_training import Pairs, PairTrainer, Rows, view_encoder
from pretrain.analysis.pictures import Pictures, Sources, StudyData, open_pictures
from pretrain.analysis.probes import in_parts, linear_accuracy


class PatchesViews(ViewsConfig):
    """`[views]` of the study.

    Attributes:
        patch_px: Side of a patch, and of the images that the probe sees.
        distances_px: From the corner of the first patch to that of the second, across and down alike.
    """

    patch_px: Annotated[int, Field(ge=8, le=256)]
    distances_px: Annotated[tuple[Annotated[int, Field(ge=0, le=4096)], ...], Field(min_length=1)]


def _settings(config: StudyConfig[Any]) -> tuple[Setting, ...]:
    views, side = config.views, config.images.size_px
    for distance in views.distances_px:
        if distance + views.patch_px > side:
            raise ConfigError(
                f"views.distances_px: patches of {views.patch_px} px, {distance} px apart, do not fit in "
                f"images of {side} px (images.size_px)"
            )
    return tuple(
        Setting(f"{distance} px apart", "patches", float(distance)) for distance in views.distances_px
    )


@dataclass(frozen=True)
class PatchPairs(Pairs):
    """A patch at a random place, and one `distance` further right and down, or the other way round."""

    pictures: Pictures
    patch_px: int
    distance: int
    channels: tuple[int, int] = (3, 3)

    def __len__(self) -> int:
        """See `Pairs`."""
        return len(self.pictures)

    def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `Pairs`."""
        side = self.patch_px
        room = self.pictures.pixels.shape[1] - side - self.distance
        places = draw.integers(room + 1, size=(len(rows), 2))
        swapped = draw.random(len(rows)) < 0.5
        cut = np.empty((2, len(rows), side, side, 3), np.uint8)
        for at, (row, (top, left)) in enumerate(zip(rows.tolist(), places.tolist(), strict=True)):
            for number, further in enumerate((0, self.distance)):
                y, x = top + further, left + further
                view = number ^ int(swapped[at])
                cut[view, at] = self.pictures.pixels[row, y : y + side, x : x + side]
        first, second = (to_values(part) for part in cut)
        return 2.0 * first - 1.0, 2.0 * second - 1.0


class PatchTrainer(PairTrainer):
    """Contrast between patches, one encoder for both; probed on whole images of a patch's size."""

    def __init__(self, cell: Cell) -> None:
        data, views = cell.data, cell.config.views
        self.data: StudyData = data
        distance = int(cell.setting.knob or 0)
        train, test = (PatchPairs(part, views.patch_px, distance) for part in (data.train, data.held_out))
        super().__init__(cell, train, test, shared=True)

    def measure(self) -> Measured:
        """Top-1 of whole images."""
        self.module.eval()
        probe, test = (
            (self._features(part), part.known_labels) for part in (self.data.probe, self.data.test)
        )
        return self.measured({"top1": linear_accuracy(probe, test, self.config.probe, self.cell.seed)})

    def _features(self, part: Pictures) -> Tensor:
        def features(pixels: Tensor) -> Tensor:
            values = pixels.permute(0, 3, 1, 2).float().div(127.5) - 1.0
            return view_encoder(self.encoders, 0).features(values)

        return in_parts(features, torch.from_numpy(part.pixels), self.cell.device)


def _data(config: StudyConfig[Any], sources: Sources) -> StudyData:
    return open_pictures(sources, config.images, probe_px=config.views.patch_px, scenes=True)


ENTRY = Study(
    name="patches",
    version=1,
    summary="two patches of one image, by the distance between them",
    source="Tian et al. 2020, section 3; its values are not confirmed by a source that we could read",
    views=PatchesViews,
    knob_name="distance (px)",
    scores={"top1": "linear probe, top-1 (%)"},
    settings=_settings,
    data=_data,
    trainer=PatchTrainer,
)
