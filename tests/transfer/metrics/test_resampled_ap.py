"""AP of images drawn anew against the evaluators, which are given each image as often as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.coco_instances import make_instances
from tests.helpers.voc_boxes import make_boxes
from transfer.metrics import resampled_ap
from transfer.metrics.coco_ap import coco_ap
from transfer.metrics.detections import Detections, Truth
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks
from transfer.metrics.resampled_ap import COCO_METRICS, VOC_METRICS, coco_average, voc_average
from transfer.metrics.voc_ap import Rule, voc_ap

RULES: tuple[Rule, ...] = ("voc07_11point", "area")
CLOSE = 1e-9


def draws(seed: int, truth: Truth | InstanceTruth, num_resamples: int) -> np.ndarray:
    """Each image once, then at random; the last is one image alone, with the fewest classes."""
    num_images = len(truth.image_ids)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(num_images, np.full(num_images, 1 / num_images), num_resamples - 2)
    num_classes = {index: len(set(truth.label[truth.image == index])) for index in set(truth.image.tolist())}
    alone = np.zeros(num_images, np.int64)
    alone[min(num_classes, key=lambda index: num_classes[index])] = num_images
    return np.stack([np.ones(num_images, np.int64), *drawn, alone])


def copied(image: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows there are when each image is there so often, side by side, and of which image they are."""
    rows, images, number = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for index, count in enumerate(times.tolist()):
        mine = np.flatnonzero(image == index)
        for _ in range(count):
            rows.append(mine)
            images.append(np.full(len(mine), number))
            number += 1
    return np.concatenate(rows), np.concatenate(images)


def some_masks(masks: Masks | None, rows: np.ndarray) -> Masks | None:
    return None if masks is None else Masks.of([masks[row] for row in rows.tolist()])


def copied_found(found: Detections, times: np.ndarray) -> Detections:
    rows, image = copied(found.image, times)
    masks = some_masks(found.masks, rows)
    return Detections(image, found.label[rows], found.scores[rows], found.boxes[rows], masks)


def copied_boxes(truth: Truth, times: np.ndarray) -> Truth:
    rows, image = copied(truth.image, times)
    return Truth(
        image_ids=tuple(str(index) for index in range(times.sum())),
        classes=truth.classes,
        image=image,
        label=truth.label[rows],
        boxes=truth.boxes[rows],
        difficult=truth.difficult[rows],
    )


def copied_instances(truth: InstanceTruth, times: np.ndarray) -> InstanceTruth:
    rows, image = copied(truth.image, times)
    masks = some_masks(truth.masks, rows)
    assert masks is not None
    return InstanceTruth(
        image_ids=tuple(range(times.sum())),
        sizes=np.repeat(truth.sizes, times, axis=0),
        classes=truth.classes,
        image=image,
        label=truth.label[rows],
        boxes=truth.boxes[rows],
        area=truth.area[rows],
        crowd=truth.crowd[rows],
        masks=masks,
    )


def voc_slowly(truth: Truth, found: Detections, counts: np.ndarray, rule: Rule, metric: str) -> np.ndarray:
    return np.array(
        [
            voc_ap(copied_boxes(truth, times), copied_found(found, times), rule=rule).metrics[metric]
            for times in counts
        ]
    )


def assert_close(values: np.ndarray, expected: Sequence[float] | np.ndarray) -> None:
    assert np.array_equal(np.isnan(values), np.isnan(expected))
    assert np.allclose(values, expected, rtol=0, atol=CLOSE, equal_nan=True)


def make_voc(seed: int) -> tuple[Truth, Detections]:
    """Fourteen images with many equal scores; one has no detection, and one has nothing at all."""
    truth, found = make_boxes(
        seed, num_images=14, num_classes=4, num_objects=30, num_detections=350, num_score_digits=1 + seed % 3
    )
    there, seen = truth.image != 5, ~np.isin(found.image, (5, 6))
    truth = replace(
        truth,
        image=truth.image[there],
        label=truth.label[there],
        boxes=truth.boxes[there],
        difficult=truth.difficult[there],
    )
    return truth, Detections(found.image[seen], found.label[seen], found.scores[seen], found.boxes[seen])


@pytest.mark.parametrize("metric", VOC_METRICS)
@pytest.mark.parametrize("rule", RULES)
def test_voc_as_if_each_image_were_there_as_often_as_drawn(rule: Rule, metric: str) -> None:
    num_absent = 0
    for seed in range(3):
        truth, found = make_voc(seed)
        assert truth.difficult.any()
        counts = draws(seed, truth, 8)
        values = voc_average(truth, found, rule, metric)(counts)
        assert_close(values, voc_slowly(truth, found, counts, rule, metric))
        assert np.nanstd(values) > 1.0, "resamples should differ"
        wanted = ~truth.difficult
        num_absent += sum(
            len(set(truth.label[wanted & (times[truth.image] > 0)].tolist())) < 4 for times in counts
        )
    assert num_absent >= 3, "a class should be missing from some resamples"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_coco_as_if_each_image_were_there_as_often_as_drawn(kind: str, seed: int) -> None:
    """With crowds, objects and detections of one class above a hundred on an image, and equal scores."""
    truth, found = make_instances(seed, is_crowded=seed == 0, num_score_digits=1 + seed % 3)
    assert truth.crowd.any()
    counts = draws(seed, truth, 4)
    aps = [
        coco_ap(
            copied_instances(truth, times),
            copied_found(found, times),
            COCO_METRICS[f"{kind}_ap"][0],
            evaluator="pycocotools",
        )
        for times in counts
    ]
    for metric, threshold in (("ap", None), ("ap50", 0), ("ap75", 5)):
        expected = [ap.mean(threshold=threshold) for ap in aps]
        values = coco_average(truth, found, f"{kind}_{metric}")(counts)
        assert_close(values, [np.nan if value is None else value for value in expected])
    assert {ap.precision.shape[2] for ap in aps} == {5}
    num_there = [int((ap.precision[0, 0, :, 0] > -1).sum()) for ap in aps]
    assert min(num_there) < max(num_there), "a class should be missing from some resamples"


def boxes_of(*rows: tuple[int, int], difficult: Sequence[int] = ()) -> Truth:
    """Objects of one class: (image, place), places apart from each other."""
    return Truth(
        image_ids=("a", "b"),
        classes=("thing",),
        image=np.array([image for image, _ in rows], np.int64),
        label=np.zeros(len(rows), np.int64),
        boxes=np.array([[100 * place + 1, 1, 100 * place + 50, 50] for _, place in rows], np.float64).reshape(
            -1, 4
        ),
        difficult=np.array([index in difficult for index in range(len(rows))], np.bool_),
    )


def found_of(*rows: tuple[int, int, float]) -> Detections:
    """(image, place, score)."""
    return Detections(
        np.array([image for image, _, _ in rows], np.int64),
        np.zeros(len(rows), np.int64),
        np.array([score for _, _, score in rows], np.float32),
        np.array([[100 * place, 0, 100 * place + 50, 50] for _, place, _ in rows], np.float32).reshape(-1, 4),
    )


def test_by_hand() -> None:
    """Image a: its object is found after a false detection. Image b: one of its two objects is found at once.

    By falling score: b true, a false, a true; objects: one of a, two of b.
    """
    truth, found = boxes_of((0, 0), (1, 0), (1, 1)), found_of((0, 2, 0.8), (0, 0, 0.7), (1, 0, 0.9))
    counts = np.array([[1, 1], [1, 0], [0, 1], [2, 1]])
    expected = [
        100 * (1 / 3 + 2 / 3 * 1 / 3),
        50.0,  # 1 of 2 detections
        50.0,  # 1 of 2 objects
        # b true, twice false, twice true: precision 1 for 1 of 4 objects, 3 / 5 for 2 more.
        100 * (1 / 4 + 3 / 5 * 2 / 4),
    ]
    assert_close(voc_average(truth, found, "area", "AP50")(counts), expected)
    # Points of recall up to 1/3, 2/3; 1; 1/2; 1/4, 3/4, which are 0 to 0.3, 0.4 to 0.6, and so on.
    eleven = [(4 + 3 * 2 / 3) / 11, 0.5, 6 / 11, (3 + 5 * 3 / 5) / 11]
    assert_close(
        voc_average(truth, found, "voc07_11point", "AP50")(counts), [100 * value for value in eleven]
    )


def test_equal_scores_of_one_image_come_copy_by_copy() -> None:
    """True, false, true, false, not true, true: precision 1 up to the recall of a half, then 2/3."""
    truth = boxes_of((0, 0))
    average = voc_average(truth, found_of((0, 0, 0.5), (0, 1, 0.5)), "area", "AP50")
    assert_close(
        average(np.array([[1, 0], [2, 0], [3, 5]])),
        [100.0, 100 * (1 + 2 / 3) / 2, 100 * (1 + 2 / 3 + 3 / 5) / 3],
    )
    # One false before: false, true, false, true; the best precision is 1 / 2 throughout.
    other_way = voc_average(truth, found_of((0, 1, 0.5), (0, 0, 0.5)), "area", "AP50")
    assert_close(other_way(np.array([[1, 0], [2, 0], [3, 1]])), [50.0, 50.0, 50.0])


def test_a_difficult_object_is_neither_missed_nor_false_however_often_drawn() -> None:
    truth = boxes_of((0, 0), (0, 1), difficult=(1,))
    found = found_of((0, 1, 0.9), (0, 0, 0.8))
    counts = np.array([[1, 0], [4, 2]])
    assert_close(voc_average(truth, found, "area", "AP")(counts), [100.0, 100.0])


def test_a_class_without_objects_in_a_resample() -> None:
    """Where b alone is drawn: 0 of eleven points; under the area rule nan, and 0 if nothing was found."""
    truth, counts = boxes_of((0, 0)), np.array([[1, 1], [0, 2], [0, 0]])
    on_both, on_a = found_of((0, 0, 0.9), (1, 0, 0.8)), found_of((0, 0, 0.9))
    for found, rule, expected in (
        (on_both, "voc07_11point", [100.0, 0.0, np.nan]),
        (on_both, "area", [100.0, np.nan, np.nan]),
        (on_a, "area", [100.0, 0.0, np.nan]),
    ):
        assert_close(voc_average(truth, found, rule, "AP50")(counts), expected)
        assert_close(
            voc_average(truth, found, rule, "AP50")(counts[:2]),
            voc_slowly(truth, found, counts[:2], rule, "AP50"),
        )


def test_a_class_without_objects_is_left_out_of_the_mean_of_coco() -> None:
    truth, found = make_instances(3, is_crowded=False)
    no_object = np.zeros(len(truth.image_ids), np.int64)
    empty = [index for index in range(len(no_object)) if index not in truth.image[~truth.crowd]]
    no_object[empty] = 3
    assert empty
    assert np.isnan(coco_average(truth, found, "box_ap")(no_object[None])).all()
    # The same number with a class more that is nowhere in the truth.
    more = replace(truth, classes=(*truth.classes, "more"))
    counts = draws(0, truth, 4)
    assert_close(coco_average(more, found, "box_ap")(counts), coco_average(truth, found, "box_ap")(counts))


def test_nothing_found_is_0_and_nothing_at_all_has_no_value() -> None:
    counts = np.array([[1, 1], [2, 0]])
    for rule in RULES:
        assert_close(voc_average(boxes_of((0, 0)), found_of(), rule, "AP")(counts), [0.0, 0.0])
    truth, found = make_instances(4, is_crowded=False)
    none = np.zeros(0, np.int64)
    nothing = Detections(none, none, found.scores[:0], found.boxes[:0], Masks.of([]))
    ones = np.ones((1, len(truth.image_ids)), np.int64)
    assert_close(coco_average(truth, nothing, "mask_ap")(ones), [0.0])
    crowds = replace(truth, crowd=np.ones_like(truth.crowd))
    assert_close(coco_average(crowds, found, "mask_ap")(ones), [np.nan])


def test_how_many_are_taken_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = make_voc(1)
    instances, seen = make_instances(5)
    counts, drawn = draws(1, truth, 9), draws(2, instances, 9)
    whole = voc_average(truth, found, "area", "AP")(counts), coco_average(instances, seen, "mask_ap")(drawn)
    monkeypatch.setattr(resampled_ap, "_RESAMPLES_AT_ONCE", 2)
    monkeypatch.setattr(resampled_ap, "_IMAGES_AT_ONCE", 4)
    parts = voc_average(truth, found, "area", "AP")(counts), coco_average(instances, seen, "mask_ap")(drawn)
    for one, other in zip(whole, parts, strict=True):
        assert_close(one, other)


def test_no_resample_has_no_value() -> None:
    truth, found = make_voc(0)
    assert voc_average(truth, found, "area", "AP")(np.zeros((0, 14), np.int64)).shape == (0,)
