"""torchvision's and timm's ResNet-50 with a converted file in them, built and read by their own tools."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.card import InputSpec
from bench.core.errors import EngineError
from transfer.adapters.keymap import SHAPES
from transfer.engines.verify import Loaded, Setup

_NAMES = {name: name for name in SHAPES}


def load_torchvision(path: Path, spec: InputSpec) -> Loaded:
    """Read a state dict strictly into `resnet50` without its `fc`.

    Args:
        path: A `.pth` or `.safetensors`.
        spec: Not asked: torchvision's network has one stride place and one padding.
    """
    from safetensors.torch import load_file
    from torchvision.models import resnet50
    from torchvision.models.feature_extraction import create_feature_extractor

    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    model: nn.Module = resnet50(weights=None)
    model.fc = nn.Identity()
    # The counters of the norms may be absent from a plain state dict: torch fills them in.
    model.load_state_dict(state, strict=True)
    model.eval()
    extractor = create_feature_extractor(model, [f"layer{stage}" for stage in (1, 2, 3, 4)])

    def features(images: Tensor) -> list[Tensor]:
        return list(extractor(images).values())

    return Loaded(model, _NAMES, features)


def load_timm(path: Path, spec: InputSpec) -> Loaded:
    """Read a state dict strictly into timm's `resnet50` without a classifier, by timm's own loader.

    Args:
        path: A `.safetensors` or `.pth`.
        spec: Not asked, as for torchvision.

    Raises:
        EngineError: timm cannot be imported, or is older than 1.0.
    """
    # By name: timm is no dependency, and only here if the user has it.
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise EngineError(f"timm cannot be imported: {error}") from error
    model = timm.create_model("resnet50", pretrained=False, num_classes=0)
    if not hasattr(model, "forward_intermediates"):
        raise EngineError(f"timm {timm.__version__} does not tell its stages; expected 1.0 or newer")
    importlib.import_module("timm.models").load_checkpoint(model, str(path), strict=True)
    model.eval()

    def features(images: Tensor) -> list[Tensor]:
        stages: list[Tensor] = model.forward_intermediates(
            images, indices=[1, 2, 3, 4], intermediates_only=True
        )
        return stages

    return Loaded(model, _NAMES, features)


TORCHVISION = Setup("torchvision", load_torchvision)
TIMM = Setup("timm", load_timm)
TORCHVISION_FOR_TIMM = Setup(
    "timm",
    load_torchvision,
    note="timm is not installed; proven in torchvision's resnet50, whose names and layers are the same",
)
