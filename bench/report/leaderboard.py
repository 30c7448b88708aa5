"""What a leaderboard holds: rows of weights with their cells, ranks and differences, and published rows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from bench.core.records import Status
from bench.report import stats
from bench.report.published import Quoted
from bench.report.reproduction import Verdict

Ends = tuple[float, float]
"""The low and the high end of a 95 % interval, in the unit of what it is of."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


def ends(interval: stats.Interval | None) -> Ends | None:
    """Of an interval, where there is one."""
    return None if interval is None else (interval.low, interval.high)


class Trial(_Frozen):
    """One record behind a row; `git_commit` is the commit it was made at, where known."""

    seed: int
    record: str
    git_commit: str | None


class Cell(_Frozen):
    """One metric of one row, in percent; `seeds` and `values` are of the trials that have it, in their order.

    `interval` is of the mean over trials, None for a single one; see `stats.mean_interval`.
    """

    mean: float
    std: float | None
    interval: Ends | None
    seeds: tuple[int, ...]
    values: tuple[float, ...]


class Gap(_Frozen):
    """A mean minus the baseline's mean, in percentage points; see `stats.difference`.

    `beyond_noise` says whether the interval leaves out zero; None where a side has a single trial.
    """

    value: float
    standard_error: float | None
    interval: Ends | None
    beyond_noise: bool | None

    @classmethod
    def of(cls, found: stats.Difference) -> Gap:
        """What statistics found, as part of a table."""
        return cls(
            value=found.value,
            standard_error=found.standard_error,
            interval=ends(found.interval),
            beyond_noise=found.beyond_noise,
        )


class Row(_Frozen):
    """One set of weights. `differences` is baseline label to metric to gap; its own label is not in it.

    `rank` is the best and the worst place by the main metric: equal where no other row's interval overlaps,
    None where a single trial has no interval.
    """

    label: str
    name: str
    tensors_sha256: str | None
    baseline: bool
    trials: tuple[Trial, ...]
    cells: dict[str, Cell]
    differences: dict[str, dict[str, Gap]]
    rank: tuple[int, int] | None = None


class Leaderboard(_Frozen):
    """One table. `metrics` has the main metric first; `baselines` are labels of rows.

    `published` is None where published rows were not asked for; `published_note` says what to think of them,
    or why there are none. `verdicts` say which rows reproduce which published ones, by the main metric; there
    are none where the protocol was not followed to the letter.
    """

    task: str
    task_version: int
    engine: str
    protocol: str
    identity: str
    status: Status
    departures: tuple[str, ...]
    metric_rule: str | None
    data: str
    data_fingerprint: str
    data_counts: dict[str, int]
    num_classes: int
    data_notes: tuple[str, ...]
    metrics: tuple[str, ...]
    higher_is_better: bool
    baselines: tuple[str, ...]
    rows: tuple[Row, ...]
    published: tuple[Quoted, ...] | None
    published_note: str
    verdicts: tuple[Verdict, ...] = ()
