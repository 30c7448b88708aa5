"""The words of a leaderboard: what the terminal and Markdown both draw, cell by cell.

Numbers are rounded here and nowhere else: one decimal, two below 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.report.published import Quoted
from bench.report.tables import FEW_TRIALS, Cell, Gap, Leaderboard, Row

NONE = "-"
MAX_METRICS = 6
"""Columns that a terminal has room for; the files for programs have all."""

Escape = Callable[[str], str]
"""Makes text that came from a record or a source harmless for the form it is drawn in."""


@dataclass(frozen=True)
class Part:
    """Some columns: a header, then a list of cells for each row, measured rows first."""

    header: list[str]
    measured: list[list[str]]
    published: list[list[str]]


@dataclass(frozen=True)
class Grid:
    """A table in words.

    `names` is one column, `values` are metrics and trials, `differences` a column for each baseline,
    `sources` one column where there are published rows and else none. All have the same rows.
    """

    title: str
    facts: list[str]
    names: Part
    values: Part
    differences: Part
    sources: Part
    published_heading: str
    notes: list[str]


def number(value: float, *, signed: bool = False) -> str:
    """A number for people: one decimal, two below 1.0 so that 0.63 and 0.58 of a small run differ.

    Returns:
        57.04 is "57.0", 0.631 is "0.63", a difference of 0.5 is "+0.50"; never "-0.00".
    """
    decimals = 2 if abs(value) < 1.0 else 1
    rounded = round(value, decimals) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:{'+' if signed else ''}.{decimals}f}"


def mean_and_std(mean: float, std: float | None) -> str:
    """As "57.0 ± 0.2", or "57.0" where one trial has no spread; both with the decimals of the mean."""
    shown = number(mean)
    if std is None:
        return shown
    decimals = len(shown.partition(".")[2])
    return f"{shown} ± {std:.{decimals}f}"


def make_grid(leaderboard: Leaderboard, prefix: str, escape: Escape) -> Grid:
    """The words of one leaderboard.

    Args:
        leaderboard: What to say.
        prefix: Left out of names of weights and put at the head of their column, e.g. "resnet50.".
        escape: Applied to all text that is not ours.
    """
    rows, quoted = leaderboard.rows, leaderboard.published or ()
    metrics = leaderboard.metrics[:MAX_METRICS]
    marks = _Marks(escape)
    names = Part(
        [f"weights ({prefix}*)" if prefix else "weights"],
        [[escape(row.label.removeprefix(prefix))] for row in rows],
        [[escape(_quoted_label(entry))] for entry in quoted],
    )
    values = Part(
        [*map(escape, metrics), "trials"],
        [[*(_cell(row.cells.get(metric)) for metric in metrics), _trials(row, escape)] for row in rows],
        [[*_quoted_values(entry, metrics), str(entry.trials or NONE)] for entry in quoted],
    )
    differences = Part(
        [f"vs {escape(label.removeprefix(prefix))}" for label in leaderboard.baselines],
        [[_gap(row, label, metrics[0]) for label in leaderboard.baselines] for row in rows],
        [[NONE for _ in leaderboard.baselines] for _ in quoted],
    )
    sources = Part(
        ["source"] if quoted else [],
        [["here"] if quoted else [] for _ in rows],
        [[marks.of(entry)] for entry in quoted],
    )
    facts = _facts(leaderboard, escape)
    notes = [*_notes(leaderboard, escape), *marks.lines]
    heading = "published, without our substitution:" if leaderboard.status == "substituted" else "published:"
    return Grid(_title(leaderboard, escape), facts, names, values, differences, sources, heading, notes)


def _trials(row: Row, escape: Escape) -> str:
    few = escape("*") if len(row.trials) < FEW_TRIALS else ""
    return f"{len(row.trials)}{few}"


def _quoted_values(entry: Quoted, metrics: tuple[str, ...]) -> list[str]:
    values = (entry.values.get(metric) for metric in metrics)
    return [mean_and_std(value.value, value.std) if value else NONE for value in values]


def _title(leaderboard: Leaderboard, escape: Escape) -> str:
    slug = escape(leaderboard.protocol)
    return (
        f"{escape(leaderboard.task)} (task version {leaderboard.task_version}), {slug}: {leaderboard.status}"
    )


def _facts(leaderboard: Leaderboard, escape: Escape) -> list[str]:
    counts = ", ".join(f"{escape(split)} {count:,}" for split, count in leaderboard.data_counts.items())
    facts = [
        f"data: {escape(leaderboard.data)}, images: {counts or 'not counted'}; "
        f"{leaderboard.num_classes} classes; fingerprint {leaderboard.data_fingerprint[:8]}"
    ]
    rule = f"; {escape(leaderboard.metric_rule)}" if leaderboard.metric_rule else ""
    facts.append(f"identity: {leaderboard.identity[:12]}; engine: {escape(leaderboard.engine)}{rule}")
    if leaderboard.departures:
        facts.append(f"departs from the protocol: {escape('; '.join(leaderboard.departures))}")
    return facts + [f"data note: {escape(note)}" for note in leaderboard.data_notes]


def _notes(leaderboard: Leaderboard, escape: Escape) -> list[str]:
    metric = escape(leaderboard.metrics[0])
    notes = [
        "Percent; mean ± sample standard deviation over trials (seeds). One decimal, two below 1.0.",
    ]
    if leaderboard.baselines:
        notes.append(f"vs: difference in {metric} to that baseline, its standard error in parentheses.")
    else:
        notes.append("No baseline of this identity: no differences. Random or supervised weights make one.")
    if any(len(row.trials) < FEW_TRIALS for row in leaderboard.rows):
        notes.append(f"{escape('*')} few trials: the MoCo protocol takes the mean of {FEW_TRIALS}.")
    if left := leaderboard.metrics[MAX_METRICS:]:
        notes.append(f"Also recorded: {escape(', '.join(left))} (--format csv or json).")
    if leaderboard.published_note:
        text = leaderboard.published_note
        notes.append(escape(text[0].upper() + text[1:] + "."))
    return notes


class _Marks:
    """Numbers for sources (S1) and remarks (N1), given out in the order they are met."""

    def __init__(self, escape: Escape) -> None:
        self._escape = escape
        self._numbers: dict[str, dict[str, int]] = {"S": {}, "N": {}}

    def of(self, entry: Quoted) -> str:
        """The marks of one published row: its source, and all remarks on it as one."""
        notes = [*entry.notes] if entry.confirmed else ["UNCONFIRMED: no source was read", *entry.notes]
        mark = self._mark("S", entry.source)
        return f"{mark} {self._mark('N', '; '.join(notes))}" if notes else mark

    def _mark(self, kind: str, text: str) -> str:
        numbers = self._numbers[kind]
        return f"{kind}{numbers.setdefault(text, len(numbers) + 1)}"

    @property
    def lines(self) -> list[str]:
        """What each mark stands for."""
        return [
            f"{kind}{index}: {self._escape(text)}"
            for kind, numbers in self._numbers.items()
            for text, index in numbers.items()
        ]


def _cell(cell: Cell | None) -> str:
    return mean_and_std(cell.mean, cell.std) if cell else NONE


def _gap(row: Row, baseline: str, metric: str) -> str:
    gap: Gap | None = row.differences.get(baseline, {}).get(metric)
    if gap is None:
        return NONE
    shown = number(gap.value, signed=True)
    if gap.standard_error is None:
        return shown
    return f"{shown} ({gap.standard_error:.{len(shown.partition('.')[2])}f})"


def _quoted_label(entry: Quoted) -> str:
    parts = [entry.method]
    if entry.arch != "ResNet-50":
        parts.append(entry.arch)
    if entry.pretrain_data != "none":
        parts.append("epochs ?" if entry.pretrain_epochs is None else f"{entry.pretrain_epochs} ep")
        if entry.pretrain_data != "ImageNet-1K":
            parts.append(entry.pretrain_data)
    return ", ".join(parts) + ("" if entry.confirmed else " (unconfirmed)")
