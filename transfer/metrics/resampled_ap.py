"""Average precision of any choice of test images: VOC's two rules and COCO's, from detections matched once.

Which object a detection finds depends on its own image alone. So detections are matched once at each overlap
threshold and sorted once by score, and a choice of images weights each of them by how often its image is
drawn: true and all detections up to a place are weighted sums. AP needs them at true detections only, since
at every other one recall stays and precision does not rise.

Copies of an image are side by side in the order of equal scores, as they are for an evaluator that is given
the image twice. A true detection that is drawn k times is then k true ones in a row, over which precision
does not fall; the best precision from the first of them on is that from the last one on, so that they may be
taken in one step. Where an image has several detections of one class and one score, an evaluator takes all of
them for each copy in turn, and `_in_copies` does the same.

Source:
    Everingham et al. 2010 and Lin et al. 2014, by way of `transfer.metrics.voc_ap` (whose matching of boxes
    and limits of recall are used here) and `transfer.metrics.coco_ap` (whose evaluator matches here).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from transfer.metrics.coco_ap import Kind, _dataset, _results
from transfer.metrics.coco_result import KINDS
from transfer.metrics.detections import Bool, Detections, Float64, Int64, Truth
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks
from transfer.metrics.voc_ap import _RECALLS, THRESHOLDS, Rule, _best_overlaps, _rounded

ALL: Final = tuple(range(len(THRESHOLDS)))

VOC_METRICS: Final[Mapping[str, tuple[int, ...]]] = {"AP": ALL, "AP50": (0,), "AP75": (5,)}
"""Over which thresholds each is a mean."""

COCO_METRICS: Final[Mapping[str, tuple[Kind, tuple[int, ...]]]] = {
    f"{name}_{metric}": (kind, thresholds)
    for name, kind in KINDS.items()
    for metric, thresholds in (("ap", ALL), ("ap50", (0,)), ("ap75", (5,)))
}

_POINTS: Final[Mapping[str, Float64 | None]] = {
    "voc07_11point": _RECALLS,
    "coco_101point": np.linspace(0.0, 1.0, 101),
    "area": None,
}

_RESAMPLES_AT_ONCE: Final = 256
"""Of VOC2007 test, an array of what is summed of one class is then a few MB."""

_IMAGES_AT_ONCE: Final = 250
"""The evaluator of COCO is given and gives Python objects, many times as large as the arrays they are of."""

Weights = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the n detections of a class, in falling order of score; equal ones by image.

    Attributes:
        image: [n] index of the image.
        scores: [n] by which they are sorted.
        true: [thresholds, n] the one that found an object.
        ignored: [thresholds, n] neither true nor false.
        wanted: [objects] index of the image of each that is to be found.
    """

    image: Int64
    scores: Float64
    true: Bool
    ignored: Bool
    wanted: Int64


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Average precision as a function of how often each image is drawn, a mean over classes and thresholds.

    Attributes:
        classes: The matches of each class.
        rule: VOC's or COCO's. A class of which a resample has no object counts as 0 under `voc07_11point`;
            under `area` it makes the mean nan if anything was found of it, and counts as 0 if not; under
            `coco_101point` it is left out of the mean.
    """

    classes: tuple[Matches, ...]
    rule: Literal["voc07_11point", "area", "coco_101point"]

    def __call__(self, counts: Int64) -> Float64:
        """AP of each resample.

        Args:
            counts: [resamples, images] how often each image is drawn.

        Returns:
            [resamples] in percent; nan where it has no value.
        """
        starts = range(0, len(counts), _RESAMPLES_AT_ONCE)
        parts = [self._some(counts[start : start + _RESAMPLES_AT_ONCE]) for start in starts]
        return np.concatenate([np.zeros(0), *parts])

    def _some(self, counts: Int64) -> Float64:
        drawn: Weights = np.ascontiguousarray(counts.T, np.int32)
        total, num_classes = np.zeros(len(counts)), np.zeros(len(counts))
        for matches in self.classes:
            has_object = drawn[matches.wanted].any(axis=0)
            ap = _class_ap(matches, drawn, _POINTS[self.rule])
            if self.rule == "area":
                ap[~has_object & drawn[np.unique(matches.image)].any(axis=0)] = np.nan
            total += ap
            num_classes += has_object if self.rule == "coco_101point" else 1.0
        mean = np.full(len(counts), np.nan)
        np.divide(100.0 * total, num_classes, out=mean, where=(num_classes > 0) & (counts.sum(axis=1) > 0))
        return mean


def _class_ap(matches: Matches, drawn: Weights, points: Float64 | None) -> Float64:
    """[resamples] AP of one class as a fraction, mean over thresholds; 0 where no object is drawn.

    Args:
        matches: Of the class.
        drawn: [images, resamples] how often.
        points: Of recall, at which precision is read; None for the area under its curve.
    """
    entry, row, weights = _in_copies(matches, drawn)
    true, ignored = matches.true[:, entry], matches.ignored[:, entry]
    places = np.flatnonzero(true.any(axis=0))
    seen = _summed_up_to(places, np.arange(len(entry)), row, weights)
    # Where there is none, nothing is true, and all is 0 of whatever.
    num_wanted = np.maximum(drawn[matches.wanted].sum(axis=0), 1)
    total = np.zeros(drawn.shape[1])
    for is_true, is_ignored in zip(true, ignored, strict=True):
        mine = np.flatnonzero(is_true[places])
        times = weights[row[places[mine]]]
        found = np.cumsum(times, axis=0, dtype=np.int32)
        counted = seen[mine] - _summed_up_to(places[mine], np.flatnonzero(is_ignored), row, weights)
        precision = found / np.maximum(counted, 1)
        best_from_here = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        if points is None:
            steps = times / num_wanted
        else:
            # How many points each true detection is the first to reach; the point 0 is reached before any.
            reached = np.searchsorted(points, found / num_wanted, "right")
            steps = np.diff(reached, axis=0, prepend=0) / len(points)
        total += (steps * best_from_here).sum(axis=0)
    return total / len(true)


def _in_copies(matches: Matches, drawn: Weights) -> tuple[Int64, Int64, Weights]:
    """Detections in the order in which an evaluator takes them that is given each image as often as drawn.

    Where neighbours are of one image and one score and one of them is true, each copy of them stands on its
    own. All other detections stand once, for all of their copies.

    Returns:
        [m] which detection, [m] its row in the weights, and [rows, resamples] the weights: `drawn`, and below
        it 1 where the image is drawn so often that there is this copy of a detection.
    """
    num_copies = int(drawn.max(initial=0))
    first = np.append(True, (np.diff(matches.scores) != 0) | (np.diff(matches.image) != 0))
    run = np.cumsum(first[: len(matches.image)]) - 1
    is_mixed = (np.bincount(run) > 1) & (np.bincount(run, matches.true.any(axis=0)) > 0)
    is_apart = is_mixed[run]
    times = np.where(is_apart, num_copies, 1)
    entry = np.repeat(np.arange(len(run)), times)
    copy = np.arange(len(entry)) - np.repeat(np.cumsum(times) - times, times)
    order = np.lexsort((entry, copy, run[entry]))
    entry, copy = entry[order], copy[order]
    row, apart = matches.image[entry], np.flatnonzero(is_apart[entry])
    is_there = drawn[row[apart]] > copy[apart, None]
    row[apart] = len(drawn) + np.arange(len(apart))
    return entry, row, np.concatenate([drawn, is_there.astype(np.int32)])


def _summed_up_to(places: Int64, which: Int64, row: Int64, weights: Weights) -> Weights:
    """[places, resamples] the weight of the detections `which` at and before each place; both are rising."""
    between = np.searchsorted(places, which, "left")
    inside = between < len(places)
    ones = np.ones(np.count_nonzero(inside), np.int32)
    shape = (len(places), len(weights))
    parts = csr_array((ones, (between[inside], row[which[inside]])), shape=shape) @ weights
    return np.cumsum(parts, axis=0, dtype=np.int32)


def voc_average(truth: Truth, found: Detections, rule: Rule, metric: str) -> AveragePrecision:
    """VOC's AP with detections of equal score in their order, as a function of the images drawn.

    Args:
        truth: Of the whole split.
        found: On its images.
        rule: `voc07_11point` or `area`.
        metric: One of `VOC_METRICS`.
    """
    scores = _rounded(found.scores, 1000)
    boxes = _rounded(found.boxes + np.array([1, 1, 0, 0], np.float32), 10)
    thresholds = [THRESHOLDS[index] for index in VOC_METRICS[metric]]
    classes = []
    for label in range(len(truth.classes)):
        mine = np.flatnonzero(found.label == label)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        there = np.flatnonzero(truth.label == label)
        difficult, image = truth.difficult[there], truth.image[there]
        overlap, best = _best_overlaps(found.image[mine], boxes[mine], image, truth.boxes[there])
        true = np.zeros((len(thresholds), len(mine)), np.bool_)
        ignored = np.zeros_like(true)
        for index, threshold in enumerate(thresholds):
            hits = np.flatnonzero(overlap > threshold)
            is_difficult = difficult[best[hits]]
            ignored[index, hits[is_difficult]] = True
            wanted = hits[~is_difficult]
            # The first detection of each object; `unique` gives the first place.
            true[index, wanted[np.unique(best[wanted], return_index=True)[1]]] = True
        classes.append(Matches(found.image[mine], scores[mine], true, ignored, image[~difficult]))
    return AveragePrecision(tuple(classes), rule)


def coco_average(truth: InstanceTruth, found: Detections, metric: str) -> AveragePrecision:
    """COCO's AP of boxes or of masks over objects of all sizes, as a function of the images drawn.

    Args:
        truth: Of the whole split.
        found: On its images, with masks.
        metric: One of `COCO_METRICS`.
    """
    kind, thresholds = COCO_METRICS[metric]
    images: list[list[int]] = [[] for _ in truth.classes]
    scores: list[list[float]] = [[] for _ in truth.classes]
    became: list[list[Bool]] = [[np.zeros((2, len(ALL), 0), np.bool_)] for _ in truth.classes]
    for index, label, told in _evaluated(truth, found, kind):
        images[label].extend([index] * len(told["dtScores"]))
        scores[label].extend(told["dtScores"])
        became[label].append(np.array((told["dtMatched"], told["dtIgnore"]), np.bool_))
    classes = []
    for label in range(len(truth.classes)):
        image, score = np.array(images[label], np.int64), np.array(scores[label], np.float64)
        order = np.argsort(-score, kind="stable")
        matched, ignored = np.concatenate(became[label], axis=2)[:, thresholds][:, :, order]
        wanted = truth.image[(truth.label == label) & ~truth.crowd]
        classes.append(Matches(image[order], score[order], matched & ~ignored, ignored, wanted))
    return AveragePrecision(tuple(classes), "coco_101point")


def _evaluated(
    truth: InstanceTruth, found: Detections, kind: Kind
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """What the evaluator says of each image and class that has an object or a detection, images rising."""
    import hotcoco

    num_images = len(truth.image_ids)
    for start in range(0, num_images, _IMAGES_AT_ONCE):
        some, findings = _images(truth, found, start, min(start + _IMAGES_AT_ONCE, num_images))
        there = hotcoco.COCO(_dataset(some, as_text=True))
        run = hotcoco.COCOeval(there, there.load_res(_results(some, findings, kind, as_text=True)), kind)
        # Objects of all sizes, at most 100 detections an image and class: what the headline number is of.
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
        run.params.maxDets = run.params.maxDets[-1:]
        run.evaluate()
        for told in run.eval_imgs:
            if told is not None:
                yield start + told["image_id"] - 1, told["category_id"] - 1, told


def _images(
    truth: InstanceTruth, found: Detections, start: int, end: int
) -> tuple[InstanceTruth, Detections]:
    """The images from `start` up to `end`, as a set of their own."""
    there, seen = (slice(*np.searchsorted(image, [start, end])) for image in (truth.image, found.image))
    columns = ("label", "boxes", "area", "crowd")
    return replace(
        truth,
        image_ids=truth.image_ids[start:end],
        sizes=truth.sizes[start:end],
        image=truth.image[there] - start,
        masks=_some_masks(truth.masks, there),
        **{name: getattr(truth, name)[there] for name in columns},
    ), Detections(
        found.image[seen] - start,
        found.label[seen],
        found.scores[seen],
        found.boxes[seen],
        None if found.masks is None else _some_masks(found.masks, seen),
    )


def _some_masks(masks: Masks, which: slice) -> Masks:
    begin = masks.ends[which.start - 1] if which.start else 0
    ends = masks.ends[which]
    return Masks(masks.text[begin : ends[-1] if len(ends) else begin], ends - begin)
