"""RandAugment: pixels and scales against timm's, frequencies against the ones written here."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment as timm

from bench.images.randaugment import (
    OPERATIONS,
    DrawnOperation,
    Resample,
    apply_operation,
    argument_of,
    draw_randaugment,
)
from bench.images.view_config import RandAugment
from tests.images.test_operations import picture

FILL = (124, 116, 104)
# The same operation under the name that timm has for it today.
TIMM = {name: name.removesuffix("Tpu") for name in OPERATIONS}
MOVES = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
MAGNITUDES = (0.0, 1.3, 2.5, 5.0, 7.77, 9.3, 9.99, 10.0)
RESAMPLE: dict[Resample, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def test_the_fifteen() -> None:
    assert set(OPERATIONS) == {
        *("AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeTpu", "Solarize", "SolarizeAdd"),
        *("Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY"),
        *("TranslateXRel", "TranslateYRel"),
    }
    assert len(OPERATIONS) == 15


@pytest.mark.parametrize("name", OPERATIONS)
def test_scales_are_timms(name: str) -> None:
    scale = timm.LEVEL_TO_ARG[TIMM[name]]
    for magnitude in MAGNITUDES:
        expected = (0,) if scale is None else scale(magnitude, {"translate_pct": 0.45})
        assert argument_of(name, magnitude, translate_fraction=0.45) == abs(expected[0])


@pytest.mark.parametrize(
    ("name", "magnitude", "expected"),
    [
        ("Rotate", 10.0, 30.0),
        ("ShearX", 10.0, 0.3),
        ("TranslateYRel", 10.0, 0.45),
        ("Color", 0.0, 0.1),
        ("Sharpness", 10.0, 1.9),
        ("PosterizeTpu", 9.99, 3.0),
        ("PosterizeTpu", 10.0, 4.0),
        ("Solarize", 9.5, 243.0),
        ("Solarize", 10.0, 256.0),
        ("SolarizeAdd", 10.0, 110.0),
    ],
)
def test_scales_by_hand(name: str, magnitude: float, expected: float) -> None:
    assert argument_of(name, magnitude, translate_fraction=0.45) == pytest.approx(expected, abs=1e-12)


def test_the_share_to_translate_by_is_the_configs() -> None:
    assert argument_of("TranslateXRel", 5.0, translate_fraction=0.2) == pytest.approx(0.1)


@pytest.mark.parametrize("resample", RESAMPLE)
@pytest.mark.parametrize("name", OPERATIONS)
def test_pixels_are_timms(name: str, resample: Resample) -> None:
    moves = name in MOVES
    if not moves and resample == "bicubic":
        resample = "bilinear"
    image = picture()
    changed = 0
    for magnitude in MAGNITUDES:
        for sign in (1, -1) if moves else (1,):
            argument = sign * argument_of(name, magnitude, translate_fraction=0.45)
            if name == "PosterizeTpu" and argument == 0:
                continue  # refused by Pillow, and so by timm
            drawn = DrawnOperation(name, magnitude, argument, resample if moves else None)
            function = timm.NAME_TO_OP[TIMM[name]]
            whole = name in ("PosterizeTpu", "Solarize", "SolarizeAdd")
            arguments = (
                () if timm.LEVEL_TO_ARG[TIMM[name]] is None else (int(argument) if whole else argument,)
            )
            expected = function(image, *arguments, resample=RESAMPLE[resample], fillcolor=FILL)
            ours = apply_operation(image, drawn, FILL)
            assert ours.mode == "RGB" and np.array_equal(ours, expected), (magnitude, sign)
            changed += not np.array_equal(ours, image)
    assert changed >= 3, "an operation that does nothing would be equal too"


def test_zero_bits_are_black() -> None:
    ours = apply_operation(picture(), DrawnOperation("PosterizeTpu", 1.0, 0.0, None), FILL)
    assert np.asarray(ours).max() == 0


def test_what_comes_in_is_the_fill() -> None:
    shifted = apply_operation(picture(), DrawnOperation("TranslateXRel", 10.0, 0.45, "bilinear"), (1, 2, 3))
    assert np.asarray(shifted)[20, -1].tolist() == [1, 2, 3]


def test_unknown_operations_are_our_fault() -> None:
    with pytest.raises(KeyError):
        apply_operation(picture(), DrawnOperation("Cutout", 1.0, 0.0, None), FILL)


def test_draws_have_the_frequencies_of_the_config() -> None:
    config = RandAugment(magnitude=10.0, magnitude_std=0.5, operation_probability=0.5)
    generator = np.random.default_rng(5)
    count = 12_000
    draws = [draw_randaugment(config, generator) for _ in range(count)]
    # Two coins: none, one or both are applied in 1/4, 1/2, 1/4 of the views.
    lengths = Counter(len(draw) for draw in draws)
    for length, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        assert abs(lengths[length] - count * share) < 4 * math.sqrt(count * share * (1 - share))
    flat = [drawn for draw in draws for drawn in draw]
    names = Counter(drawn.name for drawn in flat)
    for name in OPERATIONS:
        expected = len(flat) / 15
        assert abs(names[name] - expected) < 4 * math.sqrt(expected * (14 / 15)), name
    pairs = [draw for draw in draws if len(draw) == 2]
    twice = sum(first.name == second.name for first, second in pairs)
    assert abs(twice - len(pairs) / 15) < 4 * math.sqrt(len(pairs) / 15 * (14 / 15))
    # Half of a normal distribution around 10 is cut to 10: mean 10 - s / sqrt(2 pi), and the variance
    # s^2 (1/2 - 1 / (2 pi)).
    strengths = np.array([drawn.magnitude for drawn in flat])
    assert strengths.max() == 10.0
    assert np.mean(strengths == 10.0) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(flat)))
    deviation = 0.5 * math.sqrt(0.5 - 1 / (2 * math.pi))
    assert strengths.mean() == pytest.approx(
        10 - 0.5 / math.sqrt(2 * math.pi), abs=4 * deviation / math.sqrt(len(flat))
    )
    assert strengths.std() == pytest.approx(deviation, rel=0.04)


def test_arguments_belong_to_their_magnitudes_and_signs_to_chance() -> None:
    config = RandAugment(
        operations=3, magnitude=5.0, magnitude_std=3.0, operation_probability=1.0, translate_fraction=0.3
    )
    generator = np.random.default_rng(6)
    flat = [drawn for _ in range(2500) for drawn in draw_randaugment(config, generator)]
    assert len(flat) == 7500
    assert min(drawn.magnitude for drawn in flat) == 0.0
    for drawn in flat:
        expected = argument_of(drawn.name, drawn.magnitude, translate_fraction=0.3)
        assert abs(drawn.argument) == expected
        assert drawn.argument >= 0 or drawn.name in MOVES
        assert (drawn.resample is not None) == (drawn.name in MOVES)
    moves = [drawn for drawn in flat if drawn.name in MOVES and drawn.magnitude > 0]
    bound = 4 * 0.5 / math.sqrt(len(moves))
    assert np.mean([drawn.argument < 0 for drawn in moves]) == pytest.approx(0.5, abs=bound)
    assert np.mean([drawn.resample == "bicubic" for drawn in moves]) == pytest.approx(0.5, abs=bound)
    both = [(drawn.argument < 0) == (drawn.resample == "bicubic") for drawn in moves]
    assert np.mean(both) == pytest.approx(0.5, abs=bound)


def test_without_deviation_the_magnitude_is_fixed() -> None:
    config = RandAugment(operations=15, magnitude=4.0, magnitude_std=0.0, operation_probability=1.0)
    drawn = draw_randaugment(config, np.random.default_rng(0))
    assert len(drawn) == 15 and {operation.magnitude for operation in drawn} == {4.0}


def test_cmc_v2_draws_out_of_what_leaves_colours_alone() -> None:
    """PyContrast `_RAND_TRANSFORMS_CMC`: eight, of which one changes nothing."""
    config = RandAugment(out_of="colour_free", magnitude=10.0, magnitude_std=0.5, operation_probability=0.5)
    generator, count = np.random.default_rng(5), 8000
    names = Counter(drawn.name for _ in range(count) for drawn in draw_randaugment(config, generator))
    moves = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}
    assert set(names) == moves | {"AutoContrast", "Identity", "Sharpness"}
    for name, number in names.items():
        assert abs(number - count / 8) < 5 * math.sqrt(count / 8), name
    image = picture()
    assert apply_operation(image, DrawnOperation("Identity", 10.0, 0.0, None), FILL) is image
