"""Tables for people to read as text, aligned for the terminal or in Markdown; and all of them as JSON.

Equal input, equal bytes. The two for people round; what is for programs does not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.core import atomic
from bench.report.grid import AnyTable, Grid, Part, Table, beside, make_grid


def as_table(tables: Sequence[AnyTable], *, width: int = 100, colour: bool = False) -> str:
    """Aligned text for a terminal of `width` columns."""
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    for index, table in enumerate(tables):
        if index:
            console.print()
        _print(console, make_grid(table, short_names=True))
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def as_markdown(tables: Sequence[AnyTable]) -> str:
    """Markdown tables, each under a heading of the second level."""
    blocks = []
    for table in tables:
        grid = make_grid(table, short_names=False)
        whole = beside(grid.names, grid.values, grid.differences, grid.sources)
        lines = [f"## {_escape(grid.title)}", "", *(f"- {_escape(fact)}" for fact in grid.facts)]
        lines += [""] if grid.facts else []
        lines.append(_markdown_row(map(_escape, whole.header)))
        lines.append(_markdown_row(["---", *("---:" for _ in whole.header[1:])]))
        lines += [_markdown_row(map(_escape, cells)) for cells in whole.measured]
        if whole.published and grid.published_heading:
            lines.append(_markdown_row([f"*{grid.published_heading}*", *("" for _ in whole.header[1:])]))
        lines += [_markdown_row(map(_escape, cells)) for cells in whole.published]
        lines += ["", *(f"- {_escape(note)}" for note in grid.notes)]
        lines += [f"- {mark}: {_escape(meaning)}" for mark, meaning in grid.marks]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def as_json(tables: Sequence[Table]) -> str:
    """A list of tables with all their fields, full precision; an empty list where there are none."""
    return atomic.json_text([table.model_dump(mode="json") for table in tables])


def _print(console: Console, grid: Grid) -> None:
    console.print(Text(plain(grid.title), style="bold"))
    for line in grid.facts:
        console.print(Text(plain(line)))
    if grid.sources.header:
        # Published names are long: with them, the differences do not fit beside within 100 columns.
        whole = beside(grid.names, grid.values, grid.sources)
        console.print(_rich_table(whole, grid.published_heading))
        if grid.differences.header:
            ours = [Part(part.header, part.measured, []) for part in (grid.names, grid.differences)]
            console.print()
            console.print(_rich_table(beside(*ours)))
    else:
        console.print(_rich_table(beside(grid.names, grid.values, grid.differences)))
    console.print()
    for line in grid.notes:
        console.print(Text(plain(line)))
    for mark, meaning in grid.marks:
        console.print(Text(f"{mark}: {plain(meaning)}"))


def _rich_table(part: Part, published_heading: str = "") -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(Text(plain(part.header[0])), min_width=20, overflow="fold")
    for name in map(plain, part.header[1:]):
        # a break after each "_" lets a long name of a baseline stand in a narrow column
        head = Text(name.replace("vs ", "vs\n", 1).replace("_", "_\n"), justify="right")
        table.add_column(head, justify="right", overflow="fold")
    for name, *cells in part.measured:
        table.add_row(Text(plain(name), style="bold"), *(Text(plain(cell)) for cell in cells))
    if part.published and published_heading:
        table.add_section()
        table.add_row(Text(published_heading))
    for cells in part.published:
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def plain(text: str) -> str:
    """`text` with "?" for what is not printable."""
    # Text of a record may come from anywhere: an escape sequence in it must not reach the terminal.
    return "".join(character if character.isprintable() else "?" for character in text)


def _escape(text: str) -> str:
    # "_" inside a word is plain in Markdown: names of weights stay as they are
    return re.sub(r"([\\`*<>\[\]|&]|(?<!\w)_|_(?!\w))", r"\\\1", plain(text))


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
