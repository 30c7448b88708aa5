"""The identity of a protocol: a hash over everything that moves the number.

A config field counts unless it is marked `not_in_identity`, so a new field counts until somebody has
thought about it. Weights and their input spec are not part of it; the data fingerprint is.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from bench.core.records import Record

_MARK = {"identity": False}


def not_in_identity(default: Any, **constraints: Any) -> Any:
    """A pydantic field that cannot move a number: workers, paths, how often to save or print."""
    return Field(default, json_schema_extra=dict(_MARK), **constraints)


def _is_marked(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return isinstance(extra, dict) and extra.get("identity") is False


def number_changing(config: BaseModel) -> dict[str, Any]:
    """The fields of `config` that count, as nested plain values."""
    values: dict[str, Any] = {}
    for name, info in type(config).model_fields.items():
        if _is_marked(info):
            continue
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            values[name] = number_changing(value)
        else:
            values[name] = json.loads(json.dumps(value))
    return values


def identity(
    fields: dict[str, Any],
    *,
    task: str,
    task_version: int,
    data_fingerprint: str,
    split_counts: dict[str, int],
) -> str:
    """64 hex digits; equal if and only if two results may stand in one column.

    Args:
        fields: `number_changing` of the protocol as it was run.
        task: The task's name.
        task_version: Rises whenever the task's numbers would move.
        data_fingerprint: Hash of the data set's content.
        split_counts: Images used per split.
    """
    everything = {
        "fields": fields,
        "task": task,
        "task_version": task_version,
        "data": data_fingerprint,
        "counts": split_counts,
    }
    return digest(everything)


def identity_of(record: Record) -> str:
    """The identity that follows from the rest of a record: its own, unless somebody wrote another."""
    return identity(
        record.protocol.fields,
        task=record.task,
        task_version=record.task_version,
        data_fingerprint=record.data.fingerprint,
        split_counts=record.data.counts,
    )


def digest(value: dict[str, Any]) -> str:
    """sha256 of plain values as JSON with sorted keys; 64 hex digits."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(
    fields: dict[str, Any], protocol: dict[str, Any], prefix: str = "", *, what: str = "protocol"
) -> list[str]:
    """Each field that differs from what its file says, as "a.b: now (protocol: then)"; `what` is the file."""
    found: list[str] = []
    for key in sorted(fields.keys() | protocol.keys()):
        now, then = fields.get(key), protocol.get(key)
        if isinstance(now, dict) and isinstance(then, dict):
            found += differences(now, then, f"{prefix}{key}.", what=what)
        elif now != then:
            found.append(f"{prefix}{key}: {json.dumps(now)} ({what}: {json.dumps(then)})")
    return found
