"""The card of a set of weights: what they are, where they came from, what input they expect.

The input spec travels with the weights and is no part of a protocol: the MSRA baseline (BGR, std 1, stride
in the 1x1) and torchvision weights stand in the same protocol, each fed as it was trained.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

ByteRange = Annotated[float, Field(ge=-255.0, le=255.0)]
Arch = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
Text = Annotated[str, Field(max_length=2000)]
PositiveStd = Annotated[float, Field(gt=0.0, le=1024.0)]


class InputSpec(BaseModel):
    """What the stem expects. Mean and std are on the 0-255 scale, in the order of `channel_order`.

    Source: protocols of MoCo and PyContrast (RGB, ImageNet mean and std, stride in the 3x3) and
    detectron2 `config/defaults.py` (BGR, std 1, stride in the 1x1: the MSRA weights).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[ByteRange, ByteRange, ByteRange] = (123.675, 116.28, 103.53)
    std: tuple[PositiveStd, PositiveStd, PositiveStd] = (58.395, 57.12, 57.375)
    stride_in: Literal["3x3", "1x1"] = "3x3"
    padding: Literal["pytorch", "tf_same"] = "pytorch"

    @model_validator(mode="after")
    def _order_is_whole(self) -> InputSpec:
        # The defaults of mean and std are for RGB: BGR with them would be half of a change.
        left_out = {"mean", "std"} - self.model_fields_set
        if self.channel_order == "bgr" and left_out:
            raise ValueError(f"BGR needs {' and '.join(sorted(left_out))}, too, in that order")
        return self

    @model_validator(mode="after")
    def _of_the_byte_scale(self) -> InputSpec:
        # No weights are fed like this; people write 0.485 for 123.675.
        if max(self.std) < 1 or 0 < max(map(abs, self.mean)) <= 1:
            raise ValueError("mean and std are on the 0-255 scale; these look like those of 0 to 1")
        return self


class Card(BaseModel):
    """Everything a record says of its weights.

    `tensors_sha256` is `hash_tensors` of the 265 backbone tensors, None for random initialisation, which
    differs by seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Text
    arch: Arch = "resnet50"
    layout: Text
    encoder: Text = ""
    source_file: Text = ""
    source_sha256: str | None = None
    tensors_sha256: str | None = None
    input: InputSpec = InputSpec()
    licence: Text = ""
    url: Text = ""
    dropped: tuple[Text, ...] = ()
    notes: tuple[Text, ...] = ()

    @property
    def key(self) -> str:
        """What identifies these weights in a record's id, 64 hex digits.

        The tensors (or the name, for random) as they are fed: equal tensors under another input spec are
        another network.
        """
        spec = json.dumps(self.input.model_dump(mode="json"), sort_keys=True)
        tensors = self.tensors_sha256 or self.name
        return hashlib.sha256(f"{tensors};{spec}".encode()).hexdigest()


RANDOM_NAME = "resnet50.random"


def random_card() -> Card:
    """The card of no weights at all: the engine's own initialisation."""
    return Card(name=RANDOM_NAME, layout="random", notes=("initialised by the engine from the seed",))


def hash_tensors(tensors: dict[str, np.ndarray]) -> str:
    """sha256 over names, shapes and little-endian float32 values, in sorted order of names.

    Args:
        tensors: torchvision name to float32 array, any shape.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], dtype="<f4")
        digest.update(f"{name}:{','.join(map(str, array.shape))};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
