"""The fine-tuning loop, top to bottom: one visible step, exact resume, a stop before any bad update."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.core import rng
from bench.core.checkpoint import newest_step
from bench.core.errors import DivergedError, Stopped
from bench.core.log import progress
from bench.core.processes import in_any_process
from bench.core.signals import StopRequest
from transfer.engines.training import Progress, Training, save

MAX_SKIPPED_IN_A_ROW = 20
"""fp16's loss scaler starts too high and skips some updates at first; so many together are no start."""


def train(training: Training, loader: Iterator[list[Any]], state: Progress, stop: StopRequest) -> None:
    """Run from `state.iteration` to the end; `state` is kept up to date.

    Raises:
        DivergedError: a loss or the gradient is not finite; the update was not made.
        Stopped: a signal came; the state was saved.
    """
    fabric = training.fabric
    training.step_model.train()
    begun, before = time.monotonic(), state.seconds
    title = f"Training, seed {training.seed}"
    with progress(title, training.iterations, start=state.iteration) as bar:
        while state.iteration < training.iterations:
            batch = next(loader)
            # A detector draws which regions are trained on, a decode head which channels are left out.
            torch.manual_seed(rng.derive(training.seed, "step", state.iteration, fabric.global_rank))
            try:
                losses = _forward_and_backward(training, batch)
            except FloatingPointError as error:  # Detectron2's RPN, of boxes that are not finite
                raise _diverged(training, state, batch, str(error)) from error
            loss = torch.stack(list(losses.values())).sum()
            _guard(training, state, losses, loss, batch)
            rate = training.optimizer.param_groups[0]["lr"]
            _update(training, state)
            training.step_optimizer.zero_grad()
            training.scheduler.step()
            state.iteration += 1
            state.seconds = before + time.monotonic() - begun
            at_end = state.iteration == training.iterations
            if at_end or state.iteration % training.log_iterations == 0:
                values = {name: float(value) for name, value in losses.items()}
                state.log.append({"iteration": state.iteration, "learning_rate": rate, **values})
            bar.update(state.iteration, f"loss {float(loss):.3f}")
            if any(in_any_process(fabric, bool(stop))):
                save(training, state)
                name = stop.name or "a signal to another process"
                raise Stopped(f"{name}: saved after iteration {state.iteration:,}; --resume goes on")
            if at_end or state.iteration % training.checkpoint_iterations == 0:
                save(training, state)


def parts_of(batch: list[Any], num_parts: int) -> list[list[Any]]:
    """A process's share of a batch in equal parts, in order.

    Args:
        batch: Its length divides by `num_parts`.
        num_parts: 1 gives the batch itself.
    """
    size = len(batch) // num_parts
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _forward_and_backward(training: Training, batch: list[Any]) -> dict[str, Tensor]:
    """Gradients of the mean loss over the parts of a batch; returns the mean of each loss.

    A part's losses are means over its images and regions, so parts of equal size count alike, as the devices
    of a batch do.
    """
    total: dict[str, Tensor] = {}
    parts = parts_of(batch, training.accumulation_steps)
    for number, part in enumerate(parts, start=1):
        with training.fabric.no_backward_sync(training.step_model, enabled=number < len(parts)):
            losses = training.losses(training.step_model, part)
            training.fabric.backward(torch.stack(list(losses.values())).sum() / len(parts))
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + value.detach() / len(parts)
    return total


def _guard(
    training: Training, state: Progress, losses: dict[str, Tensor], loss: Tensor, batch: list[Any]
) -> None:
    """Stop before the update if it would spoil the weights."""
    if math.isfinite(float(loss)) and _gradient_is_finite(training):
        return
    parts = ", ".join(f"{name} {float(value):.4g}" for name, value in losses.items())
    raise _diverged(training, state, batch, f"the loss or a gradient is not finite ({parts})")


def _diverged(training: Training, state: Progress, batch: list[Any], what: str) -> DivergedError:
    images = ", ".join(training.image_names(batch))
    last = newest_step(training.folder)
    saved = (
        f"the last checkpoint is of iteration {last:,}" if last is not None else "there is no checkpoint yet"
    )
    rate = training.optimizer.param_groups[0]["lr"]
    return DivergedError(
        f"iteration {state.iteration + 1:,}: {' '.join(what.split())} (images {images}; learning rate "
        f"{rate:.4g}). Nothing of it was saved; {saved}."
    )


def _update(training: Training, state: Progress) -> None:
    """One optimiser step; one that fp16's loss scaler skips is counted, too many end the run."""
    scale = training.scaler.get_scale() if training.scaler else 0.0
    training.step_optimizer.step()
    if not training.scaler or training.scaler.get_scale() >= scale:
        state.skipped_in_a_row = 0
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise DivergedError(
            f"iteration {state.iteration + 1:,}: the gradients were not finite {MAX_SKIPPED_IN_A_ROW} times "
            "in a row, whatever the loss scale; try bf16 or fp32"
        )


def _gradient_is_finite(training: Training) -> bool:
    if training.scaler:
        # The loss scaler finds overflow in its own scaled gradients, and skips that update itself.
        return True
    gradients = [item.grad for item in training.model.parameters() if item.grad is not None]
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))
