"""Two weights against each other: on every task that both have, by seeds and by test images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from bench.core.errors import BenchError, UsageError, did_you_mean
from bench.core.records import Record
from bench.report import stats
from bench.report.bootstrap import NUM_RESAMPLES, Evidence, PairedDifference, paired
from bench.report.leaderboard import Cell, Ends, Gap, Leaderboard, Row
from bench.report.tables import leaderboards

EvidenceOf = Callable[[Record], Evidence]
"""What a record's kept predictions say; a BenchError where there are none."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageGap(_Frozen):
    """A difference and what other test images would make of it; see `bootstrap.PairedDifference`."""

    value: float
    interval: Ends
    standard_error: float
    p: float
    num_images: int
    num_resamples: int
    beyond_noise: bool


_CHANGED = " with local changes"


class TaskComparison(_Frozen):
    """Two weights in one table, by its main metric; differences are first - second, in percentage points.

    Attributes:
        task, protocol, identity, status, metric, higher_is_better: Of the table.
        first, second: Their cells.
        seeds: The difference, and what other seeds would make of it.
        images: The difference, and what other test images would make of it.
        images_note: Why there is none.
        environments: What else differs between the records of the two: name, first, second.
        better: See there; in the JSON, too.
    """

    task: str
    protocol: str
    identity: str
    status: str
    metric: str
    higher_is_better: bool
    first: Cell
    second: Cell
    seeds: Gap
    images: ImageGap | None
    images_note: str
    environments: tuple[tuple[str, str, str], ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def better(self) -> str:
        """First or second, where the difference is beyond both kinds of noise; else why it cannot be said."""
        if self.seeds.beyond_noise is None:
            return "not known: a single trial says nothing of seeds"
        if self.images is None:
            return "not known: no bootstrap of images"
        if not (self.seeds.beyond_noise and self.images.beyond_noise):
            held = [
                name
                for name, beyond in (("seeds", self.seeds.beyond_noise), ("images", self.images.beyond_noise))
                if not beyond
            ]
            return f"neither: within the noise of {' and '.join(held)}"
        return "first" if (self.seeds.value > 0) == self.higher_is_better else "second"


class Comparison(_Frozen):
    """Two weights on all tasks.

    Attributes:
        first, second: Their labels.
        tasks: Tables that hold both.
        only_first, only_second: Tables that hold one of them, as "task protocol".
        differs: What differs in their cards: field, first, second.
    """

    first: str
    second: str
    tasks: tuple[TaskComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differs: tuple[tuple[str, str, str], ...]


def compare(
    records: Iterable[Record],
    first: str,
    second: str,
    evidence: EvidenceOf,
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> Comparison:
    """Set two weights side by side.

    Args:
        records: All there are; the result does not depend on their order.
        first: The label of weights, its part after "resnet50.", or an unambiguous beginning of either.
        second: The same of others.
        evidence: Of a record.
        num_resamples: Of the test images.

    Raises:
        UsageError: no weights are called so, several are, or both are the same.
    """
    records = list(records)
    tables = leaderboards(records)
    labels = sorted({row.label for table in tables for row in table.rows})
    one, two = _chosen(first, labels), _chosen(second, labels)
    if one == two:
        raise UsageError(f"{first} and {second} are the same weights, {one}; give two")
    by_id = {record.id: record for record in records}
    placed = [(table, _row(table, one), _row(table, two)) for table in tables]
    both = [(table, row, other) for table, row, other in placed if row and other]
    return Comparison(
        first=one,
        second=two,
        tasks=tuple(_task(table, row, other, by_id, evidence, num_resamples) for table, row, other in both),
        only_first=tuple(_place(table) for table, row, other in placed if row and not other),
        only_second=tuple(_place(table) for table, row, other in placed if other and not row),
        differs=_differs(*(_card(tables, label, by_id) for label in (one, two))),
    )


def _chosen(text: str, labels: Sequence[str]) -> str:
    short = {label: label.partition(".")[2] for label in labels}
    exact = [label for label in labels if text in (label, short[label])]
    near = [label for label in labels if label.startswith(text) or short[label].startswith(text)]
    found = exact or near
    if not found:
        hint = did_you_mean(text, [*labels, *short.values()])
        raise UsageError(f"no weights {text!r} among the records.{hint} There are: {', '.join(labels)}")
    if len(found) > 1:
        raise UsageError(f"{text!r} may be {', '.join(found)}; give more of the name")
    return found[0]


def _row(table: Leaderboard, label: str) -> Row | None:
    return next((row for row in table.rows if row.label == label), None)


def _place(table: Leaderboard) -> str:
    return f"{table.task} {table.protocol} ({table.status}, {table.identity[:8]})"


def _task(
    table: Leaderboard,
    first: Row,
    second: Row,
    by_id: dict[str, Record],
    evidence: EvidenceOf,
    num_resamples: int,
) -> TaskComparison:
    metric = table.metrics[0]
    trials = [[by_id[trial.record] for trial in row.trials] for row in (first, second)]
    images, note = _images(trials, evidence, num_resamples)
    return TaskComparison(
        task=table.task,
        protocol=table.protocol,
        identity=table.identity,
        status=table.status,
        metric=metric,
        higher_is_better=table.higher_is_better,
        first=first.cells[metric],
        second=second.cells[metric],
        seeds=Gap.of(stats.difference(first.cells[metric].values, second.cells[metric].values)),
        images=images,
        images_note=note,
        environments=_differs(*(_environment(side) for side in trials)),
    )


def _images(
    trials: Sequence[Sequence[Record]], evidence: EvidenceOf, num_resamples: int
) -> tuple[ImageGap | None, str]:
    try:
        first, second = ([evidence(record) for record in side] for side in trials)
        found: PairedDifference = paired(first, second, num_resamples=num_resamples)
    except BenchError as error:
        return None, str(error)
    return (
        ImageGap(
            value=found.difference,
            interval=found.interval,
            standard_error=found.standard_error,
            p=found.p,
            num_images=found.num_images,
            num_resamples=found.num_resamples,
            beyond_noise=found.beyond_noise,
        ),
        "",
    )


def _card(tables: Sequence[Leaderboard], label: str, by_id: dict[str, Record]) -> dict[str, str]:
    row = next(row for table in tables for row in table.rows if row.label == label)
    return _flat(by_id[row.trials[0].record].weights.model_dump(mode="json", exclude={"name"}))


def _environment(records: Sequence[Record]) -> dict[str, str]:
    """What made these records; where they differ among themselves, all of it."""
    seen: dict[str, list[str]] = {}
    for record in records:
        made = record.provenance
        changed = _CHANGED if made.git_dirty else ""
        facts = {"commit": f"{made.git_commit or 'not known'}{changed}", "platform": made.platform}
        facts |= {"python": made.python, "bench": made.bench_version}
        facts |= {f"package {name}": version for name, version in made.packages.items()}
        facts |= {f"hardware {name}": value for name, value in made.hardware.items()}
        facts["seed"] = str(record.seed)
        for name, value in facts.items():
            text = str(value)
            if text not in seen.setdefault(name, []):
                seen[name].append(text)
    return {name: ", ".join(values) for name, values in seen.items()}


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, entry in value.items():
        if isinstance(entry, dict):
            found |= _flat(entry, f"{prefix}{name}.")
        else:
            text = ", ".join(map(str, entry)) if isinstance(entry, list) else str(entry)
            found[f"{prefix}{name}"] = text
    return found


def _differs(first: dict[str, str], second: dict[str, str]) -> tuple[tuple[str, str, str], ...]:
    names = dict.fromkeys([*first, *second])
    pairs = ((name, first.get(name, ""), second.get(name, "")) for name in names)
    # equal commits with changes may have other changes
    return tuple((name, one, two) for name, one, two in pairs if one != two or one.endswith(_CHANGED))
