"""Builds the detector from our config, loads the backbone into it and proves that it arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.core import rng
from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from bench.core.weights import Weights
from transfer.adapters.detectron2 import engine_names
from transfer.adapters.detectron2_config import pixel_settings
from transfer.adapters.keymap import DetectorVariant
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.verify import load_proven

load_detectron2()

from detectron2.config import CfgNode, get_cfg  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

from transfer.engines.detectron2 import extra_norm_head  # noqa: E402, F401  (registers the head)

_HEADS = ("proposal_generator.", "roi_heads.box_predictor.", "roi_heads.mask_head.")

NEW_LAYERS: dict[DetectorVariant, tuple[str, ...]] = {
    "c4": (*_HEADS, "roi_heads.res5.norm."),
    "fpn": (*_HEADS, "roi_heads.box_head.", "backbone.fpn_"),
}
"""What a transfer starts from random: RPN, box predictor and mask head; the extra norm after res5 of a C4
head; pyramid and box head of an FPN."""


def build_config(entries: dict[str, Any], device: str) -> CfgNode:
    """Detectron2's config node from "A.B": value entries."""
    cfg = get_cfg()
    flat: list[Any] = []
    for key, value in entries.items():
        flat += [key, value]
    cfg.merge_from_list([*flat, "MODEL.DEVICE", device])
    return cfg


def check_pixels(cfg: CfgNode, spec: InputSpec) -> None:
    """Refuse a config that would feed these weights otherwise than their card says.

    Raises:
        WeightsError: each key that disagrees, with what was found and expected.
    """
    problems = []
    for key, expected in pixel_settings(spec).items():
        found: Any = cfg
        for part in key.split("."):
            found = found[part]
        found = list(found) if isinstance(expected, list) else found
        if found != expected:
            problems.append(f"{key} is {found!r}; the card of the weights says {expected!r}")
    if problems:
        raise WeightsError.of(
            [f"config of Detectron2: {problem}" for problem in problems],
            hint="Take the values of the card, or correct the card with --input-spec.",
        )


def build_detector(cfg: CfgNode, weights: Weights | None, *, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """A detector on the CPU with `weights` in its backbone, or random ones from `seed`.

    Returns:
        The model, and what was verified, for the record.

    Raises:
        WeightsError: a tensor or a feature of the loaded backbone differs from its source.
    """
    on_cpu = cfg.clone()
    on_cpu.MODEL.DEVICE = "cpu"
    torch.manual_seed(rng.derive(seed, "init"))
    model: nn.Module = build_model(on_cpu)
    if weights is None:
        return model, {"backbone": "random initialisation by the engine"}
    variant = variant_of(cfg)
    return model, load_proven(
        model,
        weights,
        engine_names(variant),
        new_layers=NEW_LAYERS[variant],
        features=lambda images: FEATURES[variant](model, images),
        engine="Detectron2",
    )


def variant_of(cfg: CfgNode) -> DetectorVariant:
    """Where the regions of a detector are cut from."""
    return "fpn" if cfg.MODEL.BACKBONE.NAME == "build_resnet_fpn_backbone" else "c4"


def c4_features(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """C2 to C5 of a C4 detector, whose last stage is in the ROI head; the extra norm is left out.

    Args:
        model: A detector with a C4 backbone.
        images: [batch, 3, height, width], normalised as the weights expect.
    """
    backbone: Any = model.backbone
    value = backbone.stem(images)
    features = []
    for stage in (backbone.res2, backbone.res3, backbone.res4):
        value = stage(value)
        features.append(value)
    roi_heads: Any = model.roi_heads
    for name, block in roi_heads.res5.named_children():
        if name != "norm":
            value = block(value)
    return [*features, value]


def fpn_features(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """C2 to C5 of a detector with a pyramid, below the pyramid.

    Args:
        model: A detector with an FPN backbone.
        images: [batch, 3, height, width], normalised as the weights expect.
    """
    backbone: Any = model.backbone
    stages = backbone.bottom_up(images)
    return [stages[name] for name in ("res2", "res3", "res4", "res5")]


FEATURES: dict[DetectorVariant, Callable[[nn.Module, torch.Tensor], list[torch.Tensor]]] = {
    "c4": c4_features,
    "fpn": fpn_features,
}
