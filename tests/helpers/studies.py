"""Study records, true in form and invented in number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from bench.core.records import DataStamp, Provenance
from bench.core.study import StudyRecord
from tests.helpers.records import digest


def make_study_record(
    setting: str = "YDbDr 1|23",
    seed: int = 0,
    i_nce: float = 2.5,
    scores: dict[str, float] | None = None,
    *,
    study: str = "colour",
    study_version: int = 1,
    size: Literal["smoke", "laptop", "full"] = "laptop",
    custom: bool = False,
    identity: str = "colour",
    series: str = "1|23",
    knob: float | None = None,
    knob_name: str = "",
    num_candidates: int = 200,
    critic: str = "cosine / 0.1",
    data: str = "shapes",
    details: dict[str, Any] | None = None,
    created: str = "2026-11-22T12:00:00+00:00",
) -> StudyRecord:
    """One cell of a study of colour spaces."""
    return StudyRecord(
        study=study,
        study_version=study_version,
        size=size,
        custom=custom,
        identity=digest(f"identity of {identity}"),
        setting=setting,
        series=series,
        knob=knob,
        knob_name=knob_name,
        seed=seed,
        i_nce=i_nce,
        num_candidates=num_candidates,
        critic=critic,
        scores={"top1": 60.0} if scores is None else scores,
        data=DataStamp(
            name=data, fingerprint=digest(f"data of {data}"), counts={"train": 2400}, classes=("one", "two")
        ),
        config={"study": study, "training": {"epochs": 15}},
        details=details or {},
        provenance=Provenance(
            created=created,
            wall_seconds=60.5,
            git_commit="0" * 40,
            git_dirty=False,
            bench_version="0.1.0",
            python="3.11.7",
            platform="Linux",
            packages={"torch": "2.14.1"},
            hardware={"cpu": "none"},
            command=("bench", "views", study),
        ),
    )


def make_sweep(
    curve: Callable[[float], float],
    i_nces: Sequence[float],
    *,
    num_seeds: int = 3,
    noise: float = 0.3,
    with_knob: bool = True,
    **more: Any,
) -> list[StudyRecord]:
    """A record for each I_NCE and seed; the knob of setting n is 4 n px, its score the curve's with noise."""
    draw = np.random.default_rng(0)
    knob_name = "distance (px)" if with_knob else ""
    return [
        make_study_record(
            f"{4 * number} px apart" if with_knob else f"setting {number}",
            seed,
            i_nce + 0.03 * float(draw.normal()),
            {"top1": curve(i_nce) + noise * float(draw.normal())},
            **{"knob": 4.0 * number if with_knob else None, "knob_name": knob_name, **more},
        )
        for number, i_nce in enumerate(i_nces, 1)
        for seed in range(num_seeds)
    ]
