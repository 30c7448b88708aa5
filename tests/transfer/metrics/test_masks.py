"""Masks one after the other: the same bytes come back, one by one."""

import numpy as np
import pytest

from transfer.metrics.masks import Masks

PACKED = [b"abc", b"", b"d", b"efgh"]


def test_each_comes_back() -> None:
    masks = Masks.of(PACKED)
    assert len(masks) == 4
    assert list(masks) == PACKED
    assert [masks[index] for index in range(4)] == PACKED


def test_they_are_plain_arrays() -> None:
    masks = Masks.of(PACKED)
    assert (masks.text.dtype, masks.ends.dtype) == (np.uint8, np.int64)
    assert masks.ends.tolist() == [3, 3, 4, 8]
    assert list(Masks(masks.text.copy(), masks.ends.copy())) == PACKED


@pytest.mark.parametrize("packed", [[], [b""]])
def test_nothing(packed: list[bytes]) -> None:
    masks = Masks.of(packed)
    assert list(masks) == packed
    assert (masks.text.dtype, masks.ends.dtype) == (np.uint8, np.int64)


def test_there_is_none_past_the_end() -> None:
    with pytest.raises(IndexError):
        Masks.of(PACKED)[4]
