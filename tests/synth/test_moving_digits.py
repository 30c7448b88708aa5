"""Colourful Moving Digits: what two views share is what was asked for, and the labels are what one sees."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Iterable
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2_contingency, chisquare
from sklearn.datasets import load_digits

from bench.core.errors import UsageError
from bench.synth.digit_pictures import SAMPLES, covers, handwriting
from bench.synth.moving_digits import FACTORS, LabelledFrames, MovingDigits, Pair, bounce

ALL_SETS = list(chain.from_iterable(combinations(FACTORS, count) for count in range(4)))


@pytest.fixture(scope="module")
def digits() -> MovingDigits:
    return MovingDigits(0)


@pytest.fixture(scope="module")
def labelled(digits: MovingDigits) -> LabelledFrames:
    return digits.frames(range(400), "test")


@pytest.fixture(scope="module")
def small() -> MovingDigits:
    """4 x 4 places, speeds of 1 and 2, 5 backgrounds, 3 frames: so few states that one can count them."""
    return MovingDigits(1, num_frames=3, num_backgrounds=5, digit_px=29)


@pytest.fixture(scope="module")
def counted(small: MovingDigits) -> dict[tuple[str, ...], list[Pair]]:
    """700 pairs for each of two sets that complement each other, from different indices."""
    return {
        ("digit",): [small.pair(index, {"digit"}, "train") for index in range(700)],
        ("position", "background"): [
            small.pair(index, ["position", "background"], "train") for index in range(700, 1400)
        ],
    }


def walk(start: int, velocity: int, num_steps: int, num_places: int) -> list[int]:
    """The motion pixel by pixel: who would step through a wall spends that pixel on turning round."""
    place, way, path = start, 1 if velocity > 0 else -1, [start]
    for _ in range(num_steps - 1):
        for _ in range(abs(velocity)):
            if 0 <= place + way < num_places:
                place += way
            else:
                way = -way
        path.append(place)
    return path


def next_position(pair: Pair, num_places: int) -> tuple[int, int]:
    factors = pair.sequence_factors
    x, y = (
        walk(factors.positions[0][axis], factors.velocity[axis], len(factors.positions) + 1, num_places)
        for axis in (0, 1)
    )
    assert list(factors.positions) == list(zip(x, y, strict=True))[:-1]
    return x[-1], y[-1]


def values(pair: Pair, factor: str, num_places: int) -> tuple[Any, Any]:
    """What view 1 says of a factor and what view 2 shows of it; equal when the factor is shared."""
    first, second = pair.sequence_factors, pair.frame_factors
    if factor == "position":
        return next_position(pair, num_places), second.position
    return getattr(first, factor), getattr(second, factor)


def plug_in_information(joint: Iterable[tuple[Hashable, Hashable]]) -> float:
    """Mutual information in nats of what occurs in a list, each entry equally likely."""
    pairs = list(joint)
    both, one, two = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    total = len(pairs)
    return sum(n / total * math.log(n * total / (one[a] * two[b])) for (a, b), n in both.items())


# Pixels of Pillow's bicubic filter, which is pinned. If they move on purpose, GENERATOR_VERSION rises.
GOLDEN = {
    (0, 32, "train", 0, ("digit",)): "e73ecac04398f46265ba6199",
    (0, 32, "test", 1, ()): "121d37b6c81e03507bf0e22c",
    (1099511627776, 64, "train", 500, ("background", "position")): "c789bcac8cef69f4e183d0ed",
}


@pytest.mark.parametrize("place", sorted(GOLDEN))
def test_views_are_golden(place: tuple[int, int, str, int, tuple[str, ...]]) -> None:
    seed, size_px, split, index, shared = place
    pair = MovingDigits(seed, size_px=size_px, num_backgrounds=4).pair(index, shared, split)
    digest = hashlib.sha256(pair.sequence.tobytes() + pair.frame.tobytes())
    digest.update(repr((pair.sequence_factors, pair.frame_factors)).encode())
    assert digest.hexdigest()[:24] == GOLDEN[place]


def test_labelled_frames_are_golden(labelled: LabelledFrames) -> None:
    digest = hashlib.sha256(labelled.pictures.tobytes())
    for labels in (labelled.digit, labelled.position, labelled.position_cell, labelled.background):
        digest.update(labels.tobytes())
    assert digest.hexdigest()[:24] == "499ba7e5a05b198107de13ff"


def test_a_view_depends_on_its_own_place_alone(digits: MovingDigits, labelled: LabelledFrames) -> None:
    first = digits.pair(7, {"digit"}, "train")
    digits.pair(8, {"position"}, "test")
    again = MovingDigits(0).pair(7, frozenset({"digit"}), "train")
    assert (again.sequence == first.sequence).all() and (again.frame == first.frame).all()
    assert (again.sequence_factors, again.frame_factors) == (first.sequence_factors, first.frame_factors)
    others = [
        digits.pair(8, {"digit"}, "train"),
        digits.pair(7, {"digit"}, "test"),
        MovingDigits(1).pair(7, {"digit"}, "train"),
    ]
    assert all((other.sequence != first.sequence).mean() > 0.1 for other in others)

    few = digits.frames([300, 2], "test")
    assert (few.pictures == labelled.pictures[[300, 2]]).all()
    assert few.digit.tolist() == labelled.digit[[300, 2]].tolist()
    assert (digits.frames([2], "train").pictures[0] != labelled.pictures[2]).mean() > 0.1


@pytest.mark.parametrize("same_sample", [False, True])
def test_shared_factors_are_equal_in_both_views(same_sample: bool) -> None:
    digits = MovingDigits(3, num_frames=12, num_backgrounds=6, same_sample=same_sample)
    for index, shared in enumerate(ALL_SETS * 4):
        pair = digits.pair(index, shared, "train")
        for factor in shared:
            one, two = values(pair, factor, digits.num_places)
            assert one == two
        if same_sample and "digit" in shared:
            assert pair.sequence_factors.sample == pair.frame_factors.sample


def test_factors_not_shared_are_independent(
    small: MovingDigits, counted: dict[tuple[str, ...], list[Pair]]
) -> None:
    for shared, pairs in counted.items():
        for factor in FACTORS:
            seen = [values(pair, factor, small.num_places) for pair in pairs]
            if factor in shared:
                assert all(one == two for one, two in seen)
                continue
            names = sorted({one for one, _ in seen} | {two for _, two in seen})
            table = np.zeros((len(names), len(names)))
            for one, two in seen:
                table[names.index(one), names.index(two)] += 1
            assert chi2_contingency(table).pvalue > 0.01, (shared, factor)
            # As often equal as chance has it.
            assert abs(np.trace(table) / len(pairs) - 1 / len(names)) < 0.05


def test_a_shared_class_leaves_the_handwriting_free(counted: dict[tuple[str, ...], list[Pair]]) -> None:
    same = [pair.sequence_factors.sample == pair.frame_factors.sample for pair in counted[("digit",)]]
    assert sum(same) < 20  # 5 of 700 expected


def test_every_factor_is_uniform(
    small: MovingDigits, counted: dict[tuple[str, ...], list[Pair]], labelled: LabelledFrames
) -> None:
    pairs = list(chain.from_iterable(counted.values()))
    for factor, count in (("digit", 10), ("background", 5), ("position", 16)):
        for side in (0, 1):
            seen = Counter(values(pair, factor, small.num_places)[side] for pair in pairs)
            assert len(seen) == count
            assert chisquare(list(seen.values())).pvalue > 0.01, (factor, side)
    speeds = Counter(pair.sequence_factors.velocity for pair in pairs)
    assert sorted(speeds) == sorted(product((-2, -1, 1, 2), repeat=2))
    assert chisquare(list(speeds.values())).pvalue > 0.01
    for labels, count in ((labelled.digit, 10), (labelled.background, 32)):
        assert chisquare(np.bincount(labels, minlength=count)).pvalue > 0.01


def test_other_shared_factors_change_nothing_else(digits: MovingDigits) -> None:
    for index in range(6):
        pairs = {shared: digits.pair(index, shared, "train") for shared in ALL_SETS}
        none = pairs[()]
        for shared, pair in pairs.items():
            assert (pair.sequence == none.sequence).all()
            for factor in set(FACTORS) - set(shared):
                assert getattr(pair.frame_factors, factor) == getattr(none.frame_factors, factor)
            assert pair.frame_factors.sample == none.frame_factors.sample


@pytest.mark.parametrize("num_places", [4, 7, 19])
def test_bouncing_equals_a_walk_pixel_by_pixel(num_places: int) -> None:
    for start in range(num_places):
        for velocity in (-9, -2, -1, 1, 2, 3, 8):
            expected = walk(start, velocity, 25, num_places)
            assert bounce(start, velocity, 25, num_places).tolist() == expected


def test_train_and_test_show_different_handwriting(digits: MovingDigits) -> None:
    data = load_digits()
    ink = handwriting()
    for digit in range(10):
        rows = data.images[data.target == digit]
        assert (ink[digit] == rows[: len(ink[digit])]).all()
    train, test = (
        {ink[digit, sample].tobytes() for digit in range(10) for sample in SAMPLES[split]}
        for split in ("train", "test")
    )
    assert len(train) == 1400 and len(test) == 340 and not train & test
    for split in ("train", "test"):
        for index in range(150):
            pair = digits.pair(index, (), split)
            assert {pair.sequence_factors.sample, pair.frame_factors.sample} <= set(SAMPLES[split])


def inks(pictures: Any, backgrounds: Any) -> Any:
    """How far each pixel is from the background, summed over channels."""
    return np.abs(pictures.astype(int) - backgrounds.astype(int)).sum(axis=-1)


def corners(frames: LabelledFrames, num_places: int) -> Any:
    return np.rint(frames.position * (num_places - 1)).astype(int)


def test_digits_are_where_the_labels_say_and_can_be_seen(
    digits: MovingDigits, labelled: LabelledFrames
) -> None:
    size = digits.digit_px
    ink = inks(labelled.pictures, digits.backgrounds[labelled.background])
    offsets = []
    for one, (x, y) in zip(ink, corners(labelled, digits.num_places), strict=True):
        box = one[y : y + size, x : x + size].copy()
        # Outside the box there is the background, pixel by pixel; inside, 20 pixels stand out at least.
        assert one.sum() == box.sum() > 0
        assert np.sort(box.ravel())[-20:].mean() > 100
        rows, columns = np.nonzero(box)
        offsets.append(((columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2))
    assert np.abs(np.mean(offsets, axis=0) - (size - 1) / 2).max() < 0.5
    assert labelled.position.dtype == np.float32
    assert labelled.position.min() == 0 and labelled.position.max() == 1


def test_views_show_their_factors_pixel_by_pixel(digits: MovingDigits) -> None:
    size = digits.digit_px
    for index in range(20):
        pair = digits.pair(index, ALL_SETS[index % 8], "train")
        assert pair.sequence.shape == (10, 32, 32, 3) and pair.frame.shape == (32, 32, 3)
        assert pair.sequence.dtype == pair.frame.dtype == np.uint8
        one, two = pair.sequence_factors, pair.frame_factors
        shown = [(pair.sequence, one, one.positions), (pair.frame[None], two, [two.position])]
        for pictures, factors, places in shown:
            cover = covers(size)[factors.digit, factors.sample]
            colours = set()
            for picture, (x, y) in zip(pictures, places, strict=True):
                free = np.ones((32, 32), dtype=bool)
                free[y : y + size, x : x + size] = cover == 0
                assert (picture[free] == digits.backgrounds[factors.background][free]).all()
                colours |= set(map(tuple, picture[y : y + size, x : x + size][cover == 255].tolist()))
            assert len(colours) == 1


def test_position_cells_are_a_grid_over_the_places(digits: MovingDigits, labelled: LabelledFrames) -> None:
    edges = [place * 4 // digits.num_places for place in range(digits.num_places)]
    assert sorted(Counter(edges).values()) == [4, 5, 5, 5]
    for (x, y), cell in zip(corners(labelled, digits.num_places), labelled.position_cell, strict=True):
        assert cell == 4 * edges[y] + edges[x]
    assert set(labelled.position_cell.tolist()) == set(range(16))


def test_a_nearest_neighbour_reads_the_digit(digits: MovingDigits, labelled: LabelledFrames) -> None:
    data, size = load_digits(), digits.digit_px
    ink = inks(labelled.pictures, digits.backgrounds[labelled.background])
    seen = []
    for one, (x, y) in zip(ink, corners(labelled, digits.num_places), strict=True):
        box = Image.fromarray(one[y : y + size, x : x + size].astype(np.float32))
        # Back to 8x8: a tenth of the box on each side is margin.
        small = box.resize((8, 8), Image.Resampling.BOX, box=(size / 10, size / 10, 0.9 * size, 0.9 * size))
        seen.append(np.asarray(small).ravel())
    features = np.stack(seen)
    known = data.data[:1200]
    cosine = (features / np.linalg.norm(features, axis=1, keepdims=True)) @ (
        known / np.linalg.norm(known, axis=1, keepdims=True)
    ).T
    found = data.target[:1200][cosine.argmax(axis=1)]
    assert (found == labelled.digit).mean() > 0.85


def test_colours_of_the_two_views_are_their_own() -> None:
    digits, far = MovingDigits(0, same_sample=True), 0
    for index in range(40):
        pair = digits.pair(index, FACTORS, "train")
        scene = digits.backgrounds[pair.frame_factors.background]
        strongest = []
        for picture in (pair.sequence[0], pair.frame):
            ink = inks(picture, scene)
            strongest.append(picture.reshape(-1, 3)[ink.argmax()].astype(int))
        far += np.abs(strongest[0] - strongest[1]).sum() > 60
    assert far > 20


def test_information_by_enumeration(small: MovingDigits) -> None:
    line = list(product(range(4), (-2, -1, 1, 2)))
    joint = [((one, two), (walk(*one, 4, 4)[-1], walk(*two, 4, 4)[-1])) for one in line for two in line]
    assert small.true_information({"position"}) == pytest.approx(plug_in_information(joint), rel=1e-12)
    joint = [((digit, sample), digit) for digit in range(10) for sample in range(140)]
    assert small.true_information({"digit"}) == pytest.approx(plug_in_information(joint), rel=1e-12)
    same = MovingDigits(0, same_sample=True, num_backgrounds=2)
    joint = [((digit, sample), (digit, sample)) for digit in range(10) for sample in range(34)]
    assert same.true_information({"digit"}, "test") == pytest.approx(plug_in_information(joint), rel=1e-12)
    assert same.true_information({"digit"}, "train") == pytest.approx(math.log(1400))
    assert small.true_information(()) == 0
    assert small.true_information(FACTORS) == pytest.approx(math.log(10 * 16 * 5))
    default = MovingDigits(0)
    assert default.true_information(["position", "background"]) == pytest.approx(math.log(19 * 19 * 32))


def test_information_in_drawn_pairs(small: MovingDigits, counted: dict[tuple[str, ...], list[Pair]]) -> None:
    for shared, pairs in counted.items():
        for factor, states in (("digit", 10), ("position", 16), ("background", 5)):
            found = plug_in_information(values(pair, factor, small.num_places) for pair in pairs)
            # The estimate is off by about (rows - 1)(columns - 1) / 2n when nothing is shared.
            expected = small.true_information({factor}) if factor in shared else (states - 1) ** 2 / 1400
            assert found == pytest.approx(expected, abs=0.05)


def test_other_sizes() -> None:
    digits = MovingDigits(2, size_px=64, num_frames=40, num_backgrounds=3)
    assert (digits.digit_px, digits.num_places, digits.max_speed) == (28, 37, 4)
    assert digits.backgrounds.shape == (3, 64, 64, 3)
    pair = digits.pair(0, {"position"}, "test")
    assert pair.sequence.shape == (40, 64, 64, 3)
    assert pair.frame_factors.position == next_position(pair, 37)
    assert len({scene.tobytes() for scene in digits.backgrounds}) == 3
    with pytest.raises(ValueError):
        digits.backgrounds[0, 0, 0, 0] = 1


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ({"size_px": 16}, "size_px"),
        ({"size_px": 129}, "size_px"),
        ({"digit_px": 30}, "digit_px"),
        ({"digit_px": 7}, "digit_px"),
        ({"size_px": 32, "digit_px": 40}, "digit_px"),
        ({"num_frames": 1}, "num_frames"),
        ({"num_backgrounds": 1}, "num_backgrounds"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, int], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        MovingDigits(0, **numbers)
    assert len(caught.value.problems) == 1


def test_all_wrong_numbers_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        MovingDigits(0, num_frames=0, num_backgrounds=0, digit_px=0)
    assert len(caught.value.problems) == 3


def test_unknown_names_are_refused(digits: MovingDigits) -> None:
    with pytest.raises(UsageError, match='Did you mean "background"'):
        digits.pair(0, {"digit", "backgrund"}, "train")
    with pytest.raises(UsageError, match="colour"):
        digits.true_information({"colour"})
    for call in (
        lambda: digits.pair(0, (), "val"),
        lambda: digits.frames([0], "val"),
        lambda: digits.true_information((), "val"),
    ):
        with pytest.raises(UsageError, match='"val" is no split'):
            call()
    with pytest.raises(UsageError, match="no frame"):
        digits.frames([], "train")
