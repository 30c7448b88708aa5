"""Feeds the network: views, or rows of features, in an order that is a function of their place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from bench.core import rng
from bench.core.errors import DataError
from bench.images.view_config import ViewConfig
from bench.images.views import center_view, draw_view, render_view
from transfer.data.image_classes import ClassificationDataset
from transfer.engines.feed import Place, Sample
from transfer.protocols.classification import CentreCrop


def epochs(
    num_images: int, *, images_per_batch: int, seed: int, start: int
) -> Iterator[tuple[int, list[int]]]:
    """The endless sequence of (iteration, image numbers), from iteration `start` on.

    Each epoch is a new order, in as many whole batches as hold every image; the last one is filled up from
    the beginning of the epoch.
    """
    size = -(-num_images // images_per_batch)
    for epoch in itertools.count(start // size):
        order = np.resize(rng.permutation(seed, epoch, num_images), size * images_per_batch)
        for place, batch in enumerate(order.reshape(size, images_per_batch).tolist()):
            if epoch * size + place >= start:
                yield epoch * size + place, batch


class TrainViews(Dataset[Sample | DataError]):
    """The training images, each as a view of its place: pixels [side, side, 3] uint8, label and name."""

    def __init__(
        self, data: ClassificationDataset, view: ViewConfig | None, crop: CentreCrop, seed: int
    ) -> None:
        """Take the set.

        Args:
            data: Of which the chosen images are trained on.
            view: How a view is drawn; None for centre crops.
            crop: The centre crop.
            seed: Of the trial.
        """
        self._data, self._view, self._crop, self._seed = data, view, crop, seed
        self._labels = data.train_labels

    def __getitem__(self, place: Place) -> Sample | DataError:
        iteration, slot, number = place
        index = int(self._data.chosen[number])
        try:
            image = self._data.train.read(index)
        except DataError as error:
            # Returned: torch would wrap one that a worker raises in the text of its traceback.
            return error
        if self._view is None:
            pixels = center_view(image, **self._crop.model_dump())
        else:
            generator = rng.generator(self._seed, "view", iteration, slot)
            drawn = draw_view(self._view, (image.shape[1], image.shape[0]), generator)
            pixels = render_view(self._view, drawn, image)
        return {
            "image": torch.from_numpy(pixels),
            "label": int(self._labels[number]),
            "name": self._data.train.name(index),
        }


def rows(
    data: ClassificationDataset,
    source: Iterator[tuple[int, list[int]]],
    *,
    rank: int,
    num_processes: int,
) -> Iterator[list[Any]]:
    """One process's share of each batch, as numbers of rows of the features: every n-th slot."""
    labels = data.train_labels.tolist()
    for _, batch in source:
        yield [
            {"row": number, "label": labels[number], "name": data.train.name(int(data.chosen[number]))}
            for number in batch[rank::num_processes]
        ]
