"""Losses that no library has as we need them; NT-Xent is lightly's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def without_autocast(function: Callable[..., Any], *values: Tensor) -> Any:
    """A function of values in float32 or better, whatever mixed precision is on.

    Args:
        function: Of tensors.
        values: Its arguments; those in half precision are raised to float32.
    """
    halves = (torch.bfloat16, torch.float16)
    with torch.autocast(values[0].device.type, enabled=False):
        return function(*(value.float() if value.dtype in halves else value for value in values))


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Cross entropy of picking each query's positive among the negatives (InfoNCE).

    Args:
        query: [batch, dim], projections of the first view, unit length, with gradient.
        positive: [batch, dim], those of the second view, unit length, no gradient; row i belongs to query i.
        negatives: [queue, dim], unit length, no gradient; their order does not matter.
        temperature: Divides the cosine similarity; no unit, above 0 (MoCo .07, MoCo v2 .2, InfoMin .15).

    Returns:
        [] mean over the batch, in nats; log(1 + queue) when all similarities are equal.

    Source:
        He et al. 2020, Momentum Contrast, eq. 1.
        Differs: none in value. The row of logits is never put together: the logarithm of its sum of
        exponentials is taken of the negatives and the positive apart. Similarities are float32 under mixed
        precision, too.
    """
    with torch.autocast(query.device.type, enabled=False):
        positive_logit = (query * positive).sum(dim=1) / temperature
        negative_logits = query @ negatives.t() / temperature
        total = torch.logaddexp(positive_logit, negative_logits.logsumexp(dim=1))
        return (total - positive_logit).mean()


def batch_nce(query: Tensor, keys: Tensor, *, rank: int, temperature: float) -> Tensor:
    """Cross entropy of picking each query's key among those of the whole batch.

    Args:
        query: [batch, dim] of this process, unit length, with gradient.
        keys: [size * batch, dim] of all processes by rank, unit length, no gradient.
        rank: Of this process; the key of its query i is row rank * batch + i.
        temperature: Divides the cosine similarity; no unit, above 0.

    Returns:
        [] mean over the batch of this process, in nats.

    Source:
        Chen et al. 2021, MoCo v3, algorithm 1, without its factor 2 T.
        Differs: similarities are float32 under mixed precision, too.
    """
    with torch.autocast(query.device.type, enabled=False):
        own = torch.arange(len(query), device=query.device) + rank * len(query)
        return functional.cross_entropy(query @ keys.t() / temperature, own)


def mutual_information(loss: Tensor, num_candidates: int) -> Tensor:
    """I_NCE, the lower bound of the views' mutual information that a contrastive loss gives, in nats.

    Args:
        loss: [] InfoNCE or NT-Xent, in nats.
        num_candidates: Among how many, the positive included, it is picked.

    Source:
        Oord et al. 2018, Contrastive Predictive Coding, appendix A.1: I >= log(N) - loss.
    """
    return math.log(num_candidates) - loss.detach()


def symmetric_nce(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE between two views, each looking for the other in the batch: the mean of both directions.

    Args:
        first: [batch, dim], unit length.
        second: [batch, dim], unit length; row i belongs to row i of the first. Both get gradients.
        temperature: Divides the cosine similarity; no unit, above 0.

    Returns:
        [] in nats; log(batch) when all similarities are equal.

    Source:
        Tian et al. 2020, Contrastive Multiview Coding, eq. 2 and 3.
        Differs: the mean instead of the sum of the directions.
    """
    forth, back = (
        batch_nce(one, other, rank=0, temperature=temperature)
        for one, other in ((first, second), (second, first))
    )
    return (forth + back) / 2
