"""White digits before darker pictures: what is easier to see is the same otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.errors import UsageError
from bench.synth.digit_pictures import covers
from bench.synth.moving_digits import MovingDigits


def test_white_digits_before_darker_pictures_differ_in_nothing_else() -> None:
    plain, changed = (
        MovingDigits(0, num_frames=3, **more)  # type: ignore[arg-type]
        for more in ({}, {"digit_colour": "white", "background_brightness": 0.5})
    )
    assert np.array_equal(changed.backgrounds, plain.backgrounds // 2)
    before, after = (one.pair(7, {"digit"}, "train") for one in (plain, changed))
    assert (before.sequence_factors, before.frame_factors) == (after.sequence_factors, after.frame_factors)
    factors = after.frame_factors
    x, y = factors.position
    cover = covers(changed.digit_px)[factors.digit, factors.sample]
    window = after.frame[y : y + changed.digit_px, x : x + changed.digit_px]
    assert np.all(window[cover == 255] == 255)
    behind = changed.backgrounds[factors.background].copy()
    behind[y : y + changed.digit_px, x : x + changed.digit_px] = window
    assert np.array_equal(after.frame, behind)


@pytest.mark.parametrize("brightness", [0.0, -0.5, 1.01])
def test_a_brightness_out_of_range_is_refused(brightness: float) -> None:
    with pytest.raises(UsageError, match="background_brightness"):
        MovingDigits(0, background_brightness=brightness)
