"""The memory that views are written into: shared with the workers, made once, used again and again."""

from __future__ import annotations

import mmap
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor


class Shapes(NamedTuple):
    """What one image becomes, in sizes.

    Attributes:
        views: Height and width of each view in pixels.
        patches: Number, height and width of the patches; None for none.
    """

    views: tuple[tuple[int, int], ...]
    patches: tuple[int, int, int] | None = None


class Buffer(NamedTuple):
    """Room for one batch.

    Attributes:
        views: [batch, height, width, 3] uint8 each.
        patches: [batch, patches, height, width, 3] uint8, or None.
    """

    views: tuple[Tensor, ...]
    patches: Tensor | None


class Buffers:
    """A ring of buffers in memory that forked processes share.

    It is anonymous: no file in /dev/shm, which is small in containers, and no descriptor.

    Args:
        shapes: Of one image.
        batch_size: Images of a batch.
        count: Buffers; a batch must have been used up before `count` later ones are begun.
    """

    def __init__(self, shapes: Shapes, batch_size: int, count: int) -> None:
        """See the class."""

        def room(*shape: int) -> Tensor:
            whole = (batch_size, *shape, 3)
            return torch.frombuffer(mmap.mmap(-1, prod(whole)), dtype=torch.uint8).view(whole)

        self._ring = [
            Buffer(
                tuple(room(*size) for size in shapes.views),
                room(*shapes.patches) if shapes.patches else None,
            )
            for _ in range(count)
        ]

    def __getitem__(self, number: int) -> Buffer:
        """The buffer of the batch with that number, counted from the first one on."""
        return self._ring[number % len(self._ring)]
