"""Converted files and input specs for the tests of conversion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.core.card import InputSpec
from bench.core.weights import Weights
from transfer.adapters.convert import TARGETS, file_bytes

RGB = InputSpec.model_validate(InputSpec().model_dump())  # every field given, not left out
MSRA = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1")
TF = InputSpec(padding="tf_same")

FILES = [(target.name, suffix) for target in TARGETS.values() for suffix in target.suffixes]

# Each a field of the input spec with another value than RGB has.
CHANGES: dict[str, object] = {
    "channel_order": "bgr",
    "mean": (123.675, 116.28, 103.5),
    "std": (58.395, 57.12, 57.0),
    "stride_in": "1x1",
}


def fed_as(weights: Weights, spec: InputSpec) -> Weights:
    """The same tensors under another input spec."""
    return replace(weights, card=weights.card.model_copy(update={"input": spec}))


def with_tensors(weights: Weights, changed: dict[str, np.ndarray]) -> Weights:
    """The same card over other tensors."""
    return replace(weights, tensors={**weights.tensors, **changed})


def write(folder: Path, weights: Weights, target: str, suffix: str | None = None) -> Path:
    """The converted file in `folder`; the usual ending of the target if none is given."""
    path = folder / f"net{suffix or TARGETS[target].suffixes[0]}"
    path.write_bytes(file_bytes(weights, target, path.suffix))
    return path
