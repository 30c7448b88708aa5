"""The sheet of a record: test images with what is there and what was found, drawn from the record's file."""

from __future__ import annotations

from pathlib import Path

from bench.core import atomic
from bench.core.records import Record
from bench.core.store import Store
from bench.images.sheet import sheet_png
from transfer.run import Plan

FILE = "predictions.png"
_TILE_PX = 320


def show(plan: Plan, record: Record) -> Path:
    """Draw the sheet of a record into its run folder; one that is there is replaced.

    Args:
        plan: That the record is of.
        record: As `execute` gives it.

    Raises:
        BenchError: the predictions are gone or damaged, an image cannot be read, the disk is full.
    """
    kept, sha256, where = Store(plan.options.results).predictions(record)
    tiles = plan.task.draw(plan.data, kept, sha256, str(where))
    path = plan.run_dir(record.seed) / FILE
    atomic.write_bytes(path, sheet_png(tiles, columns=4, tile_px=_TILE_PX))
    return path
