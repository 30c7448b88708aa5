"""The file of predictions: the same bytes for the same arrays, nothing lost, nothing taken for another's."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import DataError
from tests.helpers.voc_boxes import make_boxes
from transfer.metrics.detections import Detections, pack, unpack
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
    flipped = bytearray(packed.data)
    flipped[len(flipped) // 2] ^= 4
    other = pack(TRUTH, replace(FOUND, scores=FOUND.scores + 1))
    for data, sha256 in (
        (packed.data[:-9], packed.sha256),
        (bytes(flipped), packed.sha256),
        (b"hello", packed.sha256),
        (other.data, packed.sha256),
    ):
        with pytest.raises(DataError, match=r"^here:"):
            unpack(data, sha256, "here")
    import hashlib

    text = b"not safetensors at all"
    with pytest.raises(DataError, match=r"^here: not a file of predictions"):
        unpack(gzip.compress(text), hashlib.sha256(text).hexdigest(), "here")


def test_images_are_put_in_order() -> None:
    label, score, box = np.zeros(1, np.int64), np.float32([0.5]), np.float32([[0, 0, 9, 9]])
    empty = np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
    found = Detections.of_images([(2, label, score, box), (0, label, score, box), (1, *empty)])
    assert found.image.tolist() == [0, 2]
    assert found.boxes.shape == (2, 4)
    nothing = Detections.of_images([])
    assert nothing.boxes.shape == (0, 4) and nothing.image.dtype == np.int64
