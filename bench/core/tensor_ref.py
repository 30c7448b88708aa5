"""Tensors that lie in a file: shape and dtype are known and checked, values are read on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_DIMS = 32
# A tensor expanded over a smaller storage (stride 0) may be this large; anything else is within its storage.
MAX_EXPANDED = 1024**2

# Our name of an element type, as torch writes it -> numpy's code without byte order. numpy has no bfloat16.
DTYPES = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint64": "u8",
    "uint32": "u4",
    "uint16": "u2",
    "uint8": "u1",
    "bool": "u1",
    "complex128": "c16",
    "complex64": "c8",
}


def element_size(dtype: str) -> int:
    """Bytes of one element of a key of `DTYPES`."""
    return np.dtype(DTYPES[dtype]).itemsize


class Refused(Exception):
    """What is wrong with a tensor or a pickle, without the file: who knows the file makes a WeightsError."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements in the file; tensors are views of it.

    Attributes:
        dtype: A key of `DTYPES`.
        num_elements: How many there are, as checked against the file.
        fetch: Gives `count` bytes from byte `start` of the storage; raises WeightsError where it cannot.
        big_endian: The byte order of the elements.
        checksum_off: The container has a checksum for these bytes, and it was switched off.
    """

    dtype: str
    num_elements: int
    fetch: Callable[[int, int], bytes]
    big_endian: bool = False
    checksum_off: bool = False


class TensorRef:
    """A tensor that lies in the file: its shape and dtype are known, its values are read on demand."""

    __slots__ = ("_offset", "_storage", "_strides", "shape")

    def __init__(
        self, storage: Storage, shape: Sequence[int], strides: Sequence[int], *, offset: int = 0
    ) -> None:
        """A view of `storage`; shape, strides and offset count elements.

        Raises:
            Refused: a number is negative or no int, or an element would lie outside the storage.
        """
        if len(shape) > MAX_DIMS or len(shape) != len(strides):
            raise Refused(f"a tensor of {len(shape)} dimensions and {len(strides)} strides; refused")
        if any(type(value) is not int or value < 0 or value >= 2**62 for value in (*shape, *strides, offset)):
            raise Refused("a tensor whose shape, strides or offset are no counts; refused")
        self.shape = tuple(shape)
        self._storage, self._strides, self._offset = storage, tuple(strides), offset
        end = offset + self._span()
        if end > storage.num_elements:
            raise Refused(
                f"a tensor of shape {self.shape} needs elements {offset:,} to {end:,} "
                f"of a storage of {storage.num_elements:,}; refused"
            )
        # Axes of length 0 apart: numpy cannot make an array of (0, 2**61) either.
        if math.prod(filter(None, shape)) > max(storage.num_elements, MAX_EXPANDED):
            raise Refused(
                f"a tensor of shape {self.shape} over a storage of {storage.num_elements:,}; refused"
            )

    def _span(self) -> int:
        """Elements from the first to behind the last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self._strides, strict=True))

    def become(self, other: TensorRef) -> None:
        """Be what `other` is: numpy pickles an empty array first, and what is in it later."""
        self.shape = other.shape
        self._storage, self._strides, self._offset = other._storage, other._strides, other._offset

    def transposed(self, axes: Sequence[int]) -> TensorRef:
        """The same values with the axes in another order, as numpy's `transpose` gives them."""
        shape, strides = ([values[axis] for axis in axes] for values in (self.shape, self._strides))
        return TensorRef(self._storage, shape, strides, offset=self._offset)

    def squeezed(self) -> TensorRef:
        """The same values without the axes of length one."""
        kept = [axis for axis, length in enumerate(self.shape) if length != 1]
        return self.transposed(kept)

    @property
    def dtype(self) -> str:
        """A key of `DTYPES`."""
        return self._storage.dtype

    @property
    def checksum_off(self) -> bool:
        """Damage to the values would not be noticed: the container's checksums were switched off."""
        return self._storage.checksum_off

    def __repr__(self) -> str:
        return f"TensorRef({self.dtype}, {self.shape})"

    def read(self) -> np.ndarray:
        """The values: a C-contiguous array of our own, in native byte order; bfloat16 as equal float32.

        Raises:
            WeightsError: the file changed, ends early, or its checksum does not fit.
        """
        code = np.dtype(DTYPES[self.dtype]).newbyteorder(">" if self._storage.big_endian else "<")
        width = code.itemsize
        raw = self._storage.fetch(self._offset * width, self._span() * width)
        flat = np.frombuffer(raw, dtype=code)
        if 0 in self.shape:
            flat = np.zeros(1, dtype=code)  # as_strided wants something to stand on
        # Where there is no step to take, a stride may be any number, also one too large for numpy.
        moves = 0 not in self.shape
        steps = tuple(
            stride * width if moves and n > 1 else 0
            for n, stride in zip(self.shape, self._strides, strict=True)
        )
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        values = np.array(view, dtype=code.newbyteorder("="), order="C")
        if self.dtype == "bfloat16":
            # The upper half of a float32, so the conversion is exact.
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values != 0 if self.dtype == "bool" else values


def contiguous_strides(shape: Sequence[int], *, fortran: bool = False) -> tuple[int, ...]:
    """Strides, in elements, of an array without gaps: last axis fastest, or the first for `fortran`.

    Raises:
        Refused: more than 32 axes, whose product could take minutes.
    """
    if len(shape) > MAX_DIMS:
        raise Refused(f"a tensor of {len(shape)} dimensions; at most {MAX_DIMS} are read")
    strides: list[int] = []
    step = 1
    for length in shape if fortran else reversed(shape):
        strides.append(step)
        step *= length if type(length) is int else 1
    return tuple(strides if fortran else reversed(strides))
