"""A tensor in a file: views by hand, and what is refused before anything is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.core.tensor_ref import DTYPES, Refused, Storage, TensorRef, contiguous_strides, element_size


def _storage(values: np.ndarray, **facts: Any) -> Storage:
    raw = values.tobytes()
    return Storage(str(values.dtype), values.size, lambda start, count: raw[start : start + count], **facts)


def test_a_view_reads_only_its_own_bytes() -> None:
    asked: list[tuple[int, int]] = []
    raw = np.arange(12, dtype="<f4").tobytes()

    def fetch(start: int, count: int) -> bytes:
        asked.append((start, count))
        return raw[start : start + count]

    view = TensorRef(Storage("float32", 12, fetch), (2, 2), (4, 1), offset=5)
    assert asked == []
    assert view.read().tolist() == [[5, 6], [9, 10]]
    assert asked == [(20, 24)]
    assert repr(view) == "TensorRef(float32, (2, 2))"


def test_become_takes_everything_over() -> None:
    first = TensorRef(_storage(np.zeros(1, dtype=np.uint8)), (1,), (1,))
    other = TensorRef(_storage(np.arange(6, dtype=np.int16), checksum_off=True), (2,), (2,), offset=1)
    first.become(other)
    assert (first.dtype, first.shape, first.checksum_off) == ("int16", (2,), True)
    assert first.read().tolist() == [1, 3]


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "words"),
    [
        ((4,), (1,), 1, r"needs elements 1 to 5 of a storage of 4"),
        ((2, 2), (3, 1), 0, r"needs elements 0 to 5"),
        ((2,), (-1,), 1, "no counts"),
        ((True,), (1,), 0, "no counts"),
        ((2**40,), (0,), 0, "over a storage of 4"),
        ((0, 2**61), (1, 1), 0, "over a storage of 4"),
        ((2**61, 2**61, 0), (1, 1, 1), 0, "over a storage of 4"),
        ((1,) * 33, (1,) * 33, 0, "33 dimensions"),
        ((1,), (1, 1), 0, "1 dimensions and 2 strides"),
    ],
)
def test_refused(shape: tuple[int, ...], strides: tuple[int, ...], offset: int, words: str) -> None:
    with pytest.raises(Refused, match=words):
        TensorRef(_storage(np.zeros(4, dtype=np.float32)), shape, strides, offset=offset)


def test_strides_are_those_of_numpy() -> None:
    for shape in [(), (3,), (2, 3, 4)]:
        assert contiguous_strides(shape) == np.zeros(shape, dtype=np.uint8).strides
        assert contiguous_strides(shape, fortran=True) == np.zeros(shape, dtype=np.uint8, order="F").strides


@pytest.mark.parametrize(
    ("shape", "strides", "values"),
    [((1, 4), (2**61, 1), [[0, 1, 2, 3]]), ((1,), (2**61,), [0]), ((0, 3), (2**61, 2**61), []), ((), (), 0)],
)
def test_strides_that_take_no_step(shape: tuple[int, ...], strides: tuple[int, ...], values: Any) -> None:
    read = TensorRef(_storage(np.arange(4, dtype=np.float32)), shape, strides).read()
    assert (read.shape, read.tolist()) == (shape, values)


def test_strides_of_too_many_axes_are_not_worked_out() -> None:
    with pytest.raises(Refused, match="400000 dimensions"):
        contiguous_strides((2,) * 400_000)


def test_element_sizes_are_those_of_torch() -> None:
    import torch

    assert {name: element_size(name) for name in DTYPES} == {
        name: getattr(torch, name).itemsize for name in DTYPES
    }
