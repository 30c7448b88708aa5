"""What one forward pass of one process is given."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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
