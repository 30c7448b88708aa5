"""Proof that an engine's model holds the weights that were given, tensor by tensor and by feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.card import InputSpec
from bench.core.errors import EngineError, WeightsError
from bench.core.weights import Weights
from transfer.engines.source import NOT_DILATED, Dilated, Reference, reference

MAX_FEATURE_DIFFERENCE = 1e-5
"""On C2 to C5, fp32, contiguous, equal threads; for stages whose values are all below 1, as a part of their
largest. 0 was measured; above this the two are not one network."""

NOTHING_TRAINED = "Nothing was trained."


@dataclass(frozen=True)
class Loaded:
    """A backbone into which a target's own tools have read a file.

    Attributes:
        model: In eval mode, on the CPU.
        names: torchvision name to the model's.
        features: [2, 3, side, side] fp32 to C2 to C5.
    """

    model: nn.Module
    names: Mapping[str, str]
    features: Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Setup:
    """One way in which a target builds a ResNet-50.

    Attributes:
        name: For the list of what was proven: `detectron2 FrozenBN`.
        load: Builds it for the input spec and reads the file.
        dilated: Which stages of it are dilated.
        note: What the reader of a proof should know.
    """

    name: str
    load: Callable[[Path, InputSpec], Loaded]
    dilated: Dilated = NOT_DILATED
    note: str = ""


def load_proven(
    model: nn.Module,
    weights: Weights,
    names: Mapping[str, str],
    *,
    new_layers: tuple[str, ...],
    features: Callable[[Tensor], Sequence[Tensor]],
    dilated: Dilated = NOT_DILATED,
    engine: str,
) -> dict[str, Any]:
    """Put a backbone into an engine's model, and prove that it is there.

    Args:
        model: On the CPU; in train mode afterwards.
        weights: The source.
        names: torchvision name to the model's.
        new_layers: How the names of those begin that a transfer starts from random.
        features: [2, 3, side, side] fp32 to C2 to C5 of the model.
        dilated: Which stages of it are.
        engine: Its name, for messages.

    Returns:
        What was verified, for the record.

    Raises:
        WeightsError: a tensor has no place, a place got no tensor, or a tensor or a feature differs.
    """
    state = {names[name]: torch.from_numpy(array.copy()) for name, array in weights.tensors.items()}
    result = model.load_state_dict(state, strict=False)
    if result.unexpected_keys:
        raise WeightsError(
            f"{weights.card.name}: {engine} has no place for {len(result.unexpected_keys)} tensors "
            f"(first: {result.unexpected_keys[0]})"
        )
    unexplained = [
        key
        for key in result.missing_keys
        if not key.startswith(new_layers) and not key.endswith("num_batches_tracked")
    ]
    if unexplained:
        raise WeightsError(
            f"{weights.card.name}: {len(unexplained)} backbone tensors of the model in {engine} got no "
            f"weights (first: {unexplained[0]}). Nothing was trained."
        )
    num_tensors = verify_tensors(weights, model.state_dict(), names)
    model.eval()
    difference = verify_features(weights, features, expected=reference(weights, dilated))
    model.train()
    return {
        "backbone": f"{num_tensors} of {num_tensors} tensors equal to their source after loading",
        "largest_feature_difference": difference,
        "new_layers": sorted(
            {key.rsplit(".", 1)[0] for key in result.missing_keys if key.startswith(new_layers)}
        ),
    }


def verify_tensors(
    weights: Weights,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    where: str = "the engine",
    outcome: str = NOTHING_TRAINED,
) -> int:
    """Compare each source tensor with the engine's, bit for bit; returns how many there were.

    Args:
        weights: The source.
        state: The engine model's state dict, after loading.
        names: torchvision name to the engine's.
        where: The engine, for the message.
        outcome: The last sentence of the message.

    Raises:
        WeightsError: one is missing, has another shape or another value.
    """
    wrong = [
        name for name, place in names.items() if not _equal_bits(weights.tensors[name], state.get(place))
    ]
    if wrong:
        raise WeightsError(
            f"{weights.card.name}: {len(wrong)} of {len(names)} backbone tensors did not arrive in "
            f"{where} (first: {wrong[0]}). {outcome}"
        )
    return len(names)


def check_finite(model: nn.Module) -> None:
    """Refuse to test weights that are not finite: masks would come out empty, labels as 0, without a word.

    Raises:
        EngineError: with the first tensor that is not.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise EngineError(f"{name} is not finite before the test. Nothing was recorded.")


def _equal_bits(source: np.ndarray, loaded: Tensor | None) -> bool:
    if loaded is None or loaded.dtype != torch.float32:
        return False
    found = np.ascontiguousarray(loaded.detach().cpu().numpy())
    # As whole numbers: as floats, 0 equals -0.
    return np.array_equal(found.view(np.uint32), np.ascontiguousarray(source).view(np.uint32))


def verify_features(
    weights: Weights,
    engine_features: Callable[[Tensor], Sequence[Tensor]],
    *,
    expected: Reference | None = None,
    where: str = "the engine",
    reason: str = "",
    outcome: str = NOTHING_TRAINED,
) -> float:
    """The largest difference between the engine's C2 to C5 and the source network's, on two fixed images.

    Args:
        weights: The source; its network is torchvision's ResNet-50 as the card says.
        engine_features: [2, 3, side, side] fp32 to the four stages' outputs, in eval mode; called
            without gradient.
        expected: `reference(weights)`, or that of a dilated network; computed if it is None.
        where: The engine, for the message.
        reason: Why features may differ here, if that is known.
        outcome: The last sentence of the message.

    Raises:
        WeightsError: a shape differs, or a value by more than 1e-5; or the source network gives one value
            for all of a stage, so that nothing can be compared.
    """
    expected = expected or reference(weights)
    with torch.no_grad():
        found = engine_features(expected.images)
    largest = 0.0
    for stage, (theirs, ours) in enumerate(zip(expected.features, found, strict=True), start=2):
        if theirs.shape != ours.shape:
            raise WeightsError(
                f"{weights.card.name}: C{stage} has shape {tuple(ours.shape)} in {where}, "
                f"{tuple(theirs.shape)} in the source network. {outcome}"
            )
        if theirs.max() == theirs.min():
            raise WeightsError(
                f"{weights.card.name}: C{stage} of the source network is {float(theirs.max()):g} everywhere: "
                f"these weights give no features, and nothing can be compared. {outcome}"
            )
        difference = float((theirs - ours).abs().max())
        limit = MAX_FEATURE_DIFFERENCE * min(1.0, float(theirs.abs().max()))
        if not difference <= limit:
            cause = reason or "stride, padding or norm is not the same"
            raise WeightsError(
                f"{weights.card.name}: C{stage} differs by {difference:.3g} between {where} and the "
                f"source network (at most {limit:.3g} expected): {cause}. {outcome}"
            )
        largest = max(largest, difference)
    return largest
