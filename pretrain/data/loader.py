"""Feeds a pretraining run: images read and made into views by worker processes, batches in a fixed order.

What a step sees depends on (seed, step) alone: not on the number of workers, and not on where a run began.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.core.errors import BenchError, ConfigError, DataError, EngineError
from bench.core.signals import end_workers_at_exit, leave_stopping_to_the_parent, leave_with_the_parent
from bench.images.source import ImageSource
from pretrain.data.order import Order, share

Place = tuple[int, npt.NDArray[np.int64]]
"""(epoch, numbers of the images): one batch of one process."""


class Sample(NamedTuple):
    """What one image becomes.

    Attributes:
        views: Each [height, width, 3] uint8; the i-th has the same size for every image.
        patches: [patches, height, width, 3] uint8, or None for every image.
    """

    views: tuple[npt.NDArray[np.uint8], ...]
    patches: npt.NDArray[np.uint8] | None


class MakeSample(Protocol):
    """Makes the views of an image; every random number must come from (seed, epoch, index).

    It is called in worker processes, so it must be possible to pickle it.
    """

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        """From [height, width, 3] uint8 RGB."""


class Batch(NamedTuple):
    """One process's images of one forward pass.

    Attributes:
        views: Each [batch, 3, height, width] uint8, channels last in memory.
        patches: [batch, patches, 3, height, width] uint8, channels last in memory; None if none are made.
        labels: [batch] int64; None unless they were asked for.
        index: [batch] int64, number of each image in the source.
    """

    views: tuple[Tensor, ...]
    patches: Tensor | None
    labels: Tensor | None
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nothing needs


class TrainLoader:
    """The batches of a run, one list of `accumulation` batches a step; see `train_batches`.

    Attributes:
        waited_seconds: How long the caller has waited for batches so far, in all.
    """

    def __init__(self, batches: Iterator[Batch | BenchError], accumulation: int) -> None:
        """Take batches that workers make."""
        self.waited_seconds = 0.0
        self._batches, self._accumulation = batches, accumulation

    def __iter__(self) -> Self:
        """Itself: the batches come once."""
        return self

    def __next__(self) -> list[Batch]:
        """The batches of the next step.

        Raises:
            BenchError: what a worker raised: DataError for an image that cannot be read.
            EngineError: a worker is gone, killed for its memory perhaps.
        """
        started = time.monotonic()
        try:
            return [self._one() for _ in range(self._accumulation)]
        finally:
            self.waited_seconds += time.monotonic() - started

    def close(self) -> None:
        """End the workers; no batch comes after it."""
        self._batches = iter(())

    def _one(self) -> Batch:
        try:
            batch = next(self._batches)
        except StopIteration:
            raise
        except RuntimeError as error:
            # torch's words for a worker that died; any other error is a fault of ours.
            if "DataLoader worker" not in str(error):
                raise
            raise EngineError(f"a process that reads images is gone: {error}") from error
        if isinstance(batch, BenchError):
            self.close()
            raise batch
        return batch


def train_batches(
    source: ImageSource,
    make_sample: MakeSample,
    order: Order,
    *,
    start_step: int,
    end_step: int,
    rank: int,
    world_size: int,
    accumulation: int,
    num_workers: int,
    pin_memory: bool,
    with_labels: bool = False,
) -> TrainLoader:
    """Start the workers; the batches of this process from `start_step` up to before `end_step`.

    Of a step's batch, process `rank` takes the `rank`-th part in a row, and batch a of its list is the a-th
    part in a row of that. No global random generator is read or moved.

    Args:
        source: The images; as many as `order` was made for.
        make_sample: Makes the views of one image.
        order: Which images a step sees.
        start_step: The first step, counted from the beginning of the run.
        end_step: The step to stop before.
        rank: This process, from 0 on.
        world_size: Processes that share each batch.
        accumulation: Batches a process takes before one step of the optimizer.
        num_workers: Processes that read; 0 reads in this one.
        pin_memory: Put batches into page-locked memory; no effect without CUDA.
        with_labels: Give the class of each image.

    Returns:
        An iterator over steps; workers start at once and read ahead.

    Raises:
        ConfigError: the batch does not divide by `world_size` times `accumulation`.
        DataError: labels are asked for and the images have no class.

    Source:
        torch `DataLoader`, one worker task a batch.
    """
    if with_labels and source.labels is None:
        raise DataError(
            f"{source.root}: its images have no class, and labels are needed; expected class folders"
        )
    if len(source) != order.num_images:
        raise ValueError(f"an order of {order.num_images:,} images for a source of {len(source):,}")
    if order.batch_size % (world_size * accumulation):
        raise ConfigError(
            f"a batch of {order.batch_size:,} images does not divide by {world_size:,} processes "
            f"times {accumulation:,} accumulated batches"
        )
    loader: DataLoader[Batch | BenchError] = DataLoader(
        _Batches(source, make_sample, with_labels=with_labels),
        sampler=_Places(order, range(start_step, end_step), rank, world_size, accumulation),
        batch_size=None,
        num_workers=num_workers,
        # A process that was spawned would spawn its workers, too, and each would import torch for seconds.
        multiprocessing_context="fork" if num_workers else None,
        collate_fn=_as_it_is,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory and torch.cuda.is_available(),
        # Its own: the loader draws a seed for its workers, by default from torch's global generator.
        generator=torch.Generator(),
    )
    if num_workers:
        end_workers_at_exit()
    return TrainLoader(iter(loader), accumulation)


class _Places(Sampler[Place]):
    def __init__(self, order: Order, steps: range, rank: int, world_size: int, accumulation: int) -> None:
        self._order, self._steps = order, steps
        self._rank, self._world_size, self._accumulation = rank, world_size, accumulation

    def __iter__(self) -> Iterator[Place]:
        for step in self._steps:
            epoch, indices = self._order.batch(step)
            mine = share(indices, self._rank, self._world_size)
            for part in range(self._accumulation):
                yield epoch, share(mine, part, self._accumulation)


class _Batches(Dataset[Batch | BenchError]):
    def __init__(self, source: ImageSource, make_sample: MakeSample, *, with_labels: bool) -> None:
        self._source, self._make_sample, self._with_labels = source, make_sample, with_labels

    def __getitem__(self, place: Place) -> Batch | BenchError:
        epoch, indices = place
        try:
            samples = [
                self._make_sample(self._source.read(index), index, epoch) for index in indices.tolist()
            ]
        except BenchError as error:
            # Returned: torch would wrap one that a worker raises in the text of its traceback.
            return error
        views = tuple(
            _channels_first(np.stack(same)) for same in zip(*(s.views for s in samples), strict=True)
        )
        patches = [sample.patches for sample in samples if sample.patches is not None]
        if len(patches) not in (0, len(samples)):
            raise ValueError("patches of some images only")
        labels = self._source.labels if self._with_labels else None
        return Batch(
            views,
            _channels_first(np.stack(patches)) if patches else None,
            None if labels is None else torch.from_numpy(labels[indices]),
            torch.from_numpy(indices),
        )


def _channels_first(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """[..., height, width, 3] as [..., 3, height, width], without a copy."""
    return torch.from_numpy(pixels).movedim(-1, -3)


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(_worker: int) -> None:
    # torch itself has given the worker one thread.
    leave_stopping_to_the_parent()
    leave_with_the_parent()
