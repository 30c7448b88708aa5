"""Proof that a converted file is right: what its target's own tools make of it, against the source.

The file on the disk is read, never what was in memory. Each setup of a target holds all 265 tensors, bit for
bit, and gives the source network's C2 to C5.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from bench.core.weights import Weights
from transfer.adapters.convert import find_target
from transfer.engines import plain
from transfer.engines.source import Dilated, Reference, reference
from transfer.engines.verify import Loaded, Setup, verify_features, verify_tensors

_UNPROVEN = "The file is not proven: do not use it."

# What engines raise on a file that is damaged or of another network.
_LOAD_ERRORS = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AssertionError,
    OSError,
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
)


@dataclass(frozen=True)
class Proof:
    """What one setup of a target was found to make of a file.

    Attributes:
        target: The setup: `detectron2 FrozenBN`, `mmseg d8`.
        num_tensors: Tensors equal to the source, bit for bit; 265.
        largest_difference: Over C2 to C5, in fp32; no unit.
        seconds: To build, load and compare.
        note: What else a reader should know, or "".
    """

    target: str
    num_tensors: int
    largest_difference: float
    seconds: float
    note: str = ""


def prove(target: str, path: Path, weights: Weights) -> tuple[Proof, ...]:
    """Load a written file with its target's stock tools in every setup, and compare it with its source.

    Args:
        target: One of `transfer.adapters.convert.TARGETS`.
        path: The file, with an ending that the target takes.
        weights: The source.

    Returns:
        One entry for each setup, all of them right.

    Raises:
        UsageError: no such target.
        EngineError: the target's engine is not installed.
        WeightsError: the target cannot load the file, a tensor is another, or a feature differs by more
            than 1e-5: with setup, tensor or stage, and difference.
    """
    find_target(target)
    # MMEngine takes some beginnings of a relative path for the name of a service.
    path = path.absolute()
    references: dict[Dilated, Reference] = {}
    proofs = []
    with _quiet_engines():
        for setup in _setups(target):
            start = time.perf_counter()
            loaded = _load(setup, path, weights.card.input)
            num_tensors = verify_tensors(
                weights, loaded.model.state_dict(), loaded.names, where=setup.name, outcome=_UNPROVEN
            )
            if setup.dilated not in references:
                references[setup.dilated] = reference(weights, setup.dilated)
            difference = verify_features(
                weights,
                loaded.features,
                expected=references[setup.dilated],
                where=setup.name,
                reason=_reason(target, weights.card.input),
                outcome=_UNPROVEN,
            )
            seconds = time.perf_counter() - start
            proofs.append(Proof(setup.name, num_tensors, difference, seconds, setup.note))
    return tuple(proofs)


def _setups(target: str) -> tuple[Setup, ...]:
    if target == "detectron2":
        from transfer.engines.detectron2 import backbone

        return backbone.SETUPS
    if target == "mmseg":
        from transfer.engines.mmseg import backbone as mmseg_backbone

        return mmseg_backbone.SETUPS
    if target == "timm" and importlib.util.find_spec("timm") is not None:
        return (plain.TIMM,)
    return (plain.TORCHVISION_FOR_TIMM if target == "timm" else plain.TORCHVISION,)


def _load(setup: Setup, path: Path, spec: InputSpec) -> Loaded:
    try:
        return setup.load(path, spec)
    except _LOAD_ERRORS as cause:
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise WeightsError(f"{path}: {setup.name} cannot load it: {first}. {_UNPROVEN}") from cause


def _reason(target: str, spec: InputSpec) -> str:
    """Why features must differ, where the card tells, and what to do."""
    if spec.padding == "tf_same":
        return (
            f"these weights expect TensorFlow's SAME padding, which at stride 2 pads more at the end; "
            f"{target} pads as PyTorch does, and features shift by up to a pixel at each stride. "
            'An --input-spec with padding = "pytorch" accepts that'
        )
    if spec.stride_in == "1x1" and target in ("torchvision", "timm"):
        return (
            f"these weights have their strides in the 1x1 convolutions, {target}'s resnet50 has them in the "
            "3x3. Convert to detectron2 or mmseg, which can place them"
        )
    return ""


@contextlib.contextmanager
def _quiet_engines() -> Iterator[None]:
    """Keep the engines' lines about loading away; MMEngine writes its own to standard output."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
