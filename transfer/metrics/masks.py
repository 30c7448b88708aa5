"""Masks as COCO's packed run lengths, one after the other in one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Masks:
    """n masks; the size of each is that of its image.

    Attributes:
        text: [all bytes] uint8, the packed run lengths.
        ends: [n] int64, where each ends in `text`.
    """

    text: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, masks: Sequence[bytes]) -> Masks:
        """Put together packed run lengths."""
        return cls(
            text=np.frombuffer(b"".join(masks), np.uint8),
            ends=np.cumsum([len(mask) for mask in masks], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self.ends[index - 1] if index else 0
        return self.text[start : self.ends[index]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))
