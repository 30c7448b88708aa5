"""A table as the page shows it: cells with what is said on hover, badges, footnotes, charts.

Numbers and sentences are those of `bench.report.grid`, so that all forms of a report say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.core.records import Record
from bench.report.grid import MAX_METRICS, NONE, Grid, Table, make_grid, number, verdict_text
from bench.report.html.chart_details import classes_chart, curves_chart
from bench.report.html.charts import Chart, epochs_chart, short
from bench.report.html.curves import Curve
from bench.report.html.origin import Origin, origin_of, origin_of_quoted
from bench.report.html.record_data import gap_words, interval_words, row_key
from bench.report.leaderboard import Cell, Gap, Leaderboard, Row
from bench.report.published import Quoted
from bench.report.published_tables import PublishedTable
from bench.report.render import plain
from bench.report.reproduction import Verdict
from bench.report.tables import FEW_TRIALS

STATUSES: Final[Mapping[str, tuple[str, str]]] = {
    "exact": ("✓", "every field as published"),
    "substituted": (
        "≈",
        "a documented stand-in for a part of the protocol: near the published one, not equal",
    ),
    "custom": ("✎", "not the published protocol: compares with nothing published"),
    "published": ("❝", "quoted from their sources, nothing measured here"),
}
"""Of a table: a sign, since colour alone would not tell all readers, and what it means."""


@dataclass(frozen=True)
class Shown:
    """A cell: its text, what is said on hover and focus, and by what it is sorted ("" is last)."""

    text: str
    tip: str = ""
    sort: str = ""


@dataclass(frozen=True)
class Badge:
    """Whether a row reproduces a published one."""

    text: str
    tip: str
    within: bool


@dataclass(frozen=True)
class Line:
    """A row of the table; `key` is empty for a published one, `marks` are its footnotes."""

    key: str
    name: str
    about: str
    origin: Origin
    values: tuple[Shown, ...]
    trials: Shown
    rank: Shown
    differences: tuple[Shown, ...]
    confirmed: bool = True
    badges: tuple[Badge, ...] = ()
    marks: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Section:
    """One table with what stands around it; `status` is one of `STATUSES`, `charts` may be none."""

    key: str
    task: str
    protocol: str
    status: str
    names: str
    facts: tuple[str, ...]
    metrics: tuple[str, ...]
    published: tuple[Line, ...]
    published_heading: str
    notes: tuple[str, ...]
    footnotes: tuple[tuple[str, str], ...]
    departures: tuple[str, ...] = ()
    higher_is_better: bool = True
    baselines: tuple[str, ...] = ()
    measured: tuple[Line, ...] = ()
    charts: tuple[Chart, ...] = ()
    num_records: int = 0
    has_contradictions: bool = False

    @property
    def status_mark(self) -> str:
        """The sign of its status."""
        return STATUSES[self.status][0]

    @property
    def status_words(self) -> str:
        """What its status means."""
        return STATUSES[self.status][1]

    @property
    def num_columns(self) -> int:
        """Of its table: metrics and baselines, and name, three of origin, trials, rank, source."""
        return 7 + len(self.metrics) + len(self.baselines)

    @property
    def best(self) -> str:
        """The first row and its main metric, in words, and how many more have the same."""
        first, *others = self.measured or self.published
        num_equal = sum(line.values[0].sort == first.values[0].sort for line in others)
        more = f" and {num_equal} more" if num_equal else ""
        return f"{short(first.name)}{more}, {self.metrics[0]} {first.values[0].text}"


def section(place: int, table: Table, records: Mapping[str, Record], curves: Mapping[str, Curve]) -> Section:
    """Everything the page says of one table.

    Args:
        place: Of the table, from 0.
        table: A leaderboard, or published rows alone.
        records: By id, at least all that the table names.
        curves: By record id; may be empty.
    """
    grid = make_grid(table, short_names=True)
    if isinstance(table, PublishedTable):
        return _published_section(place, table, grid)
    metrics = table.metrics[:MAX_METRICS]
    charts = (epochs_chart(table), classes_chart(table, records), curves_chart(table, curves))
    return Section(
        key=str(place),
        task=plain(table.task),
        protocol=plain(table.protocol),
        status=table.status,
        names=plain(grid.names.header[0]),
        # Departures have a place of their own.
        facts=tuple(plain(fact) for fact in grid.facts if not fact.startswith("departs from the protocol")),
        metrics=tuple(map(plain, metrics)),
        published=tuple(_published(table.published or (), metrics, grid, len(table.baselines))),
        published_heading=grid.published_heading.rstrip(":").capitalize(),
        notes=tuple(map(plain, grid.notes)),
        footnotes=tuple((mark, plain(text)) for mark, text in grid.marks),
        departures=tuple(map(plain, table.departures)),
        higher_is_better=table.higher_is_better,
        baselines=tuple(map(plain, grid.differences.header)),
        measured=tuple(_measured(place, table, metrics, grid)),
        charts=tuple(chart for chart in charts if chart),
        num_records=sum(len(row.trials) for row in table.rows),
    )


def _published_section(place: int, table: PublishedTable, grid: Grid) -> Section:
    metrics = table.metrics[:MAX_METRICS]
    chart = epochs_chart(table)
    return Section(
        key=str(place),
        task=plain(table.task),
        protocol=plain(table.protocol),
        status="published",
        names=plain(grid.names.header[0]),
        facts=tuple(map(plain, grid.facts)),
        metrics=tuple(map(plain, metrics)),
        published=tuple(_published(table.rows, metrics, grid, 0)),
        published_heading="Published, nothing measured here",
        notes=tuple(map(plain, grid.notes)),
        footnotes=tuple((mark, plain(text)) for mark, text in grid.marks),
        charts=(chart,) if chart else (),
        has_contradictions=bool(table.contradictions),
    )


def _measured(place: int, board: Leaderboard, metrics: Sequence[str], grid: Grid) -> Iterator[Line]:
    sources = {text: mark for mark, text in grid.marks}
    for index, row in enumerate(board.rows):
        *values, trials, ranked = grid.values.measured[index]
        yield Line(
            key=row_key(place, index),
            name=plain(grid.names.measured[index][0]),
            about="baseline" if row.baseline else "",
            origin=origin_of(row.name),
            values=tuple(
                _value(text, row.cells.get(metric)) for text, metric in zip(values, metrics, strict=True)
            ),
            trials=Shown(trials, _few(row), str(len(row.trials))),
            rank=Shown(ranked, _rank_tip(row), f"{sum(row.rank) / 2}" if row.rank else ""),
            differences=tuple(
                _difference(text, row.differences.get(label, {}).get(board.metrics[0]))
                for text, label in zip(grid.differences.measured[index], board.baselines, strict=True)
            ),
            badges=tuple(
                _badge(item, sources[item.source]) for item in board.verdicts if item.label == row.label
            ),
        )


def _value(text: str, cell: Cell | None) -> Shown:
    if cell is None:
        return Shown(text)
    if cell.interval is None:
        tip = "a single trial: no 95 % interval"
    else:
        tip = f"95 % interval {interval_words(cell.interval)}, {len(cell.values)} trials"
    return Shown(text, tip, f"{cell.mean:.6g}")


def _few(row: Row) -> str:
    few = len(row.trials) < FEW_TRIALS
    return f"few: the MoCo protocol takes the mean of {FEW_TRIALS}" if few else ""


def _rank_tip(row: Row) -> str:
    if row.rank is None:
        return "a single trial has no interval, and so no rank"
    if row.rank[0] == row.rank[1]:
        return "no other row's 95 % interval overlaps"
    return "95 % intervals overlap: these places cannot be told apart"


def _difference(text: str, gap: Gap | None) -> Shown:
    if gap is None:
        return Shown(text)
    if gap.interval is None:
        tip = "a single trial on a side: no interval"
    else:
        tip = "95 % interval {}: {}".format(*gap_words(gap))
    return Shown(text, tip, f"{gap.value:.6g}")


def _badge(verdict: Verdict, source: str) -> Badge:
    doubt = "" if verdict.confirmed else " UNCONFIRMED"
    says = "reproduces" if verdict.within else "does not reproduce"
    text = f"{says} {source}{doubt}: {number(verdict.difference, signed=True)}"
    return Badge(text, plain(verdict_text(verdict)), verdict.within)


def _published(
    entries: Sequence[Quoted], metrics: Sequence[str], grid: Grid, num_baselines: int
) -> Iterator[Line]:
    meanings = dict(grid.marks)
    for entry, values, (marks,) in zip(entries, grid.values.published, grid.sources.published, strict=True):
        yield Line(
            key="",
            name=plain(entry.method),
            about="" if entry.arch == "ResNet-50" else plain(entry.arch),
            origin=origin_of_quoted(entry),
            values=tuple(
                _quoted_value(text, entry, metric) for text, metric in zip(values, metrics, strict=False)
            ),
            trials=_quoted_trials(entry.trials),
            rank=Shown(NONE),
            differences=(Shown(NONE),) * num_baselines,
            confirmed=entry.confirmed,
            marks=tuple(Shown(mark, plain(meanings[mark])) for mark in marks.split()),
        )


def _quoted_trials(trials: int | None) -> Shown:
    return Shown(str(trials), "", str(trials)) if trials else Shown(NONE, "the source does not say")


def _quoted_value(text: str, entry: Quoted, metric: str) -> Shown:
    value = entry.values.get(metric)
    if value is None:
        return Shown(text)
    doubt = "" if entry.confirmed else "UNCONFIRMED. "
    return Shown(text, f"{doubt}{plain(entry.source)}", f"{value.value:.6g}")
