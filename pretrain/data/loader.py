"""Feeds a pretraining run: images read and made into views by worker processes, batches in a fixed order.

What a step sees depends on (seed, step) alone: not on the number of workers, and not on where a run began.
Workers are processes and no threads: what they do besides decoding and resizing needs Python's lock, for
which they would take turns with the loop that feeds a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.core.errors import BenchError, ConfigError, DataError, EngineError
from bench.core.signals import end_workers_at_exit, leave_stopping_to_the_parent, leave_with_the_parent
from bench.images.source import ImageSource
from bench.images.views import DrawnView
from pretrain.data.batch import Batch
from pretrain.data.buffers import Buffers, Shapes
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.order import Order, share

AHEAD = 2
"""Batches that each worker may be ahead."""


class _Place(NamedTuple):
    """One batch of one process: its number in this loader, its epoch, the numbers of its images."""

    number: int
    epoch: int
    indices: npt.NDArray[np.int64]


class _Done(NamedTuple):
    """What a worker sends back of a batch, whose pixels are in the buffer of its number."""

    place: _Place
    drawn: tuple[tuple[DrawnView, ...], ...]


class Sample(NamedTuple):
    """What one image becomes.

    Attributes:
        views: Each [height, width, 3] uint8, of the size in `MakeSample.shapes`.
        patches: [patches, height, width, 3] uint8, or None for every image.
        drawn: What is left to do to each of `views`, which are crops then; none where nothing is.
    """

    views: tuple[npt.NDArray[np.uint8], ...]
    patches: npt.NDArray[np.uint8] | None
    drawn: tuple[DrawnView, ...] = ()


class MakeSample(Protocol):
    """Makes the views of an image; every random number must come from (seed, epoch, index)."""

    @property
    def shapes(self) -> Shapes:
        """Sizes of what it makes, the same for every image."""

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        """From [height, width, 3] uint8 RGB."""


class TrainLoader:
    """The batches of a run, one list of `accumulation` batches a step; see `train_batches`.

    Attributes:
        waited_seconds: How long the caller, or the GPU that it feeds, has waited for batches so far, in all.
    """

    def __init__(
        self,
        done: Iterator[_Done | BenchError],
        buffers: Buffers,
        feed: DeviceFeed,
        labels: npt.NDArray[np.int64] | None,
        accumulation: int,
    ) -> None:
        """Take what workers make."""
        self.waited_seconds = 0.0
        self._done, self._buffers, self._feed = done, buffers, feed
        self._labels, self._accumulation = labels, accumulation
        self._ahead: list[Batch] | BenchError | StopIteration | None = None

    def __iter__(self) -> Self:
        """Itself: the batches come once."""
        return self

    def __next__(self) -> list[Batch]:
        """The batches of the next step, on the device.

        Raises:
            BenchError: what a worker raised: DataError for an image that cannot be read.
            EngineError: a worker is gone, killed for its memory perhaps.
        """
        started = time.monotonic()
        try:
            parts, self._ahead = self._ahead or self._step(), None
        finally:
            self.waited_seconds += time.monotonic() - started + self._feed.idle_seconds()
        if isinstance(parts, BenchError | StopIteration):
            raise parts
        return self._feed.receive(parts)

    def prefetch(self) -> None:
        """Bring the batches of the next step on their way while a GPU computes; a CPU has nothing to gain."""
        if self._ahead is not None or not self._feed.is_beside:
            return
        # Not this process's time: the GPU has work. What it lacks is seen on its own clock.
        with self._feed.watched():
            try:
                self._ahead = self._step()
            except (BenchError, StopIteration) as error:
                self._ahead = error  # of the next step, not of this one

    def close(self) -> None:
        """End the workers; no batch comes after it."""
        self._done, self._ahead = iter(()), None

    def _step(self) -> list[Batch]:
        return [self._one() for _ in range(self._accumulation)]

    def _one(self) -> Batch:
        # The worker that is told to go on below writes over the buffer of the last batch.
        self._feed.settle()
        try:
            done = next(self._done)
        except StopIteration:
            raise
        except RuntimeError as error:
            # torch's words for a worker that died; any other error is a fault of ours.
            if "DataLoader worker (pid" not in str(error):
                raise
            raise EngineError(f"a process that reads images is gone: {error}") from error
        if isinstance(done, BenchError):
            self.close()
            raise done
        buffer, indices = self._buffers[done.place.number], done.place.indices
        return self._feed.send(
            Batch(
                tuple(view.movedim(-1, -3) for view in buffer.views),
                None if buffer.patches is None else buffer.patches.movedim(-1, -3),
                None if self._labels is None else torch.from_numpy(self._labels[indices]),
                torch.from_numpy(indices),
            ),
            done.drawn,
        )


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
    feed: DeviceFeed,
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
        feed: Brings batches to the device.
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
    size = order.batch_size // (world_size * accumulation)
    # Those that workers write, and the one that is being copied.
    buffers = Buffers(make_sample.shapes, size, num_workers * AHEAD + 1)
    loader: DataLoader[_Done | BenchError] = DataLoader(
        _Batches(source, make_sample, buffers),
        sampler=_Places(order, range(start_step, end_step), rank, world_size, accumulation),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=AHEAD if num_workers else None,
        # A process that was spawned would spawn its workers, too, and each would import torch for seconds.
        multiprocessing_context="fork" if num_workers else None,
        collate_fn=_as_it_is,
        worker_init_fn=_start_worker,
        # Its own: the loader draws a seed for its workers, by default from torch's global generator.
        generator=torch.Generator(),
    )
    if num_workers:
        end_workers_at_exit()
    return TrainLoader(iter(loader), buffers, feed, source.labels if with_labels else None, accumulation)


class _Places(Sampler[_Place]):
    def __init__(self, order: Order, steps: range, rank: int, world_size: int, accumulation: int) -> None:
        self._order, self._steps = order, steps
        self._rank, self._world_size, self._accumulation = rank, world_size, accumulation

    def __iter__(self) -> Iterator[_Place]:
        number = 0
        for step in self._steps:
            epoch, indices = self._order.batch(step)
            mine = share(indices, self._rank, self._world_size)
            for part in range(self._accumulation):
                yield _Place(number, epoch, share(mine, part, self._accumulation))
                number += 1


class _Batches(Dataset[_Done | BenchError]):
    """Fills the buffer of a batch, in the process that is asked."""

    def __init__(self, source: ImageSource, make_sample: MakeSample, buffers: Buffers) -> None:
        self._source, self._make_sample, self._buffers = source, make_sample, buffers

    def __getitem__(self, place: _Place) -> _Done | BenchError:
        buffer = self._buffers[place.number]
        views = [view.numpy() for view in buffer.views]
        patches = None if buffer.patches is None else buffer.patches.numpy()
        drawn = []
        for row, index in enumerate(place.indices.tolist()):
            try:
                sample = self._make_sample(self._source.read(index), index, place.epoch)
            except BenchError as error:
                # Returned: torch would wrap one that a worker raises in the text of its traceback.
                return error
            for room, view in zip(views, sample.views, strict=True):
                _write(room, row, view)
            if (patches is None) != (sample.patches is None):
                raise ValueError("patches of some images only")
            if patches is not None and sample.patches is not None:
                _write(patches, row, sample.patches)
            drawn.append(sample.drawn)
        return _Done(place, tuple(zip(*drawn, strict=True)))


def _write(room: npt.NDArray[np.uint8], row: int, pixels: npt.NDArray[np.uint8]) -> None:
    if pixels.shape != room.shape[1:]:  # NumPy would spread a smaller one over the room
        raise ValueError(f"a sample of {pixels.shape}, where {room.shape[1:]} was said")
    room[row] = pixels


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(_worker: int) -> None:
    # torch itself has given the worker one thread.
    leave_stopping_to_the_parent()
    leave_with_the_parent()
