"""Handwritten digits move over pictures: which factors does a representation keep, by those its views share?

Source: Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, the study of Colorful Moving
MNIST; `bench/synth/moving_digits.py` for the data.
Differs: digits of scikit-learn and drawn textures for MNIST and STL-10. The frames of a sequence are stacked
as channels of one encoder. Position is the cell of a grid. All figures of the paper are unconfirmed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator
from torch import Tensor

from bench.core.log import progress
from bench.core.protocol import digest
from bench.core.records import DataStamp
from bench.synth.moving_digits import (
    FACTORS,
    GENERATOR_VERSION,
    DigitColour,
    LabelledFrames,
    MovingDigits,
)
from pretrain.analysis.api import Cell, Measured, Setting, Study
from pretrain.analysis.config import StudyConfig, ViewsConfig
from pretrain.analysis.pair_training import Pairs, PairTrainer, Rows, view_encoder
from pretrain.analysis.pictures import Sources
from pretrain.analysis.probes import in_parts, linear_accuracy

Pixels = npt.NDArray[np.uint8]

DATA_SEED = 0


class DigitsViews(ViewsConfig):
    """`[views]` of the study.

    Attributes:
        shared: What the two views have in common, "digit+background"; each is one setting.
        num_frames: Of the first view.
        num_backgrounds: Pictures that a digit may move over.
        digit_px: Side of the digit's box; 7/16 of the image if left out.
        digit_colour: Random and contrasting, or white.
        background_brightness: What their pixels are multiplied by.
    """

    shared: Annotated[tuple[str, ...], Field(min_length=1)]
    num_frames: Annotated[int, Field(ge=2, le=20)]
    num_backgrounds: Annotated[int, Field(ge=2, le=1000)]
    digit_px: Annotated[int, Field(ge=8, le=125)] | None = None
    digit_colour: DigitColour = "contrasting"
    background_brightness: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0

    @field_validator("shared")
    @classmethod
    def _known(cls, sets: tuple[str, ...]) -> tuple[str, ...]:
        for names in sets:
            parts = names.split("+")
            if len(set(parts)) != len(parts) or not set(parts) <= set(FACTORS):
                raise ValueError(f'{names!r}: expected some of {", ".join(FACTORS)}, joined by "+"')
        return sets


@dataclass
class DigitData:
    """Pairs and labelled frames; pairs of one set of shared factors are drawn once.

    Attributes:
        stamp: For the record.
        generator: What draws them.
        counts: How many of each part.
        probe: Frames that linear heads are fitted to.
        test: Frames that they are tested on.
    """

    stamp: DataStamp
    generator: MovingDigits
    counts: dict[str, int]
    probe: LabelledFrames
    test: LabelledFrames
    _sequences: dict[str, Pixels] = field(default_factory=dict)
    _frames: dict[tuple[str, str], Pixels] = field(default_factory=dict)

    def pairs(self, split: str, shared: str) -> tuple[Pixels, Pixels]:
        """Sequences [pairs, frames, side, side, 3], the same for all that may be shared, and frames."""
        count = self.counts["train" if split == "train" else "held_out"]
        if (split, shared) not in self._frames:
            sequences, frames = [], []
            with progress(f"Drawing pairs that share {shared}", count) as bar:
                for index in range(count):
                    pair = self.generator.pair(index, shared.split("+"), split)
                    if split not in self._sequences:
                        sequences.append(pair.sequence)
                    frames.append(pair.frame)
                    bar.update(index + 1)
            self._sequences.setdefault(split, np.stack(sequences) if sequences else np.empty(0, np.uint8))
            self._frames[split, shared] = np.stack(frames)
        return self._sequences[split], self._frames[split, shared]


@dataclass(frozen=True)
class SequencePairs(Pairs):
    """Sequences, their frames stacked as channels, and the frames that belong to them."""

    sequences: Pixels
    frames: Pixels

    def __len__(self) -> int:
        """See `Pairs`."""
        return len(self.frames)

    @property
    def channels(self) -> tuple[int, int]:  # type: ignore[override]
        """See `Pairs`."""
        return 3 * self.sequences.shape[1], 3

    def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `Pairs`; nothing is drawn."""
        stacked = torch.from_numpy(self.sequences[rows]).permute(0, 1, 4, 2, 3).flatten(1, 2)
        return stacked.float().div_(127.5).sub_(1.0), _scaled(torch.from_numpy(self.frames[rows]))


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub_(1.0)


class DigitsTrainer(PairTrainer):
    """Contrast between a sequence and a frame; the frozen encoder of frames is probed for each factor."""

    def __init__(self, cell: Cell) -> None:
        self.data: DigitData = cell.data
        shared = cell.setting.name
        train, test = (SequencePairs(*self.data.pairs(split, shared)) for split in ("train", "test"))
        super().__init__(cell, train, test, shared=False)

    def measure(self) -> Measured:
        """Accuracy of a linear classifier of each factor, and the information that the factors share."""
        self.module.eval()
        frames = (self.data.probe, self.data.test)
        features = [
            in_parts(self._features, torch.from_numpy(part.pictures), self.cell.device) for part in frames
        ]
        labels = {
            "digit": [part.digit for part in frames],
            "position": [part.position_cell for part in frames],
            "background": [part.background for part in frames],
        }
        scores = {
            name: linear_accuracy(
                (features[0], probe), (features[1], test), self.config.probe, self.cell.seed
            )
            for name, (probe, test) in labels.items()
        }
        truth = self.data.generator.true_information(self.cell.setting.name.split("+"))
        return self.measured(scores, information_of_shared_factors=truth)

    def _features(self, pixels: Tensor) -> Tensor:
        return view_encoder(self.encoders, 1).features(_scaled(pixels))


def _settings(config: StudyConfig[Any]) -> tuple[Setting, ...]:
    return tuple(Setting(names, "shared factors") for names in config.views.shared)


def _data(config: StudyConfig[Any], _sources: Sources) -> DigitData:
    images, views = config.images, config.views
    generator = MovingDigits(
        DATA_SEED,
        size_px=images.size_px,
        num_frames=views.num_frames,
        num_backgrounds=views.num_backgrounds,
        digit_px=views.digit_px,
        digit_colour=views.digit_colour,
        background_brightness=views.background_brightness,
    )
    counts = {"train": images.num_train, "held_out": images.num_test}
    counts |= {"probe": images.num_probe, "test": images.num_test}
    probe, test = (
        generator.frames(range(counts[part]), split) for part, split in (("probe", "train"), ("test", "test"))
    )
    facts = {"generator": GENERATOR_VERSION, "seed": DATA_SEED, "counts": counts}
    stamp = DataStamp(
        name="moving digits", fingerprint=digest(facts), counts=counts, classes=tuple(map(str, range(10)))
    )
    return DigitData(stamp, generator, counts, probe, test)


ENTRY = Study(
    name="moving-digits",
    version=1,
    summary="a sequence against a frame that shares some of its factors: which ones are kept?",
    source="Tian et al. 2020, section 3; that a shared background crowds out the digit is confirmed, the "
    "table of errors is not",
    views=DigitsViews,
    knob_name="",
    scores={
        "digit": "digit, linear probe (%)",
        "position": "position, linear probe (%)",
        "background": "background, linear probe (%)",
    },
    settings=_settings,
    data=_data,
    trainer=DigitsTrainer,
    takes_data=False,
)
