"""A comparison of two weights in words, for the terminal."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report.compare import Comparison, TaskComparison
from bench.report.grid import NONE, mean_and_std, number
from bench.report.leaderboard import Cell, Ends
from bench.report.render import plain

NOTES = (
    "Percent and points; mean ± sample standard deviation (trials). In brackets 95 % intervals of A - B.",
    "by seeds: Welch's, over trials. by images: paired bootstrap of the test images, the trials as they are.",
    "better: only where both intervals leave out zero.",
)


def as_text(comparison: Comparison, *, width: int = 100, colour: bool = False) -> str:
    """Aligned text for a terminal of `width` columns."""
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    console.print(Text(f"A: {plain(comparison.first)}", style="bold"))
    console.print(Text(f"B: {plain(comparison.second)}", style="bold"))
    console.print()
    if comparison.tasks:
        console.print(_table(comparison))
        for task in comparison.tasks:
            if task.images_note:
                console.print(Text(f"{_where(task)}: images: {plain(task.images_note)}"))
        for note in NOTES:
            console.print(Text(note))
    else:
        console.print(Text("No task and protocol identity has both."))
    for name, places in (("A", comparison.only_first), ("B", comparison.only_second)):
        for place in places:
            console.print(Text(f"only {name}: {plain(place)}"))
    console.print()
    _differences(console, comparison)
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def _table(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in ("task, protocol", "metric", "A", "B", "A - B", "by seeds", "by images", "better"):
        right = name not in ("task, protocol", "metric", "better")
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for task in comparison.tasks:
        images = task.images
        table.add_row(
            Text(plain(_where(task))),
            Text(plain(task.metric)),
            *(_cell(cell) for cell in (task.first, task.second)),
            Text(number(task.seeds.value, signed=True)),
            Text(_interval(task.seeds.interval)),
            Text(NONE if images is None else f"{_interval(images.interval)} p {images.p:.3f}"),
            Text({"first": "A", "second": "B"}.get(task.better, task.better)),
        )
    return table


def _cell(cell: Cell) -> Text:
    return Text(f"{mean_and_std(cell.mean, cell.std)} ({len(cell.values)})")


def _where(task: TaskComparison) -> str:
    status = "" if task.status == "exact" else f" ({task.status})"
    return f"{task.task} {task.protocol}{status}"


def _interval(ends: Ends | None) -> str:
    return NONE if ends is None else f"[{number(ends[0], signed=True)}, {number(ends[1], signed=True)}]"


def _differences(console: Console, comparison: Comparison) -> None:
    """What is not equal between the two: first in their cards, then in what made their records."""
    groups = [("The weights differ in", comparison.differs)]
    groups += [(f"Records of {_where(task)} differ in", task.environments) for task in comparison.tasks]
    for title, found in groups:
        if not found:
            continue
        console.print(Text(f"{title}:"))
        for name, first, second in found:
            console.print(Text(f"  {plain(name)}: {plain(first) or NONE} | {plain(second) or NONE}"))
