"""`bench report`: leaderboards of the records in the results store, and two weights side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.core.records import Record
    from bench.report.grid import Table

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")

_PATH = click.Path(path_type=Path)
_RESULTS = click.option(
    "--results", type=_PATH, metavar="DIR", help="Folder of records.  [default: results/runs]"
)

_OTHER_VERSIONS = click.option(
    "--other-versions", is_flag=True, help="Also records of other task versions, in tables of their own."
)

EXAMPLES = """\b
Examples:
  bench report
  bench report --published --task voc-det
  bench report --format markdown --out leaderboard.md
  bench report --format html --published -o leaderboard
  bench report --format latex --published-only --task voc-det
  bench report --json --no-published
"""


@click.group("report", invoke_without_command=True, epilog=EXAMPLES)
@_RESULTS
@click.option("--task", metavar="NAME", help="Only this task, e.g. voc-det.")
@click.option("--protocol", metavar="SLUG", help="Only this protocol, e.g. voc0712-r50c4-24k.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: table]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--published/--no-published", default=False, help="Set published rows of the same protocol beside ours."
)
@click.option("--published-only", is_flag=True, help="Published rows alone; no record is read.")
@click.option("--unconfirmed", is_flag=True, help="Of published rows, also those no source was read for.")
@_OTHER_VERSIONS
@click.option(
    "--runs",
    type=_PATH,
    default="runs",
    show_default=True,
    help="For HTML: run folders, for curves and pictures.",
)
@click.option(
    "--views", type=_PATH, default="results/views", show_default=True, help="For HTML: records of studies."
)
@click.option("--out", "-o", type=_PATH, metavar="PATH", help="Write to this file; HTML: into this folder.")
@click.option("--force", is_flag=True, help="Let --out replace a file.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Print a leaderboard for each task and protocol identity.

    Only records that are equal in everything that moves a number share a table: mean and sample standard
    deviation over seeds, number of trials, rank, difference to the random and supervised baselines of the
    same identity. Files that are not used are listed on stderr. CSV and JSON have full precision; HTML is one
    page that needs nothing else; LaTeX says which packages it needs.
    """
    from bench.core.errors import UsageError

    if context.invoked_subcommand is None:
        _report(**options)
        return
    for option in context.command.params:
        if context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(
                f"{option.opts[0]} is of the leaderboard, not of {context.invoked_subcommand}; "
                f"what {context.invoked_subcommand} takes stands behind it"
            )


def _report(
    results: Path | None,
    task: str | None,
    protocol: str | None,
    form: str | None,
    as_json: bool,
    published: bool,
    published_only: bool,
    unconfirmed: bool,
    other_versions: bool,
    runs: Path,
    views: Path,
    out: Path | None,
    force: bool,
) -> None:
    from bench.commands._report_out import check_target, write
    from bench.core.errors import UsageError

    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} ask for two forms; give one of them")
    form = "json" if as_json else form or "table"
    if unconfirmed and not (published or published_only):
        raise UsageError("--unconfirmed chooses among published rows; give --published too")
    if published_only and results is not None:
        raise UsageError("--published-only reads no record: give it or --results")
    target = check_target(out, form, force=force)
    records: list[Record] = []
    tables: list[Table] = []
    if published_only:
        tables += _published_tables(task, protocol, unconfirmed)
    else:
        records = _chosen(read_records(results, other_versions=other_versions), task, protocol)
        tables += _leaderboards(records, published, unconfirmed)
    if form == "html":
        from bench.commands._report_out import page
        from bench.core.paths import DEFAULT_RESULTS

        text = page(tables, records, results or DEFAULT_RESULTS, runs, views)
    else:
        text = _text(tables, form, to_terminal=target is None)
    write(text, target, force=force)


def _text(tables: list[Table], form: str, *, to_terminal: bool) -> str:
    import shutil
    import sys

    from bench.report import render
    from bench.report.across import agreement
    from bench.report.csv_form import as_csv
    from bench.report.grid import AnyTable
    from bench.report.latex import as_latex
    from bench.report.leaderboard import Leaderboard

    if form in ("csv", "json"):
        return as_csv(tables) if form == "csv" else render.as_json(tables)
    boards = [table for table in tables if isinstance(table, Leaderboard)]
    everything: list[AnyTable] = [*tables, *agreement(boards)]
    if form == "table":
        colour = to_terminal and sys.stdout.isatty()
        width = max(60, shutil.get_terminal_size().columns) if colour else 100
        return render.as_table(everything, width=width, colour=colour)
    return as_latex(everything) if form == "latex" else render.as_markdown(everything)


def _leaderboards(records: list[Record], published: bool, unconfirmed: bool) -> list[Table]:
    from bench.report.published import read_published
    from bench.report.tables import leaderboards
    from pretrain.api import METHODS

    # Names of weights are those of configs: "moco_v2_ep200" of the method "moco-v2".
    names = {name.replace("-", "_"): method.published_as for name, method in METHODS} if published else {}
    rows = read_published() if published else None
    return [*leaderboards(records, published=rows, unconfirmed=unconfirmed, methods=names)]


def _published_tables(task: str | None, protocol: str | None, unconfirmed: bool) -> list[Table]:
    from bench.report.published import read_published
    from bench.report.published_tables import published_tables

    published = read_published()
    tables = published_tables(published, task=task, protocol=protocol, unconfirmed=unconfirmed)
    if not tables:
        everything = published_tables(published, unconfirmed=unconfirmed)
        known = ", ".join(sorted({f"{table.task} {table.protocol}" for table in everything}))
        click.echo(f"No published rows of that task and protocol. There are: {known}", err=True)
    return [*tables]


def read_records(results: Path | None, *, other_versions: bool = False) -> list[Record]:
    """All records of a store; what is left out, and an empty store, is told on stderr.

    Args:
        results: The store, or None for the usual one.
        other_versions: Keep records of other versions of their task than this program's, whose numbers
            compare with none that it makes.

    Raises:
        UsageError: the store is a file.
    """
    from bench.core.errors import UsageError
    from bench.core.paths import DEFAULT_RESULTS
    from bench.core.store import Store
    from bench.report.render import plain

    root = results or DEFAULT_RESULTS
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: is a file; --results expects a folder of records")
    store = Store(root)
    scan = store.scan()
    left_out, records = [*scan.left_out], []
    versions = {} if other_versions else _versions({record.task for record in scan.records})
    for record in scan.records:
        if fault := _fault(record, versions):
            left_out.append(f"{store.path(record.weights.name, record.task, record.id)}: {fault}")
        else:
            records.append(record)
    for line in left_out:
        click.echo(f"left out: {plain(line)}", err=True)
    if left_out:
        click.echo(f"{len(left_out):,} files are left out, {len(records):,} are used.", err=True)
    if not scan.records:
        there = "" if root.exists() else " (there is no such folder)"
        click.echo(
            f"No records in {root}{there}. "
            '"bench demo" makes some in a few minutes; "bench transfer --help" says how to make your own.',
            err=True,
        )
    return records


def _versions(tasks: set[str]) -> dict[str, int]:
    """The version of each task that is here."""
    from transfer.api import TASKS

    return {name: TASKS.get(name).spec.version for name in tasks & set(TASKS.names())}


def _fault(record: Record, versions: dict[str, int]) -> str:
    """Why a record that is whole may stand in no table, or nothing."""
    from bench.core.protocol import identity_of

    now = versions.get(record.task, record.task_version)
    if record.task_version != now:
        return (
            f"{record.task} version {record.task_version}, here is version {now}; "
            "bench report --other-versions shows it in a table of its own"
        )
    if (expected := identity_of(record)) != record.protocol.identity:
        return (
            f"its identity is {record.protocol.identity[:12]}..., its fields, task, data and counts give "
            f"{expected[:12]}...; it would stand in a table it does not belong to"
        )
    return ""


def _chosen(records: list[Record], task: str | None, protocol: str | None) -> list[Record]:
    if task is not None:
        records = _only(records, "task", task, [record.task for record in records])
    if protocol is not None:
        records = _only(records, "protocol", protocol, [record.protocol.slug for record in records])
    return records


def _only(records: list[Record], what: str, wanted: str, found: list[str]) -> list[Record]:
    """The records whose `found` is `wanted`; where that leaves none, stderr says what there is."""
    from bench.core.errors import did_you_mean

    kept = [record for record, value in zip(records, found, strict=True) if value == wanted]
    if records and not kept:
        known = sorted(set(found))
        near = did_you_mean(wanted, known)
        click.echo(f"No records of the {what} {wanted!r}.{near} There are: {', '.join(known)}", err=True)
    return kept


@command.command("compare")
@click.argument("a")
@click.argument("b")
@_RESULTS
@click.option("--task", metavar="NAME", help="Only this task.")
@click.option("--protocol", metavar="SLUG", help="Only this protocol.")
@click.option(
    "--resamples",
    type=click.IntRange(100, 10_000),
    default=1000,
    show_default=True,
    help="Times that the test images are drawn anew.",
)
@_OTHER_VERSIONS
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
def compare_command(
    a: str,
    b: str,
    results: Path | None,
    task: str | None,
    protocol: str | None,
    other_versions: bool,
    resamples: int,
    as_json: bool,
) -> None:
    """Two weights on every task and protocol identity that both have records of.

    A and B are names of weights, "resnet50." or more may be left out while it is clear. Their difference is
    held against two kinds of noise: other seeds (Welch, over trials) and other test images (a paired
    bootstrap of the predictions beside each record). Last comes what else differs between the two: the cards
    of the weights, and what made their records.

    \b
    Examples:
      bench report compare moco_v2_ep200 supervised_torchvision
      bench report compare infomin random --task voc-det --json
    """
    import shutil
    import sys

    from bench.commands._text import echo_json
    from bench.core.paths import DEFAULT_RESULTS
    from bench.core.store import Store
    from bench.report.compare import compare
    from bench.report.compare_text import as_text
    from transfer.metrics.resampled import evidence_of

    records = _chosen(read_records(results, other_versions=other_versions), task, protocol)
    store = Store(results or DEFAULT_RESULTS)
    found = compare(
        records,
        a,
        b,
        lambda record: evidence_of(record, *store.predictions(record)),
        num_resamples=resamples,
    )
    if as_json:
        echo_json(found.model_dump(mode="json"))
        return
    colour = sys.stdout.isatty()
    width = max(60, shutil.get_terminal_size().columns) if colour else 100
    click.echo(as_text(found, width=width, colour=colour), nl=False)
