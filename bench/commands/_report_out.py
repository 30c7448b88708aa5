"""Where a report goes: to stdout, into a file, or, as a page, into a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.core.errors import BenchError
    from bench.core.records import Record
    from bench.report.grid import Table

PAGE = "index.html"


def check_target(out: Path | None, form: str, *, force: bool) -> Path | None:
    """The file to write, None for stdout.

    Raises:
        UsageError: a page without a folder, a folder in the place of a file or the reverse, or a file that
            is there.
    """
    from bench.core.errors import UsageError

    if form == "html":
        if out is None:
            raise UsageError("--format html writes a page; give --out and a folder for it")
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out}: is a file; with --format html, --out expects a folder")
        out = out / PAGE
    if out is not None and out.is_dir():
        raise UsageError(f"{out}: is a folder; --out expects a file")
    if out is not None and out.exists() and not force:
        raise UsageError(f"{out}: exists already; --force replaces it")
    return out


def write(text: str, target: Path | None, *, force: bool) -> None:
    """Print it, or write it whole or not at all.

    Raises:
        UsageError: the file has come to be meanwhile.
        DiskError: it cannot be written.
    """
    from bench.core import atomic
    from bench.core.errors import UsageError

    if target is None:
        click.echo(text, nl=False)
        return
    if force:
        atomic.write_text(target, text)
    else:
        try:
            atomic.create_bytes(target, text.encode())
        except FileExistsError:
            raise UsageError(f"{target}: exists already; --force replaces it") from None
    click.echo(f"wrote {target}", err=True)


def _left_out(error: BenchError) -> None:
    from bench.report.render import plain

    for line in str(error).split("\n"):
        click.echo(f"left out: {plain(line)}", err=True)


def _turn_about(records: list[Record]) -> list[Record]:
    """One record of each weights and protocol, then the second of each: a page has room for some pictures."""
    turns: Counter[tuple[str, str]] = Counter()
    ordered = []
    for record in sorted(records, key=lambda record: record.seed):
        row = (record.weights.key, record.protocol.identity)
        ordered.append((turns[row], record))
        turns[row] += 1
    return [record for _, record in sorted(ordered, key=lambda one: one[0])]


def page(tables: list[Table], records: list[Record], results: Path, runs: Path, views: Path) -> str:
    """The page of these tables, with what run folders and studies of views have beside the records.

    A picture or a curve that cannot be read is told on stderr and left out.
    """
    from bench.core.errors import BenchError
    from bench.core.study import StudyStore
    from bench.report.across import task_pairs
    from bench.report.html.curves import Curve, find_curve
    from bench.report.html.page import as_html
    from bench.report.html.pictures import Picture
    from bench.report.html.run_folder import find_picture
    from bench.report.leaderboard import Leaderboard
    from bench.report.render import plain
    from bench.report.study_table import groups
    from pretrain.analysis.api import STUDIES

    curves: dict[str, Curve] = {}
    pictures: list[Picture] = []
    for record in _turn_about(records):
        try:
            if (curve := find_curve(record, runs)) is not None:
                curves[record.id] = curve
        except BenchError as error:
            _left_out(error)
        try:
            if (picture := find_picture(record, runs)) is not None:
                pictures.append(picture)
        except BenchError as error:
            _left_out(error)
    scan = StudyStore(views).scan()
    for line in scan.left_out:
        click.echo(f"left out: {plain(line)}", err=True)
    return as_html(
        tables,
        records,
        results=results,
        pairs=task_pairs([table for table in tables if isinstance(table, Leaderboard)]),
        studies=groups(scan.records),
        study_words={name: study.scores for name, study in STUDIES},
        pictures=pictures,
        curves=curves,
    )
