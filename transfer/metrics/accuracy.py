"""Top-1 and top-5 accuracy, what a record says of them, and the file from which they can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError, EngineError
from bench.core.store import Attachment
from transfer.metrics.kept import pack_arrays, unpack_arrays
from transfer.metrics.result import Result

RANKS = 5

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassTest:
    """What was found on a test split.

    Attributes:
        truth: [images] label of each.
        ranked: [images, up to 5] labels by score from high to low; of equal ones the lower label first.
        names: Of the images.
        classes: Of the data set.
        facts: What the engine says of how it found them, for the record.
    """

    truth: Labels
    ranked: Labels
    names: tuple[str, ...]
    classes: tuple[str, ...]
    facts: dict[str, object]


def measure(test: ClassTest, classes: Sequence[str]) -> Result:
    """Accuracies in percent over all images; top-5 where there are more than five classes.

    Args:
        test: Of every image.
        classes: Of the data set; held against those of the test.

    Raises:
        EngineError: the test is one of other classes or of no image.
    """
    if test.classes != tuple(classes):
        raise EngineError("the test is one of other classes than the data set's. Nothing was recorded.")
    if not len(test.truth):
        raise EngineError("the test has no image. Nothing was recorded.")
    right = test.ranked == test.truth[:, None]
    metrics = {"top1": 100.0 * float(right[:, 0].mean())}
    if len(classes) > RANKS:
        metrics["top5"] = 100.0 * float(right.any(axis=1).mean())
    counts = np.bincount(test.truth, minlength=len(classes))
    correct = np.bincount(test.truth[right[:, 0]], minlength=len(classes))
    there = counts > 0
    metrics["mean_per_class"] = 100.0 * float((correct[there] / counts[there]).mean())
    return Result(
        metrics=metrics,
        details={
            "num_correct": int(correct.sum()),
            "absent_classes": [name for name, here in zip(classes, there, strict=True) if not here],
            **test.facts,
        },
        predictions=pack(test),
    )


def pack(test: ClassTest) -> Attachment:
    """The file of a test; see `pack_arrays`."""
    arrays = {"truth": test.truth.astype(np.int32), "ranked": test.ranked.astype(np.int32)}
    return pack_arrays(arrays, {"names": test.names, "classes": test.classes})


def unpack(data: bytes, sha256: str, where: str) -> ClassTest:
    """What `pack` was given, without its facts.

    Args:
        data: The file's content.
        sha256: Of the unpacked content, from the record.
        where: The file, for messages.

    Raises:
        DataError: damaged, not the file that the record means, or its parts do not fit together.
    """
    arrays, names = unpack_arrays(data, sha256, where)
    fits = (
        set(arrays) == {"truth", "ranked"}
        and isinstance(names, dict)
        and set(names) == {"names", "classes"}
        and arrays["truth"].ndim == 1
        and arrays["ranked"].ndim == 2
        and len(arrays["truth"]) == len(arrays["ranked"]) == len(names["names"])
        and all(
            array.size == 0 or 0 <= array.min() <= array.max() < len(names["classes"])
            for array in arrays.values()
        )
    )
    if not fits:
        raise DataError(f"{where}: not a file of classes that were found")
    return ClassTest(
        truth=arrays["truth"].astype(np.int64),
        ranked=arrays["ranked"].astype(np.int64),
        names=tuple(names["names"]),
        classes=tuple(names["classes"]),
        facts={},
    )
