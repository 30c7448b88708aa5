"""The guard: a loss or a gradient that is not finite ends the run before the update, and before any save."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.checkpoint import newest_step
from bench.core.errors import DivergedError
from pretrain.data.batch import Batch
from pretrain.training import Progress, Training

MAX_SKIPPED_IN_A_ROW = 20
"""fp16's loss scaler starts too high and skips some updates at first; so many together are no start."""


def gradient_norm(training: Training) -> Tensor:
    """[] Euclidean norm of the whole gradient; of fp16 the scaled one, which says nothing of its own."""
    gradients = [value.grad for value in training.model.parameters() if value.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def is_finite(training: Training, loss: Tensor, norm: Tensor) -> bool:
    """Whether loss and gradient may be used; one look at the device for both.

    fp16's loss scaler finds overflow in its own scaled gradients, and skips that update itself.
    """
    return bool(torch.isfinite(loss if training.scaler else loss + norm))


def diverged(
    training: Training, state: Progress, parts: list[Batch], rate: float, loss: Tensor, norm: Tensor
) -> DivergedError:
    """The error of an update that must not be made; it names the place and what was in the batch."""
    indices = torch.cat([part.index for part in parts]).tolist()
    shown = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
    value = float(loss)
    what = f"the gradient's norm is {float(norm)}" if torch.isfinite(loss) else f"the loss is {value}"
    if torch.isfinite(loss + norm):
        what = "in another process, the loss or the gradient is not finite"
    last = newest_step(training.folder)
    saved = f"the last checkpoint is of step {last:,}" if last is not None else "there is no checkpoint yet"
    return DivergedError(
        f"step {state.step + 1:,}: {what} (images {shown}; learning rate {rate:.4g}). Nothing of it was "
        f"saved; {saved}."
    )


def count_skipped(training: Training, state: Progress, scale_before: float) -> None:
    """Note an update that fp16's loss scaler left out.

    Raises:
        DivergedError: too many in a row.
    """
    if not training.scaler or training.scaler.get_scale() >= scale_before:
        state.skipped_in_a_row = 0
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise DivergedError(
            f"step {state.step + 1:,}: the gradients were not finite {MAX_SKIPPED_IN_A_ROW} times in a row, "
            "whatever the loss scale; try bf16 or fp32"
        )
