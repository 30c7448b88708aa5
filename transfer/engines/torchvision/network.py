"""The network: torchvision's ResNet-50 as the weights' card says, its pooled features, one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.core import rng
from bench.core.card import InputSpec
from transfer.adapters.keymap import SHAPES
from transfer.api import Job
from transfer.engines.naive_sync_bn import NaiveSyncBatchNorm2d
from transfer.engines.source import empty_network
from transfer.engines.verify import load_proven

DIM = 2048
"""Features."""

_INIT_STD = 0.01


class Backbone(nn.Module):
    """[batch, 3, side, side] uint8 in RGB to features [batch, 2048]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, spec: InputSpec, *, channels_last: bool) -> None:
        """Take a ResNet without its last layer.

        Args:
            network: Normalised images to features.
            spec: What its stem expects.
            channels_last: How images and filters lie in memory.
        """
        super().__init__()
        self.network = network
        self._is_bgr = spec.channel_order == "bgr"
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self._format)
        for name in ("mean", "std"):
            self.register_buffer(
                name, torch.tensor(getattr(spec, name)).reshape(1, 3, 1, 1), persistent=False
            )

    def forward(self, images: Tensor) -> Tensor:
        """Features of images of 8 bits."""
        if self._is_bgr:
            images = images.flip(1)
        normalised = ((images.float() - self.mean) / self.std).contiguous(memory_format=self._format)
        features: Tensor = self.network(normalised)
        return features


class FineTuned(nn.Module):
    """All of it, to be trained: images of 8 bits to scores [batch, classes]."""

    def __init__(self, backbone: Backbone, classifier: nn.Linear) -> None:
        """Take both."""
        super().__init__()
        self.backbone, self.classifier = backbone, classifier

    def forward(self, images: Tensor) -> Tensor:
        """Scores of images of 8 bits."""
        scores: Tensor = self.classifier(self.backbone(images))
        return scores


def build_backbone(job: Job) -> tuple[Backbone, dict[str, Any]]:
    """The backbone with the job's weights, on the CPU, and what was verified, for the record.

    The source network that it is held against is built by the same code: what is proven here is the loading.
    That the network is the card's is held by tests, on weights whose features are computed by hand.

    Raises:
        WeightsError: a tensor or a feature of the loaded backbone differs from its source.
    """
    torch.manual_seed(rng.derive(job.seed, "init"))
    network = empty_network(job.card.input)
    verified: dict[str, Any] = {"backbone": "random initialisation by the engine"}
    if job.weights is not None:
        verified = load_proven(
            network,
            job.weights,
            {name: name for name in SHAPES},
            new_layers=(),
            features=_stages(network),
            engine="torchvision",
        )
        verified["new_layers"] = ["classifier"]
    return Backbone(network, job.card.input, channels_last=job.protocol.run.channels_last), verified


def build_classifier(num_classes: int, init: str, *, seed: int) -> nn.Linear:
    """The linear layer, on the CPU; `init` as the protocol says."""
    torch.manual_seed(rng.derive(seed, "init", 1))
    classifier = nn.Linear(DIM, num_classes)
    if init == "normal":
        nn.init.normal_(classifier.weight, std=_INIT_STD)
        nn.init.zeros_(classifier.bias)
    return classifier


def with_norm(model: nn.Module, norm: str) -> nn.Module:
    """The model with its batch norms as the protocol says: `BN`, `SyncBN` or `naiveSyncBN`."""
    if norm == "SyncBN":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    if norm == "naiveSyncBN":
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.BatchNorm2d:
                    new = NaiveSyncBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
                    new.load_state_dict(child.state_dict())
                    setattr(parent, name, new)
    return model


def _stages(network: nn.Module) -> Callable[[Tensor], Sequence[Tensor]]:
    """C2 to C5 as they come out on the way to the pooled features."""

    def features(images: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        hooks = [
            network.get_submodule(f"layer{stage}").register_forward_hook(
                lambda _module, _inputs, output: found.append(output)
            )
            for stage in (1, 2, 3, 4)
        ]
        try:
            network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    return features
