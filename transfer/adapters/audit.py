"""The strict audit of a backbone: all 265 tensors, every other key explained.

There is no partial success. What is missing, too much, misshapen, constant or not finite stops the load with
its name; what is left out on purpose is on the card, by rule and count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.core.errors import WeightsError
from bench.core.pickle_values import shown
from bench.core.tensor_ref import TensorRef
from transfer.adapters.architecture import why_not_resnet50
from transfer.adapters.identify import Found, shapes_at
from transfer.adapters.keymap import COUNTERS, SHAPES, Shape

_FLOATS = ("float32", "float16", "bfloat16", "float64")
_MAX_SHOWN = 5


@dataclass(frozen=True)
class Audit:
    """What the strict audit of a foreign checkpoint gives.

    Attributes:
        tensors: The 265, in the order of the network.
        dropped: Rule to the keys it left out.
        notes: For the card.
    """

    tensors: dict[str, np.ndarray]
    dropped: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def audit_backbone(found: Found, where: str) -> Audit:
    """Account for every key of the container, and read the 265 tensors.

    Raises:
        WeightsError: another architecture; or tensors missing, too many, misshapen, of another kind than
            floats, not finite, constant, not exact in float32; or negative variances.
    """
    taken, dropped, extra = _sort_keys(found)
    _stop_at_another_architecture(where, shapes_at(found.state, found.place))
    _stop(where, _key_problems({name: value.shape for name, value in taken.items()}, extra, found))
    references = {name: taken[name] for name in SHAPES}
    wrong = [f"{name} ({value.dtype})" for name, value in references.items() if value.dtype not in _FLOATS]
    _stop(where, [_listed("are not of floating point", wrong)] if wrong else [])
    tensors: dict[str, np.ndarray] = {}
    inexact: list[str] = []
    for name, reference in references.items():
        value = reference.read()
        # A value that float32 cannot hold becomes infinite here, and the comparison finds it.
        with np.errstate(over="ignore"):
            tensors[name] = value.astype(np.float32)
        if value.dtype == np.float64 and not np.array_equal(tensors[name], value, equal_nan=True):
            inexact.append(name)
    problems = [_listed("are float64 with values that float32 does not hold", inexact)] if inexact else []
    _stop(where, problems + _value_problems(tensors))
    return Audit(tensors, dropped, (*found.layout.notes, *_notes(references)))


def _sort_keys(found: Found) -> tuple[dict[str, TensorRef], dict[str, tuple[str, ...]], list[str]]:
    """(backbone tensors by torchvision name, rule -> keys left out, keys that nothing explains)."""
    taken: dict[str, TensorRef] = {}
    dropped: dict[str, list[str]] = {}
    extra: list[str] = []
    for key, value in found.state.items():
        rest = found.rest(key)
        name = None if rest is None else found.naming.names.get(rest)
        if name is not None and name in SHAPES and isinstance(value, TensorRef):
            taken[name] = found.naming.arrange(value)
            continue
        rule = None
        if name in COUNTERS:
            rule = "num_batches_tracked"
        elif isinstance(key, str):
            rule = found.left_out_with(key) or found.layout.drop_rule(key, found.place.prefix)
        if rule is None:
            extra.append(shown(str(key))[:120])
        else:
            dropped.setdefault(rule, []).append(str(key))
    return taken, {rule: tuple(keys) for rule, keys in dropped.items()}, extra


def _listed(what: str, names: list[str]) -> str:
    return f"{len(names)} of {len(SHAPES)} backbone tensors {what} (first: {_first(names)})"


def _first(names: list[str]) -> str:
    return ", ".join(names[:_MAX_SHOWN]) + (", ..." if len(names) > _MAX_SHOWN else "")


def _key_problems(shapes: Mapping[str, Shape], extra: list[str], found: Found | None = None) -> list[str]:
    problems = []
    missing = [key for key in SHAPES if key not in shapes]
    if missing:
        problems.append(_listed("are missing", missing))
    if extra:
        layout = f' by the layout "{found.layout.name}" ({found.place})' if found else ""
        problems.append(f"{len(extra)} keys are not explained{layout} (first: {_first(extra)})")
    wrong = [
        f"{key} {shapes[key]}, expected {shape}"
        for key, shape in SHAPES.items()
        if key in shapes and shapes[key] != shape
    ]
    if wrong:
        problems.append(_listed("have another shape", wrong))
    return problems


def _value_problems(tensors: Mapping[str, np.ndarray]) -> list[str]:
    def having(names: Iterable[str], what: str) -> list[str]:
        found = list(names)
        return [_listed(what, found)] if found else []

    finite = {name: bool(np.isfinite(value).all()) for name, value in tensors.items()}
    return [
        *having((name for name in tensors if not finite[name]), "have nan or infinite values"),
        *having(
            (n for n, v in tensors.items() if n.endswith("running_var") and finite[n] and (v < 0).any()),
            "have negative variances",
        ),
        # What a hole in a half-written file reads as, or a layer that never trained: no trained one is.
        *having((n for n, v in tensors.items() if finite[n] and (v == v.flat[0]).all()), "are constant"),
    ]


def _stop(where: str, problems: list[str]) -> None:
    if problems:
        raise WeightsError.of([f"{where}: {problem}. Nothing was loaded." for problem in problems])


def _notes(references: Mapping[str, TensorRef]) -> list[str]:
    notes = []
    if any(value.checksum_off for value in references.values()):
        notes.append("the file's checksums are all 0: read unverified")
    for kind in _FLOATS[1:]:
        count = sum(value.dtype == kind for value in references.values())
        if count:
            notes.append(f"{count} tensors were {kind}; converted to float32 without loss")
    return notes


def _stop_at_another_architecture(where: str, shapes: Mapping[str, Shape]) -> None:
    reason = why_not_resnet50(shapes)
    if reason:
        raise WeightsError(f"{where}: {reason}; expected a ResNet-50 with a 7x7 stem. Nothing was loaded.")


def check_tensors(tensors: Mapping[str, np.ndarray], where: str) -> None:
    """Hold finished tensors against the architecture: names, shapes, float32, values.

    Raises:
        WeightsError: they are not the 265 of a ResNet-50.
    """
    shapes = {name: value.shape for name, value in tensors.items()}
    _stop_at_another_architecture(where, shapes)
    extra = [name[:120] for name in tensors if name not in SHAPES]
    _stop(where, _key_problems(shapes, extra))
    wrong = [f"{name} ({value.dtype})" for name, value in tensors.items() if value.dtype != np.float32]
    _stop(where, ([_listed("are not float32", wrong)] if wrong else []) + _value_problems(tensors))
