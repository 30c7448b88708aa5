"""Weights for tests: a ResNet-50 as torchvision initialises it, with statistics that are not all 0 and 1."""

from pathlib import Path

import torch
from torchvision.models import resnet50


def make_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A full torchvision state dict, `fc` and counters included; every norm differs from its default."""
    torch.manual_seed(seed)
    state = resnet50().state_dict()
    for name, value in state.items():
        if name.endswith(("running_mean", ".bias")):
            value.normal_(0.0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1 and value.is_floating_point():
            value.uniform_(0.8, 1.2)
    return state


def make_checkpoint(path: Path, seed: int = 0) -> Path:
    torch.save(make_state(seed), path)
    return path
