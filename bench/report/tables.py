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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from bench.core.card import RANDOM_NAME
from bench.core.records import Record, Status
from bench.report import stats
from bench.report.leaderboard import Cell, Gap, Leaderboard, Row, Trial, ends
from bench.report.published import NUM_CLASSES, Published, Quoted, published_place, quote
from bench.report.reproduction import MethodNames, verdicts

FEW_TRIALS = 5
"""Fewer trials than this are called few. Source: the MoCo detection README, mean of 5 fine-tuning runs."""

_RULES = {"ap_rule": "AP rule", "miou_rule": "mIoU rule"}
"""The field of a protocol that says how its metric is computed, and what it is called."""

NO_NAMES: Mapping[str, Sequence[str]] = {}

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


def leaderboards(
    records: Iterable[Record],
    *,
    published: Published | None = None,
    unconfirmed: bool = False,
    methods: MethodNames = NO_NAMES,
) -> list[Leaderboard]:
    """All tables the records give, sorted by task, version, slug, status (exact first) and identity.

    Args:
        records: In any order; the result does not depend on it.
        published: Set the published rows of the same slug beside each table that may have them.
        unconfirmed: Also those that no source was read for.
        methods: What our methods are called there; without it only baselines are held against published rows.
    """
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.weights.name, record.seed, record.id)):
        groups[_table_key(record)].append(record)
    labels = _labels({_weights(record) for group in groups.values() for record in group})
    tables = (_leaderboard(groups[key], labels, published, unconfirmed) for key in sorted(groups))
    return [_with_verdicts(table, methods) for table in tables]


def _with_verdicts(table: Leaderboard, methods: MethodNames) -> Leaderboard:
    if table.status != "exact" or not table.published:
        return table
    found = verdicts(table.rows, table.published, table.metrics[0], methods)
    return table.model_copy(update={"verdicts": found})


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
    quoted, note = _beside(first, metrics, published, unconfirmed)
    higher_is_better = first.metrics[first.main_metric].higher_is_better
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
        higher_is_better=higher_is_better,
        # random first, as in published tables
        baselines=tuple(sorted(baselines, key=lambda label: (not label.startswith(RANDOM_NAME), label))),
        rows=_ranked(rows, metrics[0], higher_is_better=higher_is_better),
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
                differences.setdefault(other, {})[metric] = Gap.of(stats.difference(mine, theirs))
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
            metric: Cell(
                mean=stats.mean(mine),
                std=stats.sample_std(mine),
                interval=ends(stats.mean_interval(mine)),
                seeds=tuple(trial.seed for trial in trials if metric in trial.metrics),
                values=tuple(mine),
            )
            for metric, mine in values.items()
            if mine
        },
        differences=differences,
    )


def _ranked(rows: Sequence[Row], metric: str, *, higher_is_better: bool) -> tuple[Row, ...]:
    """Rows from the best mean to the worst, each with its rank."""
    sign = -1.0 if higher_is_better else 1.0
    ordered = sorted(rows, key=lambda row: (sign * row.cells[metric].mean, row.label))
    ends = (row.cells[metric].interval for row in ordered)
    intervals = [None if end is None else stats.Interval(*end) for end in ends]
    places = stats.ranks(intervals, higher_is_better=higher_is_better)
    return tuple(
        row if place is None else row.model_copy(update={"rank": (place.best, place.worst)})
        for row, place in zip(ordered, places, strict=True)
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
