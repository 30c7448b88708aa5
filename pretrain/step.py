"""One step of a pretraining, in two halves: its gradients, and the update that the guard may forbid."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core import rng
from pretrain.data.batch import Batch
from pretrain.distributed import Place
from pretrain.guard import count_skipped, gradient_norm
from pretrain.optim import set_rate
from pretrain.schedules import learning_rate
from pretrain.training import Progress, Training


def gradients(training: Training, parts: list[Batch], step: int) -> tuple[float, dict[str, Tensor], Tensor]:
    """The first half: no weight has moved yet.

    Args:
        training: The parts of the run.
        parts: The batches of the step, on the device.
        step: From 0 on.

    Returns:
        The learning rate, the mean of each number over the parts, [] each, and the norm of the gradient, [].
    """
    rate = _set_rate(training, step)
    # Nothing of a method draws from torch's generator in a step today; one that does is exact, too.
    torch.manual_seed(rng.derive(training.seed, "step", step, training.fabric.global_rank))
    scalars = _forward_and_backward(training, parts, step)
    training.model.before_update()
    return rate, scalars, gradient_norm(training)


def update(training: Training, state: Progress, norm: Tensor) -> None:
    """The second half: the optimiser's update, and what the method does after it."""
    scale = training.scaler.get_scale() if training.scaler else 0.0
    _clip(training, norm)
    training.step_optimizer.step()
    count_skipped(training, state, scale)
    training.model.after_step()


def _set_rate(training: Training, step: int) -> float:
    config = training.config
    rate = learning_rate(
        config.schedule,
        config.optimizer.learning_rate,
        step=step,
        steps_per_epoch=training.order.steps_per_epoch,
        epochs=config.epochs,
    )
    set_rate(training.optimizer, rate)
    return rate


def _forward_and_backward(training: Training, parts: list[Batch], step: int) -> dict[str, Tensor]:
    """Gradients of the mean loss over the parts of a batch; returns the mean of each number."""
    total: dict[str, Tensor] = {}
    training.step_optimizer.zero_grad()
    for number, part in enumerate(parts):
        with training.fabric.no_backward_sync(training.step_model, enabled=number + 1 < len(parts)):
            loss, scalars = training.step_model(part, Place(training.seed, step, number))
            training.fabric.backward(loss / len(parts))
        for name, value in scalars.items():
            total[name] = total.get(name, 0.0) + value / len(parts)
    return total


def _clip(training: Training, norm: Tensor) -> None:
    config = training.config.optimizer
    if not config.clip_norm and not config.clip_tensor_norm:
        return
    if training.scaler:
        training.fabric.strategy.precision.unscale_gradients(training.optimizer)
        norm = gradient_norm(training)
    if config.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(training.model.parameters(), config.clip_norm, norm)
        return
    for value in training.model.parameters():
        if value.grad is not None:
            torch.nn.utils.clip_grad_norm_(value, config.clip_tensor_norm)
