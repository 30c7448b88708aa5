"""Training curves: the loss of a trial over its iterations, from the log in its run folder.

A record keeps the last loss alone. Its run folder has `log.csv`, as long as nobody has removed it.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.core.errors import DataError
from bench.core.paths import read_bounded
from bench.core.records import Record
from bench.report.html.run_folder import run_folder

LOG: Final = "log.csv"
"""As every training writes it at its end."""

MAX_POINTS: Final = 100
"""Of one curve: a log may have thousands of lines, and a chart is 400 pixels wide."""

_MAX_BYTES: Final = 64 * 1024**2
_NO_LOSSES: Final = ("iteration", "learning_rate")


@dataclass(frozen=True)
class Curve:
    """One point for each part of the training: its last iteration, and the mean of its losses."""

    iterations: tuple[int, ...]
    losses: tuple[float, ...]


def find_curve(record: Record, runs: Path) -> Curve | None:
    """The curve of a record's own run, or None where its folder or its log is not there.

    Args:
        record: Of a trial that was run here.
        runs: What `bench transfer --out` was.

    Raises:
        DataError: the log is there and cannot be read.
    """
    folder = run_folder(record, runs)
    if folder is None or not (folder / LOG).is_file():
        return None
    return read_curve(folder / LOG)


def read_curve(path: Path) -> Curve:
    """The sum of all losses, which is what was minimised, thinned to `MAX_POINTS` means.

    Raises:
        DataError: not a log of a transfer.
    """
    text = read_bounded(path, _MAX_BYTES).decode("utf-8", "replace")
    rows: list[tuple[int, float]] = []
    try:
        for row in csv.DictReader(io.StringIO(text), strict=True):
            losses = [float(value) for name, value in row.items() if name not in _NO_LOSSES]
            rows.append((int(row["iteration"]), math.fsum(losses)))
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a log of a transfer: {error}") from None
    if not rows or not all(math.isfinite(loss) for _, loss in rows):
        raise DataError(f"{path}: not a log of a transfer: expected a line of finite losses or more")
    parts = [rows[start:end] for start, end in _parts(len(rows))]
    return Curve(
        iterations=tuple(part[-1][0] for part in parts),
        losses=tuple(math.fsum(loss for _, loss in part) / len(part) for part in parts),
    )


def _parts(num: int) -> list[tuple[int, int]]:
    """`MAX_POINTS` ranges of almost equal length, or one for each of `num`."""
    count = min(num, MAX_POINTS)
    edges = [place * num // count for place in range(count + 1)]
    return list(itertools.pairwise(edges))
