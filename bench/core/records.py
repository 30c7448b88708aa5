"""A record: one trained and evaluated trial, everything that made its number, in one JSON file.

The identity of a record is (weights, task, task version, protocol identity, seed). Time and machine are
written down but are no part of it: two records are the same result if they are equal in all other fields.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.core.card import Card
from bench.core.errors import StoreError

SCHEMA_VERSION: Final = 1

MACHINE: Final = "machine"
"""The key of `details` under which stands what may be another on another machine."""

Status = Literal["exact", "substituted", "custom"]
"""exact: every field as published. substituted: a documented stand-in, named in `departures`, e.g. plain
BN on one device for SyncBN. custom: anything else; never in one column with published rows."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProtocolStamp(_Frozen):
    """What was run. `identity` hashes every number-changing field and the data fingerprint."""

    slug: str
    identity: str = Field(pattern=r"^[0-9a-f]{64}$")
    status: Status
    departures: tuple[str, ...] = ()
    fields: dict[str, Any]


class DataStamp(_Frozen):
    """What it was run on. `counts` is images per split."""

    name: str
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    counts: dict[str, int]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Metric(_Frozen):
    """One number, full precision."""

    value: float
    unit: Literal["percent"] = "percent"
    higher_is_better: bool = True


class Provenance(_Frozen):
    """Where the record came from; `created` is ISO 8601 in UTC."""

    created: str
    wall_seconds: float
    git_commit: str | None
    git_dirty: bool | None
    bench_version: str
    python: str
    platform: str
    packages: dict[str, str]
    hardware: dict[str, str]
    command: tuple[str, ...]


class Record(_Frozen):
    """One result file."""

    schema_version: Literal[1] = SCHEMA_VERSION
    task: str
    task_version: int = Field(ge=1)
    engine: str
    protocol: ProtocolStamp
    data: DataStamp
    weights: Card
    seed: int = Field(ge=0)
    metrics: dict[str, Metric]
    main_metric: str
    details: dict[str, Any] = {}
    provenance: Provenance

    @model_validator(mode="after")
    def _main_metric_is_there(self) -> Record:
        if self.main_metric not in self.metrics:
            raise ValueError(f"main_metric {self.main_metric!r} is not among the metrics")
        return self

    @property
    def id(self) -> str:
        """16 hex digits of the hash of (weights, task, task version, protocol identity, seed)."""
        key = self.weights.key
        return record_id(key, self.task, self.task_version, self.protocol.identity, self.seed)

    def result(self) -> dict[str, Any]:
        """Everything but time, machine and command: what must be equal for two records to be one result."""
        return self.model_dump(mode="json", exclude={"provenance": True, "details": {MACHINE}})


def record_id(weights: str, task: str, task_version: int, identity: str, seed: int) -> str:
    """The id a record of these will have; `weights` is the `key` of their card."""
    key = json.dumps([weights, task, task_version, identity, seed])
    return hashlib.sha256(key.encode()).hexdigest()[:16]


SEAL = "sha256"
"""The key in a record's file that holds the hash of all others."""


def sealed(record: BaseModel) -> dict[str, Any]:
    """What a record's file holds: all fields, and a hash over them by which a later edit is found.

    It guards against a slip of the editor or of a script, not against a forger, who can hash as well.
    """
    value = record.model_dump(mode="json")
    return {**value, SEAL: seal(value)}


def seal(value: dict[str, Any]) -> str:
    """The hash over the other fields of a record's file, 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_record(value: Any, where: str) -> Record:
    """A checked record from the parsed JSON of its file; `where` is the file for the message.

    Raises:
        StoreError: another schema version, changed since it was written, a missing or unknown field, a value
            out of range.
    """
    if not isinstance(value, dict):
        raise StoreError(f"{where}: not a record: expected an object, found {type(value).__name__}")
    version = value.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise StoreError(f"{where}: record schema {version!r}; this version reads schema {SCHEMA_VERSION}")
    return unsealed(Record, value, where)


R = TypeVar("R", bound=BaseModel)


def unsealed(model: type[R], value: dict[str, Any], where: str) -> R:
    """A checked record of a model from what its file holds.

    Raises:
        StoreError: changed since it was written, a missing or unknown field, a value out of range.
    """
    fields = {name: content for name, content in value.items() if name != SEAL}
    if value.get(SEAL) != seal(fields):
        raise StoreError(
            f"{where}: its {SEAL} does not fit its content: it was changed after it was written. "
            "Put the original back, or run that trial again into another --results folder"
        )
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{where}: not a valid record: {place}: {first['msg']}") from None
