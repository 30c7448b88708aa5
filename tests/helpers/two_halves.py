"""What two processes should come to, computed in one: two copies of a method, each with half of a batch.

Nothing here gathers, shuffles or averages by the product's code: losses are written out with one row of
logits an image, gradients of the copies are added, and the momentum copy and the queue are put down in full.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from bench.core import rng
from bench.images.views import center_view
from pretrain.api import Sizes
from pretrain.config import PretrainConfig
from pretrain.data.loader import Batch, train_batches
from pretrain.data.order import Order
from pretrain.optim import build_optimizer
from pretrain.plan import parse_config
from pretrain.run import Job
from pretrain.samples import Views
from pretrain.schedules import learning_rate
from tests.helpers.two_processes import NUM_STEPS, Case, Kept, keep_gradients, make_job, settle


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
            Views(config.view, config.jigsaw, method.num_views, job.seed),
            order,
            start_step=0,
            end_step=order.steps_per_epoch,
            rank=number,
            world_size=2,
            accumulation=case.parts,
            num_workers=0,
            pin_memory=False,
            with_labels=method.with_labels,
        )
        for number in (0, 1)
    ]
    optimizer = build_optimizer(config.optimizer, model, fused=False)
    kept = Kept([], {}, [], [])
    keep_gradients(model, optimizer, kept)
    for step, both in enumerate(zip(*halves, strict=True)):
        losses, keys = [], []
        for part, batches in enumerate(zip(*both, strict=True)):
            loss, new_keys = _loss(copies, list(batches), config, _order(job, case, config, step, part))
            (loss / case.parts).backward()
            losses.append(float(loss))
            keys.append(new_keys)
        kept.losses.append(sum(losses) / case.parts)
        rate = learning_rate(
            config.schedule, config.optimizer.learning_rate, step=step, steps_per_epoch=NUM_STEPS, epochs=1
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        _update(copies, optimizer)
        if config.method in ("moco_v1", "moco_v2", "infomin"):
            _after_step(copies, torch.cat(keys), config.parts.ema_momentum)
    monitor = _monitor_features(model, job, config)
    return [Kept(kept.gradients, copied.state_dict(), kept.losses, monitor) for copied in copies]


def _order(job: Job, case: Case, config: PretrainConfig[Any], step: int, part: int) -> Tensor:
    """[images of both] the image that is put in each place before keys are computed."""
    count = config.batch_size // case.parts
    shuffle = getattr(config.parts, "shuffle_bn", "none")
    pool = {"none": 0, "node": count // case.nodes, "global": count}[shuffle]
    if not pool:
        return torch.arange(count)
    drawn = rng.generator(job.seed, "shuffle", step, part).permutation(pool)
    return torch.from_numpy(np.concatenate([drawn + first for first in range(0, count, pool)]))


def _loss(
    copies: list[Any], batches: list[Batch], config: PretrainConfig[Any], order: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean loss over all images, and their keys in the order of computing; none without a queue."""
    if config.method == "supervised":
        scores = [
            copied.classifier(copied.network(copied.normalise(batch.views[0])))
            for copied, batch in zip(copies, batches, strict=True)
        ]
        labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
        smoothing = config.parts.label_smoothing
        return cross_entropy(torch.cat(scores), labels, label_smoothing=smoothing), torch.empty(0)
    if config.method == "simclr":
        return _nt_xent(copies, batches, config.parts.temperature), torch.empty(0)
    pool = torch.cat([batch.views[1] for batch in batches])[order]
    with torch.no_grad():
        seen = zip(copies, pool.chunk(2), strict=True)
        keys = torch.cat([copied.key(copied.normalise(images)) for copied, images in seen])
    own = keys[torch.argsort(order)].chunk(2)
    losses = []
    for copied, batch, positive in zip(copies, batches, own, strict=True):
        query = copied.query(copied.normalise(batch.views[0]))
        loss = _nce(query, positive, copied.queue.keys, config.parts.temperature)
        if batch.patches is not None:
            beta = config.parts.jigsaw_weight
            patches = copied.query.project_patches(copied.normalise(batch.patches.flatten(0, 1)))
            loss = (1 - beta) * loss + beta * _nce(
                patches, positive, copied.queue.keys, config.parts.temperature
            )
        losses.append(loss)
    return torch.stack(losses).mean(), keys


def _nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ negatives.T], 1) / temperature
    return cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


def _nt_xent(copies: list[Any], batches: list[Batch], temperature: float) -> Tensor:
    firsts, seconds = [], []
    for copied, batch in zip(copies, batches, strict=True):
        first, second = copied.head(copied.network(copied.normalise(torch.cat(batch.views)))).chunk(2)
        firsts.append(first)
        seconds.append(second)
    views = normalize(torch.cat([*firsts, *seconds]), dim=1)
    count = len(views)
    logits = (views @ views.T / temperature).masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
    return cross_entropy(logits, (torch.arange(count) + count // 2) % count)


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


@torch.no_grad()
def _after_step(copies: list[Any], keys: Tensor, momentum: float) -> None:
    for copied in copies:
        for slow, fast in zip(copied.key.parameters(), copied.query.parameters(), strict=True):
            slow.copy_(momentum * slow + (1 - momentum) * fast)
        for key in keys:
            copied.queue.keys[int(copied.queue.pointer)] = key
            copied.queue.pointer.copy_((copied.queue.pointer + 1) % len(copied.queue.keys))


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
