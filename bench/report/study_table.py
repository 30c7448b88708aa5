"""From study records to tables: one group for each identity, one row for each setting, means over seeds.

I_NCE depends on the networks and the number of candidates, so records of different identity are never in one
group, and what is equal in a group (K, the critic, the data) is said once above its table.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.core.errors import StoreError, UsageError, did_you_mean
from bench.core.study import Size, StudyRecord
from bench.report import stats
from bench.report.grid import NONE, mean_and_std
from bench.report.render import plain
from bench.report.reverse_u import MIN_SEEDS, MIN_SETTINGS, Point, ReverseU

_SIZES: tuple[Size, ...] = get_args(Size)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Estimate(_Frozen):
    """One number of one setting; `values` has one for each of `seeds`, `std` is None for a single one."""

    mean: float
    std: float | None
    seeds: tuple[int, ...]
    values: tuple[float, ...]


class SettingRow(_Frozen):
    """One setting. I_NCE is in nats, `scores` in percent; `records` are ids."""

    setting: str
    series: str
    knob: float | None
    seeds: tuple[int, ...]
    records: tuple[str, ...]
    i_nce: Estimate
    scores: dict[str, Estimate]


class StudyGroup(_Frozen):
    """All records that may stand in one plot.

    `newest_version` is that of the study among all records given; `knob_name` is what `knob` is in every row,
    with its unit, or empty where settings are no numbers. `rows` go up by knob where there is one, else by
    I_NCE; `scores` names their columns.
    """

    study: str
    version: int
    newest_version: int
    size: Size
    custom: bool
    identity: str
    num_candidates: int
    critic: str
    data: str
    data_fingerprint: str
    knob_name: str
    scores: tuple[str, ...]
    rows: tuple[SettingRow, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """Settings that are drawn as one, by name."""
        return tuple(sorted({row.series for row in self.rows}))


def groups(records: Iterable[StudyRecord]) -> list[StudyGroup]:
    """All groups, sorted by study, newest version first, then size from full to smoke.

    Args:
        records: In any order; the result does not depend on it. A record that is there twice counts once.

    Raises:
        StoreError: two records of one setting and seed have different results.
    """
    once: dict[str, StudyRecord] = {}
    for record in records:
        if once.setdefault(record.id, record).result() != record.result():
            raise StoreError(
                f"{record.study}, {record.setting}, seed {record.seed}: two records with different results "
                f"(I_NCE {once[record.id].i_nce:.4f} and {record.i_nce:.4f}). Give one store of results"
            )
    by_key: dict[tuple[Any, ...], list[StudyRecord]] = defaultdict(list)
    newest: dict[str, int] = defaultdict(int)
    for record in sorted(once.values(), key=lambda record: (record.setting, record.seed)):
        by_key[_key(record)].append(record)
        newest[record.study] = max(newest[record.study], record.study_version)
    return [_group(by_key[key], newest[by_key[key][0].study]) for key in sorted(by_key)]


def points(group: StudyGroup, score: str) -> list[Point]:
    """Settings as `reverse_u` takes them; seeds without that score are left out.

    Raises:
        UsageError: no record of the group has that score.
    """
    if score not in group.scores:
        known = ", ".join(group.scores) or "none"
        near = did_you_mean(score, group.scores)
        raise UsageError(f"{group.study}: no record has the score {score!r}.{near} There are: {known}")
    found = []
    for row in group.rows:
        if score in row.scores:
            values = row.scores[score]
            i_nce = dict(zip(row.i_nce.seeds, row.i_nce.values, strict=True))
            found.append(Point(row.setting, tuple(i_nce[seed] for seed in values.seeds), values.values))
    return found


def title(group: StudyGroup) -> str:
    """Study, version and size, and what to beware of."""
    marks = [f"version {group.version}", f"size {group.size}"]
    if group.custom:
        marks.append("values changed by hand")
    if group.version < group.newest_version:
        marks.append(f"OLDER: there are records of version {group.newest_version}")
    return f"{group.study} ({', '.join(marks)})"


def facts(group: StudyGroup) -> list[str]:
    """What is equal for all rows, a line each; the last says how numbers are written."""
    smoke = ["size smoke shows that everything runs; its numbers mean nothing"]
    return [
        f"I_NCE: log K - loss on pairs not trained on, in nats; K = {group.num_candidates:,}, so at most "
        f"{math.log(group.num_candidates):.2f}; critic: {group.critic}",
        f"data: {group.data}, fingerprint {group.data_fingerprint[:8]}; identity: {group.identity[:12]}",
        *(smoke if group.size == "smoke" else []),
        "mean ± sample standard deviation over seeds; scores in percent, more is better",
    ]


def header(group: StudyGroup) -> list[str]:
    """The head of each column of `rows`."""
    return [
        "setting",
        *(["series"] if len(group.series) > 1 else []),
        *([group.knob_name] if group.knob_name else []),
        "I_NCE (nats)",
        *(f"{name} (%)" for name in group.scores),
        "seeds",
    ]


def rows(group: StudyGroup) -> list[list[str]]:
    """The table as text, a list for each setting, for people: nats have two decimals, percent one."""
    return [
        [
            row.setting,
            *([row.series] if len(group.series) > 1 else []),
            *([f"{row.knob:g}"] if group.knob_name else []),
            nats(row.i_nce),
            *(percent(row.scores[name]) if name in row.scores else NONE for name in group.scores),
            str(len(row.seeds)),
        ]
        for row in group.rows
    ]


def table_text(group: StudyGroup, *, width: int = 100) -> str:
    """The table with its facts, for a terminal of `width` columns."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index, name in enumerate(header(group)):
        table.add_column(Text(plain(name)), justify="right" if index else "left", overflow="fold")
    for cells in rows(group):
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console.print(Text(plain(title(group))))
    for line in facts(group):
        console.print(Text(plain(line)))
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def table_markdown(group: StudyGroup) -> str:
    """The same in Markdown, under a heading of the second level."""
    names = header(group)
    table = [names, ["---", *("---:" for _ in names[1:])], *rows(group)]
    lines = ["| " + " | ".join(map(_escape, cells)) + " |" for cells in table]
    told = [f"- {_escape(line)}" for line in facts(group)]
    return "\n".join([f"## {_escape(title(group))}", "", *told, "", *lines]) + "\n"


def verdict_text(found: ReverseU) -> str:
    """What the tests say about a peak, in a sentence or two, with their numbers."""
    if found.verdict == "too few settings":
        return f"Too few settings to look for a peak: {MIN_SETTINGS} places on I_NCE are needed."
    if found.verdict == "too few seeds":
        return f"Too few seeds to look for a peak: {MIN_SEEDS} of every setting are needed."
    slopes, share = max(found.p_left or 0.0, found.p_right or 0.0), 100.0 * (found.share_inside or 0.0)
    tests = (
        f"slopes at both ends {_p(slopes)}, peak inside in {share:.0f} % of resamples, better than both ends "
        f"{_p(found.p_between)}"
    )
    if found.supported and found.interval:
        low, high = found.interval
        place = f"sweet spot {found.sweet_spot:.2f} nats, 95 % interval {low:.2f} to {high:.2f}"
        return f"Interior maximum supported: {place} ({tests})."
    trend = found.verdict.partition("(")[2].rstrip(")")
    return (
        f"Interior maximum not supported ({tests}). Trend: {trend} "
        f"(straight line {_p(found.p_slope)}, end settings differ {_p(found.p_ends)})."
    )


def nats(value: Estimate) -> str:
    """As "3.21 ± 0.02", or "3.21" where one seed has no spread."""
    shown = f"{round(value.mean, 2) + 0.0:.2f}"  # -0.0 becomes 0.0
    return shown if value.std is None else f"{shown} ± {value.std:.2f}"


def percent(value: Estimate) -> str:
    """As "57.0 ± 0.2"."""
    return mean_and_std(value.mean, value.std)


def _p(value: float | None) -> str:
    return "p < 0.001" if value is not None and value < 0.001 else f"p = {value:.3f}"


def _escape(text: str) -> str:
    return plain(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")


def _key(record: StudyRecord) -> tuple[Any, ...]:
    # The identity alone should do. The rest is what it hashes: a record from elsewhere in which they disagree
    # must not slip into a group.
    what = (record.study, -record.study_version, _SIZES.index(record.size), record.custom, record.identity)
    return (*what, record.num_candidates, record.critic, record.data.name, record.data.fingerprint)


def _group(records: Sequence[StudyRecord], newest_version: int) -> StudyGroup:
    first = records[0]
    by_setting: dict[tuple[Any, ...], list[StudyRecord]] = defaultdict(list)
    for record in records:
        by_setting[record.setting, record.series, record.knob].append(record)
    knobs = {(record.knob_name, record.knob is None) for record in records}
    knob_name = first.knob_name or "knob" if len(knobs) == 1 and first.knob is not None else ""
    made = [_row(trials) for trials in by_setting.values()]
    made.sort(key=lambda row: (row.knob if knob_name else row.i_nce.mean, row.series, row.setting))
    return StudyGroup(
        study=first.study,
        version=first.study_version,
        newest_version=newest_version,
        size=first.size,
        custom=first.custom,
        identity=first.identity,
        num_candidates=first.num_candidates,
        critic=first.critic,
        data=first.data.name,
        data_fingerprint=first.data.fingerprint,
        knob_name=knob_name,
        scores=tuple(sorted({name for record in records for name in record.scores})),
        rows=tuple(made),
    )


def _row(records: Sequence[StudyRecord]) -> SettingRow:
    first = records[0]
    return SettingRow(
        setting=first.setting,
        series=first.series,
        knob=first.knob,
        seeds=tuple(record.seed for record in records),
        records=tuple(record.id for record in records),
        i_nce=_estimate([(record.seed, record.i_nce) for record in records]),
        scores=_estimates([(record.seed, record.scores) for record in records]),
    )


def _estimates(named: Sequence[tuple[int, dict[str, float]]]) -> dict[str, Estimate]:
    trials: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for seed, values in named:
        for name, value in values.items():
            trials[name].append((seed, value))
    return {name: _estimate(trials[name]) for name in sorted(trials)}


def _estimate(trials: Sequence[tuple[int, float]]) -> Estimate:
    seeds, values = zip(*trials, strict=True)
    return Estimate(mean=stats.mean(values), std=stats.sample_std(values), seeds=seeds, values=values)
