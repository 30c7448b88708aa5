"""The momentum encoder: a slow copy of a network."""

from __future__ import annotations

import copy

import torch
from torch import nn


def momentum_copy(network: nn.Module) -> nn.Module:
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
        the optimiser's step, with the new weights (MoCo's own code: before the keys, with the old ones).
        Differs: one fused operation over all tensors.
    """
    torch._foreach_lerp_(list(slow.parameters()), list(network.parameters()), 1.0 - ema_momentum)
