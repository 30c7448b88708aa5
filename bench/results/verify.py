"""A store from end to end: every record, every file beside one, and every file that belongs to none."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.atomic import TEMP_PREFIX
from bench.core.errors import StoreError
from bench.core.protocol import identity_of
from bench.core.records import Record
from bench.core.store import CLAIMS, Store
from bench.results.kept import check_kept, kept_of

_BESIDE = re.compile(r"(?P<id>[0-9a-f]{16})-[0-9a-f]{16}\.[A-Za-z0-9._-]+")
"""The name of a file beside a record."""


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        num_good: Records without a problem.
        num_predictions: Files of predictions that are whole.
        problems: A line each; something that must be mended before the store is used.
        leftovers: A line each; harmless: what writers that were killed, or are at work now, have left.
    """

    num_good: int = 0
    num_predictions: int = 0
    problems: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def verify(store: Store, progress: Callable[[int, int], None] | None = None) -> Verdict:
    """Check everything in a store; nothing is written.

    Writers may be at work meanwhile: what they are about to finish is a leftover, never a problem.

    Args:
        store: What to check.
        progress: Called with (done, all) records.
    """
    # Files first: what is written after this look cannot be taken for a file that belongs to nothing.
    files = list(_other_files(store.root))
    scan = store.scan()
    faults: dict[int, list[str]] = defaultdict(list)
    owned: set[Path] = set()
    num_predictions = 0
    for index, record in enumerate(scan.records):
        faults[index] += _faults(store, record)
        try:
            kept = kept_of(record)
            if kept is not None:
                path = store.attachment_path(record, kept.sha256, kept.suffix)
                owned.add(path)
                check_kept(path, kept)
                num_predictions += 1
        except StoreError as error:
            faults[index].append(str(error))
        if progress:
            progress(index + 1, len(scan.records))
    for indices, line in _twins(store, scan.records):
        for index in indices:
            faults[index].append(line)
    problems = [*map(_mended, scan.left_out)]
    problems += dict.fromkeys(line for index in sorted(faults) for line in faults[index])
    leftovers: list[str] = []
    ids = {(record.weights.name, record.task, record.id) for record in scan.records}
    for path in files:
        if path not in owned:
            left = _leftover(path, ids)
            (leftovers if left else problems).append(left or _stray(path))
    return Verdict(
        num_good=sum(not faults[index] for index in range(len(scan.records))),
        num_predictions=num_predictions,
        problems=problems,
        leftovers=leftovers,
    )


def _faults(store: Store, record: Record) -> list[str]:
    """What is wrong with the content of a record that is whole and in its place."""
    path = store.path(record.weights.name, record.task, record.id)
    protocol = record.protocol
    lines = []
    expected = identity_of(record)
    if protocol.identity != expected:
        lines.append(
            f"{path}: its identity is {protocol.identity[:12]}..., its fields, task, data and counts give "
            f"{expected[:12]}...; it would stand in a table it does not belong to"
        )
    lines += [
        f"{path}: {name} is {metric.value}; expected a percentage"
        for name, metric in record.metrics.items()
        if not 0.0 <= metric.value <= 100.0
    ]
    if protocol.status == "exact" and protocol.departures:
        lines.append(f"{path}: its status is exact, and it departs: {'; '.join(protocol.departures)}")
    if protocol.status != "exact" and not protocol.departures:
        lines.append(f"{path}: its status is {protocol.status}, and it names no departure")
    return lines


def _twins(store: Store, records: list[Record]) -> Iterator[tuple[list[int], str]]:
    """Trials that are there twice: equal weights, task, protocol and seed, under two names of the weights."""
    by_id: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        by_id[record.id].append(index)
    for id_, indices in by_id.items():
        if len(indices) < 2:
            continue
        names = sorted(records[index].weights.name for index in indices)
        first = records[indices[0]]
        numbers = sorted({records[index].metrics[first.main_metric].value for index in indices})
        yield (
            indices,
            f"{store.root}: trial {id_} ({first.task}, seed {first.seed}) is there under {len(names)} names "
            f"of the same weights, {', '.join(names)} ({first.main_metric} "
            f"{' and '.join(f'{number:.4f}' for number in numbers)}); keep one of them",
        )


def _other_files(root: Path) -> Iterator[Path]:
    """Every file that is not named as a record, and every temporary folder as one."""
    for folder, subfolders, names in os.walk(root):
        temporary = [name for name in subfolders if name.startswith(TEMP_PREFIX)]
        claims = [CLAIMS] if Path(folder) == root else []
        subfolders[:] = sorted(set(subfolders) - set(temporary) - set(claims))
        yield from (Path(folder, name) for name in sorted(temporary))
        yield from (Path(folder, name) for name in sorted(names) if not name.endswith(".json"))


def _leftover(path: Path, ids: set[tuple[str, str, str]]) -> str | None:
    """A line for what a writer leaves that is killed, or None for what no writer of ours leaves."""
    if path.name.startswith(TEMP_PREFIX):
        return f"{path}: left by a writer that was killed or is at work; it holds no result"
    match = _BESIDE.fullmatch(path.name)
    if not match:
        return None
    if (path.parent.parent.name, path.parent.name, match["id"]) in ids:
        return f"{path}: of a record that keeps another file; it is not used"
    return f"{path}: predictions of no record: its writer was killed before it, or the record was deleted"


def _stray(path: Path) -> str:
    return f"{path}: belongs to no record; a store holds records alone"


def _mended(line: str) -> str:
    """A line of a scan, with what to do where the file is empty."""
    path = Path(line.partition(".json: ")[0] + ".json")
    try:
        empty = path.is_file() and path.stat().st_size == 0
    except OSError:
        empty = False
    if not empty:
        return line
    return f"{path}: empty: left by a writer that was killed where there are no hard links; delete it"
