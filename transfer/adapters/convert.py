"""The files that other software takes: one table of targets, each with the bytes of its file.

What a target's own tools must make of such a file is proven by `transfer.engines.proof`, not here.

Source: pytorch/vision torchvision/models/resnet.py and huggingface/pytorch-image-models timm/models/resnet.py
(equal names; a plain state dict); detectron2/checkpoint/detection_checkpoint.py (`.pkl`);
open-mmlab/mmengine mmengine/runner/checkpoint.py (`state_dict` and `meta`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from bench.core.card import Card
from bench.core.card_file import CARD_KEY
from bench.core.errors import UsageError, did_you_mean
from bench.core.weights import Weights
from transfer.adapters import detectron2, mmseg
from transfer.adapters.detectron2_config import config_yaml
from transfer.adapters.keymap import SHAPES


@dataclass(frozen=True)
class Target:
    """Software that takes a backbone from a file.

    Attributes:
        name: As in `bench convert --to`.
        suffixes: Endings its tools read, the usual one first.
        content: Weights, in float32 and contiguous, and the ending to the file's bytes.
        config: Card and file name to the ending and the text of a config for the file; None where the
            target has no configs.
    """

    name: str
    suffixes: tuple[str, ...]
    content: Callable[[Weights, str], bytes]
    config: Callable[[Card, str], tuple[str, str]] | None = None


def find_target(name: str) -> Target:
    """The target of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in TARGETS:
        raise UsageError(
            f"no target {name!r}; there are {', '.join(TARGETS)}.{did_you_mean(name, list(TARGETS))}"
        )
    return TARGETS[name]


def check_suffix(target: str, suffix: str) -> Target:
    """The target, if it reads files with this ending.

    Raises:
        UsageError: no such target, or it does not.
    """
    found = find_target(target)
    if suffix not in found.suffixes:
        raise UsageError(
            f"{target} does not take a file that ends in {suffix!r}; "
            f"expected {' or '.join(found.suffixes)}. Give the output file that ending."
        )
    return found


def file_bytes(weights: Weights, target: str, suffix: str) -> bytes:
    """The content of the file that `target` takes; the caller writes it.

    Args:
        weights: The 265 tensors, and their card.
        target: One of `TARGETS`.
        suffix: Ending of the file, with its dot; it decides the container.

    Returns:
        Equal bytes for equal weights, with equal versions of torch, NumPy and safetensors.

    Raises:
        UsageError: no such target, or it does not read files with this ending.
    """
    found = check_suffix(target, suffix)
    # Memory order and views show in pickles; equal tensors have to give equal bytes.
    tensors = {name: np.array(weights.tensors[name], dtype=np.float32, order="C") for name in SHAPES}
    return found.content(Weights(weights.card, tensors), suffix)


def config_text(card: Card, target: str, file_name: str) -> tuple[str, str] | None:
    """What to set in the target's own config, so that images reach the weights as the card says.

    Args:
        card: Of the converted weights.
        target: One of `TARGETS`.
        file_name: The converted file, as the config shall name it.

    Returns:
        Ending and text: `.yaml` for Detectron2, `.py` for MMSegmentation, None for targets without configs.

    Raises:
        UsageError: no such target.
    """
    config = find_target(target).config
    return config(card, file_name) if config else None


def torch_zip(content: Mapping[str, Any]) -> bytes:
    """A file of `torch.save`; arrays, also those one dict deeper, become tensors."""
    import torch
    from torch import save

    def as_tensors(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: as_tensors(item) for name, item in value.items()}
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    buffer = io.BytesIO()
    save(as_tensors(content), buffer)
    return buffer.getvalue()


def _state_dict(weights: Weights, suffix: str) -> bytes:
    if suffix != ".safetensors":
        return torch_zip(weights.tensors)
    from safetensors.numpy import save

    # With its card the file is one of ours, too. A second entry would have no fixed place in the header.
    return save(weights.tensors, metadata={CARD_KEY: weights.card.model_dump_json()})


_ALL = (
    Target(
        "torchvision",
        (".pth", ".safetensors"),
        _state_dict,
    ),
    Target(
        "detectron2",
        (".pkl",),
        lambda weights, suffix: detectron2.detectron2_pkl(weights),
        config_yaml,
    ),
    Target(
        "mmseg",
        (".pth",),
        lambda weights, suffix: torch_zip(mmseg.to_mmseg(weights)),
        mmseg.config_python,
    ),
    Target(
        "timm",
        (".safetensors", ".pth"),
        _state_dict,
    ),
)

TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in _ALL})
"""Name to target, in the order of the help."""
