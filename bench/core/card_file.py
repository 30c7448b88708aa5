"""The card as a JSON file beside a checkpoint: `NAME.card.json` says what `NAME` itself cannot.

We write one beside every file that we convert or download, and into those that have a place for it. Anybody
may write one beside a checkpoint of theirs, with the fields that they know: what it says is used, and what
can be checked is checked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core import atomic
from bench.core.card import Card, InputSpec, Text
from bench.core.errors import WeightsError, did_you_mean
from bench.core.pickle_values import shown
from bench.core.safe_json import parse_json, read_json

CARD_KEY = "transfer_bench.card"
"""Under this key lies the card, as JSON text, inside a file that can hold it."""

MAX_BYTES = 1024**2
_MAX_LINKS = 40  # as many as Linux follows

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Declared(BaseModel):
    """The fields of a card, each of which may be left out.

    `tensors_sha256`, where it stands, must be that of the backbone read; `source_sha256`, where the former
    does not stand, that of the file beside which the card lies; `layout` there the one that the file has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    arch: Literal["resnet50"] = "resnet50"
    layout: Text | None = None
    encoder: Text | None = None
    source_file: Text | None = None
    source_sha256: Sha256 | None = None
    tensors_sha256: Sha256 | None = None
    input: InputSpec | None = None
    licence: Text = ""
    url: Text = ""
    dropped: tuple[Text, ...] = ()
    notes: tuple[Text, ...] = ()


def card_path(path: Path) -> Path:
    """Where the card of the file at `path` lies: `moco.pth.tar.card.json`."""
    return path.with_name(f"{path.name}.card.json")


def find_card(path: Path) -> Path | None:
    """The card of the file at `path`, or None: beside it or, where it is a link, beside what it links to.

    Of several on a chain of links the first counts. A card that is itself a broken link counts as there, so
    that reading it fails.
    """
    for _ in range(_MAX_LINKS):
        if os.path.lexists(card_path(path)):
            return card_path(path)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    real = card_path(Path(os.path.realpath(path)))
    return real if os.path.lexists(real) else None


def read_declared(path: Path) -> Declared | None:
    """What the card of the checkpoint at `path` says, or None if there is no card.

    Raises:
        WeightsError: the card cannot be read, has an unknown key, or a value that is none.
    """
    place = find_card(path)
    if place is None:
        return None
    return declare(read_json(place, error=WeightsError, max_bytes=MAX_BYTES), str(place))


def declared_inside(checkpoint: Mapping[Any, Any], where: str) -> Declared | None:
    """What the card inside a checkpoint that we converted says, or None for any other.

    Args:
        checkpoint: As `bench.core.weights.read_checkpoint` gives it.
        where: The file, for messages.

    Raises:
        WeightsError: there is a card that is none.
    """
    meta = checkpoint.get("meta")
    for holder in (checkpoint, meta if isinstance(meta, Mapping) else {}):
        text = holder.get(CARD_KEY)
        if isinstance(text, str):
            where = f"{where}: card inside"
            return declare(parse_json(text[:MAX_BYTES], where, error=WeightsError), where)
    return None


def declare(value: Any, where: str) -> Declared:
    """The card in a JSON value; `where` names it. Raises WeightsError for a value that is none."""
    if not isinstance(value, dict):
        raise WeightsError(f"{where}: expected an object with the fields of a card")
    try:
        return Declared.model_validate(value)
    except ValidationError as cause:
        raise WeightsError.of([f"{where}: {_problem(item)}" for item in cause.errors()]) from None


def _problem(item: object) -> str:
    if not isinstance(item, dict):
        raise TypeError(type(item).__name__)
    location = [shown(str(part))[:60] for part in item["loc"]]
    where = ".".join(location)
    if item["type"] != "extra_forbidden":
        return f"{where}: {item['msg']}"
    fields = InputSpec.model_fields if len(location) > 1 else Declared.model_fields
    return f"{where}: unknown key.{did_you_mean(location[-1], list(fields))}"


def card_text(card: Card) -> str:
    """What stands in the card of a file, for the caller to write at `card_path`."""
    return atomic.json_text(card.model_dump(mode="json"))
