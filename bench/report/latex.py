"""Tables as LaTeX to paste into a paper: booktabs, baselines first, best mean bold, second underlined.

Equal input, equal bytes. Numbers and words are those of `grid`; what is not ours is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.across import Agreement
from bench.report.grid import NONE, AnyTable, Part, beside, make_grid, number
from bench.report.leaderboard import Leaderboard
from bench.report.render import plain

PREAMBLE = (
    r"% Needs \usepackage{booktabs,threeparttable}; a table that does not fit a page also {longtable}."
    "\n% Made for 16.5 cm of text, or both columns; six metrics beside published rows take 17.5 cm."
)

PAGE_LINES = 45
"""Rows and lines of notes that fit a page in footnotesize; a float does not break: more are a longtable."""

NOTE_CHARACTERS = 100
"""Of a line of notes, about."""

MANY_COLUMNS = 7
NAME_CHARACTERS = 36
LINE_CHARACTERS = 80
NAME_COLUMN = "p{4.8cm}"
"""With more columns than these, a name longer than these characters is broken, with fewer one longer than a
line: the column has this width."""

WIDE_METRICS = 3
"""With more metrics than these, or with published rows, the differences do not fit beside: a second table."""

_ESCAPES = str.maketrans(
    {
        **{character: "\\" + character for character in "&%$#_{}"},
        "\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
        # ends of rows, rules and items would take these for an option, and babel a quotation mark for its own
        "[": "{[}", "]": "{]}", "*": "{*}", '"': "''",
    }
)  # fmt: skip


def as_latex(tables: Sequence[AnyTable]) -> str:
    """A fragment of a document: one table each, under a comment that says which packages it needs.

    Letters outside of ASCII stay as they are in UTF-8: those beyond Latin need XeLaTeX or LuaLaTeX.
    """
    return "\n".join([PREAMBLE, *map(_table, tables)]) + "\n" if tables else ""


def escape(text: str) -> str:
    """`text` as LaTeX prints it letter by letter, whatever is in it; "?" for what is not printable."""
    # "{}" keeps two hyphens from becoming a dash
    return re.sub("-(?=-)", "-{}", plain(text).translate(_ESCAPES))


@dataclass(frozen=True)
class _Drawing:
    """One table, escaped and ready; `notes` are pairs of a mark, which may be empty, and a text."""

    caption: str
    label: str
    columns: str
    head: list[str]
    body: list[str]
    notes: list[tuple[str, str]]


def _table(table: AnyTable) -> str:
    num_baselines = 0
    if isinstance(table, Leaderboard):
        table = _baselines_first(table)
        num_baselines = len(table.baselines)
    grid = make_grid(table, short_names=True)
    names, values, differences, sources = (
        _escaped(part) for part in (grid.names, grid.values, grid.differences, grid.sources)
    )
    if isinstance(table, Leaderboard):
        values = Part(values.header, _marked(table, values.measured), values.published)
    split = bool(sources.header) or (isinstance(table, Leaderboard) and len(table.metrics) > WIDE_METRICS)
    label = _label(table)
    first = _drawing(
        beside(names, values, sources) if split else beside(names, values, differences),
        num_baselines,
        published_heading=grid.published_heading,
        caption=escape(grid.title),
        label=label,
        notes=[("", escape(text)) for text in (*grid.facts, *grid.notes)]
        + [(mark, escape(text)) for mark, text in grid.marks],
    )
    lines = _lines(first)
    if split and differences.header:
        second = _drawing(
            beside(*(Part(part.header, part.measured, []) for part in (names, differences))),
            num_baselines,
            caption=rf"Differences to the baselines; notes under Table~\ref{{{label}}}",
            label=f"{label}-differences",
        )
        lines += _lines(second)
    return "\n".join(lines)


def _baselines_first(table: Leaderboard) -> Leaderboard:
    """Baselines in their own order, then all others from the best to the worst."""
    places = {label: place for place, label in enumerate(table.baselines)}
    rows = sorted(table.rows, key=lambda row: places.get(row.label, len(places)))
    return table.model_copy(update={"rows": tuple(rows)})


def _label(table: AnyTable) -> str:
    if isinstance(table, Agreement):
        return "tab:agreement"
    last = table.identity[:8] if isinstance(table, Leaderboard) else "published"
    return "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", f"{table.task}-{table.protocol}-{last}")


def _escaped(part: Part) -> Part:
    def rows(cells: list[list[str]]) -> list[list[str]]:
        return [[_cell(cell) for cell in row] for row in cells]

    return Part([_head(name) for name in part.header], rows(part.measured), rows(part.published))


def _cell(text: str) -> str:
    if text == NONE:
        return "--"
    if re.fullmatch(r"\d+-\d+", text):  # a rank
        return text.replace("-", "--")
    # the sign of a difference: a hyphen is no minus
    return re.sub(r"^([+-])(?=\d)", r"$\1$", escape(text))


def _head(name: str) -> str:
    if not name.startswith("vs "):
        return escape(name)
    lines = [escape(line) for line in name.replace("vs ", "vs\n", 1).replace("_", "_\n").split("\n")]
    return r"\begin{tabular}[b]{@{}r@{}}" + r"\\".join(lines) + r"\end{tabular}"


def _marked(table: Leaderboard, cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """The best mean of each metric bold and the second underlined; equal ones, as they are printed, alike."""
    marked = [list(row) for row in cells]
    for column, metric in enumerate(table.metrics[: len(cells[0]) - 2]):
        means = {
            place: number(row.cells[metric].mean)
            for place, row in enumerate(table.rows)
            if metric in row.cells
        }
        # by the main metric's direction: no task has metrics of both
        best = sorted({float(mean) for mean in means.values()}, reverse=table.higher_is_better)
        for place, mean in means.items():
            for value, command in zip(best, (r"\textbf", r"\underline"), strict=False):
                if float(mean) == value:
                    marked[place][column] = marked[place][column].replace(mean, f"{command}{{{mean}}}", 1)
    return marked


def _drawing(
    part: Part,
    num_baselines: int,
    *,
    caption: str,
    label: str,
    published_heading: str = "",
    notes: Sequence[tuple[str, str]] = (),
) -> _Drawing:
    """Rows in groups with a rule between: baselines, others, published ones."""
    groups = (part.measured[:num_baselines], part.measured[num_baselines:], part.published)
    longest = max((len(name) for group in groups for name, *_ in group), default=0)
    wide = longest > (NAME_CHARACTERS if len(part.header) > MANY_COLUMNS else LINE_CHARACTERS)
    body: list[str] = []
    for index, group in enumerate(groups):
        if body and group:
            body.append(r"\midrule")
        if index == 2 and group and published_heading:
            body.append(rf"\multicolumn{{{len(part.header)}}}{{l}}{{\emph{{{published_heading}}}}} \\")
        body += [_row([rf"\raggedright {name}" if wide else name, *cells]) for name, *cells in group]
    return _Drawing(
        caption=caption,
        label=label,
        columns=(NAME_COLUMN if wide else "l") + "r" * (len(part.header) - 1),
        head=[r"\toprule", _row(part.header), r"\midrule"],
        body=body,
        notes=list(notes),
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _lines(drawing: _Drawing) -> list[str]:
    num_lines = len(drawing.body)
    num_lines += sum(1 + len(text) // NOTE_CHARACTERS for _, text in drawing.notes)
    return _float(drawing) if num_lines <= PAGE_LINES else _long(drawing)


_SIZE = (r"\footnotesize", r"\setlength{\tabcolsep}{3pt}")


def _float(drawing: _Drawing) -> list[str]:
    notes = [rf"\item[{mark}] {text}" if mark else rf"\item {text}" for mark, text in drawing.notes]
    if notes:
        begin = [r"\begin{tablenotes}[flushleft]", r"\footnotesize\raggedright"]
        notes = [*begin, *notes, r"\end{tablenotes}"]
    return [
        r"\begin{table}[htbp]", r"\centering", *_SIZE, r"\begin{threeparttable}",
        rf"\caption{{{drawing.caption}}}", rf"\label{{{drawing.label}}}",
        rf"\begin{{tabular}}{{{drawing.columns}}}", *drawing.head, *drawing.body, r"\bottomrule",
        r"\end{tabular}", *notes, r"\end{threeparttable}", r"\end{table}",
    ]  # fmt: skip


def _long(drawing: _Drawing) -> list[str]:
    # threeparttable cannot hold a longtable: the notes are paragraphs behind it
    notes = [rf"\noindent {mark + ': ' if mark else ''}{text}\par" for mark, text in drawing.notes]
    return [
        r"\begingroup", *_SIZE, rf"\begin{{longtable}}{{{drawing.columns}}}",
        rf"\caption{{{drawing.caption}}}", rf"\label{{{drawing.label}}}\\", *drawing.head, r"\endfirsthead",
        *drawing.head, r"\endhead", r"\bottomrule", r"\endfoot", *drawing.body, r"\end{longtable}",
        r"\raggedright", *notes, r"\endgroup",
    ]  # fmt: skip
