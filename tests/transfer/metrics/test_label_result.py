"""What a record says of a test of segmentation, and the file from which it can be made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError, EngineError
from tests.transfer.metrics.test_confusion import make_test, random_maps
from tests.transfer.metrics.test_miou import of_mmseg
from transfer.metrics.confusion import ImageLabels, LabelTest
from transfer.metrics.kept import pack_arrays, unpack_arrays
from transfer.metrics.label_result import measure, pack, unpack
from transfer.metrics.miou import label_scores

TEST = make_test()
ARRAYS = ("image", "truth", "found", "count", "num_ignored")


def of_pairs(pairs: list[tuple[np.ndarray, np.ndarray]], num_classes: int) -> LabelTest:
    images = [ImageLabels.of(index, *pair, num_classes) for index, pair in enumerate(pairs)]
    return LabelTest.of_images(images, range(len(pairs)), [f"class{label}" for label in range(num_classes)])


def test_by_hand() -> None:
    """Two images of [2, 3] and [1, 2] pixels, four classes, of which `bird` is found only and `bus` nowhere.

    Truth: sky 4, road 3, one ignored. Right: sky 3, road 3. One pixel of the sky is taken for a bird.
    IoU: sky 3 / 4, road 3 / 3, bird 0 / 1.
    """
    pairs = [
        (np.uint8([[0, 0, 1], [1, 1, 255]]), np.uint8([[0, 2, 1], [1, 1, 0]])),
        (np.uint8([[0, 0]]), np.uint8([[0, 0]])),
    ]
    classes = ("sky", "road", "bird", "bus")
    test = replace(of_pairs(pairs, 4), classes=classes)
    result = measure(test, classes, "classes_in_truth")
    assert result.metrics == {"mIoU": 87.5, "pixel_accuracy": 600 / 7, "mean_accuracy": 87.5}
    assert result.details == {
        "miou_rule": "classes_in_truth",
        "num_pixels": 7,
        "num_ignored_pixels": 1,
        "absent_classes": ["bird", "bus"],
        "per_class": {
            "sky": {"IoU": 75.0, "accuracy": 75.0},
            "road": {"IoU": 100.0, "accuracy": 100.0},
            "bird": {"IoU": 0.0},
            "bus": {},
        },
        "mmseg": {"mIoU": 58.33, "aAcc": 85.71, "mAcc": 87.5},
    }
    assert result.machine == {}
    theirs = measure(test, classes, "classes_in_union")
    assert theirs.metrics == {**result.metrics, "mIoU": 175 / 3}
    assert theirs.details == {**result.details, "miou_rule": "classes_in_union"}
    assert theirs.predictions == result.predictions


def test_the_record_is_json_without_nan() -> None:
    for classes in (4, 9):
        test = replace(TEST, classes=tuple(f"class{label}" for label in range(classes)))
        result = measure(test, test.classes, "classes_in_truth")
        text = json.dumps([result.metrics, result.details], allow_nan=False)
        assert json.loads(text) == [result.metrics, result.details]


@pytest.mark.parametrize("num_classes", [2, 21, 60])
def test_what_mmsegmentation_prints(num_classes: int) -> None:
    pairs = [random_maps(seed, num_classes, (80, 120)) for seed in range(3)]
    for truth, _ in pairs:
        truth[truth == num_classes - 1] = 255
    printed, _ = of_mmseg(pairs, num_classes)
    test = of_pairs(pairs, num_classes)
    details = measure(test, test.classes, "classes_in_truth").details
    assert details["absent_classes"] == [test.classes[-1]]
    assert details["mmseg"] == pytest.approx(
        {name: float(value) for name, value in printed.items()}, abs=1e-5
    )
    assert set(details["mmseg"]) == set(printed)


def test_classes_in_another_order_than_the_data_sets_stop() -> None:
    other = (TEST.classes[1], TEST.classes[0], *TEST.classes[2:])
    with pytest.raises(EngineError, match="label 0 is class0 in the test; expected class1"):
        measure(TEST, other, "classes_in_truth")
    with pytest.raises(EngineError, match="label 3 is class3 in the test; expected None"):
        measure(TEST, TEST.classes[:3], "classes_in_truth")
    assert measure(TEST, list(TEST.classes), "classes_in_truth").metrics


def test_all_ignored_gives_no_number() -> None:
    test = of_pairs([(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))], 3)
    with pytest.raises(EngineError, match="ignored"):
        measure(test, test.classes, "classes_in_truth")
    empty = of_pairs([], 3)
    with pytest.raises(EngineError, match="ignored"):
        measure(empty, empty.classes, "classes_in_truth")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.permutations(range(5)))
def test_the_order_of_images_does_not_matter(seed: int, order: list[int]) -> None:
    pairs = [random_maps(seed + image, 4, (5, 6)) for image in range(5)]
    one, other = (of_pairs(each, 4) for each in (pairs, [pairs[image] for image in order]))
    mine, same = (measure(test, test.classes, "classes_in_truth") for test in (one, other))
    assert (mine.metrics, mine.details) == (same.metrics, same.details)
    images = [ImageLabels.of(image, *pairs[image], 4) for image in order]
    shuffled = LabelTest.of_images(images, one.image_ids, one.classes)
    assert measure(shuffled, one.classes, "classes_in_truth") == mine


@pytest.mark.parametrize("num_samples", [0, 1, 5, 8])
def test_the_kept_file_gives_everything_again(num_samples: int) -> None:
    made = make_test(9, 7, num_samples=num_samples)
    test = replace(made, image_ids=(3, 2**40, "frankfurt/0001", "\u00e9", *range(10, 15)))
    result = measure(test, test.classes, "classes_in_truth")
    kept = unpack(result.predictions.data, result.predictions.sha256, "x")
    assert (kept.image_ids, kept.classes) == (test.image_ids, test.classes)
    for name in ARRAYS:
        assert getattr(kept, name).dtype == np.int64
        assert np.array_equal(getattr(kept, name), getattr(test, name))
    assert len(kept.samples) == num_samples
    for mine, same in zip(kept.samples, test.samples, strict=True):
        assert mine.image == same.image
        for labels, expected in ((mine.truth, same.truth), (mine.found, same.found)):
            assert labels.dtype == np.uint8
            assert np.array_equal(labels, expected)
    assert measure(kept, kept.classes, "classes_in_truth") == result


def test_a_test_of_nothing_comes_back() -> None:
    packed = pack(of_pairs([], 3))
    kept = unpack(packed.data, packed.sha256, "x")
    assert kept.image_ids == () and kept.count.shape == (0,) and kept.samples == ()


def test_huge_counts_come_back_and_are_exact() -> None:
    """2**31 + 1 and 2**40 + 3 pixels in one entry."""
    image = ImageLabels(
        0, np.array([0, 1]), np.array([0, 0]), np.array([2**31 + 1, 2**40 + 3]), num_ignored=2**33 + 1
    )
    test = LabelTest.of_images([image], ("a",), ("x", "y"))
    result = measure(test, test.classes, "classes_in_truth")
    kept = unpack(result.predictions.data, result.predictions.sha256, "x")
    assert kept.matrix().tolist() == [[2**31 + 1, 0], [2**40 + 3, 0]]
    assert result.details["num_pixels"] == 2**31 + 2**40 + 4
    assert result.details["num_ignored_pixels"] == 2**33 + 1
    assert result.details["per_class"]["x"]["IoU"] == 100 * (2**31 + 1) / (2**31 + 2**40 + 4)


def test_resampled_images_have_scores_of_their_own() -> None:
    times = np.array([0, 2, 0, 1, 2])
    expected = sum(
        (replace(TEST, samples=()).matrix(np.eye(5, dtype=np.int64)[image]) for image in (1, 1, 3, 4, 4)),
        np.zeros((4, 4), np.int64),
    )
    assert np.array_equal(TEST.matrix(times), expected)
    assert label_scores(TEST.matrix(times)).miou("classes_in_truth") != label_scores(TEST.matrix()).miou(
        "classes_in_truth"
    )


def test_equal_tests_give_equal_bytes() -> None:
    assert pack(TEST) == pack(make_test())
    assert pack(TEST).sha256 != pack(make_test(seed=1)).sha256


def test_a_damaged_file_is_named() -> None:
    packed, other = pack(TEST), pack(make_test(seed=1))
    for data, sha256 in (
        (packed.data[:-9], packed.sha256),
        (b"hello", packed.sha256),
        (other.data, packed.sha256),
        (packed.data, other.sha256),
    ):
        with pytest.raises(DataError, match=r"^here:"):
            unpack(data, sha256, "here")


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def array(name: str, change: Callable[[np.ndarray], Any]) -> Change:
    def apply(arrays: dict[str, Any], _: dict[str, Any]) -> None:
        arrays[name] = change(arrays[name])

    return apply


def flipped(name: str, place: int, value: int) -> Change:
    def apply(arrays: dict[str, Any], _: dict[str, Any]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].ravel()[place] = value

    return apply


NAMES = [*ARRAYS, "samples.image", "samples.size", "samples.truth", "samples.found"]
CHANGES: dict[str, Change] = {
    **{f"no {name}": lambda arrays, _, name=name: arrays.pop(name) for name in NAMES},
    **{f"{name} as float": array(name, lambda values: values.astype(np.float64)) for name in NAMES},
    **{f"{name} as int16": array(name, lambda values: values.astype(np.int16)) for name in NAMES},
    **{f"{name} with an axis more": array(name, lambda values: values[None]) for name in NAMES},
    **{f"{name} with an axis behind": array(name, lambda values: values[..., None]) for name in NAMES},
    **{f"{name} cut": array(name, lambda values: values[:-1]) for name in NAMES},
    **{f"{name} twice": array(name, lambda values: np.concatenate([values, values])) for name in NAMES},
    **{f"{name} backwards": array(name, lambda values: values[::-1]) for name in (*ARRAYS, "samples.image")},
    "an array more": lambda arrays, _: arrays.update(extra=np.zeros(3)),
    "image below 0": flipped("image", 0, -1),
    "image too large": flipped("image", -1, 5),
    "class too large": flipped("truth", 0, 4),
    "255 in truth": flipped("truth", 0, 255),
    "found too large": flipped("found", -1, 4),
    "count 0": flipped("count", 3, 0),
    "count below 0": flipped("count", 3, -7),
    "count too large": flipped("count", -1, 2**62),
    "another count of a sample": array("count", lambda values: values + (np.arange(len(values)) == 0)),
    "ignored below 0": flipped("num_ignored", 4, -1),
    "other ignored of a sample": flipped("num_ignored", 0, 50),
    "sample of no image": flipped("samples.image", -1, 5),
    "sample of an image below 0": flipped("samples.image", 0, -1),
    "sample of another image": flipped("samples.image", -1, 2),
    "sample of size 0": flipped("samples.size", 0, 0),
    "sample of size below 0": flipped("samples.size", 0, -6),
    "sample of two sizes below 0": array("samples.size", lambda values: -values),
    "sample of a huge size": array("samples.size", lambda values: np.full_like(values, 2**31 - 1)),
    "sample with a label that is no class": flipped("samples.truth", 0, 200),
    "sample with 255 found": flipped("samples.found", 0, 255),
    "sample with all ignored": array("samples.truth", lambda values: values * 0 + 255),
    "no image ids": lambda _, names: names.pop("image_ids"),
    "no classes": lambda _, names: names.pop("classes"),
    "a name more": lambda _, names: names.update(extra=[]),
    "an image less": lambda _, names: names["image_ids"].pop(),
    "an image more": lambda _, names: names["image_ids"].append("more"),
    "an image twice": lambda _, names: names["image_ids"].__setitem__(0, "image1"),
    "an image of no name": lambda _, names: names["image_ids"].__setitem__(0, None),
    "an image named true": lambda _, names: names["image_ids"].__setitem__(0, True),
    "a list for an image": lambda _, names: names["image_ids"].__setitem__(0, []),
    "a class less": lambda _, names: names["classes"].pop(),
    "a class twice": lambda _, names: names["classes"].__setitem__(0, "class1"),
    "a number for a class": lambda _, names: names["classes"].__setitem__(0, 7),
    "text for classes": lambda _, names: names.update(classes="abcd"),
    "a number for classes": lambda _, names: names.update(classes=4),
    "many classes": lambda _, names: names["classes"].extend(str(label) for label in range(252)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_whose_parts_do_not_fit_is_named(name: str) -> None:
    """Whole by its hash, so that only what is in it tells."""
    packed = pack(TEST)
    arrays, names = unpack_arrays(packed.data, packed.sha256, "x")
    CHANGES[name](arrays, names)
    changed = pack_arrays(arrays, names)
    with pytest.raises(DataError, match=r"^here: not a file of label maps: "):
        unpack(changed.data, changed.sha256, "here")


@pytest.mark.parametrize("names", [[], "text", None, 3])
def test_names_of_another_kind_are_named(names: Any) -> None:
    packed = pack(TEST)
    arrays, _ = unpack_arrays(packed.data, packed.sha256, "x")
    changed = pack_arrays(arrays, names)
    with pytest.raises(DataError, match=r"^here:"):
        unpack(changed.data, changed.sha256, "here")
