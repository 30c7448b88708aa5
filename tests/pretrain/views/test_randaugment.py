"""RandAugment on batches: Pillow's pixels for every operation, with Pillow at work and without."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bench.images.randaugment import (
    COLOUR_FREE,
    OPERATIONS,
    SIGNED,
    DrawnOperation,
    Resample,
    apply_operation,
    argument_of,
)
from pretrain.views.randaugment import apply_randaugment, by_kind
from tests.helpers.levels import pictures, to_levels, to_pixels

FILL = (124, 116, 104)
NAMES = sorted({*OPERATIONS, *COLOUR_FREE})
KINDS: list[tuple[str, Resample | None]] = [
    (name, resample)
    for name in NAMES
    for resample in (("bilinear", "bicubic") if name in SIGNED else (None,))
]


def drawn(name: str, resample: Resample | None, draw: np.random.Generator) -> DrawnOperation:
    magnitude = float(np.clip(draw.normal(6, 5), 0, 10))
    argument = argument_of(name, magnitude, translate_fraction=0.45)
    sign = -1.0 if resample and draw.random() < 0.5 else 1.0
    return DrawnOperation(name, magnitude, sign * argument, resample)


def by_pillow(picture: Image.Image, operations: tuple[DrawnOperation, ...]) -> np.ndarray:
    for operation in operations:
        picture = apply_operation(picture, operation, FILL)
    return np.asarray(picture)


@pytest.mark.parametrize(("name", "resample"), KINDS, ids=[f"{name}-{by}" for name, by in KINDS])
def test_each_operation(name: str, resample: Resample | None) -> None:
    made, draw = pictures(20), np.random.default_rng(1)
    operations = [(drawn(name, resample, draw),) for _ in made]
    expected = np.stack([by_pillow(*one) for one in zip(made, operations, strict=True)])
    assert np.array_equal(to_pixels(by_kind(to_levels(*made), operations, FILL)), expected)


def test_the_ends_of_every_scale() -> None:
    made = pictures(4)
    for name, resample in KINDS:
        for magnitude in (0.0, 10.0):
            argument = argument_of(name, magnitude, translate_fraction=0.45)
            operations = [(DrawnOperation(name, magnitude, argument, resample),)] * len(made)
            expected = np.stack([by_pillow(*one) for one in zip(made, operations, strict=True)])
            assert np.array_equal(to_pixels(by_kind(to_levels(*made), operations, FILL)), expected), name


@pytest.mark.parametrize("apply", [apply_randaugment, by_kind])
def test_every_image_has_its_own_operations_in_their_order(apply: object) -> None:
    made, draw = pictures(60), np.random.default_rng(2)
    operations = [
        tuple(drawn(*KINDS[draw.integers(len(KINDS))], draw) for _ in range(draw.integers(0, 4)))
        for _ in made
    ]
    expected = np.stack([by_pillow(*one) for one in zip(made, operations, strict=True)])
    levels = to_levels(*made)
    before = levels.clone()
    assert callable(apply)
    assert np.array_equal(to_pixels(apply(levels, operations, FILL)), expected)
    assert np.array_equal(levels, before)  # what was given is not written to


def test_an_unknown_operation_is_our_own_fault() -> None:
    with pytest.raises(KeyError):
        by_kind(to_levels(*pictures(1)), [(DrawnOperation("Blur", 1.0, 1.0, None),)], FILL)
