"""The input spec says all of what it changes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bench.core.card import InputSpec

MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


@pytest.mark.parametrize(
    ("given", "left_out"), [({}, "mean and std"), ({"mean": MEAN}, "std"), ({"std": STD}, "mean")]
)
def test_bgr_takes_no_defaults_of_rgb(given: dict[str, tuple[float, ...]], left_out: str) -> None:
    with pytest.raises(ValidationError, match=f"BGR needs {left_out},"):
        InputSpec.model_validate({"channel_order": "bgr", **given})


def test_bgr_with_its_own_numbers() -> None:
    spec = InputSpec(channel_order="bgr", mean=MEAN, std=STD)
    assert InputSpec.model_validate_json(spec.model_dump_json()) == spec
    assert InputSpec(channel_order="rgb").mean == MEAN[::-1]
