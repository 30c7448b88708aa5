"""`bench results`: check a store of records, put several together, write one out flat, adopt foreign runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands._common import F

if TYPE_CHECKING:
    from bench.core.records import Record
    from bench.results.merge import Merge
    from bench.results.verify import Verdict

_FOLDER = click.Path(path_type=Path)


def _store_option(help_text: str) -> Callable[[F], F]:
    place = Path("results/runs")
    return click.option("--results", type=_FOLDER, default=place, show_default=True, help=help_text)


@click.group("results")
def command() -> None:
    """Check the results store, merge stores, export records, adopt runs of stock engines.

    \b
    Examples:
      bench results verify
      bench results merge gpu1/results gpu2/results --results results/runs
      bench results export --format csv -o records.csv
      bench results import output/voc_moco --task voc-det --checkpoint moco_v2.pth.tar
    """


@command.command("verify")
@_store_option("Results store.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify_(results: Path, as_json: bool) -> None:
    """Check every record and every file of predictions in the store.

    A record must be valid, unchanged since it was written, and under its own name; its identity must follow
    from its fields, task, data and counts; its predictions must be there, whole, and those it means; no trial
    may be there under two names; nothing else may lie in the store. All problems are listed, and the exit
    code is 8. What a killed writer left is listed too; it is harmless and no problem. Nothing is changed.

    \b
    Examples:
      bench results verify
      bench results verify --results results/runs --json
    """
    from bench.core.errors import StoreError, UsageError
    from bench.core.log import progress
    from bench.core.store import Store
    from bench.results.verify import verify

    store = Store(results)
    store.check()
    if not results.exists():
        raise UsageError(f"{results}: no such folder; expected a results store")
    with progress("Checking records", 1) as bar:
        verdict = verify(store, lambda done, total: bar.update(done, total=total))
    _print_verdict(results, verdict, as_json=as_json)
    if verdict.problems:
        raise StoreError(f"{results}: {_count(len(verdict.problems), 'problem')}, listed on stdout")


def _print_verdict(results: Path, verdict: Verdict, *, as_json: bool) -> None:
    from dataclasses import asdict

    from bench.commands._text import echo_json, printable

    if as_json:
        echo_json({"results": str(results), **asdict(verdict)})
        return
    for title, lines in (("problem", verdict.problems), ("left over", verdict.leftovers)):
        for line in lines:
            click.echo(f"{title}: {printable(line)}")
    kept = f"{_count(verdict.num_predictions, 'file')} of predictions whole"
    click.echo(
        f"{results}: {_count(verdict.num_good, 'record')} good, {kept}; "
        f"{_count(len(verdict.problems), 'problem')}, {_count(len(verdict.leftovers), 'leftover')}"
    )


@command.command("merge")
@click.argument("sources", type=_FOLDER, nargs=-1, required=True, metavar="SOURCE...")
@_store_option("Store to add to; made if it is not there.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be added, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def merge_(sources: tuple[Path, ...], results: Path, dry_run: bool, as_json: bool) -> None:
    """Add the records of other stores, each with its predictions.

    An equal result is counted as there already. Where two stores hold different results of the same weights,
    protocol and seed, neither is added: both values are listed, and the exit code is 8, as for records that
    are damaged. Nothing is overwritten, and a merge that was killed can be run again.

    \b
    Examples:
      bench results merge gpu1/results gpu2/results
      bench results merge gpu1/results --results all --dry-run
    """
    from bench.core.errors import StoreError
    from bench.core.log import progress
    from bench.core.store import Store
    from bench.results.merge import merge

    with progress("Merging results", 1) as bar:
        done = merge(
            [Store(source) for source in sources],
            Store(results),
            dry_run=dry_run,
            progress=lambda now, total: bar.update(now, total=total),
        )
    _print_merge(results, done, dry_run=dry_run, as_json=as_json)
    if done.problems:
        raise StoreError(f"{results}: {_count(len(done.problems), 'problem')}, listed on stdout")


def _print_merge(results: Path, done: Merge, *, dry_run: bool, as_json: bool) -> None:
    from bench.commands._text import echo_json, printable

    if as_json:
        facts: dict[str, Any] = {"results": str(results), "dry_run": dry_run, "problems": done.problems}
        facts |= {"num_found": done.num_found, "num_there": done.num_there}
        facts |= {"added": [*map(str, done.added)], "completed": [*map(str, done.completed)]}
        echo_json(facts)
        return
    for line in done.problems:
        click.echo(f"problem: {printable(line)}")
    would = "would be " if dry_run else ""
    completed = f", {_count(len(done.completed), 'missing file')} of predictions put back"
    click.echo(
        f"{results}: {_count(done.num_found, 'record')} found, {len(done.added):,} {would}added, "
        f"{done.num_there:,} there already{completed if done.completed else ''}; "
        f"{_count(len(done.problems), 'problem')}"
    )


@command.command("export")
@_store_option("Results store.")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), help="[default: csv]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-o", "--out", type=_FOLDER, help="Write there instead of to stdout.")
@click.option("--force", is_flag=True, help="Let --out replace a file.")
@click.option("--dry-run", is_flag=True, help="Read everything, say what would be written, write nothing.")
def export(
    results: Path, form: str | None, as_json: bool, out: Path | None, force: bool, dry_run: bool
) -> None:
    """Write all records as one flat table, a line for each number, for pandas and R.

    Full precision, always in the same order; docs/results.md says what the columns are. Files that are not
    used are listed on stderr.

    \b
    Examples:
      bench results export > records.csv
      bench results export --format json -o records.json
    """
    from bench.commands._text import printable
    from bench.core import atomic
    from bench.core.errors import UsageError
    from bench.core.store import Store
    from bench.results.export import as_csv, rows
    from bench.results.export import as_json as to_json

    if as_json and form == "csv":
        raise UsageError("--json and --format csv ask for two forms; give one of them")
    if out is not None and out.is_dir():
        raise UsageError(f"{out}: is a folder; --out expects a file")
    if out is not None and out.exists() and not force:
        raise UsageError(f"{out}: exists already; --force replaces it")
    store = Store(results)
    store.check()
    if not results.exists():
        raise UsageError(f"{results}: no such folder; expected a results store")
    scan = store.scan()
    for line in scan.left_out:
        click.echo(f"left out: {printable(line)}", err=True)
    lines = rows(scan.records)
    said = f"{_count(len(lines), 'number')} of {_count(len(scan.records), 'record')}"
    if dry_run:
        click.echo(f"Dry run: would write {said} to {out or 'stdout'}; nothing was written.", err=True)
        return
    text = to_json(lines) if as_json or form == "json" else as_csv(lines)
    if out is None:
        click.echo(text, nl=False)
        return
    if force:
        atomic.write_text(out, text)
    else:
        try:
            atomic.create_bytes(out, text.encode())
        except FileExistsError:
            raise UsageError(f"{out}: exists already; --force replaces it") from None
    click.echo(f"{out}: wrote {said}", err=True)


@command.command("import")
@click.argument("folder", type=_FOLDER)
@click.option(
    "--task", required=True, metavar="NAME", help="Whose result it is: voc-det, coco-instseg, semseg."
)
@click.option("--checkpoint", required=True, metavar="CKPT|random", help="What the run started from.")
@click.option("--name", help="Name of the weights in records; from the file name if left out.")
@click.option(
    "--encoder",
    help="Which encoder, where a file holds several: label, prefix or place, as bench inspect says.",
)
@click.option(
    "--protocol-name", metavar="WORD", help="Its tables are called imported-WORD; else by the engine."
)
@click.option("--iteration", type=click.IntRange(0), help="Take this evaluation, not that of the last one.")
@click.option("--seed", type=click.IntRange(0), help="Number of the trial, if not the seed of its config.")
@_store_option("Results store.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be recorded, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def import_(
    folder: Path,
    task: str,
    checkpoint: str,
    name: str | None,
    encoder: str | None,
    protocol_name: str | None,
    iteration: int | None,
    seed: int | None,
    results: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Adopt the output folder of a stock Detectron2 or MMSegmentation training as a record.

    The record is `custom` and says that it was imported: nobody has checked here what was loaded and on which
    data. Folders of equal configs share a table, never with records of ours or with published rows. Nothing
    in the folder is run.

    \b
    Examples:
      bench results import output/voc_moco --task voc-det --checkpoint moco_v2.pth.tar
      bench results import work_dirs/fcn --task semseg --checkpoint random --seed 1 --dry-run
      bench results import output/coco --task coco-instseg --checkpoint net.pth --iteration 59999
    """
    from bench.commands._text import printable
    from bench.core.log import say
    from bench.core.store import Store
    from transfer.api import TASKS
    from transfer.imports.adopt import Choice, adopt, check_task, read_folder
    from transfer.run import load_weights

    store = Store(results)
    store.check()
    spec = TASKS.get(task).spec
    found = read_folder(folder)
    check_task(found, spec, folder)
    card = load_weights(checkpoint, name=name, encoder=encoder)[1]
    record = adopt(found, spec, card, Choice(protocol_name, iteration, seed), folder)
    for note in (*record.details["imported"]["notes"], *record.data.notes):
        say(f"Note      {printable(note)}")
    if dry_run:
        path = store.path(record.weights.name, record.task, record.id)
        say(f"Dry run: would write {path}; nothing was written.")
    else:
        say(f"Recorded  {store.add(record)}")
    _print_record(record, as_json=as_json)


def _print_record(record: Record, *, as_json: bool) -> None:
    from bench.core import atomic

    if as_json:
        click.echo(atomic.json_text(record.model_dump(mode="json")), nl=False)
        return
    numbers = "  ".join(f"{name} {metric.value:.2f}" for name, metric in record.metrics.items())
    status = f"{record.protocol.status}, {record.protocol.slug}"
    click.echo(f"{record.weights.name}  seed {record.seed}  {numbers}  [{status}]")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
