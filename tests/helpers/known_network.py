"""A ResNet-50 whose features can be computed by hand: six of them, what is above and below the mean of each
colour; the rest are 0. Every convolution that is not named here is 0, every norm is its identity.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.core.card import Card, InputSpec, hash_tensors
from bench.core.weights import Weights, write_weights
from transfer.adapters.keymap import SHAPES

STAGES = (1, 2, 3, 4)
STANDARD = InputSpec()


def known_weights(spec: InputSpec = STANDARD, name: str = "resnet50.known") -> Weights:
    """Feature 2c is max(0, colour c) and 2c + 1 is max(0, -colour c), of normalised pixels."""
    # Not quite 0 and 1: a file of constant tensors is refused.
    noise = np.random.default_rng(0)
    tensors = {key: noise.normal(0, 1e-9, shape).astype(np.float32) for key, shape in SHAPES.items()}
    for key, value in tensors.items():
        if key.endswith("running_var") or (value.ndim == 1 and key.endswith(".weight")):
            value += 1.0 + noise.integers(0, 3, value.shape).astype(np.float32) * np.float32(2**-23)
        if key.endswith("bn3.weight"):
            value *= np.float32(1e-9)
    for colour in range(3):
        tensors["conv1.weight"][2 * colour, colour, 3, 3] = 1.0
        tensors["conv1.weight"][2 * colour + 1, colour, 3, 3] = -1.0
    for stage in STAGES:
        for channel in range(6):
            tensors[f"layer{stage}.0.downsample.0.weight"][channel, channel, 0, 0] = 1.0
    card = Card(name=name, layout="torchvision", tensors_sha256=hash_tensors(tensors), input=spec)
    return Weights(card, tensors)


def known_file(folder: Path, spec: InputSpec = STANDARD, name: str = "resnet50.known") -> Path:
    """These weights in a file of ours."""
    path = folder / f"{name}.safetensors"
    write_weights(path, known_weights(spec, name))
    return path


def known_features(rgb: tuple[int, int, int], spec: InputSpec = STANDARD) -> np.ndarray:
    """[2048] of an image of one colour, but for the epsilon of five norms, 2.5e-5 of each value."""
    values = np.array(rgb if spec.channel_order == "rgb" else rgb[::-1], np.float64)
    normal = (values - spec.mean) / spec.std
    features = np.zeros(2048)
    features[0:6:2], features[1:6:2] = np.maximum(normal, 0), np.maximum(-normal, 0)
    return features


COLOURS = {"blue": (30, 40, 220), "green": (40, 210, 50), "red": (220, 40, 30)}


def colour_set(root: Path, *, num_train: int = 12, num_test: int = 10, wrong: int = 1) -> Path:
    """Three classes of images of one colour each, somewhat varied, without loss; in the test split of each
    class so many images have the colour of the next class."""
    names = list(COLOURS)
    generator = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_test)):
        for place, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                is_wrong = split == "val" and number < wrong
                shown = names[(place + 1) % len(names)] if is_wrong else name
                colour = np.clip(np.array(COLOURS[shown]) + generator.integers(-20, 21, 3), 0, 255)
                pixels = np.broadcast_to(colour.astype(np.uint8), (40, 48, 3))
                Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number:03d}.png")
    return root
