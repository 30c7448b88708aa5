"""Optimisers: SGD for most, LARS for large batches, AdamW for toy sizes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
        norm_and_bias_rate_ratio: Their learning rate, as a share of the others'; not 1 in Barlow Twins.
        clip_norm: Largest norm of the gradient; longer ones are shortened. 0 for none.
        clip_tensor_norm: The same for the gradient of each tensor by itself, as in DINO.
    """

    kind: Literal["sgd", "lars", "adamw"]
    learning_rate: Annotated[float, Field(gt=0.0, le=1000.0)]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    decay_norms_and_biases: bool
    norm_and_bias_rate_ratio: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    clip_norm: Annotated[float, Field(ge=0.0)] = 0.0
    clip_tensor_norm: Annotated[float, Field(ge=0.0)] = 0.0

    @model_validator(mode="after")
    def _lars_has_decay(self) -> OptimizerConfig:
        if self.kind == "lars" and self.weight_decay == 0.0:
            # lightly scales only what decays: LARS without any decay would be plain SGD without a word.
            raise ValueError("LARS scales what decays; weight_decay must be above 0")
        return self

    @model_validator(mode="after")
    def _clips_once(self) -> OptimizerConfig:
        if self.clip_norm and self.clip_tensor_norm:
            raise ValueError("clip_norm and clip_tensor_norm: give one of them")
        return self


def build_optimizer(
    config: OptimizerConfig,
    model: nn.Module,
    *,
    fixed_rate: tuple[str, ...] = (),
    trained_later: tuple[str, ...] = (),
    fused: bool,
) -> torch.optim.Optimizer:
    """The optimiser of all parameters that are trained.

    Args:
        config: Which one.
        model: The method.
        fixed_rate: What names of parameters start with whose learning rate follows no schedule.
        trained_later: What names start with that have no gradient at first. They are a group of their own:
            torch's fused SGD takes no group of which some have a momentum and some have none yet.
        fused: One kernel for all tensors, where there is one: SGD and AdamW.

    Source:
        You et al. 2017, Large Batch Training of Convolutional Networks; lightly `utils/lars.py`.
        Differs: LARS divides by |g| + decay |p| + 1e-8, as mmselfsup's does; facebookresearch's (Barlow
        Twins, VICReg, MoCo v3) by |g + decay p|. It keeps the learning rate out of the momentum, as theirs;
        mmselfsup's has it inside. A tensor whose gradient is exactly zero is not decayed.
    """
    groups: dict[tuple[bool, bool, bool, float], dict[str, Any]] = {}
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        plain = value.ndim <= 1
        decays, is_fixed = config.decay_norms_and_biases or not plain, name.startswith(fixed_rate)
        share = config.norm_and_bias_rate_ratio if plain else 1.0
        group = groups.setdefault(
            (decays, is_fixed, name.startswith(trained_later), share),
            {
                "params": [],
                "lr": config.learning_rate * share,
                "weight_decay": config.weight_decay if decays else 0.0,
                "rate_ratio": None if is_fixed else share,
            },
        )
        group["params"].append(value)
    return _build(config, list(groups.values()), fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of a learning rate; those of a fixed one keep theirs."""
    for group in optimizer.param_groups:
        if group["rate_ratio"] is not None:
            group["lr"] = rate * group["rate_ratio"]


def _build(config: OptimizerConfig, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=fused)
    if config.kind == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)
    from lightly.utils.lars import LARS

    lars: torch.optim.Optimizer = LARS(
        groups, lr=config.learning_rate, momentum=config.momentum, trust_coefficient=TRUST_COEFFICIENT
    )
    return lars
