"""A backbone for MMSegmentation: its file, and the config that feeds it as it was trained.

Names and values alone: no engine is imported.

Source: open-mmlab/mmsegmentation mmseg/models/backbones/resnet.py (names of `ResNet`, `style`),
mmseg/models/data_preprocessor.py; open-mmlab/mmengine mmengine/runner/checkpoint.py (`state_dict`, `meta`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.core.card import Card, InputSpec
from bench.core.card_file import CARD_KEY
from bench.core.weights import Weights
from transfer.adapters.keymap import SHAPES

AUTHOR = "transfer-bench"

BASE = "YOUR_CONFIG.py"
"""What stands for the user's config in the file that we write."""

STYLES = {"3x3": "pytorch", "1x1": "caffe"}
"""Place of a stage's stride to MMSegmentation's word for it."""


def to_mmseg(weights: Weights) -> dict[str, Any]:
    """The content of a `.pth`: `state_dict` without prefix, and `meta` with what the card says."""
    return {
        "state_dict": {name: weights.tensors[name] for name in SHAPES},
        "meta": {"author": AUTHOR, CARD_KEY: weights.card.model_dump_json()},
    }


def pixel_settings(spec: InputSpec) -> dict[str, Any]:
    """What MMSegmentation must be told of the weights, as "a.b": value in a config.

    Mean and std are on the 0-255 scale, in the order after the conversion of channels; images are read as
    BGR. `ResNetV1c`, which the stock configs name, has another stem; `pretrained`, which they set too, would
    replace these weights.
    """
    return {
        "model.data_preprocessor.type": "SegDataPreProcessor",
        "model.data_preprocessor.mean": list(spec.mean),
        "model.data_preprocessor.std": list(spec.std),
        "model.data_preprocessor.bgr_to_rgb": spec.channel_order == "rgb",
        "model.data_preprocessor.rgb_to_bgr": False,
        "model.pretrained": None,
        "model.backbone.type": "ResNet",
        "model.backbone.depth": 50,
        "model.backbone.style": STYLES[spec.stride_in],
    }


def model_settings(spec: InputSpec) -> dict[str, Any]:
    """The settings of `pixel_settings` as the nested entries of a config's `model`."""
    model: dict[str, Any] = {}
    for key, value in pixel_settings(spec).items():
        node = model
        *path, last = key.split(".")[1:]
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return model


def config_python(card: Card, file_name: str) -> tuple[str, str]:
    """(`.py`, text) with the settings of `pixel_settings` and the file: a config upon the user's own.

    Pasted into a config that says `model =` itself, one of the two would replace the other. The text is
    Python that MMEngine runs: every string from a card or a file name is quoted.
    """
    model = model_settings(card.input)
    model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": file_name}
    lines = [
        f"# From the card of the weights {json.dumps(card.name)}.",
        "# Train with this file, your own config as its base. Do not paste it into another: a second",
        "# `model =` in one file replaces the first.",
        "# mean and std: on the 0-255 scale, in the order in which the network sees the channels.",
        "# type: the plain ResNet. ResNetV1c has another stem, which would stay random with a warning.",
        "# checkpoint: a path as seen from where the training starts.",
    ]
    if card.input.padding != "pytorch":
        lines.append("# These weights expect TensorFlow's SAME padding; MMSegmentation pads as PyTorch does.")
    preprocessor = model.pop("data_preprocessor")
    lines += [f"_base_ = [{BASE!r}]", ""]
    lines += ["data_preprocessor = " + _python(preprocessor, ""), "model = dict("]
    lines.append("    data_preprocessor=data_preprocessor,")
    lines += [f"    {key}={_python(value, '    ')}," for key, value in model.items()]
    return ".py", "\n".join([*lines, ")"]) + "\n"


def config_text(config: Mapping[str, Any]) -> str:
    """A config in MMEngine's notation: `key = value` for each entry, keys being names of Python."""
    return "".join(f"{key} = {_python(value, '')}\n" for key, value in config.items())


def _python(value: Any, indent: str) -> str:
    """`dict(...)` over several lines for a dict, a list of such over several, else the literal."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        inner = indent + "    "
        return "[\n" + "".join(f"{inner}{_python(item, inner)},\n" for item in value) + f"{indent}]"
    if not isinstance(value, dict):
        return repr(value)
    if not value:
        return "dict()"
    inner = indent + "    "
    entries = [f"{inner}{key}={_python(item, inner)},\n" for key, item in value.items()]
    return f"dict(\n{''.join(entries)}{indent})"
