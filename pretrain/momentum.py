"""The momentum encoder: a slow copy of a network."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def momentum_copy(network: Network) -> Network:
    """A copy that no gradient reaches, equal at first."""
    slow = copy.deepcopy(network)
    slow.requires_grad_(False)
    return slow


@torch.no_grad()
def update_momentum(slow: nn.Module, network: nn.Module, ema_momentum: float) -> None:
    """Slow = m * slow + (1 - m) * network, in every parameter; running statistics are the copy's own.

    Args:
        slow: From `momentum_copy`.
        network: What it follows, after its own update.
        ema_momentum: m, 0 to 1.

    Source:
        He et al. 2020, Momentum Contrast, eq. 2; HobbitLong/PyContrast `learning/contrast_trainer.py`: after
        the optimiser's step, with the new weights (MoCo's own code: before the next keys, with the same ones,
        so that only the copy in the last checkpoint differs).
        Differs: one fused operation over all tensors.
    """
    torch._foreach_lerp_(list(slow.parameters()), list(network.parameters()), 1.0 - ema_momentum)


def cosine_momentum(start: float, *, step: int, num_steps: int) -> float:
    """A momentum that rises from `start` to 1 on half of a cosine.

    Args:
        start: At the first step.
        step: From 0.
        num_steps: Of the whole run.

    Source:
        Grill et al. 2020, BYOL, section 3.3: 1 - (1 - start) (cos(pi k / K) + 1) / 2.
    """
    return 1.0 - (1.0 - start) * (math.cos(math.pi * step / num_steps) + 1.0) / 2.0
