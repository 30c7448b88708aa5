"""Views that were learnt: a generator, which is a flow of colours, and its file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from bench.core.config import Section
from bench.core.errors import WeightsError
from bench.core.paths import read_bounded
from pretrain.views.colour_spaces import SPACES
from pretrain.views.flows import FlowKind, PixelFlow, build_flow

MAX_BYTES = 64 * 1024**2
_CARD = "generator"


class GeneratorCard(Section):
    """What a generator is.

    Attributes:
        space: The colour space that it starts from, its channels brought to -1 to 1.
        kind: Of the flow.
        num_layers: Its couplings.
        hidden: Channels of their hidden layers.
        note: How it was learnt.
    """

    space: str
    kind: FlowKind
    num_layers: int
    hidden: int
    note: str = ""


@dataclass(frozen=True)
class Generator:
    """A flow g of colours; g(X) is split into its first channel and the other two.

    Attributes:
        card: What it is.
        flow: Its network.
    """

    card: GeneratorCard
    flow: PixelFlow

    @classmethod
    def of(cls, card: GeneratorCard) -> Generator:
        """A new one, the identity; draws from torch's global generator."""
        return cls(card, build_flow(card.kind, card.num_layers, card.hidden))

    def __call__(self, values: Tensor) -> Tensor:
        """Images [batch, 3, height, width] from 0 to 1 to g(X), of the same shape."""
        space = SPACES[self.card.space]
        mapped: Tensor = self.flow(space.normalise(space.to(values)))[0]
        return mapped

    def to_bytes(self) -> bytes:
        """Its file: safetensors, the card in its header."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.flow.state_dict().items()}
        return to_bytes(tensors, metadata={_CARD: self.card.model_dump_json()})


def read_generator(path: Path, *, sha256: str | None = None) -> Generator:
    """A generator from its file, which has this hash where one is given.

    Raises:
        WeightsError: it cannot be read, is another file, no generator, or lacks a tensor.
    """
    data = read_bounded(path, MAX_BYTES, error=WeightsError)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(f"{path}: is another generator: its sha256 is {found}, expected {sha256}")
    try:
        tensors = from_bytes(data)
        length = int.from_bytes(data[:8], "little")
        header: Any = json.loads(data[8 : 8 + length])
        card = GeneratorCard.model_validate_json(header["__metadata__"][_CARD])
    except (SafetensorError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: no generator of views ({type(error).__name__}); expected a file that "
            '"bench views learned" has written'
        ) from None
    if card.space not in SPACES:
        raise WeightsError(f"{path}: starts from the colour space {card.space!r}, which is not known")
    with torch.random.fork_rng(devices=[]):
        generator = Generator.of(card)
    try:
        generator.flow.load_state_dict(tensors, strict=True)
    except RuntimeError:
        raise WeightsError(f"{path}: its tensors are not those of {card.kind} flows of its card") from None
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise WeightsError(f"{path}: {bad[0]} is not finite")
    generator.flow.requires_grad_(False).eval()
    return generator
