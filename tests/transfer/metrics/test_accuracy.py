"""Accuracies by hand, and the file of a test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import DataError, EngineError
from transfer.metrics.accuracy import ClassTest, measure, pack, unpack
from transfer.metrics.kept import pack_arrays

SIX = tuple("abcdef")


def make(truth: list[int], ranked: list[list[int]], classes: tuple[str, ...] = SIX) -> ClassTest:
    names = tuple(f"{index}.png" for index in range(len(truth)))
    return ClassTest(np.array(truth), np.array(ranked), names, classes, {"num_neighbours": 3})


TEST = make([0, 0, 1, 5], [[0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [1, 0, 2, 3, 4], [0, 1, 2, 3, 4]])


def test_by_hand() -> None:
    """Two of four come first, three are among the five; the classes have 1/2, 1/1 and 0/1."""
    result = measure(TEST, SIX)
    assert result.metrics == {"top1": 50.0, "top5": 75.0, "mean_per_class": 50.0}
    assert result.details == {"num_correct": 2, "absent_classes": ["c", "d", "e"], "num_neighbours": 3}


def test_top_five_of_five_classes_is_no_number() -> None:
    five = make([0, 1], [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]], tuple("abcde"))
    assert set(measure(five, tuple("abcde")).metrics) == {"top1", "mean_per_class"}


def test_other_classes_and_no_image_are_no_result() -> None:
    with pytest.raises(EngineError, match="other classes"):
        measure(TEST, tuple("abcdfe"))
    with pytest.raises(EngineError, match="no image"):
        measure(make([], np.zeros((0, 5), int).tolist()), SIX)


def test_the_file_gives_the_number_again() -> None:
    kept = pack(TEST)
    again = unpack(kept.data, kept.sha256, "kept")
    assert measure(again, SIX).metrics == measure(TEST, SIX).metrics
    assert again.names == TEST.names


ZERO, FIVE = np.zeros(1, np.int32), np.zeros((1, 5), np.int32)
NAMES: dict[str, list[str]] = {"names": ["a"], "classes": ["x"]}


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"truth": ZERO}, NAMES),
        ({"truth": ZERO, "ranked": ZERO}, NAMES),
        ({"truth": np.zeros(2, np.int32), "ranked": FIVE}, NAMES),
        ({"truth": ZERO + 1, "ranked": FIVE}, NAMES),
        ({"truth": ZERO, "ranked": FIVE}, {"names": ["a"]}),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    arrays: dict[str, np.ndarray], names: dict[str, list[str]]
) -> None:
    kept = pack_arrays(arrays, names)
    with pytest.raises(DataError, match="not a file of classes"):
        unpack(kept.data, kept.sha256, "kept")


def test_a_file_of_another_record_is_refused() -> None:
    kept = pack(TEST)
    with pytest.raises(DataError, match="sha256"):
        unpack(kept.data, pack(replace(TEST, names=("z", *TEST.names[1:]))).sha256, "kept")
