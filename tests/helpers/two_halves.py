"""What two processes should come to, computed in one: two copies of a method, each with half of a batch.

Nothing here gathers, shuffles or averages by the product's code: losses are written out in
`tests/helpers/written_out.py`, what follows the update in `written_memory.py`, and the gradients of the
copies are added.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core import rng
from bench.images.views import center_view
from pretrain.api import Sizes
from pretrain.config import PretrainConfig
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.loader import train_batches
from pretrain.data.order import Order
from pretrain.optim import build_optimizer, set_rate
from pretrain.plan import parse_config
from pretrain.run import Job
from pretrain.samples import Views
from pretrain.schedules import learning_rate
from tests.helpers.two_processes import NUM_STEPS, Case, Kept, keep_gradients, make_job, settle
from tests.helpers.written_memory import after_update, before_update
from tests.helpers.written_out import LOSSES, Run


def work_halves(rank: int, size: int, port: int, cases: list[Case], data: Path, out: Path) -> None:
    """Each case; both copies' numbers go where those of two processes would."""
    settle(rank, size, port)
    for case in cases:
        for number, kept in enumerate(_train(make_job(case, data, out / "halves"), case)):
            torch.save(kept, out / f"{case.key}-halves-{number}.pt")


def _train(job: Job, case: Case) -> list[Kept]:
    method, config = parse_config(job.values, "config")
    torch.manual_seed(rng.derive(job.seed, "init"))
    model: Any = method.build(config, Sizes(len(job.train), len(job.train.classes or ())))
    copies = [model, copy.deepcopy(model)]
    order = Order(len(job.train), config.batch_size, job.seed)
    halves = [
        train_batches(
            job.train,
            Views(config.views, config.jigsaw, job.seed),
            order,
            start_step=0,
            end_step=order.steps_per_epoch,
            rank=number,
            world_size=2,
            accumulation=case.parts,
            num_workers=0,
            feed=DeviceFeed(torch.device("cpu")),
            with_labels=method.with_labels,
        )
        for number in (0, 1)
    ]
    optimizer = build_optimizer(
        config.optimizer,
        model,
        fixed_rate=model.fixed_rate,
        trained_later=model.trained_later,
        fused=False,
    )
    kept = Kept([], {}, [], [])
    keep_gradients(model, optimizer, kept)
    for step, both in enumerate(zip(*halves, strict=True)):
        run = Run(copies, config, job.seed, step, NUM_STEPS, torch.empty(0), [])
        losses = []
        for part, batches in enumerate(zip(*both, strict=True)):
            run.order = _order(job, case, config, step, part)
            loss = LOSSES[config.method](run, list(batches))
            (loss / case.parts).backward()
            losses.append(float(loss.detach()))
        kept.losses.append(sum(losses) / case.parts)
        rate = learning_rate(
            config.schedule, config.optimizer.learning_rate, step=step, steps_per_epoch=NUM_STEPS, epochs=1
        )
        set_rate(optimizer, rate)
        before_update(run)
        _update(copies, optimizer)
        after_update(run)
    monitor = _monitor_features(model, job, config)
    return [Kept(kept.gradients, copied.state_dict(), kept.losses, monitor) for copied in copies]


def _order(job: Job, case: Case, config: PretrainConfig[Any], step: int, part: int) -> Tensor:
    """[images of both] the image that is put in each place before keys are computed."""
    count = config.batch_size // case.parts
    shuffle = getattr(config.parts, "shuffle_bn", None) or "none"
    pool = {"none": 0, "node": count // case.nodes, "global": count}[shuffle]
    if not pool:
        return torch.arange(count)
    drawn = rng.generator(job.seed, "shuffle", step, part).permutation(pool)
    return torch.from_numpy(np.concatenate([drawn + first for first in range(0, count, pool)]))


def _update(copies: list[Any], optimizer: torch.optim.Optimizer) -> None:
    model, other = copies
    for value, twin in zip(model.parameters(), other.parameters(), strict=True):
        if value.grad is not None:
            value.grad += twin.grad
            twin.grad = None
    optimizer.step()
    optimizer.zero_grad()
    for value, twin in zip(model.parameters(), other.parameters(), strict=True):
        twin.data.copy_(value.data)


def _monitor_features(model: Any, job: Job, config: PretrainConfig[Any]) -> list[Tensor]:
    """Features of the held-out images, from the first copy: it is the one whose weights are written."""
    if job.val is None or not config.monitor.every_epochs:
        return []
    crops = [
        center_view(job.val.read(index), resize_px=config.monitor.resize_px, crop_px=config.monitor.crop_px)
        for index in range(len(job.val))
    ]
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return [twin.backbone(twin.normalise(images))]
