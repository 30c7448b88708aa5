"""What a sweep keeps for a person, in `<out>/sweeps/<name>`: what was planned, reasons, job numbers, logs.

None of it decides what is done; the results store does. All of it may be deleted between two starts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.core import atomic
from bench.core.errors import BenchError, StoreError
from bench.core.safe_json import read_json

_MAX_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Failure:
    """Why a cell failed the last time; `exit_code` is that of `bench transfer`."""

    reason: str
    exit_code: int
    label: str = ""


@dataclass(frozen=True)
class Known:
    """What planning found out of a cell; `has_bf16` is of the CPU that it was planned for."""

    id: str
    weights_name: str
    run_dir: str
    iterations: int
    has_bf16: bool = True


@dataclass(frozen=True)
class SweepFolder:
    """One folder for each name of a sweep."""

    root: Path

    @classmethod
    def of(cls, out: Path, name: str) -> SweepFolder:
        """The folder of the sweep `name`."""
        return cls(out / "sweeps" / name)

    def log(self, id_: str) -> Path:
        """Where all that a cell says goes."""
        return self.root / "logs" / f"{id_}.log"

    @property
    def jobs_root(self) -> Path:
        """Where submitit keeps its files."""
        return self.root / "slurm"

    def write_plan(self, cells: dict[str, Known], stamps: dict[str, str]) -> None:
        """Keep what is known of each cell, by its key, and how the inputs looked. Raises DiskError."""
        value = {"cells": {key: asdict(known) for key, known in cells.items()}, "stamps": stamps}
        self._write("plan.json", value)

    def read_plan(self) -> tuple[dict[str, Known], dict[str, str]]:
        """What `write_plan` kept, or nothing. Raises StoreError if it is damaged."""
        value = self._read("plan.json")
        try:
            cells = {key: Known(**known) for key, known in value.get("cells", {}).items()}
            return cells, dict(value.get("stamps", {}))
        except (AttributeError, TypeError, ValueError):
            raise self._damaged("plan.json") from None

    def write_failure(self, id_: str, failure: Failure) -> None:
        """Keep a reason for `--status`. Raises DiskError."""
        self._write(f"failures/{id_}.json", asdict(failure))

    def read_failure(self, id_: str) -> Failure | None:
        """The reason, or None. Raises StoreError if it is damaged."""
        value = self._read(f"failures/{id_}.json")
        try:
            return Failure(**value) if value else None
        except TypeError:
            raise self._damaged(f"failures/{id_}.json") from None

    def forget_failure(self, id_: str) -> None:
        """It is tried again, or done."""
        path = self.root / "failures" / f"{id_}.json"
        with atomic.disk_errors(path):
            path.unlink(missing_ok=True)

    def write_jobs(self, jobs: dict[str, str]) -> None:
        """Keep the job number of each cell by its record's id. Raises DiskError."""
        self._write("jobs.json", jobs)

    def read_jobs(self) -> dict[str, str]:
        """Record id to job number. Raises StoreError if it is damaged."""
        return {str(id_): str(job) for id_, job in self._read("jobs.json").items()}

    def _write(self, name: str, value: Any) -> None:
        atomic.write_text(self.root / name, atomic.json_text(value))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.root / name
        if not path.exists():
            return {}
        try:
            value = read_json(path, error=StoreError, max_bytes=_MAX_BYTES)
        except BenchError as error:
            raise StoreError(f"{error}. It can be deleted: the next start writes it anew") from None
        if not isinstance(value, dict):
            raise self._damaged(name)
        return value

    def _damaged(self, name: str) -> StoreError:
        return StoreError(
            f"{self.root / name}: not what we write there. Delete it; the next start makes it anew"
        )
