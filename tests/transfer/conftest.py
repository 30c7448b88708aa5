"""One ResNet-50 for the tests of conversion, built once."""

from __future__ import annotations

import pytest

from bench.core.card import Card, hash_tensors
from bench.core.weights import Weights
from tests.helpers.weights import make_state
from transfer.adapters.keymap import SHAPES


@pytest.fixture(scope="session")
def source() -> Weights:
    """265 tensors with statistics as after training, and torchvision's card. Not to be changed."""
    state = make_state(7)
    tensors = {name: state[name].numpy() for name in SHAPES}
    card = Card(name="resnet50.source", layout="torchvision", tensors_sha256=hash_tensors(tensors))
    return Weights(card, tensors)
