"""Randomness as a pure function of what it belongs to: (seed, stream, epoch, index).

Nothing random has to be saved: order and views can be drawn again from their place in the run, so a resume
in mid-epoch is exact and the number of workers does not matter.
"""

from __future__ import annotations

import hashlib

import numpy as np

STREAMS = ("order", "view", "init", "step", "shuffle", "negatives", "synth", "noise")
"""What a draw belongs to; two streams never share numbers."""


def derive(seed: int, stream: str, *place: int) -> int:
    """A 63-bit seed for one place of one stream.

    Args:
        seed: The run's seed.
        stream: One of `STREAMS`.
        place: Where in the run: (epoch, index), (iteration,), ...

    Raises:
        KeyError: an unknown stream, which is our own fault.
    """
    if stream not in STREAMS:
        raise KeyError(stream)
    text = ":".join([stream, str(int(seed)), *(str(int(part)) for part in place)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, stream: str, *place: int) -> np.random.Generator:
    """NumPy's generator for one place of one stream; see `derive`."""
    return np.random.Generator(np.random.Philox(key=derive(seed, stream, *place)))


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of one epoch: [size] int64, each index once."""
    return generator(seed, "order", epoch).permutation(size)
