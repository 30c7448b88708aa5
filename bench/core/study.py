"""A study record: what one setting of a study of views gave with one seed, in one JSON file.

`<root>/<study>/<id>.json`, created once. The identity of a record is (study, version, identity of the
config and its data, setting, seed); only records of equal identity stand in one plot, since I_NCE depends on
the networks and on the number of candidates.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.core import atomic
from bench.core.errors import BenchError, StoreError
from bench.core.paths import safe_name
from bench.core.records import DataStamp, Provenance, sealed, unsealed
from bench.core.safe_json import read_json
from bench.core.store import json_files

STUDY_SCHEMA: Final = 1

Size = Literal["full", "laptop", "smoke"]
"""Of a study's configs, from what means most to what means least."""

MAX_BYTES = 4 * 1024**2
"""Far above any record of a study."""


class StudyRecord(BaseModel):
    """One cell of a study.

    Attributes:
        study: Its name in the registry, "colour".
        study_version: Rises whenever its numbers would move.
        size: Which of the configs in three sizes it came from.
        custom: Whether values of that config were changed by hand.
        identity: Hash of everything that moves the numbers but setting and seed, data included.
        setting: Which views, "YDbDr 1|23", "64 px apart".
        series: Settings that are drawn as one: "raw", "learned".
        knob: The number that was turned, or None where settings are no numbers.
        knob_name: What it is, with its unit: "distance (px)"; empty where there is none.
        seed: Of weights and draws.
        i_nce: log K - loss on pairs that were not trained on, in nats; at most log K.
        num_candidates: K.
        critic: What scores a pair, in words.
        scores: What the representation is good for, each in percent, more is better.
        data: What it was measured on.
        config: The whole config.
        details: Further numbers and texts of the study.
        provenance: Where and when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = STUDY_SCHEMA
    study: str
    study_version: int = Field(ge=1)
    size: Size
    custom: bool
    identity: str = Field(pattern=r"^[0-9a-f]{64}$")
    setting: str
    series: str
    knob: float | None
    knob_name: str
    seed: int = Field(ge=0)
    i_nce: float
    num_candidates: int = Field(ge=2)
    critic: str
    scores: dict[str, float]
    data: DataStamp
    config: dict[str, Any]
    details: dict[str, Any] = {}
    provenance: Provenance

    @property
    def id(self) -> str:
        """16 hex digits of what identifies the cell."""
        return study_id(self.study, self.study_version, self.identity, self.setting, self.seed)

    def result(self) -> dict[str, Any]:
        """Everything but time and machine."""
        return self.model_dump(mode="json", exclude={"provenance"})


def study_id(study: str, version: int, identity: str, setting: str, seed: int) -> str:
    """The id that a cell's record will have."""
    key = json.dumps([study, version, identity, setting, seed])
    return hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class StudyScan:
    """What a scan found: records by study, setting and seed, and a line for each file left out."""

    records: list[StudyRecord] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StudyStore:
    """A folder of study records."""

    root: Path

    def path(self, study: str, id_: str) -> Path:
        """Where the record with this id lies, or would."""
        return self.root / safe_name(study, "study", error=StoreError) / f"{id_}.json"

    def find(self, study: str, id_: str) -> StudyRecord | None:
        """The record with this id, or None.

        Raises:
            StoreError: its file cannot be read.
        """
        path = self.path(study, id_)
        return _read(path) if path.exists() else None

    def add(self, record: StudyRecord) -> Path:
        """Write a new record. The same result a second time is success and changes nothing.

        Raises:
            StoreError: another result has this id.
            DiskError: the place cannot be written.
        """
        path = self.path(record.study, record.id)
        try:
            atomic.create_bytes(path, atomic.json_text(sealed(record)).encode())
        except FileExistsError:
            there = _read(path)
            if there.result() != record.result():
                raise StoreError(
                    f"{path}: holds another result of the same setting and seed (I_NCE {there.i_nce:.4f} "
                    f"there, {record.i_nce:.4f} now). Nothing was overwritten; give another --results folder"
                ) from None
        return path

    def scan(self) -> StudyScan:
        """All records below the root; a file that is not one, or lies under a wrong name, is named."""
        scan = StudyScan()
        for path in json_files(self.root, scan.left_out):
            try:
                record = _read(path)
                expected = self.path(record.study, record.id)
                if expected != path:
                    raise StoreError(f"{path}: its content belongs to {expected}; was it edited or moved?")
            except BenchError as error:
                scan.left_out.append(str(error))
            else:
                scan.records.append(record)
        scan.records.sort(key=lambda record: (record.study, record.identity, record.setting, record.seed))
        return scan


def _read(path: Path) -> StudyRecord:
    value = read_json(path, error=StoreError, max_bytes=MAX_BYTES)
    if not isinstance(value, dict) or value.get("schema_version") != STUDY_SCHEMA:
        raise StoreError(f"{path}: not a study record of schema {STUDY_SCHEMA}")
    return unsealed(StudyRecord, value, str(path))
