"""What surrounds the update of every method, written out: gradients taken away, momentum copies, memories."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tests.helpers.written_out import Run, unit

SLOW = {"byol": ("target", "online"), "moco_v3": ("target", "online"), "dino": ("teacher", "student")}


def before_update(run: Run) -> None:
    """Prototypes and the last layer that are not trained yet have no gradient."""
    for copied in run.copies:
        if run.config.method == "swav" and run.step < run.parts.frozen_prototype_steps:
            copied.prototypes.heads[0].weight.grad = None
        if run.config.method == "dino" and run.step < run.parts.frozen_head_epochs * run.steps_per_epoch:
            for value in copied.student.head.last_layer.parameters():
                value.grad = None


@torch.no_grad()
def after_update(run: Run) -> None:
    """Momentum copies, queues, banks and prototypes of every copy."""
    method, parts = run.config.method, run.parts
    last = run.config.epochs * run.steps_per_epoch
    for copied in run.copies:
        if method in SLOW:
            step = run.step + (method != "dino")
            momentum = 1 - (1 - parts.ema_momentum) * (math.cos(math.pi * step / last) + 1) / 2
            _follow(*(getattr(copied, name) for name in SLOW[method]), momentum)
        elif hasattr(copied, "key"):
            _follow(copied.key, copied.query, parts.ema_momentum)
        if method == "swav":
            weight = copied.prototypes.heads[0].weight
            weight.copy_(unit(weight))
        for new in run.new:
            _remember(run, copied, new)
    run.new.clear()


def _follow(slow: Any, fast: Any, momentum: float) -> None:
    for one, other in zip(slow.parameters(), fast.parameters(), strict=True):
        one.copy_(momentum * one + (1 - momentum) * other)


def _remember(run: Run, copied: Any, new: Any) -> None:
    method, parts = run.config.method, run.parts
    if method == "swav":
        if run.step >= parts.queue_start_epoch * run.steps_per_epoch:
            for queue, rows in zip(copied.queues, new, strict=True):
                _put(queue, rows)
    elif method == "densecl":
        _put(copied.queue, new[0])
        _put(copied.dense_queue, new[1])
    elif getattr(parts, "memory", None) == "queue":
        for branch, queue in enumerate(copied.queues):
            _put(queue, new[:, branch])
    elif getattr(parts, "memory", None) == "bank":
        for image, rows in zip(*new, strict=True):
            for branch, row in enumerate(rows):
                entry = copied.bank.entries[branch][image]
                entry.copy_(unit(parts.bank_momentum * entry + (1 - parts.bank_momentum) * row))


def _put(queue: Any, rows: Tensor) -> None:
    for row in rows:
        queue.keys[int(queue.pointer)] = row
        queue.pointer.copy_((queue.pointer + 1) % len(queue.keys))
