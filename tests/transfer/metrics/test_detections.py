"""The file of predictions: the same bytes for the same arrays, nothing lost, nothing taken for another's."""

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import DataError
from tests.helpers.voc_boxes import make_boxes
from transfer.metrics.detections import Detections, ImageDetections, pack, unpack
from transfer.metrics.kept import pack_arrays
from transfer.metrics.voc_ap import voc_ap

TRUTH, FOUND = make_boxes(0, num_images=30, num_classes=3, num_objects=90, num_detections=400)


def test_nothing_is_lost() -> None:
    packed = pack(TRUTH, FOUND)
    truth, found = unpack(packed.data, packed.sha256, "x")
    assert (truth.image_ids, truth.classes) == (TRUTH.image_ids, TRUTH.classes)
    for name in ("image", "label", "boxes", "difficult"):
        assert np.array_equal(getattr(truth, name), getattr(TRUTH, name))
    for name in ("image", "label", "scores", "boxes"):
        assert np.array_equal(getattr(found, name), getattr(FOUND, name))
    assert np.array_equal(
        voc_ap(truth, found, rule="area").per_class, voc_ap(TRUTH, FOUND, rule="area").per_class
    )


def test_equal_arrays_give_equal_bytes() -> None:
    assert pack(TRUTH, FOUND) == pack(TRUTH, FOUND)
    assert pack(TRUTH, replace(FOUND, scores=FOUND.scores + 1)).sha256 != pack(TRUTH, FOUND).sha256


def test_a_damaged_file_is_named() -> None:
    packed = pack(TRUTH, FOUND)
    other = pack(TRUTH, replace(FOUND, scores=FOUND.scores + 1))
    for data in (packed.data[:-9], b"hello", other.data):
        with pytest.raises(DataError, match=r"^here:"):
            unpack(data, packed.sha256, "here")


def test_a_file_of_other_arrays_is_named() -> None:
    other = pack_arrays({"truth.image": TRUTH.image}, {"image_ids": [], "classes": []})
    with pytest.raises(DataError, match=r"^here:"):
        unpack(other.data, other.sha256, "here")


def on_image(image: int, *scores: float, masks: tuple[bytes, ...] | None = None) -> ImageDetections:
    count = len(scores)
    return ImageDetections(
        image, np.zeros(count, np.int64), np.float32(scores), np.zeros((count, 4), np.float32), masks
    )


def test_images_are_put_in_order() -> None:
    found = Detections.of_images([on_image(2, 0.5, 0.7), on_image(0, 0.6), on_image(1)])
    assert found.image.tolist() == [0, 2, 2]
    assert found.scores.tolist() == np.float32([0.6, 0.5, 0.7]).tolist()
    assert found.boxes.shape == (3, 4) and found.masks is None
    nothing = Detections.of_images([])
    assert nothing.boxes.shape == (0, 4) and nothing.image.dtype == np.int64


def test_masks_go_with_their_images() -> None:
    found = Detections.of_images(
        [on_image(2, 0.5, 0.7, masks=(b"c", b"dd")), on_image(0, 0.6, masks=(b"a",)), on_image(1, masks=())],
        with_masks=True,
    )
    assert found.masks is not None and list(found.masks) == [b"a", b"c", b"dd"]
    nothing = Detections.of_images([], with_masks=True)
    assert nothing.masks is not None and len(nothing.masks) == 0
