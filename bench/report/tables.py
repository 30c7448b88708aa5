"""From records to leaderboards: what is compared with what, as plain data.

One leaderboard is one (task, task version, protocol identity): only records that are equal in everything
that moves a number share a column. Rows are weights. Published rows are set beside a leaderboard of the same
slug, never beside a `custom` one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict

from bench.core.card import RANDOM_NAME
from bench.core.records import Record, Status
from bench.report import stats
from bench.report.published import NUM_CLASSES, Published, Quoted, published_place, quote

FEW_TRIALS = 5
"""Fewer trials than this are called few. Source: the MoCo detection README, mean of 5 fine-tuning runs."""

_RULES = {"ap_rule": "AP rule", "miou_rule": "mIoU rule"}
"""The field of a protocol that says how its metric is computed, and what it is called."""

_STATUSES: tuple[Status, ...] = get_args(Status)
"""From the most comparable to the least."""

Weights = tuple[str, str | None, str]
"""Name, tensors' sha256 and hash of the input spec: records that agree in all three are trials of one row."""


def is_baseline(weights_name: str) -> bool:
    """Whether others are compared with these weights: random initialisation, and supervised weights.

    The one place of this rule: `resnet50.random`, and every name whose part after the first dot starts with
    "supervised" (`resnet50.supervised_torchvision`, `resnet50.supervised_msra`).
    """
    return weights_name == RANDOM_NAME or weights_name.partition(".")[2].startswith("supervised")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Trial(_Frozen):
    """One record behind a row; `git_commit` is the commit it was made at, where known."""

    seed: int
    record: str
    git_commit: str | None


class Cell(_Frozen):
    """One metric of one row, in percent; `values` in the order of the row's trials."""

    mean: float
    std: float | None
    values: tuple[float, ...]


class Gap(_Frozen):
    """A mean minus the baseline's mean, in percentage points; see `stats.difference`."""

    value: float
    standard_error: float | None


class Row(_Frozen):
    """One set of weights. `differences` is baseline label to metric to gap; its own label is not in it."""

    label: str
    name: str
    tensors_sha256: str | None
    baseline: bool
    trials: tuple[Trial, ...]
    cells: dict[str, Cell]
    differences: dict[str, dict[str, Gap]]


class Leaderboard(_Frozen):
    """One table. `metrics` has the main metric first; `baselines` are labels of rows.

    `published` is None where published rows were not asked for; `published_note` says what to think of them,
    or why there are none.
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
    baselines: tuple[str, ...]
    rows: tuple[Row, ...]
    published: tuple[Quoted, ...] | None
    published_note: str


def leaderboards(
    records: Iterable[Record], *, published: Published | None = None, unconfirmed: bool = False
) -> list[Leaderboard]:
    """All tables the records give, sorted by task, version, slug, status (exact first) and identity.

    Args:
        records: In any order; the result does not depend on it.
        published: Set the published rows of the same slug beside each table that may have them.
        unconfirmed: Also those that no source was read for.
    """
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.weights.name, record.seed, record.id)):
        groups[_table_key(record)].append(record)
    labels = _labels({_weights(record) for group in groups.values() for record in group})
    return [_leaderboard(groups[key], labels, published, unconfirmed) for key in sorted(groups)]


def _table_key(record: Record) -> tuple[Any, ...]:
    # The identity alone should do. The other fields are what it hashes: a record from elsewhere in which
    # they disagree must not slip into a column.
    protocol = record.protocol
    what = (record.task, record.task_version, protocol.slug, _STATUSES.index(protocol.status))
    data = (record.data.fingerprint, tuple(sorted(record.data.counts.items())), len(record.data.classes))
    return (*what, protocol.identity, record.engine, *data, record.main_metric)


def _weights(record: Record) -> Weights:
    # The same tensors fed in another way (RGB or BGR, other mean) give other numbers: no trials of one row.
    spec = json.dumps(record.weights.input.model_dump(mode="json"), sort_keys=True)
    return record.weights.name, record.weights.tensors_sha256, hashlib.sha256(spec.encode()).hexdigest()


def _labels(weights: set[Weights]) -> dict[Weights, str]:
    """A label for each: the name, and where a report has several of one name, what tells them apart."""
    labels = {}
    for name, tensors, spec in weights:
        same_name = [other for other in weights if other[0] == name]
        label = name
        if len({other[1] for other in same_name}) > 1:
            label += f" #{tensors[:8] if tensors else 'no-hash'}"
        if len({other[2] for other in same_name if other[1] == tensors}) > 1:
            label += f" input#{spec[:8]}"
        labels[name, tensors, spec] = label
    return labels


def _leaderboard(
    records: Sequence[Record], labels: dict[Weights, str], published: Published | None, unconfirmed: bool
) -> Leaderboard:
    first = records[0]
    metrics = _metrics(records)
    by_weights: dict[Weights, list[Record]] = defaultdict(list)
    for record in records:
        by_weights[_weights(record)].append(record)
    baselines = {labels[key]: trials for key, trials in by_weights.items() if is_baseline(key[0])}
    rows = [_row(labels[key], trials, metrics, baselines) for key, trials in by_weights.items()]
    sign = -1.0 if first.metrics[first.main_metric].higher_is_better else 1.0
    quoted, note = _beside(first, metrics, published, unconfirmed)
    return Leaderboard(
        task=first.task,
        task_version=first.task_version,
        engine=first.engine,
        protocol=first.protocol.slug,
        identity=first.protocol.identity,
        status=first.protocol.status,
        departures=_union(record.protocol.departures for record in records),
        metric_rule=_metric_rule(first.protocol.fields),
        data=first.data.name,
        data_fingerprint=first.data.fingerprint,
        data_counts=dict(sorted(first.data.counts.items())),
        num_classes=len(first.data.classes),
        data_notes=_union(record.data.notes for record in records),
        metrics=metrics,
        # random first, as in published tables
        baselines=tuple(sorted(baselines, key=lambda label: (not label.startswith(RANDOM_NAME), label))),
        rows=tuple(sorted(rows, key=lambda row: (sign * row.cells[metrics[0]].mean, row.label))),
        published=quoted,
        published_note=note,
    )


def _metrics(records: Sequence[Record]) -> tuple[str, ...]:
    """The main metric, then all others by name with numbers in them in numeric order (AP5, AP50).

    Names of more parts, as `box_ap_small`, are finer cuts and come last.
    """
    main = records[0].main_metric
    names = {name for record in records for name in record.metrics} - {main}
    return (main, *sorted(names, key=lambda name: (name.count("_"), _natural(name))))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _row(
    label: str, trials: Sequence[Record], metrics: Sequence[str], baselines: dict[str, list[Record]]
) -> Row:
    first = trials[0]
    values = {metric: _values(trials, metric) for metric in metrics}
    differences: dict[str, dict[str, Gap]] = {}
    for other, other_trials in baselines.items():
        if other == label:
            continue
        for metric, mine in values.items():
            theirs = _values(other_trials, metric)
            if mine and theirs:
                gap = stats.difference(mine, theirs)
                entry = Gap(value=gap.value, standard_error=gap.standard_error)
                differences.setdefault(other, {})[metric] = entry
    return Row(
        label=label,
        name=first.weights.name,
        tensors_sha256=first.weights.tensors_sha256,
        baseline=is_baseline(first.weights.name),
        trials=tuple(
            Trial(seed=trial.seed, record=trial.id, git_commit=trial.provenance.git_commit)
            for trial in trials
        ),
        cells={
            metric: Cell(mean=stats.mean(mine), std=stats.sample_std(mine), values=tuple(mine))
            for metric, mine in values.items()
            if mine
        },
        differences=differences,
    )


def _values(records: Sequence[Record], metric: str) -> list[float]:
    return [record.metrics[metric].value for record in records if metric in record.metrics]


def _beside(
    record: Record, metrics: Sequence[str], published: Published | None, unconfirmed: bool
) -> tuple[tuple[Quoted, ...] | None, str]:
    """The published rows for the table of this record, and a line on them."""
    if published is None:
        return None, ""
    protocol = record.protocol
    if protocol.status == "custom":
        return (), "no published rows: this protocol is custom, so its numbers compare with nothing published"
    expected = NUM_CLASSES.get(published_place(record.task, protocol.slug, metrics[0])[0])
    found = len(record.data.classes)
    if expected is not None and found != expected:
        return (), f"no published rows: the data has {found} classes, published numbers are over {expected}"
    quoted = quote(published, record.task, protocol.slug, metrics, unconfirmed=unconfirmed)
    if not quoted:
        return (), f"no published rows with the slug {protocol.slug} for {record.task}"
    if protocol.status == "substituted":
        return quoted, (
            "published rows ran the protocol as written, the rows above a documented substitution "
            "(see departures): near, not equal"
        )
    return quoted, "published rows are quoted from their sources, not measured here"


def _metric_rule(fields: dict[str, Any]) -> str | None:
    metric = fields.get("metric")
    for key, name in _RULES.items():
        rule = metric.get(key) if isinstance(metric, dict) else None
        if isinstance(rule, str):
            return f"{name}: {rule}"
    return None


def _union(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group))
