"""Sample records, true in form and invented in number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from bench.core.card import RANDOM_NAME, Card, InputSpec, random_card
from bench.core.records import DataStamp, Metric, ProtocolStamp, Provenance, Record, Status
from transfer.api import TASKS

VOC_CLASSES = tuple(f"class{index:02}" for index in range(20))


def digest(text: str) -> str:
    """A sha256 to stand for a file, a data set or a protocol."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_card(name: str, *, file: str = "", spec: InputSpec | None = None) -> Card:
    """The card of weights called `name`; another `file` is another set of tensors under the same name."""
    if name == RANDOM_NAME:
        return random_card()
    tensors = digest(f"tensors of {name} {file}")
    return Card(name=name, layout="torchvision", tensors_sha256=tensors, input=spec or InputSpec())


def version_of(task: str) -> int:
    """The version of a task that is there, 1 of an invented one."""
    return TASKS.get(task).spec.version if task in TASKS.names() else 1


def make_record(
    weights: str = "resnet50.moco_v2_ep200",
    seed: int = 0,
    ap: float = 57.0,
    *,
    file: str = "",
    spec: InputSpec | None = None,
    metrics: dict[str, float] | None = None,
    main_metric: str = "AP",
    task: str = "voc-det",
    task_version: int | None = None,
    slug: str = "voc0712-r50c4-24k",
    identity: str = "voc0712",
    status: Status = "exact",
    departures: tuple[str, ...] = (),
    data: str = "voc0712",
    classes: Sequence[str] = VOC_CLASSES,
    fields: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
    created: str = "2026-11-22T12:00:00+00:00",
) -> Record:
    """A record of a VOC detection trial; AP50 and AP75 follow from `ap` unless `metrics` gives all."""
    values = metrics or {"AP": ap, "AP50": ap + 25.0, "AP75": ap + 6.0}
    return Record(
        task=task,
        task_version=task_version or version_of(task),
        engine="detectron2",
        protocol=ProtocolStamp(
            slug=slug,
            identity=digest(f"identity of {identity}"),
            status=status,
            departures=departures,
            fields=fields or {"metric": {"ap_rule": "voc07_11point"}, "solver": {"num_steps": 24000}},
        ),
        data=DataStamp(
            name=data,
            fingerprint=digest(f"data of {data}"),
            counts={"trainval": 16551, "test": 4952},
            classes=tuple(classes),
        ),
        weights=make_card(weights, file=file, spec=spec),
        seed=seed,
        metrics={name: Metric(value=value) for name, value in values.items()},
        main_metric=main_metric,
        details=details or {},
        provenance=Provenance(
            created=created,
            wall_seconds=3600.5,
            git_commit="0" * 40,
            git_dirty=False,
            bench_version="0.1.0",
            python="3.11.7",
            platform="Linux",
            packages={"torch": "2.14.1"},
            hardware={"cpu": "none"},
            command=("bench", "transfer", task),
        ),
    )


def make_trials(weights: str, aps: Sequence[float], **more: Any) -> list[Record]:
    """One record for each value of `aps`, with seeds 0, 1, 2, ..."""
    return [make_record(weights, seed, ap, **more) for seed, ap in enumerate(aps)]
