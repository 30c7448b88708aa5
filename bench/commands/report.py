"""`bench report`: leaderboards of the records in the results store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.core.records import Record

FORMATS = ("table", "markdown", "csv", "json")


EXAMPLES = """\b
Examples:
  bench report
  bench report --published --task voc-det
  bench report --format markdown --out leaderboard.md
  bench report --json --no-published
"""


@click.command("report", epilog=EXAMPLES)
@click.option("--results", metavar="DIR", help="Folder of records.  [default: results/runs]")
@click.option("--task", metavar="NAME", help="Only this task, e.g. voc-det.")
@click.option("--protocol", metavar="SLUG", help="Only this protocol, e.g. voc0712-r50c4-24k.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: table]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--published/--no-published", default=False, help="Set published rows of the same protocol beside ours."
)
@click.option("--unconfirmed", is_flag=True, help="With --published: also rows no source was read for.")
@click.option("--out", metavar="FILE", help="Write there instead of to stdout.")
@click.option("--force", is_flag=True, help="Let --out replace a file.")
def command(
    results: str | None,
    task: str | None,
    protocol: str | None,
    form: str | None,
    as_json: bool,
    published: bool,
    unconfirmed: bool,
    out: str | None,
    force: bool,
) -> None:
    """Print a leaderboard for each task and protocol identity.

    Only records that are equal in everything that moves a number share a table: mean and sample standard
    deviation over seeds, number of trials, difference to the random and supervised baselines of the same
    identity. Files that are not used are listed on stderr. CSV and JSON have full precision.
    """
    import shutil
    import sys
    from pathlib import Path

    from bench.core import atomic
    from bench.core.errors import UsageError
    from bench.core.paths import DEFAULT_RESULTS
    from bench.core.store import Store

    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} ask for two forms; give one of them")
    if unconfirmed and not published:
        raise UsageError("--unconfirmed chooses among published rows; give --published too")
    target = Path(out) if out else None
    if target is not None and target.is_dir():
        raise UsageError(f"{target}: is a folder; --out expects a file")
    if target is not None and target.exists() and not force:
        raise UsageError(f"{target}: exists already; --force replaces it")
    root = Path(results) if results else DEFAULT_RESULTS
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: is a file; --results expects a folder of records")

    # After the cheap checks: what follows takes time to import.
    from bench.report import render
    from bench.report.published import read_published
    from bench.report.tables import leaderboards

    scan = Store(root).scan()
    for line in scan.left_out:
        click.echo(f"left out: {render.plain(line)}", err=True)
    if scan.left_out:
        click.echo(f"{len(scan.left_out):,} files are left out, {len(scan.records):,} are used.", err=True)

    records = scan.records
    if not records:
        there = "" if root.exists() else " (there is no such folder)"
        click.echo(
            f"No records in {root}{there}. "
            '"bench demo" makes some in a few minutes; "bench transfer --help" says how to make your own.',
            err=True,
        )
    if task is not None:
        records = _only(records, "task", task, [record.task for record in records])
    if protocol is not None:
        records = _only(records, "protocol", protocol, [record.protocol.slug for record in records])

    tables = leaderboards(records, published=read_published() if published else None, unconfirmed=unconfirmed)
    form = "json" if as_json else form or "table"
    if form == "table":
        colour = target is None and sys.stdout.isatty()
        width = max(60, shutil.get_terminal_size().columns) if colour else 100
        text = render.as_table(tables, width=width, colour=colour)
    else:
        text = {"markdown": render.as_markdown, "csv": render.as_csv, "json": render.as_json}[form](tables)
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


def _only(records: list[Record], what: str, wanted: str, found: list[str]) -> list[Record]:
    """The records whose `found` is `wanted`; where that leaves none, stderr says what there is."""
    from bench.core.errors import did_you_mean

    kept = [record for record, value in zip(records, found, strict=True) if value == wanted]
    if records and not kept:
        known = sorted(set(found))
        near = did_you_mean(wanted, known)
        click.echo(f"No records of the {what} {wanted!r}.{near} There are: {', '.join(known)}", err=True)
    return kept
