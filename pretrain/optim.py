"""Optimisers: SGD for most, LARS for large batches, AdamW for toy sizes."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from bench.core.config import Section

TRUST_COEFFICIENT = 0.001
"""Of LARS. Source: You et al. 2017; the same in lightly and in SimCLR's `lars_optimizer.py`."""


class OptimizerConfig(Section):
    """The optimiser and its start.

    Attributes:
        kind: SGD with momentum, LARS, or AdamW.
        learning_rate: For the batch size that the config says; nothing scales it.
        momentum: Of SGD and LARS; AdamW takes .9 and .999.
        weight_decay: L2 in the gradient, or decoupled for AdamW.
        decay_norms_and_biases: Whether norms and biases decay, too. Those that do not are left out of LARS's
            scaling as well, as in SimCLR.
        clip_norm: Largest norm of the gradient; longer ones are shortened. 0 for none.
    """

    kind: Literal["sgd", "lars", "adamw"]
    learning_rate: Annotated[float, Field(gt=0.0, le=1000.0)]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    decay_norms_and_biases: bool
    clip_norm: Annotated[float, Field(ge=0.0)] = 0.0

    @model_validator(mode="after")
    def _lars_has_decay(self) -> OptimizerConfig:
        if self.kind == "lars" and self.weight_decay == 0.0:
            # lightly scales only what decays: LARS without any decay would be plain SGD without a word.
            raise ValueError("LARS scales what decays; weight_decay must be above 0")
        return self


def build_optimizer(config: OptimizerConfig, model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    """The optimiser of all parameters that are trained.

    Args:
        config: Which one.
        model: The method.
        fused: One kernel for all tensors, where there is one: SGD and AdamW.
    """
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if config.decay_norms_and_biases:
        groups = [{"params": list(trained.values()), "weight_decay": config.weight_decay}]
    else:
        decays = [value for value in trained.values() if value.ndim > 1]
        others = [value for value in trained.values() if value.ndim <= 1]
        groups = [
            {"params": decays, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=fused)
    if config.kind == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)
    from lightly.utils.lars import LARS

    lars: torch.optim.Optimizer = LARS(
        groups, lr=config.learning_rate, momentum=config.momentum, trust_coefficient=TRUST_COEFFICIENT
    )
    return lars
