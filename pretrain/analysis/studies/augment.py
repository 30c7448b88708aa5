"""How strong augmentation should be: crops, colour jitter, and the ladder from MoCo's set to InfoMin's.

Source: Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, section 5; the views are those
of `configs/pretrain`.
Differs: the contrast is within a batch, where the paper's is MoCo's with a queue; InfoMin's jigsaw branch is
no view of a pair and is left out. Which set the sweeps of crop and jitter start from is unconfirmed: here,
MoCo's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.core.card import Card, hash_tensors
from bench.core.weights import WEIGHTS_FILE, Weights, weights_bytes
from bench.images.view_config import Jitter, ViewConfig
from bench.images.views import draw_view, render_view
from pretrain.analysis.api import Cell, Measured, Setting, Study
from pretrain.analysis.config import StudyConfig, ViewsConfig
from pretrain.analysis.image_pairs import centres, to_values
from pretrain.analysis.pair_training import Pairs, PairTrainer, Rows, view_encoder
from pretrain.analysis.pictures import Pictures, StudyData
from pretrain.analysis.probes import in_parts, linear_accuracy
from pretrain.modality import MEAN, STD
from pretrain.plan import config_path, read_config

JITTER = (0.8, 0.8, 0.8, 0.2)
"""Brightness, contrast, saturation and hue at strength 1. Source: Chen et al. 2020, SimCLR, appendix A."""
RUNGS = ("MoCo", "and InfoMin's jitter", "and blur", "and RandAugment")


class AugmentViews(ViewsConfig):
    """`[views]` of the study.

    Attributes:
        crop_px: Side of a view.
        crop_low: Lower bounds of the share of the area that a crop has.
        jitter: Strengths of colour jitter.
        rungs: How many steps of the ladder, from MoCo's set on.
    """

    crop_px: Annotated[int, Field(ge=16, le=512)]
    crop_low: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = ()
    jitter: tuple[Annotated[float, Field(gt=0.0, le=4.0)], ...] = ()
    rungs: Annotated[int, Field(ge=0, le=len(RUNGS))] = 0


def _settings(config: StudyConfig[Any]) -> tuple[Setting, ...]:
    views = config.views
    return (
        *(Setting(f"crop {low:g}", "lower bound of the crop") for low in views.crop_low),
        *(Setting(f"jitter {strength:g}", "strength of the jitter") for strength in views.jitter),
        *(Setting(RUNGS[rung], "from MoCo to InfoMin") for rung in range(views.rungs)),
    )


def view_of(name: str, crop_px: int) -> ViewConfig:
    """The view that a setting stands for."""
    moco, infomin = (
        read_config(config_path(method, smoke=False))[1].views[0] for method in ("moco_v1", "infomin")
    )
    kind, _, number = name.partition(" ")
    change: dict[str, Any] = {"crop_px": crop_px}
    if kind == "crop":
        change["crop_area"] = (float(number), 1.0)
    elif kind == "jitter":
        names = ("brightness", "contrast", "saturation", "hue")
        strengths = (float(number) * one for one in JITTER)
        values = dict(zip(names, strengths, strict=True)) | {"probability": 0.8}
        change["jitter"] = Jitter(**{**values, "hue": min(values["hue"], 0.5)})
    else:
        rung = RUNGS.index(name)
        added = ("jitter", "blur", "randaugment")[:rung]
        change |= {key: getattr(infomin, key) for key in added}
        keep = {"crop", "flip", "jitter", "gray", *added}
        change["order"] = tuple(one for one in infomin.order if one in keep) if rung else moco.order
    return ViewConfig.model_validate({**dict(moco), **change})


@dataclass(frozen=True)
class AugmentedPairs(Pairs):
    """Two views of an image, drawn apart."""

    pictures: Pictures
    view: ViewConfig
    channels: tuple[int, int] = (3, 3)

    def __len__(self) -> int:
        """See `Pairs`."""
        return len(self.pictures)

    def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `Pairs`."""
        side = self.view.crop_px
        made = np.empty((2, len(rows), side, side, 3), np.uint8)
        for at, row in enumerate(rows.tolist()):
            image = self.pictures.pixels[row]
            for number in range(2):
                drawn = draw_view(self.view, (image.shape[1], image.shape[0]), draw)
                made[number, at] = render_view(self.view, drawn, image)
        first, second = (_normalised(to_values(part)) for part in made)
        return first, second


def _normalised(values: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(numbers).view(3, 1, 1).div(255.0) for numbers in (MEAN, STD))
    return (values - mean.to(values.device)) / deviation.to(values.device)


class AugmentTrainer(PairTrainer):
    """Contrast between two views of an image, one encoder for both."""

    def __init__(self, cell: Cell) -> None:
        self.data: StudyData = cell.data
        view = view_of(cell.setting.name, cell.config.views.crop_px)
        train, test = (AugmentedPairs(part, view) for part in (self.data.train, self.data.held_out))
        super().__init__(cell, train, test, shared=True)

    def measure(self) -> Measured:
        """Top-1 of the middles of images, and the hash of the weights where they are a ResNet's."""
        self.module.eval()
        probe, test = (
            (self._features(part), part.known_labels) for part in (self.data.probe, self.data.test)
        )
        scores = {"top1": linear_accuracy(probe, test, self.config.probe, self.cell.seed)}
        weights = self._weights()
        return self.measured(scores, **({"weights": weights.card.key} if weights else {}))

    def files(self) -> dict[str, bytes]:
        """The backbone as weights for `bench transfer`, where it is a ResNet."""
        weights = self._weights()
        return {WEIGHTS_FILE: weights_bytes(weights)} if weights else {}

    def _features(self, part: Pictures) -> Tensor:
        middle = torch.from_numpy(np.ascontiguousarray(centres(part.pixels, self.config.views.crop_px)))

        def features(pixels: Tensor) -> Tensor:
            values = _normalised(pixels.permute(0, 3, 1, 2).float().div(255.0))
            return view_encoder(self.encoders, 0).features(values)

        return in_parts(features, middle, self.cell.device)

    def _weights(self) -> Weights | None:
        arch = self.config.network.arch
        if arch == "four_convolutions":
            return None
        tensors = {name: value.numpy() for name, value in view_encoder(self.encoders, 0).tensors().items()}
        setting = self.cell.setting.name.lower().replace(" ", "_").replace("'", "")
        card = Card(
            name=f"{arch}.views_augment_{setting}_seed{self.cell.seed}",
            arch=arch,
            layout="transfer-bench",
            tensors_sha256=hash_tensors(tensors),
            dropped=("projector",),
            notes=(f"study augment, {self.config.size}: {self.cell.setting.name}, seed {self.cell.seed}",),
        )
        return Weights(card=card, tensors=tensors)


ENTRY = Study(
    name="augment",
    version=1,
    summary="two views of an image, by the strength of augmentation",
    source="Tian et al. 2020, section 5: sweet spots at a lower bound of .2 and a strength of 1 on ImageNet; "
    "the curves' values are not confirmed",
    views=AugmentViews,
    knob_name="",
    scores={"top1": "linear probe, top-1 (%)"},
    settings=_settings,
    trainer=AugmentTrainer,
)
