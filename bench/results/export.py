"""All records as one flat table, a line for each number: for pandas and R.

The long form, since tasks have different metrics: a wide one would be mostly empty. A pivot makes it wide.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from bench.core import atomic
from bench.core.records import Record

COLUMNS = (
    "record", "task", "task_version", "engine", "protocol", "identity", "status", "departures", "data",
    "data_fingerprint", "num_classes", "weights", "weights_key", "tensors_sha256", "layout", "encoder",
    "arch", "seed", "metric", "value", "unit", "higher_is_better", "is_main", "created", "wall_seconds",
    "git_commit", "git_dirty", "bench_version", "torch",
)  # fmt: skip
"""Of a line, in this order; a new column is added at the end."""


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A line for each metric of each record, by task, protocol, identity, weights, seed and metric.

    The order depends on the records alone, not on that in which they come.
    """
    lines = [line for record in records for line in _lines(record)]
    return sorted(lines, key=_order)


def _order(line: dict[str, Any]) -> tuple[Any, ...]:
    table = (line["task"], line["task_version"], line["protocol"], line["identity"])
    trial = (line["weights"], line["weights_key"], line["seed"], line["record"])
    return (*table, *trial, not line["is_main"], line["metric"])


def _lines(record: Record) -> Iterable[dict[str, Any]]:
    protocol, data, card, made = record.protocol, record.data, record.weights, record.provenance
    same = {
        "record": record.id,
        "task": record.task,
        "task_version": record.task_version,
        "engine": record.engine,
        "protocol": protocol.slug,
        "identity": protocol.identity,
        "status": protocol.status,
        "departures": "; ".join(protocol.departures),
        "data": data.name,
        "data_fingerprint": data.fingerprint,
        "num_classes": len(data.classes),
        "weights": card.name,
        "weights_key": card.key,
        "tensors_sha256": card.tensors_sha256,
        "layout": card.layout,
        "encoder": card.encoder or None,
        "arch": card.arch,
        "seed": record.seed,
        "created": made.created,
        "wall_seconds": made.wall_seconds,
        "git_commit": made.git_commit,
        "git_dirty": made.git_dirty,
        "bench_version": made.bench_version,
        "torch": made.packages.get("torch"),
    }
    for name, metric in record.metrics.items():
        of_metric = {
            "metric": name,
            "value": metric.value,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
            "is_main": name == record.main_metric,
        }
        line = {**same, **of_metric}
        yield {column: line[column] for column in COLUMNS}


def as_csv(lines: Iterable[dict[str, Any]]) -> str:
    """RFC 4180 with a header and "\\n"; nothing is an empty cell, yes and no are `true` and `false`.

    Numbers have as many digits as they need to be read back bit for bit; text has no control characters.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)
    return "" if value is None else value


def as_json(lines: Iterable[dict[str, Any]]) -> str:
    """A list of the same lines as objects, with null, true and false."""
    return atomic.json_text(list(lines))
