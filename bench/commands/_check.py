"""`bench data check LAYOUT DIR`: what a task would refuse, found before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.core.records import DataStamp
    from transfer.api import Task


def layouts() -> dict[str, Task]:
    """Name of a layout to the first task that reads it."""
    from transfer.api import TASKS

    found: dict[str, Task] = {}
    for _, task in TASKS:
        found.setdefault(task.spec.data_layout, task)
    return found


def check_command(layout: str) -> click.Command:
    """The subcommand for a layout.

    Raises:
        UsageError: no task reads it; the nearest name is suggested.
    """
    from bench.core.errors import UsageError, did_you_mean

    known = layouts()
    if layout not in known:
        near = did_you_mean(layout, list(known))
        raise UsageError(f"unknown layout {layout!r}.{near} Known: {', '.join(known)}")
    task = known[layout]

    text = (
        f"Check a data set for {task.spec.name}: splits, every annotation, every image.\n\n"
        "All faults are listed, each with its file and object, and the exit code is 4. A set without fault "
        "is described: counts, what sets it apart from the published one, notes.\n\n\b\nExamples:\n"
        f"  bench data check {layout} DIR\n  bench data check {layout} DIR --json"
    )

    @click.command(layout, help=text, short_help=f"For {task.spec.name}.")
    @click.argument("folder", type=click.Path(path_type=Path))
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def run(folder: Path, as_json: bool) -> None:
        check(task, folder, as_json=as_json)

    return run


def check(task: Task, folder: Path, *, as_json: bool) -> None:
    """Read a set as the task would, and print what was found.

    Raises:
        DataError: it has faults, which are printed.
    """
    from bench.commands._text import echo_json, printable
    from bench.core.errors import DataError
    from bench.core.paths import CONFIGS

    protocol = task.load_protocol(CONFIGS / "transfer" / f"{task.spec.default_protocol}.toml", ())
    try:
        data = task.load_data(folder, protocol)
    except DataError as error:
        if as_json:
            echo_json({"folder": str(folder), "faults": list(error.problems)})
        else:
            for problem in error.problems:
                click.echo(printable(problem))
        count = f"{len(error.problems):,} {'fault' if len(error.problems) == 1 else 'faults'}"
        raise DataError(f"{folder}: {count}; nothing can be trained on it") from None
    stamp, departures = task.stamp_data(data), task.data_departures(data, protocol)
    if as_json:
        facts: dict[str, Any] = {"folder": str(folder), "faults": [], "departures": list(departures)}
        echo_json({**facts, **stamp.model_dump(mode="json")})
        return
    for line in _report(task, folder, stamp, departures):
        click.echo(line)


def _report(task: Task, folder: Path, stamp: DataStamp, departures: tuple[str, ...]) -> list[str]:
    from bench.commands._text import rows, terminal_width

    counts = ", ".join(f"{count:,} {role}" for role, count in stamp.counts.items())
    facts = [("images", counts), ("classes", f"{len(stamp.classes)}: {', '.join(stamp.classes)}")]
    facts.append(("fingerprint", stamp.fingerprint))
    facts += [("note", note) for note in stamp.notes]
    if departures:
        facts += [("not published", line) for line in departures]
        facts.append(("", "records on it are custom"))
    else:
        facts.append(("published", f"the classes, splits and counts of {task.spec.default_protocol}"))
    return [f"{folder}: no fault", *rows(facts, column=13, width=terminal_width())]
