"""The results store: one file a record, created once, never changed, no index.

`<root>/<weights name>/<task>/<id>.json`. Readers scan; what cannot be read is named, not skipped in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.core import atomic
from bench.core.errors import BenchError, StoreError
from bench.core.paths import safe_name
from bench.core.records import Record, parse_record, sealed
from bench.core.safe_json import read_json

CLAIMS = ".claims"
"""A folder in the store that holds no records: who is at work on one, see `bench.sweep.claims`."""

MAX_RECORD_BYTES = 64 * 1024**2
"""Far above any record of ours; a larger file is refused before it is read."""


@dataclass(frozen=True)
class Attachment:
    """A file kept beside a record: its content, and the end of its name with a dot before it.

    `sha256` is of what the file stands for, which may be packed in `data`; the file is named by it.
    """

    suffix: str
    data: bytes
    sha256: str


@dataclass(frozen=True)
class Scan:
    """What a scan found: records sorted by path, and a line for each file left out."""

    records: list[Record] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Store:
    """A folder of records."""

    root: Path

    def check(self) -> None:
        """Say before a run what would fail after it.

        Raises:
            StoreError: something else than a folder is in the place of the store.
        """
        for place in (self.root, *self.root.parents):
            if place.exists():
                if not place.is_dir():
                    raise StoreError(f"{place}: is no folder, so results cannot be kept in {self.root}")
                return

    def path(self, weights_name: str, task: str, id_: str) -> Path:
        """Where the record with this id lies, or would."""
        name = safe_name(weights_name, "weights name", error=StoreError)
        return self.root / name / safe_name(task, "task", error=StoreError) / f"{id_}.json"

    def attachment_path(self, record: Record, sha256: str, suffix: str) -> Path:
        """Where a file beside this record lies, or would; another content has another name."""
        path = self.path(record.weights.name, record.task, record.id)
        return path.with_name(f"{path.stem}-{sha256[:16]}{suffix}")

    def add(self, record: Record, attachment: Attachment | None = None) -> Path:
        """Write a new record. The same result a second time is success and changes nothing.

        Args:
            record: What to keep.
            attachment: Written before it, so that no record is ever without.

        Raises:
            StoreError: another result has this id; the message shows both values.
            DiskError: the place cannot be written.
        """
        path = self.path(record.weights.name, record.task, record.id)
        data = atomic.json_text(sealed(record)).encode()
        if attachment is not None and not path.exists():
            atomic.write_bytes(
                self.attachment_path(record, attachment.sha256, attachment.suffix), attachment.data
            )
        try:
            atomic.create_bytes(path, data)
        except FileExistsError:
            old = _read(path)
            if old.result() != record.result():
                there = old.metrics[old.main_metric].value
                now = record.metrics[record.main_metric].value
                raise StoreError(
                    f"{path}: holds another result of the same weights, protocol and seed "
                    f"({record.main_metric} {there:.4f} there, {now:.4f} now). Nothing was overwritten; "
                    "give another --results folder to keep both."
                ) from None
        return path

    def find(self, weights_name: str, task: str, id_: str) -> Record | None:
        """The record with this id, or None.

        Raises:
            StoreError: its file cannot be read.
        """
        path = self.path(weights_name, task, id_)
        if not path.exists():
            return None
        return _read(path)

    def predictions(self, record: Record) -> tuple[bytes, str, Path]:
        """The file of predictions beside a record: its content, the sha256 that it must have, its place.

        Raises:
            StoreError: the record has none, or it is not there.
        """
        kept = record.details.get("predictions")
        if not isinstance(kept, dict) or not kept.keys() >= {"sha256", "suffix"}:
            raise StoreError(f"record {record.id}: keeps no predictions")
        path = self.attachment_path(record, kept["sha256"], kept["suffix"])
        try:
            return path.read_bytes(), kept["sha256"], path
        except OSError as error:
            raise StoreError(f"{path}: the record's predictions cannot be read: {error.strerror}") from None

    def scan(self) -> Scan:
        """All records below the root; a file that is not one, or lies under a wrong name, is named."""
        scan = Scan()
        for path in json_files(self.root, scan.left_out):
            try:
                record = _read(path)
                expected = self.path(record.weights.name, record.task, record.id)
                if expected != path:
                    raise StoreError(f"{path}: its content belongs to {expected}; was it edited or moved?")
            except BenchError as error:
                scan.left_out.append(str(error))
            else:
                scan.records.append(record)
        return scan


def json_files(root: Path, left_out: list[str]) -> Iterator[Path]:
    """Every `.json` at any depth, sorted: a record moved to a wrong depth must be named, not missed.

    Args:
        root: A folder of records, which need not be there.
        left_out: Gets a line for each folder that cannot be read, or is a link.
    """

    def unreadable(error: OSError) -> None:
        if error.filename != str(root) or root.exists():
            left_out.append(f"{error.filename}: cannot be read: {error.strerror}")

    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        subfolders.sort()
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):
                left_out.append(f"{os.path.join(folder, name)}: a link to a folder; links are not followed")
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".json"))


def _read(path: Path) -> Record:
    return parse_record(read_json(path, error=StoreError, max_bytes=MAX_RECORD_BYTES), str(path))
