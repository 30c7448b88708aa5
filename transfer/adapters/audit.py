"""The strict way from a checkpoint to backbone weights: all 265 tensors, every other key explained.

There is no partial success. What is missing, too much, misshapen or not finite stops the load with its
name; what is left out on purpose is on the card, by rule and count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.card import Card, InputSpec, hash_tensors
from bench.core.errors import UsageError, WeightsError
from bench.core.paths import safe_name
from bench.core.tensor_ref import TensorRef
from bench.core.weights import Weights, read_card, read_checkpoint, read_weights, sha256_file
from transfer.adapters.keymap import COUNTERS, SHAPES, STAGES, Shape
from transfer.adapters.layouts import Found, identify

_FLOATS = ("float32", "float16", "bfloat16", "float64")
_SUFFIXES = (".pth", ".pt", ".tar", ".pkl", ".pickle", ".ckpt", ".safetensors", ".torch", ".bin")
_MAX_SHOWN = 5

# Blocks in the four stages -> the network; the first two are of basic blocks, the others of bottlenecks.
_BASIC_DEPTHS: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "ResNet-18", (3, 4, 6, 3): "ResNet-34"}
_DEPTHS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "ResNet-26",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


def load_backbone(
    path: Path,
    *,
    name: str | None = None,
    encoder: str | None = None,
    input_spec: InputSpec | None = None,
) -> Weights:
    """The ResNet-50 backbone in a checkpoint of any known layout, or in a file of ours.

    Args:
        path: A checkpoint; its kind is found from the content.
        name: What tables call it; None makes `resnet50.<file name>`, or keeps the name on the card of ours.
        encoder: Which encoder to take where a file has several: see `transfer.adapters.layouts.identify`.
        input_spec: What the stem expects, if it is not what the layout says.

    Returns:
        265 float32 tensors under torchvision's names, and the card.

    Raises:
        UsageError: `encoder` is given for a file of ours, which has one only.
        WeightsError: unreadable, of no known layout, no ResNet-50, or not all of it. Nothing is loaded then.
    """
    if name is not None:
        safe_name(name, "name of weights", error=WeightsError)
    if read_card(path) is None:
        found = identify(read_checkpoint(path), str(path), encoder)
        audit = audit_backbone(found, str(path))
        card = _card(path, name or default_name(path), found, audit)
        weights = Weights(card, audit.tensors)
    else:
        if encoder is not None:
            raise UsageError(f"{path}: weights of ours hold one encoder; leave out --encoder")
        weights = read_weights(path)
        check_tensors(weights.tensors, str(path))
        if name is not None:
            weights = Weights(weights.card.model_copy(update={"name": name}), weights.tensors)
    if input_spec is not None:
        weights = Weights(weights.card.model_copy(update={"input": input_spec}), weights.tensors)
    return weights


def default_name(path: Path) -> str:
    """`resnet50.<file name without its endings>`, with other characters than a name may have as `-`."""
    stem = path.name
    while stem.lower().endswith(_SUFFIXES):
        stem = stem[: stem.rindex(".")]
    stem = re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).strip("-.") or "unnamed"
    return f"resnet50.{stem.removeprefix('resnet50.')}"[:200]


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
            floats, not finite, not exact in float32; or negative variances.
    """
    taken, dropped, extra = _sort_keys(found)
    shapes = {key: value.shape for key, value in taken.items() if isinstance(value, TensorRef)}
    prefix = found.place.prefix
    inside = {key.removeprefix(prefix): value for key, value in found.state.items() if _under(key, prefix)}
    reason = why_not_resnet50(
        {key: value.shape for key, value in inside.items() if isinstance(value, TensorRef)}
    )
    if reason:
        raise WeightsError(f"{where}: {reason}; expected a ResNet-50 with a 7x7 stem. Nothing was loaded.")
    _stop(where, _key_problems(shapes, extra, found))
    references = {key: taken[key] for key in SHAPES}
    wrong = [f"{key} ({value.dtype})" for key, value in references.items() if value.dtype not in _FLOATS]
    _stop(where, [_listed("are not of floating point", wrong)] if wrong else [])
    tensors: dict[str, np.ndarray] = {}
    inexact: list[str] = []
    for key, reference in references.items():
        value = reference.read()
        # A value that float32 cannot hold becomes infinite here, and the comparison finds it.
        with np.errstate(over="ignore"):
            tensors[key] = value.astype(np.float32)
        if value.dtype == np.float64 and not np.array_equal(tensors[key], value, equal_nan=True):
            inexact.append(key)
    problems = [_listed("are float64 with values that float32 does not hold", inexact)] if inexact else []
    _stop(where, problems + _value_problems(tensors))
    return Audit(tensors, dropped, (*found.layout.notes, *_notes(references, tensors)))


def _under(key: object, prefix: str) -> bool:
    return isinstance(key, str) and key.startswith(prefix)


def _sort_keys(found: Found) -> tuple[dict[str, TensorRef], dict[str, tuple[str, ...]], list[str]]:
    """(backbone tensors by torchvision name, rule -> keys left out, keys that nothing explains)."""
    taken: dict[str, TensorRef] = {}
    dropped: dict[str, list[str]] = {}
    extra: list[str] = []
    prefix = found.place.prefix
    # Keys of another encoder in the same container; one whose prefix is the beginning of ours covers nothing
    # that is ours.
    others = [place.prefix for place in found.left_out if place.container == found.place.container]
    for key, value in found.state.items():
        name = key.removeprefix(prefix) if _under(key, prefix) else None
        if name is not None and name in SHAPES and isinstance(value, TensorRef):
            taken[name] = value
            continue
        rule = None
        if name in COUNTERS:
            rule = "num_batches_tracked"
        elif isinstance(key, str):
            covers = (p for p in others if p and key.startswith(p) and (name is None or len(p) > len(prefix)))
            other = next(covers, None)
            rule = f"{other}*" if other else found.layout.drop_rule(key, prefix)
        if rule is None:
            extra.append(str(key)[:120])
        else:
            dropped.setdefault(rule, []).append(str(key))
    return taken, {rule: tuple(keys) for rule, keys in dropped.items()}, extra


def why_not_resnet50(shapes: Mapping[str, Shape]) -> str | None:
    """The reason why tensors under torchvision's names are no plain ResNet-50, or None.

    Only what tells another architecture: a damaged ResNet-50 is for the audit to describe.

    Args:
        shapes: Name without prefix to shape, heads included.
    """
    if "conv1.weight" not in shapes and "conv1.0.weight" in shapes:
        return "a deep stem of several convolutions (ResNet-C or -D)"
    stem = shapes.get("conv1.weight", SHAPES["conv1.weight"])
    if len(stem) == 4 and stem[2:] == (3, 3):
        return "a stem of one 3x3 convolution, for small images such as CIFAR's"
    if len(stem) == 4 and stem[1] in (1, 2):
        return f"a stem that sees {stem[1]} colour channels of 3 (one branch of a two-branch network)"
    if any(".shortcut." in key for key in shapes) and not any(".downsample." in key for key in shapes):
        return "shortcuts under other names, as in the CIFAR variant of SupContrast"
    blocks = _blocks(shapes)
    bottleneck = any(re.fullmatch(r"layer\d+\.\d+\.conv3\.weight", key) for key in shapes)
    if not bottleneck and any(blocks):
        return f"basic blocks of two convolutions ({_BASIC_DEPTHS.get(blocks, f'blocks {blocks}')})"
    if blocks in _DEPTHS:
        return f"a {_DEPTHS[blocks]} (blocks {blocks}, not {STAGES})"
    first, second = shapes.get("layer1.0.conv1.weight"), shapes.get("layer1.0.conv2.weight")
    if (
        first
        and second
        and len(second) == 4
        and second[1] != second[0]
        and shapes.get("layer1.0.bn2.weight") == (second[0],)
    ):
        return "grouped convolutions (ResNeXt)"
    if first and first[0] != 64 and shapes.get("layer1.0.bn1.weight") == first[:1]:
        return f"stages of {first[0]} channels where a ResNet-50 has 64 (half-width or wide ResNet)"
    if len(stem) == 4 and stem[0] != 64 and shapes.get("bn1.weight") == stem[:1]:
        return f"a stem of {stem[0]} filters where a ResNet-50 has 64 (half-width or wide ResNet)"
    return None


def _blocks(shapes: Mapping[str, Shape]) -> tuple[int, ...]:
    numbers: tuple[set[int], ...] = (set(), set(), set(), set())
    for key in shapes:
        match = re.match(r"layer([1-4])\.(\d{1,3})\.", key)
        if match:
            numbers[int(match[1]) - 1].add(int(match[2]))
    return tuple(map(len, numbers))


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
        # Zeros are what a hole in a half-written file reads as; no trained convolution is all zero.
        *having((n for n, v in tensors.items() if v.ndim == 4 and not v.any()), "are zero everywhere"),
    ]


def _stop(where: str, problems: list[str]) -> None:
    if problems:
        raise WeightsError.of([f"{where}: {problem}. Nothing was loaded." for problem in problems])


def _notes(references: Mapping[str, TensorRef], tensors: Mapping[str, np.ndarray]) -> list[str]:
    notes = []
    if any(value.checksum_off for value in references.values()):
        notes.append("the file's checksums are all 0: read unverified")
    for kind in _FLOATS[1:]:
        count = sum(value.dtype == kind for value in references.values())
        if count:
            notes.append(f"{count} tensors were {kind}; converted to float32 without loss")
    means = all(not value.any() for name, value in tensors.items() if name.endswith("running_mean"))
    variances = all((value == 1).all() for name, value in tensors.items() if name.endswith("running_var"))
    if means and variances:
        notes.append("all running statistics are 0 and 1, their initial values: never trained")
    return notes


def check_tensors(tensors: Mapping[str, np.ndarray], where: str) -> None:
    """Hold finished tensors against the architecture: names, shapes, float32, values.

    Raises:
        WeightsError: they are not the 265 of a ResNet-50.
    """
    extra = [name[:120] for name in tensors if name not in SHAPES]
    _stop(where, _key_problems({name: value.shape for name, value in tensors.items()}, extra))
    wrong = [f"{name} ({value.dtype})" for name, value in tensors.items() if value.dtype != np.float32]
    _stop(where, ([_listed("are not float32", wrong)] if wrong else []) + _value_problems(tensors))


def _card(path: Path, name: str, found: Found, audit: Audit) -> Card:
    dropped = [f"{rule} ({len(keys)})" for rule, keys in audit.dropped.items()]
    dropped += [f"{key} (beside the container)" for key in found.top_level[:20]]
    return Card(
        name=name,
        layout=found.layout.name,
        encoder=found.place.prefix,
        source_file=path.name,
        source_sha256=sha256_file(path),
        tensors_sha256=hash_tensors(audit.tensors),
        input=found.layout.input,
        dropped=tuple(dropped),
        notes=audit.notes,
    )
