"""Proof that an engine's model holds the weights that were given, tensor by tensor and by feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bench.core import rng
from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from bench.core.weights import Weights

MAX_FEATURE_DIFFERENCE = 1e-5
"""On C2 to C5, fp32, contiguous, equal threads. 0 was measured; above this the two are not one network."""

IMAGE_SIDE_PX = 128


def verify_tensors(weights: Weights, state: Mapping[str, Tensor], names: Mapping[str, str]) -> int:
    """Compare each source tensor with the engine's, bit for bit; returns how many there were.

    Args:
        weights: The source.
        state: The engine model's state dict, after loading.
        names: torchvision name to the engine's.

    Raises:
        WeightsError: one is missing, has another shape or another value.
    """
    wrong = []
    for name, source in weights.tensors.items():
        loaded = state.get(names[name])
        if loaded is None or not np.array_equal(loaded.detach().float().cpu().numpy(), source):
            wrong.append(name)
    if wrong:
        raise WeightsError(
            f"{weights.card.name}: {len(wrong)} of {len(weights.tensors)} backbone tensors did not arrive in "
            f"the engine (first: {wrong[0]}). Nothing was trained."
        )
    return len(weights.tensors)


def verify_features(weights: Weights, engine_features: Callable[[Tensor], list[Tensor]]) -> float:
    """The largest difference between the engine's C2 to C5 and the source network's, on one fixed image.

    Args:
        weights: The source; its network is torchvision's ResNet-50 with the card's stride place.
        engine_features: [1, 3, side, side] fp32 to the four stages' outputs, in eval mode; called
            without gradient.

    Raises:
        WeightsError: a shape differs, or a value by more than 1e-5.
    """
    source = source_network(weights)
    noise = rng.generator(0, "noise").standard_normal((1, 3, IMAGE_SIDE_PX, IMAGE_SIDE_PX))
    images = torch.from_numpy(noise.astype(np.float32))
    with torch.no_grad():
        expected = source_features(source, images)
        found = engine_features(images)
    largest = 0.0
    for stage, (theirs, ours) in enumerate(zip(expected, found, strict=True), start=2):
        if theirs.shape != ours.shape:
            raise WeightsError(
                f"{weights.card.name}: C{stage} has shape {tuple(ours.shape)} in the engine, "
                f"{tuple(theirs.shape)} in the source network. Nothing was trained."
            )
        difference = float((theirs - ours).abs().max())
        if not difference <= MAX_FEATURE_DIFFERENCE:
            raise WeightsError(
                f"{weights.card.name}: C{stage} differs by {difference:.3g} between the engine and the "
                f"source network (at most {MAX_FEATURE_DIFFERENCE:g} expected): stride, padding or norm is "
                "not the same. Nothing was trained."
            )
        largest = max(largest, difference)
    return largest


def source_network(weights: Weights) -> nn.Module:
    """The ResNet-50 of torchvision with these weights, strictly loaded, in eval mode, on the CPU."""
    from torchvision.models import resnet50

    network: nn.Module = resnet50(weights=None)
    state = {name: torch.from_numpy(array.copy()) for name, array in weights.tensors.items()}
    own = network.state_dict()
    extra = {k: v for k, v in own.items() if k.startswith("fc.") or k.endswith("num_batches_tracked")}
    network.load_state_dict({**state, **extra}, strict=True)
    place_stride(network, weights.card.input)
    network.eval()
    return network


def place_stride(network: nn.Module, spec: InputSpec) -> None:
    """Move the stride of each stage's first block into its 1x1 convolution where the card says so."""
    if spec.stride_in == "3x3":
        return
    for name, module in network.named_modules():
        if name.endswith(".0.conv2") and isinstance(module, nn.Conv2d):
            first = network.get_submodule(name.replace("conv2", "conv1"))
            if isinstance(first, nn.Conv2d):
                first.stride, module.stride = module.stride, (1, 1)


def source_features(network: nn.Module, images: Tensor) -> list[Tensor]:
    """C2 to C5 of a torchvision ResNet."""
    value = images
    for name in ("conv1", "bn1", "relu", "maxpool"):
        value = network.get_submodule(name)(value)
    features = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        value = network.get_submodule(name)(value)
        features.append(value)
    return features
