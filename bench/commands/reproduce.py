"""`bench reproduce`: the command that gives a record again; run once more, and held against the record."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.core.records import Record
    from transfer.api import Task
    from transfer.reproduce import Call, Comparison, Fact
    from transfer.run import Options

_PATH = click.Path(path_type=Path)
_ID = re.compile(r"[0-9a-f]{6,16}")
_WHOLE_ID = re.compile(r"[0-9a-f]{16}")


@click.command("reproduce")
@click.argument("record")
@click.option(
    "--results",
    type=_PATH,
    default=Path("results/runs"),
    show_default=True,
    help="Results store in which an id is looked up; nothing is written into it.",
)
@click.option("--data", type=_PATH, help="Where the data set lies now, if not where it did.")
@click.option("--checkpoint", metavar="CKPT", help="Where the weights lie now, if not where they did.")
@click.option("--run", "run_it", is_flag=True, help="Run it, and compare the outcome with the record.")
@click.option("--out", type=_PATH, help="Work there and keep it; with --run, a temporary folder if left out.")
@click.option("--resume", is_flag=True, help="Go on with what a --run that was stopped has left in --out.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0.0, 100.0),
    metavar="PERCENT",
    help="Metrics may differ by so many points of percent; every field must be equal if left out.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be run, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the same facts as JSON.")
def command(
    record: str,
    results: Path,
    data: Path | None,
    checkpoint: str | None,
    run_it: bool,
    out: Path | None,
    resume: bool,
    tolerance: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print the command that gives a record again, or run it and compare.

    RECORD is a record's file, or the first 6 to 16 digits of its id. The command is for this one seed, and
    works in folders of its own. What is another now than it was then (commit, versions, machine, task,
    protocol, weights, data) is listed on stderr. With --run it is run, and the exit code is 0 if the same
    result comes out: every field but time, machine and command, bit for bit, or every metric within
    --tolerance. It is 8 if another one does, and if the record was edited or is of another version of its
    task. Equality is to be expected on the same CPU with as many threads; elsewhere, give --tolerance.

    \b
    Examples:
      bench reproduce results/runs/resnet50.moco/knn/3f2a9c1e5b7d8046.json
      bench reproduce 3f2a9c1e --run
      bench reproduce 3f2a9c1e --run --tolerance 0.3 --out runs/again
      bench reproduce 3f2a9c1e --data VOCdevkit --checkpoint moco_v2.pth.tar --run --dry-run
    """
    from bench.commands._text import echo_json
    from bench.core.errors import StoreError, UsageError
    from transfer.api import TASKS
    from transfer.reproduce import check_is_ours, then_and_now

    if not run_it and (tolerance is not None or resume):
        raise UsageError("--tolerance and --resume go with --run")
    if resume and out is None:
        raise UsageError("--resume goes on in --out; give it, too")
    path, found = _find(record, results)
    check_is_ours(found, str(path))
    task = TASKS.get(found.task)
    call = _call(found, task, data, checkpoint, out or Path("runs") / f"reproduced-{found.id[:8]}")
    facts = then_and_now(found, call)
    shown: dict[str, Any] = {"record": found.id, "path": str(path), "command": call.words()}
    shown["facts"] = [vars(fact) for fact in facts]
    _say(facts)
    if not run_it:
        echo_json(shown) if as_json else click.echo(_line(call))
        return
    stops = [f"{path}: {fact.what}: {fact.then} then, {fact.now} now" for fact in facts if fact.stops]
    if stops:
        raise StoreError.of(stops, hint="The same result cannot come out. Nothing was run.")
    with _folder(call.options.out.parent if dry_run else out) as folder:
        here = replace(call.options, out=folder / "runs", results=folder / "results", resume=resume)
        if out is not None:
            _check_folder(found, path, here)
        comparison = _run(found, replace(call, options=here), dry_run=dry_run)
    difference = None
    if comparison is not None:
        difference = comparison.first_difference(tolerance)
        shown |= {"tolerance": tolerance, "reproduces": difference is None, "others": comparison.others}
        names = ("name", "then", "now")
        shown["metrics"] = [dict(zip(names, metric, strict=True)) for metric in comparison.metrics]
    if as_json:
        echo_json(shown)
    elif comparison is not None:
        _print(comparison)
    if difference is not None:
        raise StoreError(f"{path}: not reproduced: {difference}")


def _find(record: str, results: Path) -> tuple[Path, Record]:
    """A record and its file, from the path of it or from the beginning of its id."""
    from bench.core.errors import StoreError, UsageError
    from bench.core.records import parse_record
    from bench.core.safe_json import read_json
    from bench.core.store import MAX_RECORD_BYTES

    path = Path(record)
    if _ID.fullmatch(record) and not path.is_file():
        if not results.is_dir():
            raise UsageError(f"{results}: no such folder; expected a results store")
        fitting = [file for file in results.rglob(f"{record}*.json") if _WHOLE_ID.fullmatch(file.stem)]
        if len(fitting) != 1:
            listed = ": " + ", ".join(map(str, sorted(fitting)[:4])) if fitting else ""
            raise UsageError(
                f"{record}: {len(fitting)} records in {results} have such an id{listed}; expected one. "
                "Give more digits, the record's file, or another --results"
            )
        (path,) = fitting
    elif not path.exists() and path.suffix != ".json":
        raise UsageError(f"{record}: no such file, and no id; expected 6 to 16 digits of 0-9 and a-f")
    found = parse_record(read_json(path, error=StoreError, max_bytes=MAX_RECORD_BYTES), str(path))
    if _WHOLE_ID.fullmatch(path.stem) and path.stem != found.id:
        raise StoreError(f"{path}: its content is that of record {found.id}; was it edited or moved?")
    return path, found


def _call(record: Record, task: Task, data: Path | None, checkpoint: str | None, out: Path) -> Call:
    """The command, from what the record's own command line says."""
    from bench.synth.embedded import DEFAULT_ROOT
    from transfer.reproduce import rebuild

    words = [word for word in record.provenance.command[1:] if word != "--debug"]
    said = _said(words, record.task)
    if said is None and words[:1] == ["demo"]:
        data, checkpoint = _of_demo(words[1:], record, task, data, checkpoint)
    return rebuild(
        record,
        task,
        said=said,
        data=data,
        checkpoint=checkpoint,
        embedded=task.embedded_data(DEFAULT_ROOT),
        out=out,
    )


def _said(words: list[str], task: str) -> dict[str, Any] | None:
    """The options in a command line of `bench transfer` with this task; None for another one."""
    from bench.commands.transfer import command as transfer

    if words[:2] != ["transfer", task]:
        return None
    found = transfer.get_command(click.Context(transfer), task)
    if found is None:
        return None
    # Where it named no protocol, the default of today may be another than then.
    for option in found.params:
        if option.name == "protocol":
            option.default = None
    return _parsed(found, words[2:])


def _parsed(found: click.Command, words: list[str]) -> dict[str, Any] | None:
    """The options of a command line, or None where this version does not understand it."""
    if "--help" in words:  # prints, where the others are only read
        return None
    try:
        return found.make_context(found.name, list(words)).params
    except click.ClickException:
        return None


def _of_demo(
    words: list[str], record: Record, task: Task, data: Path | None, checkpoint: str | None
) -> tuple[Path | None, str | None]:
    """Where `bench demo` keeps its data and its weights, unless something else is given."""
    from bench.commands.demo import command as demo
    from bench.core.weights import WEIGHTS_FILE, read_card

    out = (_parsed(demo, words) or {}).get("out")
    if out is None:
        return data, checkpoint
    for file in sorted(out.glob(f"runs/pretrain/*/*/{WEIGHTS_FILE}")) if checkpoint is None else []:
        card = read_card(file)
        if card is not None and card.key == record.weights.key:
            checkpoint = str(file.parent)
    return data or task.embedded_data(out / "data"), checkpoint


def _line(call: Call) -> str:
    import shlex

    from bench.commands._text import printable

    return printable(shlex.join(call.words()))


def _say(facts: list[Fact]) -> None:
    from bench.commands._text import printable
    from bench.core.log import say

    for fact in facts:
        if not fact.same:
            say(f"Differs   {printable(fact.what)}: {printable(fact.then)} then, {printable(fact.now)} now")
    if all(fact.same for fact in facts):
        say("Commit, versions, machine, protocol and weights are those of then, and the data is there.")


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """The folder to work in: the one that is given, or one that is removed in the end."""
    from bench.core.log import say

    if out is not None:
        yield out
        return
    say("Works in a temporary folder; with --out it is kept, and a run that was stopped can go on.")
    with tempfile.TemporaryDirectory(prefix="bench-reproduce-") as name:
        yield Path(name)


def _check_folder(record: Record, path: Path, options: Options) -> None:
    """Refuse a folder that was given and holds the record itself, or another outcome of it."""
    from bench.core.errors import UsageError
    from bench.core.store import Store

    place = Store(options.results).path(record.weights.name, record.task, record.id)
    if place.resolve() == path.resolve():
        raise UsageError(f"{options.results}: holds the record itself; give another --out")
    if place.exists() and not options.resume:
        raise UsageError(f"{place}: is there already; give another --out, or --resume to compare with it")


def _run(record: Record, call: Call, *, dry_run: bool) -> Comparison | None:
    """Run it and compare; None for a dry run."""
    from bench.core.log import say
    from bench.synth.embedded import DEFAULT_ROOT, embedded_data
    from transfer.reproduce import check_plan, compare
    from transfer.run import execute, make_plan

    if call.is_embedded and dry_run and not DEFAULT_ROOT.exists():
        say(f"Dry run: would first generate data in {DEFAULT_ROOT}; nothing was written.")
        return None
    if call.is_embedded:
        embedded_data()
    plan = make_plan(call.task, call.options)
    check_plan(record, plan)
    for line in plan.lines():
        say(line)
    if dry_run:
        say(f"Dry run: would run {_line(call)}; nothing was written.")
        return None
    with _command_line(call.words()):
        (now,) = execute(plan)
    return compare(record, now)


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    """For the record, which keeps the command that made it: `bench transfer`, as it would be by hand."""
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


def _print(comparison: Comparison) -> None:
    from bench.commands._text import printable

    for name, then, now in comparison.metrics:
        change = "none" if then is None or now is None else f"{now - then:+.3g}" if now != then else "0"
        click.echo(f"{printable(name)}: {then} then, {now} now, difference {change}")
    for line in comparison.others:
        click.echo(printable(line))
    same = not comparison.others and all(then == now for _, then, now in comparison.metrics)
    click.echo(
        "every field is equal, bit for bit" if same else f"{len(comparison.others)} other fields differ"
    )
