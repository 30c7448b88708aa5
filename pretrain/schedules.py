"""The learning rate as a pure function of the step: nothing of it has to be saved."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.core.config import Section


class Schedule(Section):
    """How the learning rate goes from its start to its end.

    Attributes:
        kind: "step" multiplies by `decay_rate` after each of `decay_epochs`; "cosine" falls to
            `floor_ratio` of the start.
        per: Whether it changes once an epoch or at each step.
        decay_epochs: For "step", rising.
        decay_rate: For "step".
        floor_ratio: For "cosine"; 0.001 in PyContrast (its decay rate of .1 to the third power).
        warmup_epochs: So many epochs of a linear rise, step by step.
        warmup_from: The learning rate at the first step of it.
        cosine_starts: "with_warmup": the rise ends on a cosine that counts from the first epoch (PyContrast);
            "after_warmup": the cosine spans what is left (SimCLR).

    Source:
        HobbitLong/PyContrast `learning/base_trainer.py`: its epochs count from 1, so that a cosine never uses
        the full learning rate, and a step decay comes when the epoch is above the given one.
    """

    kind: Literal["step", "cosine"]
    per: Literal["epoch", "step"]
    decay_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    decay_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    floor_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_from: Annotated[float, Field(ge=0.0)] = 0.0
    cosine_starts: Literal["with_warmup", "after_warmup"] = "with_warmup"

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Schedule:
        if self.kind == "step" and (not self.decay_epochs or self.per != "epoch"):
            raise ValueError('kind = "step" needs decay_epochs and per = "epoch"')
        if self.kind == "cosine" and self.decay_epochs:
            raise ValueError('decay_epochs go with kind = "step"')
        if list(self.decay_epochs) != sorted(set(self.decay_epochs)):
            raise ValueError("decay_epochs must rise")
        return self


def learning_rate(schedule: Schedule, start: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of one step.

    Args:
        schedule: How it goes.
        start: Before any decay.
        step: From 0.
        steps_per_epoch: Steps in an epoch.
        epochs: Of the whole run.
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        target = start
        if schedule.kind == "cosine" and schedule.cosine_starts == "with_warmup":
            target = _decayed(schedule, start, float(schedule.warmup_epochs), epochs)
        return schedule.warmup_from + step / warmup_steps * (target - schedule.warmup_from)
    done = float(step // steps_per_epoch + 1) if schedule.per == "epoch" else step / steps_per_epoch
    return _decayed(schedule, start, done, epochs)


def _decayed(schedule: Schedule, start: float, done_epochs: float, epochs: int) -> float:
    if schedule.kind == "step":
        return start * schedule.decay_rate ** sum(done_epochs > epoch for epoch in schedule.decay_epochs)
    if schedule.cosine_starts == "after_warmup":
        done_epochs, epochs = done_epochs - schedule.warmup_epochs, epochs - schedule.warmup_epochs
    floor = start * schedule.floor_ratio
    return floor + (start - floor) * 0.5 * (1.0 + math.cos(math.pi * done_epochs / max(epochs, 1)))
