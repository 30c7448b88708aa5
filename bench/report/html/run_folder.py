"""The run folder of a record, and the sheet of predictions in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.core.paths import inside, read_bounded
from bench.core.records import Record
from bench.core.safe_image import decode_image
from bench.report.html.pictures import Picture

SHEET: Final = "predictions.png"
"""As `bench transfer --show-predictions` writes it."""

_MAX_BYTES: Final = 64 * 1024**2


def run_folder(record: Record, runs: Path) -> Path | None:
    """Where a record's own trial was run, or None where that folder is not there.

    Name and hash of the weights, identity and seed are in its path: it is no other trial's.

    Args:
        record: Of a trial that was run here.
        runs: What `bench transfer --out` was.
    """
    weights = f"{record.weights.name}-{record.weights.key[:8]}"
    for twin in ("", "-smoke"):
        protocol = f"{record.protocol.slug}{twin}-{record.protocol.identity[:8]}"
        path = inside(runs, f"{record.task}/{weights}/{protocol}/seed-{record.seed}")
        if path.is_dir():
            return path
    return None


def find_picture(record: Record, runs: Path) -> Picture | None:
    """The sheet of a record's predictions beside the truth, or None where none was drawn.

    Raises:
        DataError: it is there and is no picture.
    """
    folder = run_folder(record, runs)
    if folder is None or not (folder / SHEET).is_file():
        return None
    png = read_bounded(folder / SHEET, _MAX_BYTES)
    decode_image(png, str(folder / SHEET))
    title = f"{record.task} {record.protocol.slug}: {record.weights.name}, seed {record.seed}"
    about = f"test images with what is there and what was found; {title}"
    return Picture(title=title, png=png, about=about)
