"""Feeds a training, whatever the engine, in an order that is a function of its place.

Every random number of an image's augmentation is drawn from (seed, iteration, slot), so a run resumed at
any iteration sees what the run that was never stopped saw, with any number of workers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.core import rng
from bench.core.errors import DataError
from bench.core.signals import end_workers_at_exit, leave_stopping_to_the_parent

Place = tuple[int, int, int]
"""(iteration, slot in the whole batch, index of the image)."""

Sample = dict[str, Any]


def batches(
    shapes: Sequence[tuple[int, int]], *, seed: int, images_per_batch: int, group: bool, start: int
) -> Iterator[tuple[int, list[int]]]:
    """The endless sequence of (iteration, image indices), from iteration `start` on.

    Args:
        shapes: (width, height) of every image.
        seed: Of the trial.
        images_per_batch: Images in a batch, over all devices.
        group: Keep wide and tall images in different batches, as Detectron2's aspect ratio grouping.
        start: Earlier batches are drawn and dropped, which costs no image.
    """
    waiting: tuple[list[int], list[int]] = ([], [])
    iteration = 0
    for epoch in itertools.count():
        for index in rng.permutation(seed, epoch, len(shapes)).tolist():
            width, height = shapes[index]
            bucket = waiting[int(group and width <= height)]
            bucket.append(index)
            if len(bucket) == images_per_batch:
                if iteration >= start:
                    yield iteration, list(bucket)
                iteration += 1
                bucket.clear()


class Views(Dataset[Sample | DataError]):
    """The images of a split as a training sees them, each with the random numbers of its place."""

    def __init__(self, entries: Any, load: Callable[[Any], Sample], seed: int) -> None:
        """Take the entries.

        Args:
            entries: What there is to be loaded, by its index.
            load: Makes a sample of one; draws from NumPy's and Python's global generators; raises DataError.
            seed: Of the trial.
        """
        self._entries, self._load, self._seed = entries, load, seed

    def __getitem__(self, place: Place) -> Sample | DataError:
        iteration, slot, index = place
        # The engines' transforms draw from global generators: give them the numbers of this place.
        number = rng.derive(self._seed, "view", iteration, slot)
        np.random.seed(number % 2**32)
        random.seed(number)
        try:
            return self._load(self._entries[index])
        except DataError as error:
            # Returned: torch would wrap one that a worker raises in the text of its traceback.
            return error


def feed(
    views: Dataset[Sample | DataError],
    source: Iterator[tuple[int, list[int]]],
    *,
    rank: int,
    num_processes: int,
    num_workers: int,
) -> Iterator[list[Sample]]:
    """One process's share of each batch of `source`: every `num_processes`-th slot.

    Raises:
        DataError: an image cannot be read; when its batch comes.
    """
    loader: DataLoader[Sample | DataError] = DataLoader(
        views,
        batch_sampler=_Places(source, rank, num_processes),
        num_workers=num_workers,
        collate_fn=_as_list,
        worker_init_fn=_start_worker,
    )
    end_workers_at_exit()
    return _unless_error(iter(loader))


class _Places(Sampler[list[Place]]):
    def __init__(self, source: Iterator[tuple[int, list[int]]], rank: int, num_processes: int) -> None:
        self._source, self._rank, self._num_processes = source, rank, num_processes

    def __iter__(self) -> Iterator[list[Place]]:
        for iteration, indices in self._source:
            slots = range(self._rank, len(indices), self._num_processes)
            yield [(iteration, slot, indices[slot]) for slot in slots]


def _unless_error(batches: Iterator[list[Sample | DataError]]) -> Iterator[list[Sample]]:
    for batch in batches:
        good = []
        for item in batch:
            if isinstance(item, DataError):
                raise item
            good.append(item)
        yield good


def _as_list(items: list[Sample | DataError]) -> list[Sample | DataError]:
    return items


def _start_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    leave_stopping_to_the_parent()
