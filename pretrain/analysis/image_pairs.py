"""An image split in two views, and how good the encoders of both are together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pretrain.analysis.api import Cell, Measured
from pretrain.analysis.pair_training import Pairs, PairTrainer, Rows, view_encoder
from pretrain.analysis.pictures import Pictures, StudyData
from pretrain.analysis.probes import dense_miou, in_parts, linear_accuracy

Split = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images [batch, 3, height, width] from 0 to 1 to two views of them."""


def crops(pictures: Pictures, rows: Rows, crop_px: int, draw: np.random.Generator) -> Tensor:
    """Windows at random places, every other one mirrored, [batch, 3, crop_px, crop_px] from 0 to 1."""
    room = pictures.pixels.shape[1] - crop_px
    tops, lefts = draw.integers(room + 1, size=(2, len(rows)))
    mirrored = draw.random(len(rows)) < 0.5
    out = np.empty((len(rows), crop_px, crop_px, 3), np.uint8)
    for at, (row, top, left) in enumerate(zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)):
        window = pictures.pixels[row, top : top + crop_px, left : left + crop_px]
        out[at] = window[:, ::-1] if mirrored[at] else window
    return to_values(out)


def centres(pixels: np.ndarray, crop_px: int) -> np.ndarray:
    """The middle of [images, side, side, ...]."""
    start = (pixels.shape[1] - crop_px) // 2
    return pixels[:, start : start + crop_px, start : start + crop_px]


def to_values(pixels: np.ndarray) -> Tensor:
    """[images, side, side, 3] uint8 to [images, 3, side, side] float32 from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div_(255.0)


@dataclass(frozen=True)
class ImagePairs(Pairs):
    """Both views of one crop of an image."""

    pictures: Pictures
    crop_px: int
    split: Split
    channels: tuple[int, int]

    def __len__(self) -> int:
        """See `Pairs`."""
        return len(self.pictures)

    def views(self, rows: Rows, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `Pairs`."""
        return self.split(crops(self.pictures, rows, self.crop_px, draw))


class SplitTrainer(PairTrainer):
    """Contrast between the two parts of an image; the features of both, side by side, are probed."""

    def __init__(self, cell: Cell, split: Split, channels: tuple[int, int], crop_px: int) -> None:
        data: StudyData = cell.data
        self.data, self.split, self.crop_px = data, split, crop_px
        train, test = (ImagePairs(part, crop_px, split, channels) for part in (data.train, data.held_out))
        super().__init__(cell, train, test, shared=False)

    def measure(self) -> Measured:
        """Top-1 of images and, where masks are known, mIoU."""
        self.module.eval()
        seed, config = self.cell.seed, self.config.probe
        probe, test = self._maps(self.data.probe), self._maps(self.data.test)
        features = [maps.mean(dim=(2, 3)) for maps in (probe, test)]
        labels = [part.known_labels for part in (self.data.probe, self.data.test)]
        scores = {"top1": linear_accuracy((features[0], labels[0]), (features[1], labels[1]), config, seed)}
        masks = [self._masks(part) for part in (self.data.probe, self.data.test)]
        if masks[0] is not None and masks[1] is not None:
            scores["miou"] = dense_miou(
                (probe, masks[0]),
                (test, masks[1]),
                num_classes=len(self.data.classes) + 1,
                config=config,
                seed=seed,
                device=self.cell.device,
            )
        return self.measured(scores)

    def _maps(self, part: Pictures) -> Tensor:
        """Of both encoders, [images, dim, rows, columns], from the middle of each image."""
        middle = torch.from_numpy(np.ascontiguousarray(centres(part.pixels, self.crop_px)))

        def both(pixels: Tensor) -> Tensor:
            views = self.split(pixels.permute(0, 3, 1, 2).float().div(255.0))
            return torch.cat([view_encoder(self.encoders, at).maps(view) for at, view in enumerate(views)], 1)

        return in_parts(both, middle, self.cell.device)

    def _masks(self, part: Pictures) -> Tensor | None:
        if part.masks is None:
            return None
        return torch.from_numpy(np.ascontiguousarray(centres(part.masks, self.crop_px)))
