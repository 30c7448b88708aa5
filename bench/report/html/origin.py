"""What a row's weights were pretrained on, as far as it is known: what the page filters by.

A published row says it. Of ours only the name does: a record holds what was transferred, and weights may come
from anywhere. Nothing is guessed beyond the rule of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.core.card import RANDOM_NAME
from bench.report.published import Quoted
from bench.report.reproduction import method_and_epochs

UNSAID: Final = ""
"""Not known. The page shows "-", and lets a reader keep such rows whatever is asked for."""

_IMAGENET_LABELS: Final = ("supervised_torchvision", "supervised_msra")
"""The two baselines of published tables; see `bench.report.reproduction`."""


@dataclass(frozen=True)
class Origin:
    """Pretraining data, epochs and labels as the file of published numbers writes them; "" is not known."""

    data: str = UNSAID
    epochs: int | None = None
    labels: str = UNSAID


def origin_of(name: str) -> Origin:
    """Of weights of ours, by their name.

    Returns:
        `resnet50.random` has none of all, `resnet50.moco_v2_ep200` has 200 epochs of data that is not said.
    """
    if name == RANDOM_NAME:
        return Origin("none", 0, "none")
    if name.partition(".")[2] in _IMAGENET_LABELS:
        return Origin("ImageNet-1K", None, "imagenet")
    return Origin(epochs=method_and_epochs(name)[1])


def origin_of_quoted(entry: Quoted) -> Origin:
    """Of a published row."""
    return Origin(entry.pretrain_data, entry.pretrain_epochs, entry.labels_used)
