"""Counts of label maps: each label there is, whole numbers only, one matrix an image and none dense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError, EngineError
from transfer.metrics.confusion import MAX_PIXELS, MAX_SAMPLES, ImageLabels, LabelTest, confusion


def by_bincount(truth: np.ndarray, found: np.ndarray, num_classes: int) -> np.ndarray:
    counted = truth != 255
    pairs = truth[counted].astype(np.int64) * num_classes + found[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def random_maps(seed: int, num_classes: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, num_classes, shape, np.uint8)
    found = np.where(random.random(shape) < 0.6, truth, random.integers(0, num_classes, shape, np.uint8))
    truth[random.random(shape) < 0.1] = 255
    return truth, found


def maps(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint8)


def make_test(num_images: int = 5, num_classes: int = 4, *, seed: int = 0, num_samples: int = 2) -> LabelTest:
    images = [
        ImageLabels.of(
            image,
            *random_maps(seed * 1000 + image, num_classes, (6 + image, 9)),
            num_classes,
            keep_maps=image < num_samples,
        )
        for image in range(num_images)
    ]
    ids = [f"image{image}" for image in range(num_images)]
    return LabelTest.of_images(images, ids, [f"class{label}" for label in range(num_classes)])


def test_by_hand() -> None:
    """Three pixels of class 0, one of them taken for 2; two of class 1, both right; one ignored."""
    truth, found = maps([[0, 0, 0], [1, 1, 255]]), maps([[0, 0, 2], [1, 1, 2]])
    assert confusion(truth, found, 3).tolist() == [[2, 0, 1], [0, 2, 0], [0, 0, 0]]
    assert confusion(truth, found, 3).dtype == np.int64


@pytest.mark.parametrize("num_classes", [1, 2, 19, 21, 150, 254, 255])
def test_equal_to_bincount(num_classes: int) -> None:
    for seed, shape in enumerate([(1, 1), (1, 700), (37, 53), (300, 211)]):
        truth, found = random_maps(seed, num_classes, shape)
        counted = confusion(truth, found, num_classes)
        assert np.array_equal(counted, by_bincount(truth, found, num_classes))
        assert counted.sum() == np.count_nonzero(truth != 255)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">u4", ">i8"])
def test_any_type_of_integer_and_any_place_in_memory(dtype: str) -> None:
    truth, found = random_maps(3, 21, (40, 60))
    expected = by_bincount(truth, found, 21)
    for one, other in ((truth.astype(dtype), found), (truth, found.astype(dtype)), (truth, found)):
        assert np.array_equal(confusion(one, other, 21), expected)
        assert np.array_equal(confusion(np.asfortranarray(one), other, 21), expected)
        assert np.array_equal(confusion(one[::-1], other[::-1], 21), expected)
        twice = np.repeat(one, 2, axis=1)[:, ::2]
        twice.flags.writeable = False
        assert np.array_equal(confusion(twice, other, 21), expected)


@pytest.mark.parametrize("num_classes", [1, 21, 150, 255])
def test_every_label_of_eight_bits(num_classes: int) -> None:
    """In the truth a class or 255, of what is found a class; anything else is named, wherever it is."""
    truth, found = np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8)
    for label in range(256):
        one = truth.copy()
        one[1, 2] = label
        if label < num_classes or label == 255:
            expected = by_bincount(one, found, num_classes)
            assert np.array_equal(confusion(one, found, num_classes), expected)
        else:
            with pytest.raises(DataError, match=rf"^here: label {label} in row 1, column 2 "):
                confusion(one, found, num_classes, where="here")
        other = found.copy()
        other[2, 3] = label
        for there in (truth, np.full_like(truth, 255)):
            if label < num_classes:
                expected = by_bincount(there, other, num_classes)
                assert np.array_equal(confusion(there, other, num_classes), expected)
            else:
                with pytest.raises(EngineError, match=rf"^here: found label {label} in row 2, column 3 "):
                    confusion(there, other, num_classes, where="here")


@pytest.mark.parametrize("label", [-1, -255, 256, 257, 255 + 256, 2**16, 2**32, 2**32 + 1, -(2**63)])
def test_labels_of_more_than_eight_bits_are_not_cut_off(label: int) -> None:
    good, bad = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64)
    bad[1, 0] = label
    with pytest.raises(DataError, match=f"label {label} in row 1, column 0"):
        confusion(bad, good, 3)
    with pytest.raises(EngineError, match=f"label {label} in row 1, column 0"):
        confusion(good, bad, 3)
    with pytest.raises(EngineError, match=f"label {label} in row 1, column 0"):
        confusion(np.full_like(good, 255), bad, 3)


def test_an_ignored_pixel_is_not_the_one_that_is_named() -> None:
    truth = maps([[255, 0, 255], [255, 3, 4]])
    with pytest.raises(DataError, match="label 3 in row 1, column 1 and 1 more such pixels; expected 0 to 2"):
        confusion(truth, np.zeros_like(truth), 3)


def test_what_is_no_pair_of_label_maps() -> None:
    good = np.zeros((2, 3), np.uint8)
    for other in (good.astype(np.float32), good.astype(bool), good[0], good[None], good[:0]):
        with pytest.raises(DataError, match=r"^here: truth is .*expected a label map"):
            confusion(other, good, 3, where="here")
        with pytest.raises(EngineError, match=r"^here: found is .*expected a label map"):
            confusion(good, other, 3, where="here")
    with pytest.raises(EngineError, match="found has 2 x 3 pixels, the image 3 x 2"):
        confusion(good, good.T, 3)
    for num_classes in (-1, 0, 256):
        with pytest.raises(ValueError, match="classes"):
            confusion(good, good, num_classes)


def test_a_fault_of_the_library_is_not_taken_for_one_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    import hotcoco

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("something else")

    monkeypatch.setattr(hotcoco.metrics, "pixel_confusion", broken)
    with pytest.raises(ValueError, match="something else"):
        confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 3)


def test_a_test_keeps_what_is_not_zero() -> None:
    first = ImageLabels.of(0, maps([[0, 0], [1, 255]]), maps([[0, 2], [1, 1]]), 3, keep_maps=True)
    second = ImageLabels.of(1, maps([[255]]), maps([[0]]), 3)
    third = ImageLabels.of(2, maps([[2, 2, 2]]), maps([[0, 0, 2]]), 3)
    test = LabelTest.of_images([third, first, second], ("a", "b", "c"), ("x", "y", "z"))
    assert test.image.tolist() == [0, 0, 0, 2, 2]
    assert test.truth.tolist() == [0, 0, 1, 2, 2]
    assert test.found.tolist() == [0, 2, 1, 0, 2]
    assert test.count.tolist() == [1, 1, 1, 2, 1]
    assert test.num_ignored.tolist() == [1, 1, 0]
    assert [sample.image for sample in test.samples] == [0]
    assert test.samples[0].truth.tolist() == [[0, 0], [1, 255]]
    assert test.samples[0].found.dtype == test.samples[0].truth.dtype == np.uint8
    assert test.matrix().tolist() == [[1, 0, 1], [0, 1, 0], [2, 0, 1]]
    assert test.matrix(np.array([1, 1, 0])).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert test.matrix(np.array([0, 9, 3])).tolist() == [[0, 0, 0], [0, 0, 0], [6, 0, 3]]
    assert not test.matrix(np.zeros(3, np.int64)).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_sum_over_images_is_the_whole_in_any_order(
    seed: int, num_images: int, num_classes: int, random: Any
) -> None:
    pairs = [random_maps(seed + image, num_classes, (4, 7)) for image in range(num_images)]
    images = [ImageLabels.of(index, *pair, num_classes) for index, pair in enumerate(pairs)]
    random.shuffle(images)
    test = LabelTest.of_images(images, range(num_images), [str(label) for label in range(num_classes)])
    truth, found = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    assert np.array_equal(test.matrix(), confusion(truth, found, num_classes))
    assert test.num_ignored.sum() == np.count_nonzero(truth == 255)
    drawn = [random.randrange(num_images) for _ in range(num_images)]
    times = np.bincount(drawn, minlength=num_images)
    expected = sum(confusion(*pairs[image], num_classes) for image in drawn)
    assert np.array_equal(test.matrix(times), expected)


def test_numbers_that_single_precision_and_32_bits_do_not_hold() -> None:
    """2**24 + 1 and 2**31 + 1 in one image, their sum over two, and 3 times it in a resample."""
    entries: dict[str, Any] = {"truth": np.array([0, 1]), "found": np.array([0, 0])}
    images = [
        ImageLabels(image, **entries, count=np.array([2**24 + 1, 2**31 + 1]), num_ignored=2**33 + 1)
        for image in range(2)
    ]
    test = LabelTest.of_images(images, ("a", "b"), ("x", "y"))
    assert test.matrix().tolist() == [[2**25 + 2, 0], [2**32 + 2, 0]]
    assert test.matrix(np.array([3, 0])).tolist() == [[3 * 2**24 + 3, 0], [3 * 2**31 + 3, 0]]
    assert test.num_ignored.tolist() == [2**33 + 1, 2**33 + 1]
    with pytest.raises(ValueError, match="too many"):
        test.matrix(np.array([2**16, 0]))
    with pytest.raises(ValueError, match="too many"):
        replace(test, count=np.array([1, 1, 1, MAX_PIXELS]))


def test_an_image_that_is_missing_or_there_twice_stops() -> None:
    images = [ImageLabels.of(index, maps([[0]]), maps([[0]]), 2) for index in range(3)]
    for wrong in (images[:2], images[1:], [*images, images[1]], [images[0], images[0], images[2]], []):
        with pytest.raises(EngineError, match="expected one of each of 3"):
            LabelTest.of_images(wrong, ("a", "b", "c"), ("x", "y"))


@pytest.mark.parametrize("times", [[1, 1], [1, 1, 1, 1, -1], [[1, 1, 1, 1, 1]], [1.0, 1, 1, 1, 1]])
def test_times_that_do_not_fit(times: Any) -> None:
    with pytest.raises(ValueError, match="times"):
        make_test().matrix(np.array(times))


TEST = make_test()
TRUTH, FOUND = random_maps(0, 4, (6, 9))  # of image 0


@pytest.mark.parametrize(
    "changes",
    [
        {"image_ids": ("a", "b", "c", "d")},
        {"image_ids": ("a", "b", "c", "d", "a")},
        {"classes": TEST.classes[:3]},
        {"classes": ()},
        {"classes": ("x", "y", "z", "x")},
        {"image": TEST.image[:-1]},
        {"image": TEST.image + 1},
        {"image": TEST.image - 1},
        {"truth": TEST.truth + 1},
        {"found": TEST.found - 1},
        {"found": TEST.found[:, None]},
        {"image": TEST.image[::-1].copy()},
        {"found": TEST.found[::-1].copy()},
        {"found": np.zeros_like(TEST.found)},
        {"count": TEST.count * 0},
        {"count": -TEST.count},
        {"count": TEST.count[1:]},
        {"num_ignored": TEST.num_ignored[1:]},
        {"num_ignored": TEST.num_ignored - 99},
        {"num_ignored": TEST.num_ignored + 1},
        {"count": TEST.count + 1},
        {"samples": (TEST.samples[1], TEST.samples[0])},
        {"samples": (TEST.samples[0], TEST.samples[0])},
        {"samples": (replace(TEST.samples[0], image=5),)},
        {"samples": (replace(TEST.samples[0], image=-1),)},
        {"samples": (replace(TEST.samples[0], image=2),)},
        {"samples": (replace(TEST.samples[0], found=TRUTH),)},
        {"samples": (replace(TEST.samples[0], truth=FOUND),)},
        {"samples": (replace(TEST.samples[0], truth=TRUTH.T),)},
    ],
)
def test_parts_that_do_not_fit_together(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(TEST, **changes)


def at(values: np.ndarray, place: int, value: int) -> np.ndarray:
    changed = values.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    "changes",
    [
        {"image": at(TEST.image, 0, -1)},
        {"image": at(TEST.image, -1, 5)},
        {"truth": at(TEST.truth, 0, -1)},
        {"truth": at(TEST.truth, -1, 4)},
        {"found": at(TEST.found, 0, -1)},
        {"found": at(TEST.found, -1, 4)},
        {"found": at(TEST.found, 1, int(TEST.found[0]))},  # an entry twice
        *({"count": at(TEST.count, 5, count)} for count in (0, -1, MAX_PIXELS)),
        {"num_ignored": at(TEST.num_ignored, 4, -1)},
    ],
)
def test_entries_that_no_sample_tells_of(changes: dict[str, Any]) -> None:
    test = replace(TEST, samples=())
    with pytest.raises(ValueError):
        replace(test, **changes)


def test_a_sample_of_nothing_but_ignored_pixels_has_an_image() -> None:
    none = [ImageLabels.of(0, maps([[255]]), maps([[1]]), 2, keep_maps=True)]
    test = LabelTest.of_images(none, ("a",), ("x", "y"))
    with pytest.raises(ValueError, match="of no image"):
        replace(test, samples=(replace(test.samples[0], image=-1),))


def test_no_more_than_eight_samples() -> None:
    assert len(make_test(12, num_samples=MAX_SAMPLES).samples) == 8
    with pytest.raises(ValueError, match="9 samples"):
        make_test(12, num_samples=MAX_SAMPLES + 1)


def test_no_image_and_no_entry() -> None:
    nothing = LabelTest.of_images([], (), ("x", "y"))
    assert nothing.matrix().tolist() == [[0, 0], [0, 0]]
    ignored = LabelTest.of_images([ImageLabels.of(0, maps([[255]]), maps([[1]]), 2)], ("a",), ("x", "y"))
    assert ignored.matrix().tolist() == [[0, 0], [0, 0]]
    assert ignored.num_ignored.tolist() == [1]
