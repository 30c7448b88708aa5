"""A stand-in engine: no training, numbers that depend on weights and seed, calls kept."""

from dataclasses import dataclass, field
from pathlib import Path

from transfer.api import TASKS, Job, Output, Task
from transfer.run import Options


@dataclass
class StandIn:
    """Returns AP50 10 + seed for random weights and 20 + seed for others; fails if told to."""

    jobs: list[Job] = field(default_factory=list)
    error: Exception | None = None

    def __call__(self, job: Job) -> Output:
        self.jobs.append(job)
        if self.error:
            raise self.error
        base = 10.0 if job.weights is None else 20.0
        return Output(metrics={"AP": base / 2, "AP50": base + job.seed, "AP75": base / 4})


def options(tmp_path: Path, data: Path, **changes: object) -> Options:
    values: dict[str, object] = {
        "checkpoint": "random",
        "data": data,
        "protocol": "voc0712-r50c4-24k",
        "out": tmp_path / "runs",
        "results": tmp_path / "results",
        "seeds": (0,),
        "smoke": True,
    }
    return Options(**{**values, **changes})  # type: ignore[arg-type]


def voc_det() -> Task:
    return TASKS.get("voc-det")


def coco_instseg() -> Task:
    return TASKS.get("coco-instseg")


def semseg() -> Task:
    return TASKS.get("semseg")
