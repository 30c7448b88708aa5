"""The records behind the rows, as the JSON that the page opens them from.

What many records share (a protocol's fields, the packages of a machine) is in it once and referred to by its
place in a list: 1,000 records are below 2 MB. All is text to be shown: the page computes nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.core.paths import DEFAULT_RESULTS
from bench.core.records import MACHINE, SEAL, Record, sealed
from bench.report.grid import NONE, Table, mean_and_std, number, rank, verdict_text
from bench.report.html.chart_details import OF_CLASS, PER_CLASS, class_scores
from bench.report.leaderboard import Ends, Gap, Leaderboard, Row
from bench.report.render import plain

Pairs = list[list[str]]
"""Lines of a name and a text."""

IMPORTED: Final = "imported"
PREDICTIONS: Final = "predictions"
"""Keys of `details`: where a record from elsewhere came from, and what is kept beside it."""

_LONG_LETTERS: Final = 40
"""Of an item that gets a line of its own: a note, not a name or a number."""

_MAX_LINES: Final = 80
_MAX_LETTERS: Final = 400
"""Of one list and of one value: a record from elsewhere may hold anything in its details."""


def row_key(table: int, row: int) -> str:
    """What names a row in the page: table and row, counted from 0."""
    return f"{table}.{row}"


class _Shared:
    """What all records of a page have in common: lists of pairs, each kept once, and their store.

    Attributes:
        option: What a command must be told to find the store, "" where it looks there anyway.
    """

    def __init__(self, results: Path) -> None:
        self.option = "" if results == DEFAULT_RESULTS else f" --results {shlex.quote(plain(str(results)))}"
        self.kept: list[Pairs] = []
        self._places: dict[str, int] = {}

    def place(self, pairs: Pairs) -> int:
        key = json.dumps(pairs)
        if key not in self._places:
            self._places[key] = len(self.kept)
            self.kept.append(pairs)
        return self._places[key]


def as_data(tables: Sequence[Table], records: Mapping[str, Record], results: Path = DEFAULT_RESULTS) -> str:
    """JSON that may stand inside `<script type="application/json">`.

    Args:
        tables: As they are shown; of published rows alone there are no records.
        records: By id, at least all that the tables name.
        results: The store that they lie in.
    """
    shared = _Shared(results)
    rows = {}
    for place, board in enumerate(tables):
        if isinstance(board, Leaderboard):
            first = records[board.rows[0].trials[0].record]
            protocol = shared.place(_protocol(board, first))
            for index, row in enumerate(board.rows):
                rows[row_key(place, index)] = {"protocol": protocol, **_row(board, row, records, shared)}
    return inert({"rows": rows, "shared": shared.kept})


def inert(value: Any) -> str:
    """JSON in which nothing can end the script element it stands in, or begin a comment there."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _row(board: Leaderboard, row: Row, records: Mapping[str, Record], shared: _Shared) -> dict[str, Any]:
    trials = [records[trial.record] for trial in row.trials]
    first = trials[0]
    classes = sorted(class_scores(first, board.metrics[0]))
    return {
        "title": plain(row.label),
        "place": f"{plain(board.task)}, {plain(board.protocol)}: {board.status}",
        "rank": rank(row),
        "metrics": [
            [plain(metric), mean_and_std(cell.mean, cell.std), interval_words(cell.interval),
             [values.get(trial.seed, NONE) for trial in row.trials]]
            for metric in board.metrics if (cell := row.cells.get(metric))
            for values in [dict(zip(cell.seeds, (f"{value:.4f}" for value in cell.values), strict=True))]
        ],
        "seeds": [str(trial.seed) for trial in row.trials],
        "differences": [
            [plain(baseline), plain(metric), *_gap(gap)]
            for baseline in board.baselines
            for metric in board.metrics if (gap := row.differences.get(baseline, {}).get(metric))
        ],
        "verdicts": [plain(verdict_text(item)) for item in board.verdicts if item.label == row.label],
        "score": f"{plain(OF_CLASS.get(board.metrics[0], board.metrics[0]))} per class",
        "classes": shared.place([[plain(name)] for name in classes]),
        "weights": shared.place(_weights(first)),
        "data": shared.place(_data(first)),
        "records": [_record(record, board.metrics[0], classes, shared) for record in trials],
    }  # fmt: skip


def interval_words(interval: Ends | None) -> str:
    """As "56.8 to 57.3"; a single trial has none."""
    return NONE if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def _gap(gap: Gap) -> list[str]:
    error = NONE if gap.standard_error is None else f"{gap.standard_error:.2f}"
    return [number(gap.value, signed=True), error, *gap_words(gap)]


def gap_words(gap: Gap) -> tuple[str, str]:
    """Its interval, as "+0.20 to +1.4", and whether that is more than noise."""
    noise = {True: "beyond noise", False: "~ not beyond noise", None: "single trial"}
    told = NONE if gap.interval is None else " to ".join(number(end, signed=True) for end in gap.interval)
    return told, noise[gap.beyond_noise]


def _protocol(board: Leaderboard, record: Record) -> Pairs:
    """Equal for all records of a table, or they would not share it."""
    stamp = record.protocol
    told = [["slug", plain(stamp.slug)], ["status", stamp.status], ["identity", stamp.identity]]
    told += [["departs", plain(text)] for text in board.departures]
    told += [
        ["task", f"{plain(record.task)}, version {record.task_version}"],
        ["engine", plain(record.engine)],
    ]
    return told + pairs({name: value for name, value in stamp.fields.items() if name not in ("slug", "task")})


def _weights(record: Record) -> Pairs:
    card = record.weights.model_dump(mode="json")
    hashes = {"tensors_sha256": card.pop("tensors_sha256") or "none: initialised from the seed"}
    name = {"name": card.pop("name")}
    return pairs({**name, **hashes, **{key: value for key, value in card.items() if value}})


def _data(record: Record) -> Pairs:
    data = record.data
    told = {"name": data.name, "fingerprint": data.fingerprint, "images": data.counts}
    return pairs({**told, "classes": len(data.classes), "notes": data.notes})


def _record(record: Record, metric: str, classes: Sequence[str], shared: _Shared) -> dict[str, Any]:
    made = record.provenance
    machine = {
        "transfer-bench": made.bench_version,
        "python": made.python,
        "platform": made.platform,
        "hardware": made.hardware,
    }
    scores = class_scores(record, metric)
    kept = record.details.get(PREDICTIONS)
    hidden = {PER_CLASS, PREDICTIONS, MACHINE}
    details = {key: value for key, value in record.details.items() if key not in hidden}
    hashes = [["record", record.id], ["seal (sha256)", sealed(record)[SEAL]]]
    if isinstance(kept, dict) and "sha256" in kept:
        hashes.append(["predictions (sha256)", plain(str(kept["sha256"]))])
    found: dict[str, Any] = {
        "id": record.id,
        "seed": record.seed,
        "commit": _commit(record),
        "made": f"{plain(made.created)}, in {made.wall_seconds:,.0f} s",
        "hashes": hashes,
        "command": plain(shlex.join(made.command)),
        "machine": shared.place(pairs(machine)),
        "packages": shared.place(pairs(made.packages)),
        "details": shared.place(pairs(details)),
        "scores": [round(scores[name], 1) if name in scores else None for name in classes],
    }
    if IMPORTED not in record.details:
        found["reproduce"] = f"bench reproduce {record.id}{shared.option}"
    return found


def _commit(record: Record) -> str:
    made = record.provenance
    if made.git_commit is None:
        return "not known"
    return plain(made.git_commit) + (" with local changes" if made.git_dirty else "")


def pairs(value: Mapping[str, Any]) -> Pairs:
    """A nested mapping flat and sorted, as `solver.learning_rate`, `0.02`; cut where it is very long."""
    found: Pairs = []
    _flatten("", value, found)
    if len(found) > _MAX_LINES:
        found[_MAX_LINES:] = [["...", f"{len(found) - _MAX_LINES} more in the record's file"]]
    return found


def _flatten(name: str, value: Any, found: Pairs) -> None:
    if isinstance(value, Mapping) and value:
        for key in sorted(value):  # equal records may hold their keys in another order
            _flatten(f"{name}.{key}" if name else str(key), value[key], found)
    elif isinstance(value, list | tuple):
        items = [_scalar(item) for item in value]
        sentences = any(len(item) > _LONG_LETTERS for item in items)
        for text in items if sentences else [", ".join(items) or "none"]:
            _add(name, text, found)
    else:
        _add(name, _scalar(value), found)


def _add(name: str, text: str, found: Pairs) -> None:
    shown = plain(text)
    if len(shown) > _MAX_LETTERS:
        shown = f"{shown[:_MAX_LETTERS]}... ({len(shown):,} letters)"
    found.append([plain(name), shown])


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
