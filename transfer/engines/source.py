"""The network that weights were trained in, built from torchvision alone: what every engine is held against.

Stride place and padding are the card's, dilation is the task's. No engine's code is used here, so an error in
an engine's room cannot be in both sides of a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core import rng
from bench.core.card import InputSpec
from bench.core.weights import Weights

IMAGE_SIDE_PX = 128
"""Even down to C5, where padding at stride 2 tells TensorFlow's SAME from PyTorch's."""

# The scale of ImageNet's std: noise over it looks to the stem like pixels that were normalised.
_TYPICAL_STD = 57.7

Dilated = tuple[bool, bool, bool]
"""Which of the stages 3, 4 and 5 have a dilation for their stride."""

NOT_DILATED: Dilated = (False, False, False)


@dataclass(frozen=True)
class Reference:
    """What a backbone must give.

    Attributes:
        images: [2, 3, side, side] fp32, normalised as the weights expect.
        features: C2 to C5 of the source network on them.
    """

    images: Tensor
    features: tuple[Tensor, ...]


def reference(weights: Weights, dilated: Dilated = NOT_DILATED) -> Reference:
    """Features of the source network on two fixed noise images, in eval mode on the CPU."""
    noise = rng.generator(0, "noise").standard_normal((2, 3, IMAGE_SIDE_PX, IMAGE_SIDE_PX))
    # Weights of std 1 see values of -128 to 127; noise of 1 would leave their first norm nothing but bias.
    noise *= _TYPICAL_STD / np.asarray(weights.card.input.std).reshape(1, 3, 1, 1)
    images = torch.from_numpy(noise.astype(np.float32))
    network = source_network(weights, dilated)
    with torch.no_grad():
        return Reference(images, source_features(network, images))


def source_network(weights: Weights, dilated: Dilated = NOT_DILATED) -> nn.Module:
    """The ResNet-50 of torchvision with these weights, strictly loaded, in eval mode, on the CPU."""
    network = empty_network(weights.card.input, dilated)
    state = {name: torch.from_numpy(array.copy()) for name, array in weights.tensors.items()}
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    network.load_state_dict({**state, **counters}, strict=True)
    return network.eval()


def empty_network(spec: InputSpec, dilated: Dilated = NOT_DILATED) -> nn.Module:
    """Torchvision's ResNet-50 up to its pooled features, as torchvision initialises it.

    Args:
        spec: Says where the strides are and how it pads.
        dilated: Which of the stages 3, 4 and 5 have a dilation for their stride.
    """
    from torchvision.models import resnet50

    network: nn.Module = resnet50(weights=None, replace_stride_with_dilation=list(dilated))
    network.fc = nn.Identity()
    _place_stride(network, spec)
    if spec.padding == "tf_same":
        _pad_as_tensorflow(network)
    return network


def _place_stride(network: nn.Module, spec: InputSpec) -> None:
    """Move the stride of each stage's first block into its 1x1 convolution where the card says so."""
    if spec.stride_in == "3x3":
        return
    for name, module in network.named_modules():
        if name.endswith(".0.conv2") and isinstance(module, nn.Conv2d):
            first = network.get_submodule(name.replace("conv2", "conv1"))
            if isinstance(first, nn.Conv2d):
                first.stride, module.stride = module.stride, (1, 1)


def _pad_as_tensorflow(network: nn.Module) -> None:
    """Give each convolution and the max-pool the padding that TensorFlow calls SAME.

    Source: tensorflow/tensorflow tensorflow/core/framework/common_shape_fns.cc, GetWindowedOutputSizeVerbose:
    as many outputs as input / stride, rounded up; the odd one of the padding comes at the end.
    """

    def pad(module: nn.Conv2d | nn.MaxPool2d, kernel: int, stride: int, value: float) -> None:
        def before(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            sides: list[int] = []
            for size in (inputs[0].shape[3], inputs[0].shape[2]):
                total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                sides += [total // 2, total - total // 2]
            return (functional.pad(inputs[0], sides, value=value),)

        module.register_forward_pre_hook(before)
        module.padding = 0 if isinstance(module, nn.MaxPool2d) else (0, 0)

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            reach = (module.kernel_size[0] - 1) * module.dilation[0] + 1
            pad(module, reach, module.stride[0], 0.0)
        elif isinstance(module, nn.MaxPool2d):
            pad(module, _side(module.kernel_size), _side(module.stride), float("-inf"))


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def source_features(network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """C2 to C5 of a torchvision ResNet."""
    value = images
    for name in ("conv1", "bn1", "relu", "maxpool"):
        value = network.get_submodule(name)(value)
    features = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        value = network.get_submodule(name)(value)
        features.append(value)
    return tuple(features)
