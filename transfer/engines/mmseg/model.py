"""Builds the network from our config, loads the backbone into it and proves that it arrived."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bench.core import rng
from bench.core.weights import Weights
from transfer.adapters.keymap import SHAPES
from transfer.engines.mmseg import naive_sync_bn  # noqa: F401  (registers the norm)
from transfer.engines.mmseg.repairs import load_mmseg
from transfer.engines.source import Dilated
from transfer.engines.verify import load_proven
from transfer.protocols.segmentation import Model

load_mmseg()

from mmengine.config import Config  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402

NEW_LAYERS = ("decode_head.", "auxiliary_head.", "neck.")
"""What a transfer starts from random."""


def build_segmentor(
    config: Mapping[str, Any], network: Model, weights: Weights | None, *, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """A network on the CPU with `weights` in its backbone, or random ones from `seed`.

    Args:
        config: As `mmseg_config` makes it; a weights file in it is not read.
        network: What the protocol says of it.
        weights: To be loaded and proven.
        seed: Of the trial.

    Returns:
        The model, and what was verified, for the record.

    Raises:
        WeightsError: a tensor or a feature of the loaded backbone differs from its source.
    """
    parts = copy.deepcopy(dict(config["model"]))
    parts["backbone"].pop("init_cfg", None)
    torch.manual_seed(rng.derive(seed, "init"))
    model: nn.Module = MODELS.build(Config({"model": parts}).model)
    model.init_weights()  # type: ignore[operator]
    if weights is None:
        return model, {"backbone": "random initialisation by the engine"}
    backbone: Any = model.backbone
    return model, load_proven(
        model,
        weights,
        {name: f"backbone.{name}" for name in SHAPES},
        new_layers=NEW_LAYERS,
        features=backbone,
        dilated=dilated(network),
        engine="MMSegmentation",
    )


def dilated(network: Model) -> Dilated:
    """Which of the stages 3, 4 and 5 have a dilation for their stride: what the source network is given."""
    third, fourth, fifth = (stride == 1 for stride in network.strides[1:])
    return third, fourth, fifth
