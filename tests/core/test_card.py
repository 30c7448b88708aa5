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


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((123.675, 116.28, 103.53), (0.229, 0.224, 0.225)),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375)),
        ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    ],
)
def test_numbers_of_the_other_scale_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="0-255 scale"):
        InputSpec.model_validate({"mean": mean, "std": std})


@pytest.mark.parametrize(
    ("mean", "std"), [((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)), ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0))]
)
def test_what_weights_are_really_fed_passes(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """SimCLR's, and MSRA's."""
    assert InputSpec.model_validate({"mean": mean, "std": std}).mean == mean
