"""What is in a checkpoint, whether or not it can be used: for `bench inspect`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.card import Card, InputSpec
from bench.core.card_file import find_card, read_declared
from bench.core.errors import WeightsError
from bench.core.tensor_ref import TensorRef
from bench.core.weights import checkpoint_kind, read_card, read_checkpoint, sha256_file, weights_file
from transfer.adapters.haiku import unfold
from transfer.adapters.identify import containers, find_encoders, identify, why_not
from transfer.adapters.layout import Layout
from transfer.adapters.load import encoder_to_take, load


@dataclass(frozen=True)
class Container:
    """One dict of the file.

    Attributes:
        place: Its keys from the outermost dict inwards, joined by `/`; empty for the outermost.
        num_keys: How many keys it has.
        num_tensors: How many of them are tensors.
        num_elements: Elements of these tensors.
        groups: What its tensors' names begin with, `module.` not counted, to how many begin so.
    """

    place: str
    num_keys: int
    num_tensors: int
    num_elements: int
    groups: Mapping[str, int]


@dataclass(frozen=True)
class Encoder:
    """A ResNet in the file.

    Attributes:
        place: Where it is; `--encoder` takes this.
        label: What the layout calls it, where one fits.
        num_names: How many of the 265 names it has.
        why_not: The reason why it is no plain ResNet-50, or None.
    """

    place: str
    label: str | None
    num_names: int
    why_not: str | None


@dataclass(frozen=True)
class Inspection:
    """All that is known of a checkpoint.

    Attributes:
        file, size_bytes, kind, sha256: The file.
        card_file: The card beside it, or None.
        containers, encoders: What is in it.
        layout: The layout that fits, or None.
        encoder: The encoder that is taken.
        num_backbone_tensors: 265, or 0 where `problem` says why not.
        dropped: Rule to the keys that it leaves out.
        beside: Keys beside the container, which are not looked at.
        card: The card of the backbone, or None where there is a problem.
        problem: Why the file cannot be used; empty where it can.
    """

    file: str
    size_bytes: int
    kind: str
    sha256: str
    card_file: str | None = None
    containers: tuple[Container, ...] = ()
    encoders: tuple[Encoder, ...] = ()
    layout: str | None = None
    layout_source: str | None = None
    encoder: str | None = None
    num_backbone_tensors: int = 0
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    card: Card | None = None
    problem: str = ""


def inspect_checkpoint(
    path: Path, encoder: str | None = None, input_spec: InputSpec | None = None
) -> Inspection:
    """Read a checkpoint as a transfer would, and say all that was found on the way.

    Args:
        path: The file, or the folder of a pretraining run.
        encoder: As for `transfer.adapters.load.load_backbone`.
        input_spec: The same.

    Raises:
        WeightsError: the file cannot be read, or is of no kind that holds weights. Every other fault is in
            `problem`.
    """
    path = weights_file(path)
    kind = checkpoint_kind(path)
    card_file = find_card(path)
    facts: dict[str, Any] = {
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "kind": kind,
        "sha256": sha256_file(path),
        "card_file": str(card_file) if card_file else None,
    }
    try:
        _look_inside(path, encoder, input_spec, facts)
    except WeightsError as problem:
        facts["problem"] = str(problem)
    return Inspection(**facts)


def _look_inside(
    path: Path, encoder: str | None, input_spec: InputSpec | None, facts: dict[str, Any]
) -> None:
    """Fill in what is found, up to the first fault. Raises WeightsError for that."""
    checkpoint = unfold(read_checkpoint(path))
    facts["containers"] = tuple(_container(*found) for found in containers(checkpoint) if found[1])
    encoders = find_encoders(checkpoint)
    reasons = {place: why_not(checkpoint, place) for place in encoders}

    def rows(layout: Layout | None) -> tuple[Encoder, ...]:
        return tuple(
            Encoder(str(place), layout.label_of(place) if layout else None, len(keys), reasons[place])
            for place, keys in encoders.items()
        )

    facts["encoders"] = rows(None)
    if read_card(path) is None:
        found = identify(checkpoint, str(path), encoder_to_take(encoder, read_declared(path)))
        facts["encoders"] = rows(found.layout)
        facts["layout"], facts["layout_source"] = found.layout.name, found.layout.source
        facts["encoder"], facts["beside"] = str(found.place), found.beside
    loaded = load(path, encoder=encoder, input_spec=input_spec)
    facts["card"] = loaded.weights.card
    facts["num_backbone_tensors"] = len(loaded.weights.tensors)
    facts["dropped"] = loaded.dropped


def _container(place: tuple[str, ...], state: Mapping[Any, Any]) -> Container:
    tensors = {str(key): value for key, value in state.items() if isinstance(value, TensorRef)}
    groups = Counter(map(_beginning, tensors))
    return Container(
        place="/".join(place),
        num_keys=len(state),
        num_tensors=len(tensors),
        num_elements=sum(math.prod(value.shape) for value in tensors.values()),
        groups=dict(groups),
    )


def _beginning(name: str) -> str:
    """`layer1` of `layer1.0.conv1.weight`, `module.net` of `module.net.bn1.bias`, `res2` of `res2_0_w`."""
    parts = name.split(".")
    if len(parts) == 1:
        return name.partition("_")[0] or name
    return ".".join(parts[: 2 if parts[0] == "module" else 1])
