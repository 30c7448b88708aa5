"""COCO AP: two evaluators bit for bit, and the reference and Detectron2 on their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.coco_instances import make_instances
from tests.helpers.coco_reference import detectron2_metrics, json_dataset, json_results, reference
from transfer.metrics.coco_ap import SIZES, CocoAP, Evaluator, Kind, coco_ap
from transfer.metrics.detections import Detections
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks

KINDS: tuple[Kind, ...] = ("bbox", "segm")
EVALUATORS: tuple[Evaluator, ...] = ("hotcoco", "pycocotools")

Made = tuple[InstanceTruth, Detections]


def select(found: Detections, chosen: np.ndarray) -> Detections:
    assert found.masks is not None
    masks = [mask for mask, is_chosen in zip(found.masks, chosen, strict=True) if is_chosen]
    columns = (found.image, found.label, found.scores, found.boxes)
    return Detections(*(column[chosen] for column in columns), masks=Masks.of(masks))


def nothing_found() -> Made:
    truth, found = make_instances(100)
    return truth, select(found, np.zeros(len(found.scores), np.bool_))


def nothing_found_on_an_image() -> Made:
    truth, found = make_instances(101)
    assert (truth.image == 1).any() and (found.image == 1).any()
    return truth, select(found, found.image != 1)


def nothing_to_find() -> Made:
    truth, found = make_instances(102)
    return replace(truth, crowd=np.ones_like(truth.crowd)), found


def only_crowds_of_a_class() -> Made:
    truth, found = make_instances(103)
    return replace(truth, crowd=truth.crowd | (truth.label == 0)), found


def many_objects_of_a_class_on_an_image() -> Made:
    truth, found = make_instances(104, num_classes=2)
    assert ((truth.image == 0) & (truth.label == 0)).sum() > 100
    return truth, found


def many_detections_of_a_class_on_an_image() -> Made:
    """Of equal score, too: which hundred of them count is a matter of their order."""
    truth, found = make_instances(105, num_score_digits=0)
    assert ((found.image == 0) & (found.label == 0)).sum() > 100
    return truth, found


def equal_scores() -> Made:
    truth, found = make_instances(106)
    return truth, replace(found, scores=np.full_like(found.scores, 0.5))


def one_class() -> Made:
    truth, found = make_instances(107)
    truth = replace(truth, classes=truth.classes[:1], label=np.zeros_like(truth.label))
    return truth, replace(found, label=np.zeros_like(found.label))


def objects_of_the_largest_size_alone() -> Made:
    truth, found = make_instances(108)
    return replace(truth, area=np.full_like(truth.area, 2.0e4)), found


CASES: tuple[Callable[[], Made], ...] = (
    nothing_found,
    nothing_found_on_an_image,
    nothing_to_find,
    only_crowds_of_a_class,
    many_objects_of_a_class_on_an_image,
    many_detections_of_a_class_on_an_image,
    equal_scores,
    one_class,
    objects_of_the_largest_size_alone,
)


def made(seed: int) -> Made:
    """Every second one with a crowded image; with more and fewer equal scores."""
    return make_instances(seed, is_crowded=seed % 2 == 0, num_score_digits=1 + seed % 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_made_up_sets_are_neither_empty_nor_perfect(kind: Kind) -> None:
    truth, found = make_instances(0)
    ap = coco_ap(truth, found, kind)
    for size in SIZES:
        value = ap.mean(size=size)
        assert value is not None and 5.0 < value < 95.0
    areas = truth.area.tolist()
    assert areas.count(32.0**2) and areas.count(96.0**2) and truth.crowd.any()
    assert np.bincount(truth.image).max() > 100 and len(truth.image_ids) > len(set(truth.image.tolist()))
    assert set(found.label.tolist()) > set(truth.label.tolist())
    assert len(set(found.scores.tolist())) < len(found.scores) / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(40))
def test_both_evaluators_give_equal_precisions(kind: Kind, seed: int) -> None:
    one, other = (coco_ap(*made(seed), kind, evaluator=name).precision for name in EVALUATORS)
    assert one.shape == (10, 101, 5, len(SIZES))
    assert one.dtype == other.dtype
    assert np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_evaluators_agree_on_the_odd_case(kind: Kind, case: Callable[[], Made]) -> None:
    one, other = (coco_ap(*case(), kind, evaluator=name).precision for name in EVALUATORS)
    assert np.array_equal(one, other)


def headline(ap: CocoAP) -> list[float | None]:
    """In the reference's order."""
    by_overlap = [ap.mean(), ap.mean(threshold=0), ap.mean(threshold=5)]
    return by_overlap + [ap.mean(size=size) for size in ("small", "medium", "large")]


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(200, 208))
def test_equal_to_what_the_reference_prints(kind: Kind, evaluator: Evaluator, seed: int) -> None:
    truth, found = made(seed)
    run = reference(json_dataset(truth), json_results(truth, found, kind), kind)
    ours = coco_ap(truth, found, kind, evaluator=evaluator)
    assert np.array_equal(ours.precision, run.eval["precision"][..., 2])
    expected = [None if value == -1 else value * 100 for value in run.stats[:6].tolist()]
    assert headline(ours) == expected


# Of pycocotools under NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("seed", [300, 301, 302, 303])
def test_equal_to_detectron2(tmp_path: Path, seed: int) -> None:
    truth, found = made(seed)
    if seed == 303:
        truth = replace(truth, area=np.maximum(truth.area, 1100.0))
    theirs = detectron2_metrics(tmp_path, truth, found)
    for kind in KINDS:
        ap = coco_ap(truth, found, kind)
        expected = [float("nan") if value is None else value for value in headline(ap)]
        names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
        assert [theirs[kind][name] for name in names] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        of_classes = [theirs[kind][f"AP-{name}"] for name in truth.classes]
        expected = [float("nan") if (value := ap.mean(label=label)) is None else value for label in range(5)]
        assert of_classes == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert np.isnan(theirs["segm"]["APs"]) == (seed == 303), "one case should have no small object"


def test_nothing_is_changed_in_what_is_given() -> None:
    for kind in KINDS:
        for evaluator in EVALUATORS:
            truth, found = make_instances(400)
            same_truth, same_found = make_instances(400)
            coco_ap(truth, found, kind, evaluator=evaluator)
            for name in ("boxes", "area", "crowd", "label", "image", "sizes"):
                assert np.array_equal(getattr(truth, name), getattr(same_truth, name))
            assert np.array_equal(found.boxes, same_found.boxes)
            assert list(found.masks or ()) == list(same_found.masks or ())
