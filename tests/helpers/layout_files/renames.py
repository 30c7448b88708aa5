"""The names of a ResNet-50's tensors in files of other libraries, each written out a second time.

`transfer.adapters.namings` takes torchvision's names apart; here the network is walked, or, as the authors'
converters do it, substring is replaced after substring.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bench.core.tensor_ref import Storage, TensorRef, contiguous_strides
from tests.helpers.layout_files.pieces import Keys, State, encoder

NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Unit(NamedTuple):
    """A convolution and its norm; the stem has the stage and block -1, a shortcut the place -1."""

    stage: int
    block: int
    place: int
    conv: str
    norm: str


def units() -> Iterator[Unit]:
    """The 53 of a ResNet-50, stages and places counted from 0."""
    yield Unit(-1, -1, 0, "conv1", "bn1")
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            for place in range(3):
                yield Unit(stage, block, place, f"{at}.conv{place + 1}", f"{at}.bn{place + 1}")
            if block == 0:
                yield Unit(stage, block, -1, f"{at}.downsample.0", f"{at}.downsample.1")


def _walked(state: State, conv: str, norm: str, unit: Unit) -> Keys:
    keys = {f"{norm}.{part}": state[f"{unit.norm}.{part}"] for part in NORM_PARTS}
    return {f"{conv}.weight": state[f"{unit.conv}.weight"]} | keys


def to_huggingface(state: State) -> Keys:
    """Source: huggingface/transformers models/resnet/modeling_resnet.py: the modules' attributes."""
    keys: Keys = {}
    for unit in units():
        if unit.stage < 0:
            at = "embedder.embedder"
        else:
            layer = f"encoder.stages.{unit.stage}.layers.{unit.block}"
            at = f"{layer}.shortcut" if unit.place < 0 else f"{layer}.layer.{unit.place}"
        keys |= _walked(state, f"{at}.convolution", f"{at}.normalization", unit)
    return keys


def to_simclr2(state: State) -> Keys:
    """Source: Separius/SimCLRv2-Pytorch resnet.py: Stem, BottleneckBlock, Projection, BatchNormRelu."""
    keys: Keys = {}
    for unit in units():
        at = f"net.{unit.stage + 1}.blocks.{unit.block}"
        if unit.stage < 0:
            keys |= _walked(state, "net.0.0", "net.0.1.0", unit)
        elif unit.place < 0:
            keys |= _walked(state, f"{at}.projection.shortcut", f"{at}.projection.bn.0", unit)
        else:
            # Six children: convolution, norm, convolution, norm, convolution, norm.
            number = (0, 2, 4)[unit.place]
            keys |= _walked(state, f"{at}.net.{number}", f"{at}.net.{number + 1}.0", unit)
    return keys


def to_detectron2(state: State) -> Keys:
    """As the public converters rename, fc and counters included.

    Source: facebookresearch/moco detection/convert-pretrain-to-detectron2.py.
    """
    renamed = {}
    for name, value in state.items():
        key = name if "layer" in name else f"stem.{name}"
        for stage in (1, 2, 3, 4):
            key = key.replace(f"layer{stage}", f"res{stage + 1}")
        for index in (1, 2, 3):
            key = key.replace(f"bn{index}", f"conv{index}.norm")
        renamed[key.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return renamed


_CAFFE2 = (
    (".downsample.1.", "_branch1_bn_"),
    (".downsample.0.", "_branch1_"),
    (".conv1.", "_branch2a_"),
    (".bn1.", "_branch2a_bn_"),
    (".conv2.", "_branch2b_"),
    (".bn2.", "_branch2b_bn_"),
    (".conv3.", "_branch2c_"),
    (".bn3.", "_branch2c_bn_"),
    ("bn1.", "res_conv1_bn_"),
    ("conv1.", "conv1_"),
    ("layer1.", "res2_"),
    ("layer2.", "res3_"),
    ("layer3.", "res4_"),
    ("layer4.", "res5_"),
)


def to_caffe2(state: State, weight: str, bias: str, mean: str, variance: str) -> Keys:
    """Source: facebookresearch/detectron2 checkpoint/c2_model_loading.py, which goes the other way."""
    renamed = {}
    for name, value in encoder(state).items():
        key = name
        for theirs, ours in _CAFFE2:
            key = key.replace(theirs, ours)
        key = key.replace("_bn_weight", f"_bn_{weight}").replace("_bn_bias", f"_bn_{bias}")
        key = key.replace("running_mean", mean).replace("running_var", variance)
        renamed[key.removesuffix("eight") if key.endswith("_weight") else key] = value
    return renamed


def to_msra(state: State) -> Keys:
    return to_caffe2(state, "gamma", "beta", "running_mean", "running_var")


def to_blobs(state: State) -> Keys:
    return to_caffe2(state, "s", "b", "rm", "riv")


def to_obow(state: State) -> Keys:
    """Source: valeoai/obow obow/feature_extractor.py: a list of a stem and torchvision's four stages."""
    renamed = {}
    for name, value in encoder(state).items():
        module, rest = name.split(".", 1)
        position = {"conv1": "0.Conv", "bn1": "0.bn"}.get(module, module[-1])
        renamed[f"_feature_blocks.{position}.{rest}"] = value
    return renamed


def to_c4(state: State, side: str = "") -> Keys:
    """A C4 detector of MMDetection: the last stage is the head's."""
    body = encoder(state)
    last = {name: value for name, value in body.items() if name.startswith("layer4.")}
    first = {name: value for name, value in body.items() if name not in last}
    keys = {f"backbone{side}.{name}": value for name, value in first.items()}
    return keys | {f"roi_head{side}.shared_head.{name}": value for name, value in last.items()}


@lru_cache(maxsize=4096)
def _laid_out(value: TensorRef, axes: tuple[int, ...], shape: tuple[int, ...]) -> TensorRef:
    """The same numbers in memory in another order; equal calls give the very same tensor."""

    def fetch(start: int, count: int) -> bytes:
        return value.read().transpose(axes).tobytes()[start : start + count]

    return TensorRef(Storage(value.dtype, math.prod(shape), fetch), shape, contiguous_strides(shape))


def in_haiku(value: Any) -> Any:
    """A kernel as [height, width, in, out]; a part of a norm as [1, 1, 1, channels]; numpy, or as read."""
    if not value.shape:  # a counter
        return value
    axes = (2, 3, 1, 0) if len(value.shape) == 4 else (0,)
    shape = tuple(value.shape[axis] for axis in axes) if len(axes) == 4 else (1, 1, 1, *value.shape)
    if isinstance(value, TensorRef):
        return _laid_out(value, axes, shape)
    return np.ascontiguousarray(value.transpose(axes)).reshape(shape)


def to_haiku(state: State) -> tuple[Keys, Keys]:
    """(parameters, state) of haiku: module path to leaf to array, in HWIO.

    Source: google-deepmind/dm-haiku haiku/_src/nets/resnet.py, batch_norm.py, moving_averages.py.
    """
    params: Keys = {}
    statistics: Keys = {}
    for unit in units():
        if unit.stage < 0:
            conv, norm = "res_net50/~/initial_conv", "res_net50/~/initial_batchnorm"
        else:
            block = f"res_net50/~/block_group_{unit.stage}/~/block_{unit.block}/~"
            end = f"_{unit.place}"
            conv, norm = (
                (f"{block}/shortcut_conv", f"{block}/shortcut_batchnorm")
                if unit.place < 0
                else (f"{block}/conv{end}", f"{block}/batchnorm{end}")
            )
        at = unit.norm
        params[conv] = {"w": in_haiku(state[f"{unit.conv}.weight"])}
        params[norm] = {"offset": in_haiku(state[f"{at}.bias"]), "scale": in_haiku(state[f"{at}.weight"])}
        for theirs, ours in (("mean_ema", "running_mean"), ("var_ema", "running_var")):
            value = in_haiku(state[f"{at}.{ours}"])
            counter = state[f"{at}.num_batches_tracked"]
            # What the norm uses, and the sum before its bias is corrected: here the same.
            statistics[f"{norm}/~/{theirs}"] = {"average": value, "counter": counter, "hidden": value}
    return params, statistics
