"""What an optimiser remembers, as named tensors for a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def to_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state by parameter, `{number}.{name}`, on the CPU; rates and other settings are not in it.

    Raises:
        TypeError: it keeps something else than tensors, which would be lost.
    """
    tensors = {}
    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu()
            elif value is not None:
                raise TypeError(f"the optimiser keeps {name} as {type(value).__name__}; expected a tensor")
    return tensors


def from_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Bring back what `to_tensors` gave, from all tensors whose names begin with the prefix."""
    own = optimizer.state_dict()
    own["state"] = {}
    trained = [value for group in optimizer.param_groups for value in group["params"]]
    for name, value in tensors.items():
        if not name.startswith(prefix):
            continue
        index, key = name.removeprefix(prefix).split(".", 1)
        like = trained[int(index)]
        if value.shape == like.shape:
            # torch's fused optimisers walk through the memory of all tensors as if in one order; with
            # channels last they would take the momentum of one weight for that of another.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        own["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(own)
