"""Does a row of ours reproduce a published one? Asked where method, epochs and protocol are the same.

Weights are recognised by their name, `resnet50.moco_v2_ep200`: what they were trained on, and in which
batches, is not in it. A name that says no epochs is compared with nothing, unless it is a baseline's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from bench.core.card import RANDOM_NAME
from bench.report.published import Quoted, QuotedValue, plain_method

if TYPE_CHECKING:
    from bench.report.leaderboard import Cell, Row

MethodNames = Mapping[str, Sequence[str]]
"""A method's name here ("moco_v2") to its names in the file of published numbers ("MoCo v2")."""

TOLERANCE = 0.5
"""In points, the least that is called a difference: a number printed with one decimal, of other seeds, on
another GPU, rounds and moves by some tenths. Ours; no source states one."""

ERRORS = 2.0
"""Standard errors that a difference may have, about 95 %, where that is more."""

_BASELINES: MethodNames = {
    "random": ("Random init",),
    "supervised_msra": ("Supervised",),
    "supervised_torchvision": ("Supervised",),
}
"""The baselines of MoCo's and PyContrast's tables: the first are torchvision's or MSRA's weights."""


class Verdict(BaseModel):
    """One metric of one row against one source, in percent.

    Attributes:
        label: Of the row.
        method: As the source calls it.
        epochs: Of the pretraining, where the source says so; 0 of no pretraining.
        metric: By our name.
        here: The row's mean.
        published: What the source prints.
        source: Of that.
        confirmed: Whether the source was read.
        difference: here - published.
        tolerance: How far it may be from zero.
        within: Whether it is no farther.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    method: str
    epochs: int | None
    metric: str
    here: float
    published: float
    source: str
    confirmed: bool
    difference: float
    tolerance: float
    within: bool


def verdicts(
    rows: Sequence[Row], quoted: Sequence[Quoted], metric: str, methods: MethodNames
) -> tuple[Verdict, ...]:
    """All pairs of a row and a published one of the same method and epochs, in the order of both.

    Args:
        rows: Of a table whose protocol is followed to the letter.
        quoted: Published rows of the same protocol; of ResNet-50 and of ImageNet-1K (or of no pretraining)
            alone those that are compared.
        metric: The table's main metric.
        methods: Names of methods.
    """
    known = {**_BASELINES, **methods}
    return tuple(verdict for row in rows for verdict in _of_row(row, quoted, metric, known))


def _of_row(row: Row, quoted: Sequence[Quoted], metric: str, methods: MethodNames) -> Iterator[Verdict]:
    method, epochs = method_and_epochs(row.name)
    cell = row.cells.get(metric)
    told = epochs is not None or method in _BASELINES
    if cell is None or not told or not row.name.startswith("resnet50."):
        return
    names = methods.get(method, ())
    data = "none" if row.name == RANDOM_NAME else "ImageNet-1K"
    for entry in quoted:
        value = entry.values.get(metric)
        same = (
            plain_method(entry.method) in names and entry.arch == "ResNet-50" and entry.pretrain_data == data
        )
        if value is None or not same or (epochs is not None and entry.pretrain_epochs != epochs):
            continue
        difference = cell.mean - value.value
        tolerance = _tolerance(cell, value, entry.trials)
        yield Verdict(
            label=row.label,
            method=entry.method,
            epochs=entry.pretrain_epochs,
            metric=metric,
            here=cell.mean,
            published=value.value,
            source=entry.source,
            confirmed=entry.confirmed,
            difference=difference,
            tolerance=tolerance,
            within=abs(difference) <= tolerance,
        )


def method_and_epochs(name: str) -> tuple[str, int | None]:
    """Of the name of weights: "resnet50.moco_v2_ep200" and "resnet50.moco_v2_200ep" are ("moco_v2", 200).

    Returns:
        The method without the network, and None where no epochs are said.
    """
    method = name.partition(".")[2] or name
    found = re.fullmatch(r"(?P<method>.+)_(?:ep(?P<one>\d{1,6})|(?P<other>\d{1,6})ep)", method)
    return (method, None) if found is None else (found["method"], int(found["one"] or found["other"]))


def _tolerance(cell: Cell, value: QuotedValue, trials: int | None) -> float:
    """`ERRORS` standard errors of the difference, as far as spreads are known, and `TOLERANCE` at least."""
    square = 0.0
    if cell.std is not None:
        square += cell.std**2 / len(cell.values)
    if value.std is not None:
        square += value.std**2 / (trials or 1)
    return max(TOLERANCE, ERRORS * math.sqrt(square))
