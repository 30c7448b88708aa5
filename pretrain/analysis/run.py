"""A study from end to end: every missing cell is trained, measured, recorded; stopped and resumed exactly."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch

from bench.core import atomic, lock
from bench.core import checkpoint as checkpoints
from bench.core.errors import CheckpointError, DivergedError, Stopped
from bench.core.log import Bar, progress, say
from bench.core.provenance import Stopwatch, package_versions
from bench.core.signals import StopRequest, watch
from bench.core.study import StudyRecord
from pretrain import optimizer_state
from pretrain.analysis.api import Measured, Setting, Trainer
from pretrain.analysis.plan import Plan


def estimate_seconds(plan: Plan) -> float:
    """What the missing cells will take, measuring left out: a step of either end of each setting is timed."""
    total, known = 0.0, dict[str, float]()
    for setting, seed in plan.missing():
        if setting.name not in known:
            trainer = plan.study.trainer(plan.cell(setting, seed))
            if not known:
                trainer.step(0)  # the first of all is slow
            begun = time.monotonic()
            for number in (0, trainer.num_steps - 1):
                trainer.step(number)
            known[setting.name] = (time.monotonic() - begun) / 2 * trainer.num_steps
        total += known[setting.name]
    return total


def execute(plan: Plan) -> list[StudyRecord]:
    """Run every cell that has no record; returns those of all cells, by setting and seed.

    Raises:
        Stopped: a signal came; the cell at work was saved.
        BenchError: of the room where something went wrong.
    """
    with watch() as stop:
        todo = plan.missing()
        if todo:
            _run_cells(plan, todo, stop)
    found = (plan.record(setting, seed) for setting in plan.settings for seed in plan.seeds)
    return [record for record in found if record is not None]


def _run_cells(plan: Plan, todo: list[tuple[Setting, int]], stop: StopRequest) -> None:
    for number, (setting, seed) in enumerate(todo, 1):
        title = f"Cell {number} of {len(todo)}: {setting.name}, seed {seed}"
        with lock.hold(plan.folder(setting, seed)):
            if plan.record(setting, seed) is None:  # another process may have been quicker
                _run_cell(plan, setting, seed, stop, title)


def _run_cell(plan: Plan, setting: Setting, seed: int, stop: StopRequest, title: str) -> None:
    stopwatch, folder = Stopwatch(), plan.folder(setting, seed)
    trainer = plan.study.trainer(plan.cell(setting, seed))
    begun, seconds = _load(plan, seed, folder, trainer)
    every = plan.config.training.checkpoint_epochs * trainer.steps_per_epoch
    with progress(title, trainer.num_steps, start=begun) as bar:
        for number in range(begun, trainer.num_steps):
            _step(trainer, number, bar)
            done = number + 1
            if stop or (done % every == 0 and done < trainer.num_steps):
                spent = seconds + time.monotonic() - stopwatch.started
                _save(plan, seed, folder, trainer, done, spent)
            if stop:
                raise Stopped(
                    f"{stop.name}: {setting.name}, seed {seed}, saved after step {done:,}; --resume goes on"
                )
    measured = trainer.measure()
    files = {folder / name: data for name, data in trainer.files().items()}
    if files:
        atomic.write_files(files)
    plan.store.add(_record(plan, setting, seed, measured, stopwatch, seconds))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _step(trainer: Trainer, number: int, bar: Bar) -> None:
    values = trainer.step(number)
    bar.update(number + 1, "  ".join(f"{name} {value:.2f}" for name, value in values.items()))


def _record(
    plan: Plan, setting: Setting, seed: int, measured: Measured, stopwatch: Stopwatch, earlier: float
) -> StudyRecord:
    return StudyRecord(
        study=plan.study.name,
        study_version=plan.study.version,
        size=plan.config.size,
        custom=bool(plan.departures),
        identity=plan.identity,
        setting=setting.name,
        series=setting.series,
        knob=setting.knob,
        knob_name=plan.study.knob_name,
        seed=seed,
        i_nce=measured.i_nce,
        num_candidates=measured.num_candidates,
        critic=measured.critic,
        scores=dict(measured.scores),
        data=plan.data.stamp,
        config=plan.config.model_dump(mode="json"),
        details=dict(measured.details),
        provenance=stopwatch.provenance(earlier_seconds=earlier),
    )


def _owner(plan: Plan, seed: int) -> dict[str, Any]:
    """What must be equal in a checkpoint and in the cell that goes on with it."""
    return {"identity": plan.identity, "seed": seed, "software": package_versions()}


def _save(plan: Plan, seed: int, folder: Path, trainer: Trainer, step: int, seconds: float) -> None:
    tensors = {f"module.{name}": value.detach().cpu() for name, value in trainer.module.state_dict().items()}
    for title, optimizer in trainer.optimizers.items():
        remembered = optimizer_state.to_tensors(optimizer)
        tensors |= {f"optimizer.{title}.{name}": value for name, value in remembered.items()}
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise DivergedError(f"{folder}: step {step:,}: {bad[0]} is not finite; nothing was saved")
    # A shared encoder has two names for one tensor, which safetensors refuses.
    own = {name: value.clone() for name, value in tensors.items()}
    state = {**_owner(plan, seed), "seconds": seconds}
    checkpoints.save(folder / "checkpoints", checkpoints.Checkpoint(step=step, tensors=own, state=state))


def _load(plan: Plan, seed: int, folder: Path, trainer: Trainer) -> tuple[int, float]:
    """The step to go on from, and the seconds that were spent before."""
    found, damaged = checkpoints.newest(folder / "checkpoints")
    for line in damaged:
        say(f"{line}; an older one is looked for")
    if found is None:
        return 0, 0.0
    for key, value in _owner(plan, seed).items():
        if found.state.get(key) != value:
            raise CheckpointError(
                f"{folder}: its checkpoints are of another run ({key}: {found.state.get(key)} there, {value} "
                "here). Give another --out, or remove that folder."
            )
    module = {k.removeprefix("module."): v for k, v in found.tensors.items() if k.startswith("module.")}
    trainer.module.load_state_dict(module, strict=True)
    for title, optimizer in trainer.optimizers.items():
        optimizer_state.from_tensors(optimizer, found.tensors, f"optimizer.{title}.")
    return found.step, float(found.state["seconds"])
