"""The ways of masks and label maps to get a wrong number without noticing; see test_silent_failures.py."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from bench.core.config import load_config
from bench.core.errors import ConfigError, DataError, EngineError, WeightsError
from bench.core.paths import CONFIGS
from bench.core.protocol import digest, number_changing
from bench.core.weights import Weights
from bench.report.published import quote, read_published
from tests.helpers.label_sets import write_cityscapes
from transfer.adapters.load import load_backbone
from transfer.adapters.mmseg_config import mmseg_config
from transfer.comparability import Devices, fit, judge
from transfer.data.coco_annotation import read_object
from transfer.data.label_set import read_segmentation
from transfer.engines.mmseg.model import build_segmentor
from transfer.engines.verify import check_finite
from transfer.metrics import coco_result, label_result
from transfer.metrics.confusion import ImageLabels, LabelTest
from transfer.metrics.detections import Detections
from transfer.metrics.instances import InstanceTruth
from transfer.metrics.masks import Masks
from transfer.protocols.coco import CocoProtocol
from transfer.protocols.segmentation import SegmentationProtocol

EIGHT_GPUS, CPU = Devices(8, 8), Devices(1, 0)


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> Weights:
    return load_backbone(checkpoint)


def coco_protocol(slug: str, *overrides: str) -> CocoProtocol:
    return load_config(CocoProtocol, CONFIGS / "transfer" / f"{slug}.toml", overrides)


def one_object() -> tuple[InstanceTruth, Detections]:
    """A test split of one object of middling size, which was found."""
    pixels = np.zeros((100, 100), np.uint8, order="F")
    pixels[10:60, 10:60] = 1
    mask = coco_mask.encode(pixels)["counts"]
    zero, one = np.zeros(1, np.int64), np.ones(1, np.float32)
    truth = InstanceTruth(
        image_ids=(0,),
        sizes=np.array([[100, 100]]),
        classes=("thing",),
        image=zero,
        label=zero,
        boxes=np.array([[10.0, 10.0, 50.0, 50.0]]),
        area=np.array([2500.0]),
        crowd=np.array([False]),
        masks=Masks.of([mask]),
    )
    boxes = np.array([[10, 10, 60, 60]], np.float32)
    return truth, Detections(zero, zero, one, boxes, Masks.of([mask]))


def test_22_another_box_head_under_one_name() -> None:
    four, two = (coco_protocol(f"coco-{family}-1x") for family in ("r50fpn4conv", "r50fpn"))
    assert digest(number_changing(four)) != digest(number_changing(two))
    assert four.slug != two.slug
    swapped = coco_protocol("coco-r50fpn4conv-1x", "model.box_head='2fc'")
    status, lines = judge(four, swapped, swapped, data_departures=(), smoke_file=None)
    assert (status, "model.box_head" in " ".join(lines)) == ("custom", True)
    published = read_published()
    quoted = [
        {entry.values["box_ap"].value for entry in quote(published, "coco-instseg", slug, ["box_ap"])}
        for slug in (four.slug, two.slug)
    ]
    assert max(quoted[0]) != max(quoted[1])


def test_23_an_ap_of_sizes_that_are_not_there() -> None:
    """COCO's own tools print -1 for them."""
    truth, found = one_object()
    metrics = coco_result.measure(truth, found, evaluator="pycocotools").metrics
    assert metrics["mask_ap"] == metrics["mask_ap_medium"] == pytest.approx(100.0)
    assert not metrics.keys() & {"box_ap_small", "mask_ap_small", "box_ap_large", "mask_ap_large"}


def test_24_an_object_of_annotation_id_0() -> None:
    """No id of the file reaches the evaluator, which would take the first for an object that is missed."""
    truth, found = one_object()
    assert "ids" not in {field.name for field in fields(truth)}
    assert coco_result.measure(truth, found, evaluator="pycocotools").metrics["box_ap"] == pytest.approx(100)


def test_25_a_polygon_of_two_points() -> None:
    entry = {"id": 7, "category_id": 1, "bbox": [1, 1, 8, 8], "area": 64, "iscrowd": 0}
    good = {**entry, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]}
    assert read_object(good, "x.json, annotation 7", {1: 0}, 20, 20).mask
    with pytest.raises(DataError, match=r"annotation 7.*polygon 1"):
        read_object({**good, "segmentation": [[1, 1, 9, 9]]}, "x.json, annotation 7", {1: 0}, 20, 20)


def label_protocol(*overrides: str, slug: str = "voc12aug-fcn-d8") -> SegmentationProtocol:
    return load_config(SegmentationProtocol, CONFIGS / "transfer" / f"{slug}.toml", overrides)


def label_test(truth: list[int], found: list[int]) -> LabelTest:
    """One image of so many pixels; classes a, b, c."""
    image = ImageLabels.of(0, np.array([truth], np.uint8), np.array([found], np.uint8), 3)
    return LabelTest.of_images([image], ["x"], ["a", "b", "c"])


@pytest.mark.parametrize("change", ["[1, 1, 1, 1]", "[1, 1, 2, 2]", "[1, 1, 4, 4]"])
def test_26_dilations_that_are_not_those_of_the_strides(weights: Weights, change: str) -> None:
    """The config refuses them; in an engine's config, C4 and C5 are not the source network's."""
    with pytest.raises(ConfigError, match="dilations must be"):
        label_protocol(f"model.dilations={change}")
    network = label_protocol().model
    config = mmseg_config(
        fit(label_protocol(), CPU), weights.card.input, classes=["a", "b"], zero_is_ignored=False, train=(),
        test=(), weights_file="", seed=0,
    )  # fmt: skip
    config["model"]["backbone"]["dilations"] = tuple(map(int, re.findall(r"\d", change)))
    with pytest.raises(WeightsError, match=r"C[45] differs"):
        build_segmentor(config, network, weights, seed=0)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((8, 8), 33, np.uint8), "33"),
        (np.full((8, 8, 3), 1, np.uint8), "RGB"),
        (np.full((8, 8), 1, np.uint16), "16"),
    ],
)
def test_27_label_maps_of_other_numbers(tmp_path: Path, pixels: Any, words: str) -> None:
    """labelIds for trainIds, colours for indices, 16 bits: each is an image that a loader takes."""
    root = write_cityscapes(tmp_path)
    path = min(root.rglob("*_labelTrainIds.png"))
    Image.fromarray(pixels).resize(Image.open(path).size, Image.Resampling.NEAREST).save(path)
    with pytest.raises(DataError, match=words) as caught:
        read_segmentation(root, layout="cityscapes")
    assert path.name in str(caught.value)


def test_28_a_mean_over_other_classes_for_other_weights() -> None:
    """MMSegmentation leaves out a class that nobody found, and counts it once somebody did."""
    truth = [0, 0, 0, 1, 1, 255]
    careful, bold = label_test(truth, [0, 0, 1, 1, 1, 2]), label_test(truth, [0, 0, 2, 1, 1, 2])
    theirs = [
        label_result.measure(test, "abc", "classes_in_union").metrics["mIoU"] for test in (careful, bold)
    ]
    ours = [label_result.measure(test, "abc", "classes_in_truth").metrics["mIoU"] for test in (careful, bold)]
    assert ours == [pytest.approx(100 * 2 / 3), pytest.approx(100 * (2 / 3 + 1) / 2)]
    assert theirs == [ours[0], pytest.approx(100 * (2 / 3 + 1 + 0) / 3)]
    one, other = (
        digest(number_changing(label_protocol(f"metric.miou_rule='{rule}'")))
        for rule in ("classes_in_truth", "classes_in_union")
    )
    assert one != other


def test_29_scores_of_nan_are_the_background() -> None:
    """Argmax of nan is 0; the weights are looked at before the test, the scores of each image in it."""
    network = torch.nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    assert int(network(torch.ones(1, 3, 1, 1)).argmax()) == 0
    with pytest.raises(EngineError, match="not finite"):
        check_finite(network)
