"""The scene model: the same everywhere, and its parts agree with each other."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bench.synth.integer import TRIG_ONE, Bits, cosine, sine
from bench.synth.layout import CLASS_NAMES, CLASSES
from bench.synth.scene import IGNORE, MIN_SIDE_PX, Scene, make_portrait, make_scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(3, index, 160) for index in range(120)]


def test_ten_classes_each_with_its_own_shape_and_texture() -> None:
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == 10
    assert list(CLASS_NAMES) == sorted(CLASS_NAMES)
    assert len({entry.shape for entry in CLASSES}) == len({entry.texture for entry in CLASSES}) == 10


# Raw pixels, which no library's version may move. If they move on purpose, GENERATOR_VERSION rises.
GOLDEN = {
    (0, 0, 160): "94ae9584c5604e06f0e63609",
    (0, 1, 160): "f8454c9657e3876532fb5020",
    (0, 500000, 160): "89296c74ebc8fa80d986b245",
    (0, 7, 64): "f43c5042bc80ab25dc78d5aa",
    (1, 0, 224): "2bc43c1b766911d72aa7f698",
    (1099511627776, 3, 96): "7667c46d1d2a6ea9148fa24d",
}


@pytest.mark.parametrize("place", sorted(GOLDEN))
def test_pixels_and_labels_are_golden(place: tuple[int, int, int]) -> None:
    scene = make_scene(*place)
    assert hashlib.sha256(scene.pixels.tobytes() + scene.labels.tobytes()).hexdigest()[:24] == GOLDEN[place]


def test_portraits_are_golden() -> None:
    digest = hashlib.sha256()
    for class_index in range(10):
        digest.update(make_portrait(0, class_index, 0, 64).pixels.tobytes())
    assert digest.hexdigest()[:24] == "7b8cc847ed45aef67bd59852"


def test_same_place_same_scene_other_place_other_scene() -> None:
    first, again = make_scene(1, 5, 96), make_scene(1, 5, 96)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.labels, again.labels)
    for other in (make_scene(2, 5, 96), make_scene(1, 6, 96)):
        assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("size", [32, 47, 64, 257, 1024])
def test_any_size(size: int) -> None:
    scene = make_scene(0, 4, size)
    assert scene.pixels.shape == (size, size, 3)
    assert scene.pixels.dtype == scene.labels.dtype == np.uint8
    assert scene.labels.shape == (size, size)


def test_a_scene_holds_the_same_objects_at_every_size() -> None:
    small, large = make_scene(0, 9, 128), make_scene(0, 9, 512)
    assert [item.class_index for item in small.objects] == [item.class_index for item in large.objects]
    for one, two in zip(small.objects, large.objects, strict=True):
        assert np.allclose(np.array(one.box) * 4, two.box, atol=8)


def test_boxes_are_those_of_the_visible_masks(scenes: list[Scene]) -> None:
    for scene in scenes:
        for item in scene.objects:
            rows, columns = np.nonzero(item.mask)
            assert item.box == (columns.min(), rows.min(), columns.max(), rows.max())
            assert item.box[2] - item.box[0] >= MIN_SIDE_PX - 1
            assert item.box[3] - item.box[1] >= MIN_SIDE_PX - 1


def test_masks_do_not_overlap_and_labels_follow_them(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert sum(item.mask.astype(int) for item in scene.objects).max() <= 1  # type: ignore[union-attr]
        assert set(np.unique(scene.labels)) <= {*range(11), IGNORE}
        for item in scene.objects:
            allowed = {IGNORE} if item.crowd else {IGNORE, item.class_index + 1}
            assert set(np.unique(scene.labels[item.mask])) <= allowed
        outside = ~np.any([item.mask for item in scene.objects], axis=0)
        assert set(np.unique(scene.labels[outside])) <= {0, IGNORE}
        # Void is a thin line, and crowds: not a way out of labelling.
        assert np.mean(scene.labels == IGNORE) < 0.25


def test_scenes_are_varied(scenes: list[Scene]) -> None:
    objects = [item for scene in scenes for item in scene.objects]
    plain = [item for item in objects if not item.crowd]
    assert all(1 <= len(scene.objects) <= 6 for scene in scenes)
    assert {item.class_index for item in objects} == set(range(10))
    assert 4 <= sum(item.crowd for item in objects) <= 25
    assert all(item.difficult for item in objects if item.crowd)
    assert 0.01 < np.mean([item.difficult for item in plain]) < 0.15
    assert 0.02 < np.mean([item.truncated for item in plain]) < 0.3
    sides = [max(item.box[2] - item.box[0], item.box[3] - item.box[1]) + 1 for item in plain]
    assert min(sides) < 20
    assert max(sides) > 70


def test_truncated_objects_touch_the_border(scenes: list[Scene]) -> None:
    for item in (item for scene in scenes for item in scene.objects if not item.crowd):
        if item.truncated and not item.difficult:
            assert min(item.box[:2]) == 0 or max(item.box[2:]) == 159


def test_a_portrait_holds_its_class_in_the_middle() -> None:
    for class_index in range(10):
        for index in range(6):
            (item,) = make_portrait(0, class_index, index, 64).objects
            assert item.class_index == class_index
            assert not item.crowd
            centre = (np.array(item.box[:2]) + item.box[2:]) / 2
            assert np.all(np.abs(centre - 31.5) < 18)


def _nearest_centroid_percent(features: np.ndarray, labels: np.ndarray) -> float:
    half = np.arange(len(labels)) % 2 == 0
    centroids = np.stack([features[half & (labels == k)].mean(axis=0) for k in range(10)])
    distance = ((features[~half][:, None] - centroids) ** 2).sum(axis=2)
    return float(100 * np.mean(distance.argmin(axis=1) == labels[~half]))


def test_colour_does_not_tell_the_class_but_shape_does() -> None:
    portraits = [(k, make_portrait(5, k, index, 64)) for k in range(10) for index in range(60)]
    labels = np.array([k for k, _ in portraits])
    colours, outlines = [], []
    for _, scene in portraits:
        mask = scene.objects[0].mask
        colours.append(np.concatenate([scene.pixels[mask].mean(axis=0), scene.pixels.mean(axis=(0, 1))]))
        left, top, right, bottom = scene.objects[0].box
        part = mask[top : bottom + 1, left : right + 1]
        outlines.append([part.mean(), part[part.shape[0] // 2, part.shape[1] // 2]])
    # Chance is 10; 300 guesses at chance stay below 16 in 999 of 1,000 cases.
    assert _nearest_centroid_percent(np.array(colours), labels) < 16
    assert _nearest_centroid_percent(np.array(outlines), labels) > 25


def test_bits_are_those_of_philox_and_in_range() -> None:
    bits = Bits(0, 0, 0)
    draws = [bits.below(10) for _ in range(300)]
    assert set(draws) == set(range(10))
    assert [Bits(0, 0, 1).between(-3, 3) for _ in range(2)] == [Bits(0, 0, 1).between(-3, 3)] * 2
    values = bits.bytes(5000)
    assert values.shape == (5000,)
    assert values.min() == 0
    assert values.max() == 255


def test_sine_is_near_the_real_one() -> None:
    angles = np.arange(1024)
    table = np.array([sine(int(angle)) for angle in angles]) / TRIG_ONE
    assert np.abs(table - np.sin(2 * np.pi * angles / 1024)).max() < 0.002
    assert cosine(0) == sine(256) == TRIG_ONE
    assert cosine(512) == -TRIG_ONE
