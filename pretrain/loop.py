"""The pretraining loop, top to bottom: one visible step, exact resume, a stop before any bad update."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.core.errors import Stopped
from bench.core.log import progress
from bench.core.processes import in_any_process
from bench.core.signals import StopRequest
from pretrain.data.loader import TrainLoader
from pretrain.guard import diverged, is_finite
from pretrain.logs import RunLog
from pretrain.step import gradients, update
from pretrain.training import Progress, Training, save

Monitor = Callable[[Progress], dict[str, float]]
"""Asks the k-NN classifier after `step` steps: its numbers, none where it is not due."""


def train(
    training: Training, loader: TrainLoader, state: Progress, stop: StopRequest, log: RunLog, monitor: Monitor
) -> None:
    """Run from `state.step` to the end; `state` is kept up to date.

    Args:
        training: The parts.
        loader: Batches from `state.step` on; each step is a list of equal parts.
        state: Where the run stands.
        stop: Set when a signal has come.
        log: Where numbers go.
        monitor: Called after each epoch.

    Raises:
        DivergedError: a loss or the gradient is not finite; the update was not made.
        Stopped: a signal came; the state was saved.
    """
    fabric, config = training.fabric, training.config
    clock = Clock(state, loader, config.batch_size, config.loop.checkpoint_minutes)
    with progress(f"Pretraining, seed {training.seed}", training.num_steps, start=state.step) as bar:
        # Before the first step; or the run was stopped between the save after an epoch and the question.
        _ask(training, state, log, monitor)
        for parts in loader:
            rate, scalars, norm = gradients(training, parts, state.step)
            loader.prefetch()
            loss = scalars["loss"]
            bad, stopped, due = in_any_process(
                fabric, not is_finite(training, loss, norm), bool(stop), clock.save_is_due()
            )
            if bad:
                raise diverged(training, state, parts, rate, loss, norm)
            update(training, state, norm)
            state.step += 1
            state.seconds = clock.seconds()
            epoch, ends_epoch = divmod(state.step, training.order.steps_per_epoch)
            if state.step % config.loop.log_steps == 0 or state.step == training.num_steps:
                values, speed = _mean_of_processes(training, scalars), clock.speed(state.step)
                log.write(state.step, epoch + bool(ends_epoch), rate, values, speed)
                bar.update(state.step, _note(values, rate, speed))
            if due or stopped or ends_epoch == 0:
                save(training, state)
                clock.saved()
            if stopped:
                name = stop.name or "a signal to another process"
                raise Stopped(f"{name}: saved after step {state.step:,}; --resume goes on")
            if ends_epoch == 0:
                _ask(training, state, log, monitor)


def _mean_of_processes(training: Training, scalars: dict[str, Tensor]) -> dict[str, float]:
    values = torch.stack(list(scalars.values()))
    reduced = training.fabric.all_reduce(values, reduce_op="mean")
    return dict(zip(scalars, torch.as_tensor(reduced).tolist(), strict=True))


def _ask(training: Training, state: Progress, log: RunLog, monitor: Monitor) -> None:
    asked = state.monitor[-1]["step"] if state.monitor else None
    if state.step % training.order.steps_per_epoch or asked == state.step:
        return
    found = monitor(state)
    if found:
        epoch = state.step // training.order.steps_per_epoch
        state.monitor.append({"step": state.step, "epoch": epoch, **found})
        log.note(state.step, found)
    training.model.train()


def _note(values: dict[str, float], rate: float, speed: dict[str, float]) -> str:
    shown = [f"loss {values['loss']:.3f}"]
    if "i_nce" in values:
        shown.append(f"I_NCE {values['i_nce']:.2f}")
    if "top1" in values:
        shown.append(f"top-1 {values['top1']:.0f} %")
    shown.append(f"LR {rate:.2g}")
    shown.append(f"{speed['images_per_second']:,.0f} images/s, {speed['waiting_percent']:.0f} % waiting")
    return "  ".join(shown)


class Clock:
    """Time of a run: spent, per image, waiting for input, since the last checkpoint."""

    def __init__(self, state: Progress, loader: TrainLoader, batch_size: int, save_minutes: float) -> None:
        self._before, self._loader, self._batch_size = state.seconds, loader, batch_size
        self._save_seconds = 60.0 * save_minutes
        self._begun = self._last_save = time.monotonic()
        self._last = (self._begun, loader.waited_seconds, state.step)

    def seconds(self) -> float:
        """Spent on the run, earlier ones included."""
        return self._before + time.monotonic() - self._begun

    def save_is_due(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self._last_save >= self._save_seconds

    def saved(self) -> None:
        """A checkpoint was made now."""
        self._last_save = time.monotonic()

    def speed(self, step: int) -> dict[str, float]:
        """Images a second and percent of time waiting for input, since it was last asked."""
        now, waited = time.monotonic(), self._loader.waited_seconds
        then, waited_then, step_then = self._last
        self._last = (now, waited, step)
        spent = max(now - then, 1e-9)
        return {
            "images_per_second": (step - step_then) * self._batch_size / spent,
            "waiting_percent": 100.0 * (waited - waited_then) / spent,
        }
