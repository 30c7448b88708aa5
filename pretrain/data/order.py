"""The order of the images as a pure function of the step: nothing of it has to be saved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.core import rng
from bench.core.errors import ConfigError, DataError


class Order:
    """Batches of image numbers; every epoch is a new permutation, of which the rest below a batch is dropped.

    Attributes:
        steps_per_epoch: Whole batches in one epoch, at least 1.

    Args:
        num_images: Images in the source.
        batch_size: Images a step, over all processes and accumulated parts.
        seed: Of the run.

    Raises:
        ConfigError: the batch is below one image.
        DataError: fewer images than one batch.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int) -> None:
        """See the class."""
        if batch_size < 1:
            raise ConfigError(f"batch of {batch_size:,} images; expected at least 1")
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.steps_per_epoch = num_images // batch_size
        if self.steps_per_epoch < 1:
            raise DataError(
                f"{num_images:,} images are fewer than one batch of {batch_size:,}; "
                "expected more images or a smaller batch"
            )
        self._last: tuple[int, npt.NDArray[np.int64]] | None = None

    def batch(self, step: int) -> tuple[int, npt.NDArray[np.int64]]:
        """The batch of one step, whatever was asked for before.

        Args:
            step: From 0 on, through all epochs.

        Returns:
            The epoch, from 0 on, and image numbers [batch_size] int64.

        Raises:
            ValueError: a step below 0, which is our own fault.
        """
        if step < 0:
            raise ValueError(step)
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._last is None or self._last[0] != epoch:
            self._last = (
                epoch,
                rng.permutation(self.seed, epoch, self.num_images).astype(np.int64, copy=False),
            )
        start = place * self.batch_size
        return epoch, self._last[1][start : start + self.batch_size].copy()


def share(indices: npt.NDArray[np.int64], rank: int, world_size: int) -> npt.NDArray[np.int64]:
    """The part of one process: the `rank`-th of `world_size` equal pieces in a row.

    Args:
        indices: [images]; their number divides by `world_size`.
        rank: From 0 to `world_size` - 1.
        world_size: Processes, or parts.

    Raises:
        ConfigError: it does not divide.
        ValueError: no such rank, which is our own fault.
    """
    if not 0 <= rank < world_size:
        raise ValueError(rank)
    size, rest = divmod(len(indices), world_size)
    if rest:
        raise ConfigError(f"{len(indices):,} images do not divide into {world_size:,} equal parts")
    return indices[rank * size : (rank + 1) * size]
