"""Leaderboards of published numbers alone: one table for each of our tasks and each protocol slug.

A row is what one source says of one model, and nothing is merged: a model that two sources give has two rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from bench.report.published import (
    Published,
    PublishedRow,
    Quoted,
    plain_method,
    published_place,
    quote,
)

METRICS: tuple[str, ...] = ("AP", "AP50", "AP75", "mIoU", "top1", "top5")
"""Of the file, the main metric of each task before its others."""

BOX_AND_MASK = ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75")
"""Boxes first and rows by box AP, as MoCo and InfoMin print them; our own main metric is mask_ap."""

_COCO = {"coco-det", "coco-instseg"}
"""Both are columns of our coco-instseg."""

FIRST = (
    ("voc-det", "voc0712-r50c4-24k"),
    ("coco-instseg", "coco-r50c4-1x"),
    ("coco-instseg", "coco-r50c4-2x"),
    ("coco-instseg", "coco-r50fpn-1x"),
    ("coco-instseg", "coco-r50fpn-2x"),
    ("coco-instseg", "coco-r50fpn4conv-1x"),
    ("coco-instseg", "coco-r50fpn4conv-2x"),
    ("coco-instseg", "coco-r50fpn4conv-6x"),
)
"""Tables that come before all others, since MoCo, InfoMin and those after them compare themselves on these:
VOC, COCO with C4, then the two families that are both called FPN, from the short to the long schedule."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Claim(_Frozen):
    """What one source says; `method` as the file names the row, `value` in percent."""

    method: str
    value: float
    source: str
    confirmed: bool


class Contradiction(_Frozen):
    """One metric of one model that sources give other values of; `method` is the plain name.

    Claims are in the order of the table's rows.
    """

    method: str
    arch: str
    pretrain_data: str
    pretrain_epochs: int | None
    labels_used: str
    metric: str
    claims: tuple[Claim, ...]


class PublishedTable(_Frozen):
    """One table. `metrics` has the main metric first; `data` are the sets and splits that sources name.

    `num_left_out` is how many values of this protocol are not shown because no source was read for them.
    """

    task: str
    protocol: str
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Quoted, ...]
    contradictions: tuple[Contradiction, ...]
    num_left_out: int


def published_tables(
    published: Published, *, task: str | None = None, protocol: str | None = None, unconfirmed: bool = False
) -> list[PublishedTable]:
    """All tables of the file: those of `FIRST`, then by task and slug.

    Args:
        published: The file.
        task: Only this one, by our name (`semseg`) or by the file's (`voc-seg`; `coco-det` is boxes alone).
        protocol: Only this slug.
        unconfirmed: Also rows that no source was read for; they stay marked as such.

    Returns:
        Tables that have at least one row.
    """
    groups: dict[tuple[str, str], list[PublishedRow]] = defaultdict(list)
    for row in published.rows:
        name = _our_task(row)
        if (task is None or task in (name, row.task)) and (protocol is None or protocol == row.protocol):
            groups[name, row.protocol].append(row)
    places = {place: index for index, place in enumerate(FIRST)}
    ordered = sorted(groups, key=lambda place: (places.get(place, len(FIRST)), place))
    tables = (_table(place, groups[place], unconfirmed) for place in ordered)
    return [table for table in tables if table.rows]


def _our_task(row: PublishedRow) -> str:
    """The task of ours that a row belongs to, or the file's own where we have none (`voc12-linear-*`)."""
    if row.task in _COCO:
        return "coco-instseg"
    if published_place("semseg", row.protocol, row.metric)[0] == row.task:
        return "semseg"
    return row.task


def _table(place: tuple[str, str], rows: Sequence[PublishedRow], unconfirmed: bool) -> PublishedTable:
    task, protocol = place
    shown = [row for row in rows if unconfirmed or row.confirmed == "yes"]
    known = {(row.task, row.metric) for row in shown}
    if rows[0].task in _COCO:
        metrics = tuple(name for name in BOX_AND_MASK if published_place(task, protocol, name) in known)
    else:
        metrics = tuple(name for name in METRICS if any(name == metric for _, metric in known))
    quoted = quote(Published(tuple(rows)), task, protocol, metrics, unconfirmed=unconfirmed)
    entries = _beside_their_model(quoted, metrics)
    return PublishedTable(
        task=task,
        protocol=protocol,
        data=tuple(dict.fromkeys(row.dataset for row in rows)),
        metrics=metrics,
        rows=entries,
        contradictions=_contradictions(entries, metrics),
        num_left_out=len(rows) - len(shown),
    )


Model = tuple[str, str, str, int | None, str]
"""Method, architecture, data and epochs of the pretraining, labels."""


def plain_model(entry: Quoted) -> Model:
    """What a row is of, with the plain name of the method."""
    return plain_method(entry.method), *_model(entry)[1:]


def values_by_model(entries: Sequence[Quoted]) -> dict[tuple[Model, str], set[float]]:
    """All values of each model and metric: more than one is a contradiction."""
    found: dict[tuple[Model, str], set[float]] = defaultdict(set)
    for entry in entries:
        for metric, value in entry.values.items():
            found[plain_model(entry), metric].add(value.value)
    return dict(found)


def _model(entry: Quoted) -> Model:
    return entry.method, entry.arch, entry.pretrain_data, entry.pretrain_epochs, entry.labels_used


def _beside_their_model(entries: Sequence[Quoted], metrics: Sequence[str]) -> tuple[Quoted, ...]:
    """A row without the main metric, which `quote` puts last, behind the row of its model that has it.

    PyContrast prints AP of a model, another paper its AP50 and AP75: two rows, but to be read together.
    """
    exact: dict[Model, int] = {}
    plain: dict[Model, int] = {}
    for index, entry in enumerate(entries):
        if metrics[0] in entry.values:
            exact.setdefault(_model(entry), index)
            plain.setdefault(plain_model(entry), index)

    def place(index: int, entry: Quoted) -> int:
        if metrics[0] in entry.values:
            return index
        same = plain.get(plain_model(entry), len(entries))
        return exact.get(_model(entry), same)

    placed = [(place(index, entry), entry) for index, entry in enumerate(entries)]
    # sorted() keeps the order of equals, in which the row with the main metric comes first
    return tuple(entry for _, entry in sorted(placed, key=lambda pair: pair[0]))


def _contradictions(entries: Sequence[Quoted], metrics: Sequence[str]) -> tuple[Contradiction, ...]:
    """In the order of the rows, then of the metrics."""
    values = values_by_model(entries)
    models = dict.fromkeys(map(plain_model, entries))
    return tuple(
        _contradiction(model, [entry for entry in entries if plain_model(entry) == model], metric)
        for model in models
        for metric in metrics
        if len(values.get((model, metric), ())) > 1
    )


def _contradiction(model: Model, entries: Sequence[Quoted], metric: str) -> Contradiction:
    method, arch, data, epochs, labels = model
    claims = (
        Claim(method=row.method, value=row.values[metric].value, source=row.source, confirmed=row.confirmed)
        for row in entries
        if metric in row.values
    )
    return Contradiction(
        method=method,
        arch=arch,
        pretrain_data=data,
        pretrain_epochs=epochs,
        labels_used=labels,
        metric=metric,
        claims=tuple(claims),
    )
