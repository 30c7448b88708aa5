"""The memory that views are written into: shared with the workers, made once, used again and again."""

from __future__ import annotations

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

    Args:
        shapes: Of one image.
        batch_size: Images of a batch.
        count: Buffers; a batch must have been used up before `count` later ones are begun.
    """

    def __init__(self, shapes: Shapes, batch_size: int, count: int) -> None:
        """See the class."""

        def room(*shape: int) -> Tensor:
            made = torch.zeros(batch_size, *shape, 3, dtype=torch.uint8)
            made.share_memory_()  # type: ignore[no-untyped-call]
            return made

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

    def lock(self) -> None:
        """Lock the pages for a GPU, which then copies them by itself; for the time of this process.

        To be called after the workers were forked. Where the system refuses, copies are slower and no other.
        """
        runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        for buffer in self._ring:
            for memory in (*buffer.views, *([] if buffer.patches is None else [buffer.patches])):
                runtime.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0)
