"""What a record says of a test of semantic segmentation, and the file from which it can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError, EngineError
from bench.core.store import Attachment
from transfer.metrics.confusion import LabelTest, Sample
from transfer.metrics.kept import pack_arrays, unpack_arrays
from transfer.metrics.miou import LabelScores, MiouRule, label_scores
from transfer.metrics.result import Result

_TYPES = {
    "image": (np.int32, 1),
    "truth": (np.uint8, 1),
    "found": (np.uint8, 1),
    "count": (np.int64, 1),
    "num_ignored": (np.int64, 1),
    "samples.image": (np.int32, 1),
    "samples.size": (np.int32, 2),
    "samples.truth": (np.uint8, 1),
    "samples.found": (np.uint8, 1),
}
"""Type and number of axes of each array in the file; `samples.size` is [samples, 2], height and width, and
the label maps lie one after the other."""


def measure(test: LabelTest, classes: Sequence[str], rule: MiouRule) -> Result:
    """mIoU, pixel accuracy and mean accuracy of a whole test split, in percent.

    By the rule `classes_in_truth`, mIoU is the mean over the classes that have at least one counted pixel in
    the truth of the test split; see `transfer.metrics.miou`. The record names the rule, and the classes that
    are not there. What MMSegmentation's rule gives, with its two decimals, is beside it. It is made of the
    exact counts: MMSegmentation's own, in single precision, may round to the next decimal.

    Args:
        test: Of every image.
        classes: Of the data set, in the order of its labels; held against those of the test.
        rule: Which classes the mean is over.

    Raises:
        EngineError: the test is one of other classes, the truth has no pixel of any class, or a score is no
            percentage.
    """
    if test.classes != tuple(classes):
        both = zip_longest(test.classes, classes)
        label, (mine, expected) = next(pair for pair in enumerate(both) if pair[1][0] != pair[1][1])
        raise EngineError(
            f"label {label} is {mine} in the test; expected {expected} as in the data set. "
            "Nothing was recorded."
        )
    matrix = test.matrix()
    scores = label_scores(matrix)
    metrics = {
        "mIoU": scores.miou(rule),
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_accuracy": scores.mean_accuracy,
    }
    for name, value in metrics.items():
        if not 0.0 <= value <= 100.0:
            raise EngineError(f"{name} came out as {value}; expected a percentage. Nothing was recorded.")
    absent = np.flatnonzero(~scores.in_truth).tolist()
    return Result(
        metrics=metrics,
        details={
            "miou_rule": rule,
            "num_pixels": int(matrix.sum()),
            "num_ignored_pixels": sum(test.num_ignored.tolist()),
            "absent_classes": [classes[label] for label in absent],
            "per_class": {name: _of_class(scores, label) for label, name in enumerate(classes)},
            "mmseg": {
                "mIoU": round(scores.miou("classes_in_union"), 2),
                "aAcc": round(scores.pixel_accuracy, 2),
                "mAcc": round(scores.mean_accuracy, 2),
            },
        },
        predictions=pack(test),
    )


def _of_class(scores: LabelScores, label: int) -> dict[str, float]:
    """What there is of IoU and accuracy: no entry where either is nothing of nothing."""
    both = {"IoU": float(scores.iou[label]), "accuracy": float(scores.accuracy[label])}
    return {name: value for name, value in both.items() if not np.isnan(value)}


def pack(test: LabelTest) -> Attachment:
    """The file of a test: matrices, sample maps and names; see `pack_arrays`."""
    none = np.zeros(0, np.uint8)
    arrays: dict[str, npt.NDArray[Any]] = {
        "image": test.image,
        "truth": test.truth,
        "found": test.found,
        "count": test.count,
        "num_ignored": test.num_ignored,
        "samples.image": np.array([sample.image for sample in test.samples]),
        "samples.size": np.array([sample.truth.shape for sample in test.samples]).reshape(-1, 2),
        "samples.truth": np.concatenate([none, *(sample.truth.ravel() for sample in test.samples)]),
        "samples.found": np.concatenate([none, *(sample.found.ravel() for sample in test.samples)]),
    }
    return pack_arrays(
        {name: array.astype(_TYPES[name][0]) for name, array in arrays.items()},
        {"image_ids": test.image_ids, "classes": test.classes},
    )


def unpack(data: bytes, sha256: str, where: str) -> LabelTest:
    """What `pack` was given.

    Args:
        data: The file's content.
        sha256: Of the unpacked content, from the record.
        where: The file, for messages.

    Raises:
        DataError: damaged, not the file that the record means, or its parts do not fit together.
    """
    arrays, names = unpack_arrays(data, sha256, where)
    try:
        _check_types(arrays, names)
        return LabelTest(
            image_ids=tuple(names["image_ids"]),
            classes=tuple(names["classes"]),
            samples=_samples(arrays),
            **{
                name: arrays[name].astype(np.int64)
                for name in ("image", "truth", "found", "count", "num_ignored")
            },
        )
    except ValueError as error:
        raise DataError(f"{where}: not a file of label maps: {error}") from None


def _check_types(arrays: Mapping[str, npt.NDArray[Any]], names: Any) -> None:
    """Raises ValueError for a part that is missing, unknown or of another type."""
    other = sorted(set(arrays) ^ set(_TYPES))
    if other:
        raise ValueError(f"has not the arrays {', '.join(_TYPES)}, but for {', '.join(other)}")
    for name, (dtype, num_axes) in _TYPES.items():
        array = arrays[name]
        if array.dtype != dtype or array.ndim != num_axes:
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
    if not isinstance(names, dict) or set(names) != {"image_ids", "classes"}:
        raise ValueError("has not the names of images and classes")
    for key, types in (("image_ids", (str, int)), ("classes", (str,))):
        values = names[key]
        if not isinstance(values, list) or not all(type(value) in types for value in values):
            raise ValueError(f"{key} are no names")


def _samples(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Sample, ...]:
    """Raises ValueError for sizes that are not those of the label maps."""
    images, sizes = arrays["samples.image"].tolist(), arrays["samples.size"].tolist()
    truth, found = arrays["samples.truth"], arrays["samples.found"]
    if arrays["samples.size"].shape != (len(images), 2) or any(min(size) < 1 for size in sizes):
        raise ValueError("samples have no sizes")
    ends = list(accumulate((height * width for height, width in sizes), initial=0))
    if len(truth) != ends[-1] or len(found) != ends[-1]:
        raise ValueError("samples are not of the pixels that their sizes give")
    return tuple(
        Sample(image, truth[begin:end].reshape(size), found[begin:end].reshape(size))
        for image, size, begin, end in zip(images, sizes, ends, ends[1:], strict=False)
    )
