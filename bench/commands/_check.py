"""`bench data check LAYOUT DIR`: what a task would refuse, found before a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.core.errors import DataError
    from bench.core.records import DataStamp
    from bench.images.source import ImageSource
    from transfer.api import Layout, Task

IMAGES = "images"
"""The layout that belongs to no task: images to pretrain on."""
_CLASSES_SHOWN = 20


def layouts() -> dict[str, tuple[Task, Layout]]:
    """Name of a layout to the first task that reads it."""
    from transfer.api import TASKS

    found: dict[str, tuple[Task, Layout]] = {}
    for _, task in TASKS:
        for layout in task.spec.layouts:
            found.setdefault(layout.name, (task, layout))
    return found


def check_command(name: str) -> click.Command:
    """The subcommand for a layout.

    Raises:
        UsageError: there is no such layout; the nearest name is suggested.
    """
    from bench.core.errors import UsageError, did_you_mean

    if name == IMAGES:
        return images_command
    known = layouts()
    if name not in known:
        names = [*known, IMAGES]
        raise UsageError(f"unknown layout {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}")
    task, layout = known[name]

    text = (
        f"Check a data set for {task.spec.name}: all that a transfer checks before it trains.\n\n"
        "All faults are listed, each with its file and object, and the exit code is 4. A set without fault "
        "is described: counts, what sets it apart from the published one, notes.\n\n\b\nExamples:\n"
        f"  bench data check {name} DIR\n  bench data check {name} DIR --json"
    )

    @click.command(name, help=text, short_help=f"For {task.spec.name}.")
    @click.argument("folder", type=click.Path(path_type=Path))
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def run(folder: Path, as_json: bool) -> None:
        check(task, layout, folder, as_json=as_json)

    return run


def check(task: Task, layout: Layout, folder: Path, *, as_json: bool) -> None:
    """Read a set as the task would, and print what was found.

    Raises:
        DataError: it has faults, which are printed.
    """
    from bench.commands._text import echo_json
    from bench.core.errors import DataError
    from bench.core.paths import CONFIGS

    path = CONFIGS / "transfer" / f"{layout.protocol}.toml"
    published = task.load_protocol(path, ())
    protocol = task.load_protocol(path, layout.overrides)
    try:
        data = task.load_data(folder, protocol)
    except DataError as error:
        raise _faults(folder, error.problems, as_json=as_json) from None
    stamp, departures = task.stamp_data(data), task.data_departures(data, published)
    if as_json:
        facts: dict[str, Any] = {"folder": str(folder), "faults": [], "departures": list(departures)}
        echo_json({**facts, **stamp.model_dump(mode="json")})
        return
    for line in _report(layout, folder, stamp, departures):
        click.echo(line)


def _faults(folder: Path, problems: Sequence[str], *, as_json: bool) -> DataError:
    """Print all problems; the error to raise for them."""
    from bench.commands._text import echo_json, printable
    from bench.core.errors import DataError

    if as_json:
        echo_json({"folder": str(folder), "faults": list(problems)})
    else:
        for problem in problems:
            click.echo(printable(problem))
    count = f"{len(problems):,} {'fault' if len(problems) == 1 else 'faults'}"
    return DataError(f"{folder}: {count}; nothing can be trained on it")


def _report(layout: Layout, folder: Path, stamp: DataStamp, departures: tuple[str, ...]) -> list[str]:
    from bench.commands._text import rows, terminal_width

    counts = ", ".join(f"{count:,} {role}" for role, count in stamp.counts.items())
    facts = [("images", counts), ("classes", f"{len(stamp.classes)}: {', '.join(stamp.classes)}")]
    facts.append(("fingerprint", stamp.fingerprint))
    facts += [("note", note) for note in stamp.notes]
    if departures:
        facts += [("not published", line) for line in departures]
        facts.append(("", "records on it are custom"))
    else:
        facts.append(("published", f"the classes, splits and counts of {layout.protocol}"))
    return [f"{folder}: no fault", *rows(facts, column=13, width=terminal_width())]


@click.command(IMAGES, short_help="To pretrain on.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=None,
    help="Processes; by default one for each core, at most 8.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def images_command(folder: Path, workers: int | None, as_json: bool) -> None:
    """Check images to pretrain on: every name and label, then every image is decoded once.

    FOLDER holds a folder for each class, or images without classes, or uncompressed tar shards; it may also
    be one shard (.tar) or a list of images (.txt). All faults are listed, each with its file, and the exit
    code is 4.

    \b
    Examples:
      bench data check images imagenet/train
      bench data check images train_10percent.txt --json
    """
    import os

    from bench.commands._text import echo_json, rows, terminal_width
    from bench.core.errors import DataError
    from bench.images.check import check_images
    from bench.images.source import open_source

    try:
        source = open_source(folder)
    except DataError as error:
        raise _faults(folder, error.problems, as_json=as_json) from None
    num_workers = workers if workers is not None else min(os.cpu_count() or 1, 8)
    if problems := check_images(source, num_workers=num_workers):
        raise _faults(folder, problems, as_json=as_json)
    if as_json:
        facts: dict[str, Any] = {"folder": str(folder), "faults": [], "num_images": len(source)}
        facts |= {"classes": source.classes, "class_counts": _class_counts(source)}
        echo_json({**facts, "fingerprint": source.fingerprint})
        return
    click.echo(f"{folder}: no fault")
    for line in rows(_image_facts(source), column=13, width=terminal_width()):
        click.echo(line)


def _image_facts(source: ImageSource) -> list[tuple[str, str]]:
    facts = [("images", f"{len(source):,}")]
    if source.classes is None:
        facts.append(("classes", "no classes"))
    else:
        names, counts = source.classes[:_CLASSES_SHOWN], _class_counts(source) or [0]
        more = f", and {left:,} more" if (left := len(source.classes) - len(names)) else ""
        facts.append(("classes", f"{len(source.classes):,}: {', '.join(names)}{more}"))
        facts.append(("in a class", f"{min(counts):,} to {max(counts):,} images"))
    return [*facts, ("fingerprint", source.fingerprint)]


def _class_counts(source: ImageSource) -> list[int] | None:
    """Images of each class; None without classes."""
    import numpy as np

    if source.classes is None or source.labels is None:
        return None
    counts: list[int] = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return counts
