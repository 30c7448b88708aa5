"""Several stores into one: what is equal is one record, what differs is said and left alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core import atomic
from bench.core.errors import StoreError, UsageError
from bench.core.records import Record
from bench.core.store import Attachment, Store
from bench.results.kept import check_kept, kept_of, kept_path, read_kept

_MAX_SHOWN = 3
"""Fields of a conflict that are shown."""


@dataclass(frozen=True)
class Merge:
    """What a merge did, or would do.

    Attributes:
        num_found: Records in all sources.
        num_there: Of them, those that the destination holds already, or that are there twice.
        added: Places of records that are new in the destination.
        completed: Places of files of predictions that were missing beside a record of the destination.
        problems: A line each: conflicts, and what of the sources cannot be used.
    """

    num_found: int = 0
    num_there: int = 0
    added: list[Path] = field(default_factory=list)
    completed: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    store: Store
    record: Record


def merge(
    sources: Sequence[Store],
    destination: Store,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Merge:
    """Add the records of the sources, each with its file of predictions, to the destination.

    A result of which two places hold different values is not added from either. Nothing is overwritten. What
    was added by a merge that was killed is there already for the next one.

    Args:
        sources: In any order; what comes out does not depend on it.
        destination: Made if it is not there.
        dry_run: Check and read all, write nothing.
        progress: Called with (done, all) results.

    Raises:
        UsageError: a source is not there, or one folder lies in another.
        DiskError: the destination cannot be written.
    """
    destination.check()
    _check_places(sources, destination)
    result = Merge()
    by_place: dict[Path, list[_Found]] = defaultdict(list)
    for store in sources:
        scan = store.scan()
        result.problems.extend(scan.left_out)
        for record in scan.records:
            place = destination.path(record.weights.name, record.task, record.id)
            by_place[place].append(_Found(store, record))
    num_found = sum(map(len, by_place.values()))
    num_there = 0
    for index, place in enumerate(sorted(by_place)):
        found = by_place[place]
        if progress:
            progress(index + 1, len(by_place))
        try:
            old = destination.find(found[0].record.weights.name, found[0].record.task, place.stem)
            known = [*([_Found(destination, old)] if old else []), *found]
            _refuse_conflict(known)
            attachment = _sound(found)
            num_there += len(known) - 1 if old is None else len(found)
            if old is None:
                if not dry_run:
                    destination.add(found[0].record, attachment)
                result.added.append(place)
            elif attachment is not None and (missing := _missing(destination, old)):
                if not dry_run:
                    atomic.write_bytes(missing, attachment.data)
                result.completed.append(missing)
        except StoreError as error:
            result.problems.append(str(error))
    return Merge(num_found, num_there, result.added, result.completed, result.problems)


def _check_places(sources: Sequence[Store], destination: Store) -> None:
    for store in sources:
        if not store.root.is_dir():
            raise UsageError(f"{store.root}: no such folder; expected a results store")
        theirs, ours = store.root.resolve(), destination.root.resolve()
        if theirs.is_relative_to(ours) or ours.is_relative_to(theirs):
            raise UsageError(
                f"{store.root} and {destination.root}: one is the other or lies in it; expected two stores"
            )
    resolved = [store.root.resolve() for store in sources]
    for place in resolved:
        if resolved.count(place) > 1:
            raise UsageError(f"{place}: is given twice")


def _sound(found: Sequence[_Found]) -> Attachment | None:
    """The first whole file of predictions of equal records; None if they keep none.

    Raises:
        StoreError: they keep one, and no source has it whole.
    """
    first: StoreError | None = None
    for item in found:
        try:
            return read_kept(item.store, item.record)
        except StoreError as error:
            first = first or error
    raise first or StoreError("no record")


def _missing(destination: Store, record: Record) -> Path | None:
    """Where the file of predictions of a record in the destination should be and is not.

    Raises:
        StoreError: another file is there, damaged; it is not overwritten.
    """
    kept, path = kept_of(record), kept_path(destination, record)
    if kept is None or path is None:
        return None
    if not path.exists():
        return path
    check_kept(path, kept)
    return None


def _refuse_conflict(known: Sequence[_Found]) -> None:
    """Raises StoreError with both values if two of the records are different results."""
    first, *others = known
    for other in others:
        mine, theirs = first.record.result(), other.record.result()
        if mine == theirs:
            continue
        fields = _differences(mine, theirs)
        shown = "; ".join(f"{name} {one} and {two}" for name, one, two in fields[:_MAX_SHOWN])
        more = f" and {len(fields) - _MAX_SHOWN} more fields" if len(fields) > _MAX_SHOWN else ""
        record = first.record
        places = [item.store.path(record.weights.name, record.task, record.id) for item in (first, other)]
        raise StoreError(
            f"{places[0]} and {places[1]}: two results of the same weights, protocol and seed: "
            f"{shown}{more}. Neither was added or overwritten; keep both in two stores, or delete one"
        )


def _differences(mine: Any, theirs: Any, prefix: str = "") -> list[tuple[str, str, str]]:
    """(field, one value, other value), metrics first, long values cut."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        keys = sorted(mine.keys() | theirs.keys(), key=lambda key: (key != "metrics", key))
        return [
            difference
            for key in keys
            for difference in _differences(mine.get(key), theirs.get(key), f"{prefix}.{key}".lstrip("."))
        ]
    if mine == theirs:
        return []
    one, two = (_cut(value) for value in (mine, theirs))
    return [(prefix, one, two)]


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
