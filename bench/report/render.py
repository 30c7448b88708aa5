"""One leaderboard, four forms: a table for the terminal, Markdown, CSV, JSON. Equal input, equal bytes.

The two for people round; the two for programs do not.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.core import atomic
from bench.report.grid import Grid, Part, make_grid
from bench.report.published import Quoted
from bench.report.tables import Leaderboard, Row


def as_table(leaderboards: Sequence[Leaderboard], *, width: int = 100, colour: bool = False) -> str:
    """Aligned text for a terminal of `width` columns."""
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    for index, leaderboard in enumerate(leaderboards):
        if index:
            console.print()
        _print(console, make_grid(leaderboard, _shared_prefix(leaderboard), plain))
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def as_markdown(leaderboards: Sequence[Leaderboard]) -> str:
    """Markdown tables, each under a heading of the second level."""
    blocks = []
    for leaderboard in leaderboards:
        grid = make_grid(leaderboard, "", _escape)
        whole = _join(grid.names, grid.values, grid.differences, grid.sources)
        lines = [f"## {grid.title}", "", *(f"- {line}" for line in grid.facts), ""]
        lines.append(_markdown_row(whole.header))
        lines.append(_markdown_row(["---", *("---:" for _ in whole.header[1:])]))
        lines += [_markdown_row(cells) for cells in whole.measured]
        if whole.published:
            lines.append(_markdown_row([f"*{grid.published_heading}*", *("" for _ in whole.header[1:])]))
            lines += [_markdown_row(cells) for cells in whole.published]
        lines += ["", *(f"- {line}" for line in grid.notes)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def as_json(leaderboards: Sequence[Leaderboard]) -> str:
    """A list of leaderboards with all their fields, full precision; an empty list where there are none."""
    return atomic.json_text([leaderboard.model_dump(mode="json") for leaderboard in leaderboards])


CSV_COLUMNS = (
    "task", "task_version", "protocol", "identity", "status", "departures", "data", "num_classes",
    "metric_rule", "kind", "weights", "tensors_sha256", "pretrain_data", "pretrain_epochs", "metric",
    "mean", "std", "trials", "seeds", "records", "baseline", "difference", "standard_error", "source",
    "confirmed", "note",
)  # fmt: skip


def as_csv(leaderboards: Sequence[Leaderboard]) -> str:
    """One line a number, full precision: each metric of each row, then its difference to each baseline.

    `kind` is `measured`, `difference` (to `baseline`) or `published`.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    quoted: set[tuple[str, str]] = set()
    for leaderboard in leaderboards:
        table = {
            "task": leaderboard.task,
            "task_version": leaderboard.task_version,
            "protocol": leaderboard.protocol,
            "identity": leaderboard.identity,
            "status": leaderboard.status,
            "departures": "; ".join(leaderboard.departures),
            "data": leaderboard.data,
            "num_classes": leaderboard.num_classes,
            "metric_rule": leaderboard.metric_rule,
        }
        for row in leaderboard.rows:
            writer.writerows({**table, **line} for line in _csv_measured(leaderboard, row))
        # Published values have no identity of ours, and stand once though two tables may show them.
        place = (leaderboard.task, leaderboard.protocol)
        if leaderboard.published and place not in quoted:
            quoted.add(place)
            where = {"task": leaderboard.task, "protocol": leaderboard.protocol}
            for entry in leaderboard.published:
                writer.writerows({**where, **line} for line in _csv_published(entry))
    return buffer.getvalue()


def _csv_measured(leaderboard: Leaderboard, row: Row) -> list[dict[str, object]]:
    who: dict[str, object] = {
        "weights": row.name,
        "tensors_sha256": row.tensors_sha256,
        "trials": len(row.trials),
        "seeds": " ".join(str(trial.seed) for trial in row.trials),
        "records": " ".join(trial.record for trial in row.trials),
    }
    lines: list[dict[str, object]] = [
        {**who, "kind": "measured", "metric": metric, "mean": row.cells[metric].mean}
        | {"std": row.cells[metric].std}
        for metric in leaderboard.metrics
        if metric in row.cells
    ]
    for baseline in leaderboard.baselines:
        for metric in leaderboard.metrics:
            gap = row.differences.get(baseline, {}).get(metric)
            if gap is not None:
                error = {"difference": gap.value, "standard_error": gap.standard_error}
                lines.append({**who, "kind": "difference", "metric": metric, "baseline": baseline, **error})
    return lines


def _csv_published(entry: Quoted) -> list[dict[str, object]]:
    return [
        {
            "kind": "published",
            "weights": entry.method if entry.arch == "ResNet-50" else f"{entry.method} ({entry.arch})",
            "pretrain_data": entry.pretrain_data,
            "pretrain_epochs": entry.pretrain_epochs,
            "metric": metric,
            "mean": value.value,
            "std": value.std,
            "trials": entry.trials,
            "source": entry.source,
            "confirmed": "yes" if entry.confirmed else "no",
            "note": "; ".join(entry.notes),
        }
        for metric, value in entry.values.items()
    ]


def _shared_prefix(leaderboard: Leaderboard) -> str:
    """What all names of weights begin with up to the first dot, "resnet50.", or nothing."""
    prefixes = {row.label.partition(".")[0] + "." for row in leaderboard.rows}
    return prefixes.pop() if len(prefixes) == 1 else ""


def _print(console: Console, grid: Grid) -> None:
    console.print(Text(grid.title, style="bold"))
    for line in grid.facts:
        console.print(Text(line))
    if grid.sources.header:
        # Published names are long: with them, the differences do not fit beside within 100 columns.
        whole = _join(grid.names, grid.values, grid.sources)
        console.print(_rich_table(whole, grid.published_heading))
        if grid.differences.header:
            ours = [Part(part.header, part.measured, []) for part in (grid.names, grid.differences)]
            console.print()
            console.print(_rich_table(_join(*ours)))
    else:
        console.print(_rich_table(_join(grid.names, grid.values, grid.differences)))
    console.print()
    for line in grid.notes:
        console.print(Text(line))


def _join(*parts: Part) -> Part:
    """The parts side by side."""

    def beside(rows: Sequence[list[list[str]]]) -> list[list[str]]:
        return [[cell for cells in row for cell in cells] for row in zip(*rows, strict=True)]

    header = [name for part in parts for name in part.header]
    return Part(header, beside([part.measured for part in parts]), beside([part.published for part in parts]))


def _rich_table(part: Part, published_heading: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(Text(part.header[0]), min_width=20, overflow="fold")
    for name in part.header[1:]:
        # a break after each "_" lets a long name of a baseline stand in a narrow column
        head = Text(name.replace("vs ", "vs\n", 1).replace("_", "_\n"), justify="right")
        table.add_column(head, justify="right", overflow="fold")
    for name, *cells in part.measured:
        table.add_row(Text(name, style="bold"), *map(Text, cells))
    if part.published:
        table.add_section()
        table.add_row(Text(published_heading))
        for cells in part.published:
            table.add_row(*map(Text, cells))
    return table


def plain(text: str) -> str:
    """`text` with "?" for what is not printable."""
    # Text of a record may come from anywhere: an escape sequence in it must not reach the terminal.
    return "".join(character if character.isprintable() else "?" for character in text)


def _escape(text: str) -> str:
    # "_" inside a word is plain in Markdown: names of weights stay as they are
    return re.sub(r"([\\`*<>\[\]|&]|(?<!\w)_|_(?!\w))", r"\\\1", plain(text))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
