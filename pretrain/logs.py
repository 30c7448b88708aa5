"""Logs of a run: `log.csv`, which is a function of the run and nothing else, and TensorBoard, with speed.

A run that was stopped and goes on ends in the same `log.csv` as one that was not.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.core import atomic
from bench.core.errors import CheckpointError


class RunLog:
    """Writes a run's numbers, from one process alone.

    Args:
        run_dir: The run's folder.
        columns: Of `log.csv`, after step, epoch and learning_rate.
        start_step: Steps that the checkpoint to go on from has; later rows are dropped.
        active: Whether this process writes; the others pass False.
    """

    def __init__(self, run_dir: Path, columns: tuple[str, ...], *, start_step: int, active: bool) -> None:
        self._path = run_dir / "log.csv"
        self._columns = ("step", "epoch", "learning_rate", *columns)
        self._active = active
        self._board: Any = None
        if not active:
            return
        atomic.make_folder(run_dir)
        rows = _rows(self._path, self._columns, start_step) if start_step else []
        atomic.write_text(self._path, _line(self._columns) + "".join(rows))
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start_step + 1)

    def write(
        self, step: int, epoch: int, rate: float, values: dict[str, float], speed: dict[str, float]
    ) -> None:
        """One row; `speed` goes to TensorBoard alone."""
        if not self._active:
            return
        row = {"step": step, "epoch": epoch, "learning_rate": rate, **values}
        atomic.append_text(self._path, _line([row[name] for name in self._columns]))
        for name, value in {"learning_rate": rate, **values, **speed}.items():
            self._board.add_scalar(name, value, step)

    def note(self, step: int, values: dict[str, float]) -> None:
        """Numbers for TensorBoard alone."""
        if self._active:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()


def _line(values: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _rows(path: Path, columns: tuple[str, ...], last_step: int) -> list[str]:
    """The whole lines of a log up to a step; what a kill left of a line is dropped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    if not lines or lines[0] != _line(columns):
        raise CheckpointError(f"{path}: its columns are not those of this run; give another --out")
    kept = []
    for line in lines[1:]:
        step = line.split(",", 1)[0]
        if line.endswith("\n") and step.isdigit() and int(step) <= last_step:
            kept.append(line)
    return kept
