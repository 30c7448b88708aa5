"""LARC: SGD whose gradient is scaled, tensor by tensor, to the size of what it changes.

Source:
    You et al. 2017, Large Batch Training of Convolutional Networks, eq. 6. As SimSiam and others use it, from
    NVIDIA/apex `apex/parallel/LARC.py` with `clip=False`: the weight decay is in the gradient before it is
    scaled; a tensor that is all zero, or whose gradient is, is neither scaled nor decayed.
"""

from __future__ import annotations

from typing import Any

import torch

TRUST_COEFFICIENT = 0.001
"""Source: facebookresearch/simsiam `main_lincls.py`."""

_EPS = 1e-8


class Larc(torch.optim.SGD):
    """SGD with momentum on gradients scaled by trust * |weights| / (|gradient| + decay * |weights|)."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update; the gradients are left scaled."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            decay = group["weight_decay"]
            for value in group["params"]:
                if value.grad is None:
                    continue
                size, slope = value.norm(), value.grad.norm()
                if size == 0 or slope == 0:
                    continue
                ratio = TRUST_COEFFICIENT * size / (slope + size * decay + _EPS)
                value.grad.add_(value, alpha=decay).mul_(ratio)
            group["weight_decay"] = 0.0
        try:
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
