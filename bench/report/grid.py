"""The words of a table: what the terminal, Markdown and LaTeX draw, cell by cell.

Numbers are rounded here and nowhere else: one decimal, two below 1.0. Text of records and sources stands as
it is: each form makes every cell harmless for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.report.across import FEW_WEIGHTS, Agreement, Axis
from bench.report.leaderboard import Cell, Leaderboard, Row
from bench.report.published import Quoted
from bench.report.published_tables import Contradiction, PublishedTable
from bench.report.reproduction import Verdict
from bench.report.tables import FEW_TRIALS

NONE = "-"
NOISE = "~"
"""Behind a difference that may be none."""

MAX_METRICS = 6
"""Columns that a terminal has room for; the files for programs have all."""

Table = Leaderboard | PublishedTable

AnyTable = Table | Agreement
"""With what a page draws instead, and what files for programs leave to them."""


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
    `sources` one column where there are published rows and else none. All have the same rows. `marks` are
    what the sources' column refers to, as ("S1", the source).
    """

    title: str
    facts: list[str]
    names: Part
    values: Part
    differences: Part
    sources: Part
    published_heading: str
    notes: list[str]
    marks: list[tuple[str, str]]


def beside(*parts: Part) -> Part:
    """The parts side by side."""

    def rows(lists: Sequence[list[list[str]]]) -> list[list[str]]:
        return [[cell for cells in row for cell in cells] for row in zip(*lists, strict=True)]

    header = [name for part in parts for name in part.header]
    return Part(header, rows([part.measured for part in parts]), rows([part.published for part in parts]))


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


def make_grid(table: AnyTable, *, short_names: bool) -> Grid:
    """The words of one table.

    Args:
        table: What to say: a leaderboard, published rows alone, or how far tasks agree.
        short_names: Leave out of names of weights what all begin with up to the first dot, "resnet50.", and
            put it at the head of their column.
    """
    if isinstance(table, PublishedTable):
        return _published_grid(table)
    if isinstance(table, Agreement):
        return _agreement_grid(table)
    prefix = _shared_prefix(table) if short_names else ""
    rows, quoted = table.rows, table.published or ()
    metrics = table.metrics[:MAX_METRICS]
    marks = _Marks()
    names = Part(
        [f"weights ({prefix}*)" if prefix else "weights"],
        [[row.label.removeprefix(prefix)] for row in rows],
        [[_quoted_label(entry)] for entry in quoted],
    )
    values = Part(
        [*metrics, "trials", "rank"],
        [[*(_cell(row.cells.get(metric)) for metric in metrics), _trials(row), rank(row)] for row in rows],
        [[*_quoted_values(entry, metrics), NONE] for entry in quoted],
    )
    differences = Part(
        [f"vs {label.removeprefix(prefix)}" for label in table.baselines],
        [[_gap(row, label, metrics[0]) for label in table.baselines] for row in rows],
        [[NONE for _ in table.baselines] for _ in quoted],
    )
    sources = Part(
        ["source"] if quoted else [],
        [["here"] if quoted else [] for _ in rows],
        [[marks.of(entry)] for entry in quoted],
    )
    title = f"{table.task} (task version {table.task_version}), {table.protocol}: {table.status}"
    heading = "published, without our substitution:" if table.status == "substituted" else "published:"
    return Grid(
        title, _facts(table), names, values, differences, sources, heading, _notes(table), marks.meanings
    )


def _published_grid(table: PublishedTable) -> Grid:
    metrics = table.metrics[:MAX_METRICS]
    marks = _Marks()
    sources = Part(["source"], [], [[marks.of(entry)] for entry in table.rows])
    facts = [f"data: {', '.join(table.data)}; {len(table.rows)} rows, nothing measured here"]
    if table.num_left_out:
        facts.append(f"left out: {table.num_left_out} values that no source was read for (--unconfirmed)")
    notes = ["Percent, to one decimal. A row is what one source says of one model; sources are not merged."]
    for told, same in groupby(table.contradictions, key=_model_label):
        claims = "; ".join(_claims(contradiction, marks) for contradiction in same)
        notes.append(f"Sources contradict each other on {told}: {claims}.")
    return Grid(
        title=f"{table.task}, {table.protocol}: published numbers alone",
        facts=facts,
        names=Part(["method"], [], [[_quoted_label(entry)] for entry in table.rows]),
        values=Part([*metrics, "trials"], [], [_quoted_values(entry, metrics) for entry in table.rows]),
        differences=Part([], [], [[] for _ in table.rows]),
        sources=sources,
        published_heading="",
        notes=notes,
        marks=marks.meanings,
    )


def _agreement_grid(agreement: Agreement) -> Grid:
    axes = [axis for pair in agreement.pairs for axis in (pair.first, pair.second)]
    names, values = [], []
    for pair in agreement.pairs:
        few = "*" if len(pair.labels) < FEW_WEIGHTS else ""
        names.append([" / ".join(axis_words(axis, axes) for axis in (pair.first, pair.second))])
        values.append([f"{len(pair.labels)}{few}", f"{pair.tau:+.2f}", p_value(pair.p_value)])
    notes = [
        "tau is 1 where both tables put the weights they share into the same order by their main metric, -1 "
        "where into the opposite one. p: of such a tau or a further one by chance, two-sided."
    ]
    if any("*" in num for num, *_ in values):
        notes.append(f"* fewer than {FEW_WEIGHTS} weights are few: chance alone may do that.")
    nothing: list[list[str]] = [[] for _ in names]
    return Grid(
        title="Task against task: Kendall's tau",
        facts=[],
        names=Part(["tables"], names, []),
        values=Part(["weights", "tau", "p"], values, []),
        differences=Part([], nothing, []),
        sources=Part([], nothing, []),
        published_heading="",
        notes=notes,
        marks=[],
    )


def axis_words(axis: Axis, axes: Sequence[Axis]) -> str:
    """As "voc-det AP (voc0712-r50c4-24k)", with its status where that is not exact.

    Args:
        axis: One table.
        axes: All of which it is one; where another has its name, the identities tell them apart.
    """
    same = {other.identity for other in axes if (other.task, other.protocol) == (axis.task, axis.protocol)}
    identity = f" {axis.identity[:8]}" if len(same) > 1 else ""
    status = "" if axis.status == "exact" else f", {axis.status}"
    return f"{axis.task} {axis.metric} ({axis.protocol}{identity}{status})"


def p_value(value: float | None) -> str:
    """To three decimals: "0.083", "<0.001"."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _shared_prefix(leaderboard: Leaderboard) -> str:
    """What all names of weights begin with up to the first dot, "resnet50.", or nothing."""
    prefixes = {row.label.partition(".")[0] + "." for row in leaderboard.rows}
    return prefixes.pop() if len(prefixes) == 1 else ""


def _facts(leaderboard: Leaderboard) -> list[str]:
    counts = ", ".join(f"{split} {count:,}" for split, count in leaderboard.data_counts.items())
    rule = f"; {leaderboard.metric_rule}" if leaderboard.metric_rule else ""
    facts = [
        f"data: {leaderboard.data}, images: {counts or 'not counted'}; "
        f"{leaderboard.num_classes} classes; fingerprint {leaderboard.data_fingerprint[:8]}",
        f"identity: {leaderboard.identity[:12]}; engine: {leaderboard.engine}{rule}",
    ]
    if leaderboard.departures:
        facts.append(f"departs from the protocol: {'; '.join(leaderboard.departures)}")
    return facts + [f"data note: {note}" for note in leaderboard.data_notes]


def _notes(leaderboard: Leaderboard) -> list[str]:
    notes = ["Percent; mean ± sample standard deviation over trials (seeds). One decimal, two below 1.0."]
    if leaderboard.baselines:
        metric = leaderboard.metrics[0]
        notes.append(f"vs: difference in {metric} to that baseline, its standard error in parentheses.")
        gaps = [gaps.get(metric) for row in leaderboard.rows for gaps in row.differences.values()]
        if any(gap and gap.beyond_noise is False for gap in gaps):
            notes.append(f"{NOISE} not beyond noise: its 95 % interval (Welch) holds zero.")
    else:
        notes.append("No baseline of this identity: no differences. Random or supervised weights make one.")
    if any(len(row.trials) < FEW_TRIALS for row in leaderboard.rows):
        notes.append(f"* few trials: the MoCo protocol takes the mean of {FEW_TRIALS}.")
    if any(row.rank for row in leaderboard.rows):
        notes.append(
            "rank: 2-4 where 95 % intervals over trials overlap; none for a single trial. Seeds alone are "
            "counted, not the choice of test images (bench report compare)."
        )
    if left := leaderboard.metrics[MAX_METRICS:]:
        notes.append(f"Also recorded: {', '.join(left)} (--format csv or json).")
    if leaderboard.published_note:
        text = leaderboard.published_note
        notes.append(text[0].upper() + text[1:] + ".")
    return notes + [verdict_text(verdict) for verdict in leaderboard.verdicts]


def verdict_text(verdict: Verdict) -> str:
    """As "resnet50.moco_v2_ep200 reproduces MoCo v2, 200 ep within tolerance: AP 57.1, published 57.0"."""
    epochs = f", {verdict.epochs} ep" if verdict.epochs else ""
    outcome = "reproduces" if verdict.within else "does not reproduce"
    mark = "" if verdict.confirmed else " (unconfirmed)"
    return (
        f"{verdict.label} {outcome} {verdict.method}{epochs} within tolerance: {verdict.metric} "
        f"{number(verdict.here)}, published {number(verdict.published)}{mark}, difference "
        f"{number(verdict.difference, signed=True)} of {number(verdict.tolerance)} allowed ({verdict.source})"
    )


def rank(row: Row) -> str:
    """The place of a row: "1", "2-4", or "-" where a single trial has none."""
    if row.rank is None:
        return NONE
    best, worst = row.rank
    return str(best) if best == worst else f"{best}-{worst}"


class _Marks:
    """Numbers for sources (S1) and remarks (N1), given out in the order they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {"S": {}, "N": {}}

    def of(self, entry: Quoted) -> str:
        """The marks of one published row: its source, and all remarks on it as one."""
        notes = [*entry.notes] if entry.confirmed else ["UNCONFIRMED: no source was read", *entry.notes]
        mark = self.source(entry.source)
        return f"{mark} {self._mark('N', '; '.join(notes))}" if notes else mark

    def source(self, source: str) -> str:
        """The mark of one source."""
        return self._mark("S", source)

    def _mark(self, kind: str, text: str) -> str:
        numbers = self._numbers[kind]
        return f"{kind}{numbers.setdefault(text, len(numbers) + 1)}"

    @property
    def meanings(self) -> list[tuple[str, str]]:
        """Each mark and what it stands for."""
        return [
            (f"{kind}{index}", text)
            for kind, numbers in self._numbers.items()
            for text, index in numbers.items()
        ]


def _cell(cell: Cell | None) -> str:
    return mean_and_std(cell.mean, cell.std) if cell else NONE


def _trials(row: Row) -> str:
    return f"{len(row.trials)}{'*' if len(row.trials) < FEW_TRIALS else ''}"


def _gap(row: Row, baseline: str, metric: str) -> str:
    gap = row.differences.get(baseline, {}).get(metric)
    if gap is None:
        return NONE
    shown = number(gap.value, signed=True)
    if gap.standard_error is None:
        return shown
    noise = NOISE if gap.beyond_noise is False else ""
    return f"{shown} ({gap.standard_error:.{len(shown.partition('.')[2])}f}){noise}"


def _quoted_values(entry: Quoted, metrics: tuple[str, ...]) -> list[str]:
    """Its metrics and trials."""
    values = (entry.values.get(metric) for metric in metrics)
    shown = (mean_and_std(value.value, value.std) if value else NONE for value in values)
    return [*shown, str(entry.trials or NONE)]


def _quoted_label(entry: Quoted) -> str:
    return _model_label(entry) + ("" if entry.confirmed else " (unconfirmed)")


def _model_label(model: Quoted | Contradiction) -> str:
    parts = [model.method]
    if model.arch != "ResNet-50":
        parts.append(model.arch)
    if model.pretrain_data != "none":
        parts.append("epochs ?" if model.pretrain_epochs is None else f"{model.pretrain_epochs} ep")
        if model.pretrain_data != "ImageNet-1K":
            parts.append(model.pretrain_data)
    return ", ".join(parts)


def _claims(contradiction: Contradiction, marks: _Marks) -> str:
    """As "AP 57.6 (S1), 57.4 (S9)", as the file has them: to one decimal they may agree."""
    told = (
        f"{claim.value} ({marks.source(claim.source)}{'' if claim.confirmed else ', unconfirmed'})"
        for claim in contradiction.claims
    )
    return f"{contradiction.metric} {', '.join(told)}"
