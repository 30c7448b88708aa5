"""Keys of a tiny network with batch norm, shuffled among four processes in nodes of one, two and four."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.distributed import Place, Shuffle, World, shuffled_keys

SHUFFLES: tuple[Shuffle, ...] = ("none", "node", "global")
PLACES = ((0, 0), (0, 1), (5, 0))
_BATCH = 3


@dataclass(frozen=True)
class Found:
    """What one process found.

    Attributes:
        seen: [batch] the images that its network was given, in order.
        own: [batch, 1] keys of its own images.
        everyone: [4 * batch, 1] keys of all.
        own_without_norm: [batch, 1] as `own`, of a network to which its neighbours do not matter.
    """

    seen: Tensor
    own: Tensor
    everyone: Tensor
    own_without_norm: Tensor


def image_numbers(rank: int) -> Tensor:
    """The images of a process: each is its number."""
    return torch.arange(rank * _BATCH, (rank + 1) * _BATCH, dtype=torch.float64)


def tiny_keys(images: Tensor) -> Tensor:
    """Batch norm of images, which are spread unevenly first: a key tells with which others it was made."""
    spread = (images[:, None] + 1.0) ** 1.7
    return (spread - spread.mean()) / spread.std(unbiased=False)


def work_shuffle(rank: int, size: int, port: int, out: Path) -> None:
    """Every shuffle in every division into nodes."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=size)
    found = {}
    for node_size in (1, 2, 4):
        world = World.here(rank, size, node_size)
        for shuffle in SHUFFLES:
            for step, part in PLACES:
                found[node_size, shuffle, step, part] = _find(world, shuffle, Place(7, step, part))
    torch.save(found, out / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _find(world: World, shuffle: Shuffle, place: Place) -> Found:
    seen: list[Tensor] = []

    def encode(images: Tensor) -> Tensor:
        seen.append(images)
        return tiny_keys(images)

    images = image_numbers(world.rank)
    own, everyone = shuffled_keys(encode, images, world, shuffle, place)
    without, _ = shuffled_keys(lambda values: values[:, None] * 2.0, images, world, shuffle, place)
    return Found(seen[0], own, everyone, without)
