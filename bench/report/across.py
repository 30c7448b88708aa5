"""Do tasks agree on which weights are better? Kendall's tau between each two tables that share weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from bench.core.records import Status
from bench.report import stats
from bench.report.leaderboard import Leaderboard

FEW_WEIGHTS = 6
"""Fewer shared weights than this are called few: even two equal orders of four have p = .083."""


class Axis(BaseModel):
    """One table of a pair: what names it, and its main metric."""

    model_config = ConfigDict(frozen=True)

    task: str
    protocol: str
    identity: str
    status: Status
    metric: str


class TaskPair(BaseModel):
    """Two tables and the weights that stand in both.

    Attributes:
        first: By the order of the report.
        second: The other.
        labels: Of the weights that both have.
        baselines: Those of them that others are compared with.
        first_means: The main metric of each on the first, in percent.
        second_means: The same on the second.
        tau: Kendall's tau-b of the two orders, or None where there are fewer than three, or no order.
        p_value: Two-sided, of no agreement.
    """

    model_config = ConfigDict(frozen=True)

    first: Axis
    second: Axis
    labels: tuple[str, ...]
    baselines: tuple[str, ...]
    first_means: tuple[float, ...]
    second_means: tuple[float, ...]
    tau: float | None
    p_value: float | None


class Agreement(BaseModel):
    """All pairs of a report: what it says of tasks, where its tables speak of weights."""

    model_config = ConfigDict(frozen=True)

    pairs: tuple[TaskPair, ...]


def agreement(leaderboards: Sequence[Leaderboard]) -> list[Agreement]:
    """The pairs that have a tau, as one table; none where no pair has."""
    pairs = tuple(pair for pair in task_pairs(leaderboards) if pair.tau is not None)
    return [Agreement(pairs=pairs)] if pairs else []


def task_pairs(leaderboards: Sequence[Leaderboard]) -> list[TaskPair]:
    """Each two tables of different protocols or data that share two sets of weights or more.

    A metric where less is better is turned, so that tau is 1 where both put the same weights first.
    """
    pairs = (_pair(first, second) for first, second in combinations(leaderboards, 2))
    return [pair for pair in pairs if len(pair.labels) >= 2]


def _pair(first: Leaderboard, second: Leaderboard) -> TaskPair:
    here, there = _means(first), _means(second)
    labels = tuple(label for label in here if label in there)
    ours, theirs = tuple(here[label] for label in labels), tuple(there[label] for label in labels)
    found = stats.agreement(ours, theirs) if labels else None
    turned = first.higher_is_better != second.higher_is_better
    return TaskPair(
        first=_axis(first),
        second=_axis(second),
        labels=labels,
        baselines=tuple(label for label in first.baselines if label in labels),
        first_means=ours,
        second_means=theirs,
        tau=None if found is None else (-found.tau if turned else found.tau),
        p_value=None if found is None else found.p_value,
    )


def _means(leaderboard: Leaderboard) -> dict[str, float]:
    return {row.label: row.cells[leaderboard.metrics[0]].mean for row in leaderboard.rows}


def _axis(leaderboard: Leaderboard) -> Axis:
    return Axis(
        task=leaderboard.task,
        protocol=leaderboard.protocol,
        identity=leaderboard.identity,
        status=leaderboard.status,
        metric=leaderboard.metrics[0],
    )
