"""Published numbers: a strict reader of `results/published/results.csv`, and the join with our tables.

A row of the file is one value of one metric, as a source printed it. Nothing is merged or averaged: two
sources that contradict each other are two rows, here and in every report.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bench.core.errors import StoreError
from bench.core.paths import PUBLISHED

PUBLISHED_CSV = PUBLISHED / "results.csv"

Task = Literal[
    "voc-det", "coco-det", "coco-instseg", "voc-seg", "cityscapes-seg", "ade20k-seg", "nyu-seg",
    "linear-probe", "knn", "semi-1", "semi-10",
]  # fmt: skip

NUM_CLASSES: dict[str, int] = {
    "voc-det": 20, "coco-det": 80, "coco-instseg": 80, "voc-seg": 21, "cityscapes-seg": 19,
    "ade20k-seg": 150, "nyu-seg": 40, "linear-probe": 1000, "knn": 1000, "semi-1": 1000, "semi-10": 1000,
}  # fmt: skip
"""Classes a published number of each task is a mean over; VOC segmentation counts the background."""

_BOX_AND_MASK = {"box_": "coco-det", "mask_": "coco-instseg"}
"""Our instance segmentation reports both in one table (`box_ap50`); the file keeps one task for each."""

_LABELLED = {
    "voc12aug": "voc-seg", "cityscapes": "cityscapes-seg", "ade20k": "ade20k-seg", "nyuv2": "nyu-seg",
}  # fmt: skip
"""Our semantic segmentation is one task, by the first word of its slugs; the file keeps one for each set."""


def _decimal(text: Any) -> Any:
    # float() and pydantic would also take "1e3", "1_0", " 5 " and "inf": none of them was ever printed.
    if isinstance(text, str) and not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("expected a plain decimal number")
    return text


def _whole(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"\d+", text):
        raise ValueError("expected a whole number")
    return text


def _empty_is_none(text: Any) -> Any:
    return None if text == "" else text


Percent = Annotated[float, BeforeValidator(_decimal), Field(ge=0.0, le=100.0)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
OptionalPercent = Annotated[Percent | None, BeforeValidator(_empty_is_none)]
OptionalCount = Annotated[Count | None, BeforeValidator(_empty_is_none)]
Text = Annotated[str, Field(min_length=1)]


class PublishedRow(BaseModel):
    """One line of the file; the fields are its columns, in order. `value` and `std` are in percent."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Text
    year: Annotated[Count, Field(ge=2000, le=2100)]
    arch: Literal["ResNet-50", "ResNet-50 half-width"]
    pretrain_data: Text
    pretrain_epochs: OptionalCount
    labels_used: Literal["none", "imagenet"]
    task: Task
    dataset: Text
    protocol: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    metric: Literal["AP", "AP50", "AP75", "mIoU", "top1", "top5"]
    value: Percent
    std: OptionalPercent
    seeds: OptionalCount
    source: Text
    confirmed: Literal["yes", "no"]
    note: str

    @model_validator(mode="after")
    def _confirmed_has_a_source(self) -> PublishedRow:
        if self.confirmed == "yes" and self.source.startswith("unconfirmed"):
            raise ValueError("confirmed is yes, but the source says unconfirmed")
        return self

    @property
    def key(self) -> tuple[object, ...]:
        """What no two lines may share."""
        model = (self.method, self.arch, self.pretrain_data, self.pretrain_epochs)
        return (*model, self.task, self.protocol, self.metric)


COLUMNS = tuple(PublishedRow.model_fields)


@dataclass(frozen=True)
class Published:
    """The whole file."""

    rows: tuple[PublishedRow, ...]

    def rows_for(self, task: str, protocol: str) -> tuple[PublishedRow, ...]:
        """The rows of one task and one protocol slug, in the order of the file."""
        return tuple(row for row in self.rows if (row.task, row.protocol) == (task, protocol))


class QuotedValue(BaseModel):
    """A metric as a source gives it, in percent; `std` only where it prints a measured one."""

    model_config = ConfigDict(frozen=True)

    value: float
    std: float | None


class Quoted(BaseModel):
    """All metrics that one source gives for one model: a row of a leaderboard."""

    model_config = ConfigDict(frozen=True)

    method: str
    arch: str
    pretrain_data: str
    pretrain_epochs: int | None
    labels_used: str
    trials: int | None
    source: str
    confirmed: bool
    notes: tuple[str, ...]
    values: dict[str, QuotedValue]


def read_published(path: Path = PUBLISHED_CSV) -> Published:
    """Every row of the file, checked.

    Raises:
        StoreError: unreadable, other columns, a value of the wrong kind, a key that is there twice; the
            message names the lines, up to 20.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: not UTF-8 at byte {error.start}") from None
    rows, problems = _parse(text, str(path))
    if problems:
        raise StoreError.of(problems, hint="results/published/README.md explains the columns.")
    return Published(tuple(rows))


def _parse(text: str, where: str) -> tuple[list[PublishedRow], list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[PublishedRow] = []
    problems: list[str] = []
    first_line: dict[tuple[object, ...], int] = {}
    try:
        header = tuple(next(reader, []))
        if header != COLUMNS:
            return [], [
                f"{where}, line 1: the columns are {', '.join(header)}; expected {', '.join(COLUMNS)}"
            ]
        for cells in reader:
            place = f"{where}, line {reader.line_num}"
            if len(cells) != len(COLUMNS):
                problems.append(f"{place}: {len(cells)} columns; expected {len(COLUMNS)}")
                continue
            try:
                row = PublishedRow.model_validate(dict(zip(COLUMNS, cells, strict=True)))
            except ValidationError as error:
                problems += [f"{place}: {_reason(detail)}" for detail in error.errors()]
                continue
            if row.key in first_line:
                problems.append(
                    f"{place}: the same key as line {first_line[row.key]}; expected one row a key"
                )
            first_line.setdefault(row.key, reader.line_num)
            rows.append(row)
    except csv.Error as error:
        problems.append(f"{where}, line {reader.line_num}: {error}")
    return rows, problems


def _reason(detail: Any) -> str:
    column = str(detail["loc"][0]) if detail["loc"] else "row"
    found = f" {detail['input']!r}" if isinstance(detail["input"], str) else ""
    return f"{column}{found}: {detail['msg']}"


def published_place(task: str, protocol: str, metric: str) -> tuple[str, str]:
    """Where a metric of our task stands in the file: (task, metric).

    Returns:
        ("coco-instseg", "box_ap50") is ("coco-det", "AP50"), "semseg" under `voc12aug-fcn-d8` is "voc-seg";
        all others stand under their own names.
    """
    for prefix, published_task in _BOX_AND_MASK.items():
        if task == "coco-instseg" and metric.startswith(prefix):
            return published_task, metric.removeprefix(prefix).replace("ap", "AP")
    if task == "semseg":
        return _LABELLED.get(protocol.partition("-")[0], task), metric
    return task, metric


def plain_method(method: str) -> str:
    """The name without the square brackets that the file puts behind it where a source contradicts another.

    Returns:
        "MoCo v2 [per PixPro README]" is "MoCo v2"; who ran it again stays: "MoCo v2 (OpenSelfSup)".
    """
    return re.sub(r" \[per [^\]]*\]$", "", method)


def num_published(published: Published, task: str, protocol: str) -> int:
    """Rows of the file that may stand beside a table of our task under `protocol`."""
    own = {published_place(task, protocol, "")[0]}
    tasks = set(_BOX_AND_MASK.values()) if task == "coco-instseg" else own
    return sum(len(published.rows_for(name, protocol)) for name in tasks)


def quote(
    published: Published, task: str, protocol: str, metrics: Sequence[str], *, unconfirmed: bool = False
) -> tuple[Quoted, ...]:
    """The published rows that may stand beside a table of `task` under `protocol`.

    Args:
        published: The file.
        task: Our task.
        protocol: Slug; only rows of the same slug are taken.
        metrics: The columns of the table, main metric first.
        unconfirmed: Take rows that no source was read for, too.

    Returns:
        One entry for each (method, pre-training, source), by main metric from high to low; entries without
        the main metric come last. Contradicting sources stay apart.
    """
    groups: dict[tuple[object, ...], dict[str, PublishedRow]] = {}
    for metric in metrics:
        published_task, name = published_place(task, protocol, metric)
        for row in published.rows_for(published_task, protocol):
            if row.metric != name or (row.confirmed == "no" and not unconfirmed):
                continue
            model = (row.method, row.arch, row.pretrain_data, row.pretrain_epochs, row.labels_used)
            groups.setdefault((*model, row.source, row.confirmed), {})[metric] = row
    quoted = [_quoted(rows) for rows in groups.values()]
    return tuple(sorted(quoted, key=lambda entry: _order(entry, metrics[0])))


def _quoted(rows: dict[str, PublishedRow]) -> Quoted:
    first = next(iter(rows.values()))
    return Quoted(
        method=first.method,
        arch=first.arch,
        pretrain_data=first.pretrain_data,
        pretrain_epochs=first.pretrain_epochs,
        labels_used=first.labels_used,
        trials=first.seeds,
        source=first.source,
        confirmed=first.confirmed == "yes",
        notes=tuple(_notes(rows)),
        values={metric: QuotedValue(value=row.value, std=row.std) for metric, row in rows.items()},
    )


def _notes(rows: dict[str, PublishedRow]) -> Iterable[str]:
    """The remarks of all metrics, each once; one that holds for a part of them names the part."""
    metrics_of: dict[str, list[str]] = {}
    for metric, row in rows.items():
        for remark in filter(None, (part.strip() for part in row.note.split(";"))):
            metrics_of.setdefault(remark, []).append(metric)
    for remark, metrics in metrics_of.items():
        yield remark if len(metrics) == len(rows) else f"{', '.join(metrics)}: {remark}"


def _order(entry: Quoted, main_metric: str) -> tuple[object, ...]:
    main = entry.values.get(main_metric)
    value = -main.value if main else 1.0
    return (value, entry.method, entry.pretrain_data, entry.pretrain_epochs or 0, entry.source)
