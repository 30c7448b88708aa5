"""The processes of one training, as a method sees them: gathering, and shuffled batches for batch norm.

With batch norm, the images of one process share their statistics, and a network can tell the positive by
them. Shuffle-BN takes that away: each process normalises images of all of them, drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from lightly.utils.dist import gather
from lightning_fabric import Fabric
from torch import Tensor

from bench.core import rng

Shuffle = Literal["node", "global", "none"]


@dataclass(frozen=True)
class World:
    """Where this process stands among the others.

    Attributes:
        rank, size: Of all processes.
        node_size: Processes of one node; ranks of a node stand together.
        node_group: Those of this node, None where there is one node or one process.
    """

    rank: int = 0
    size: int = 1
    node_size: int = 1
    node_group: dist.ProcessGroup | None = None

    @staticmethod
    def of(fabric: Fabric, num_nodes: int) -> World:
        """The world of a launched Fabric; every process must call it."""
        return World.here(fabric.global_rank, fabric.world_size, fabric.world_size // num_nodes)

    @staticmethod
    def here(rank: int, size: int, node_size: int) -> World:
        """The world of an initialised process group; every process must call it."""
        group: dist.ProcessGroup | None = None
        if 1 < node_size < size:
            for first in range(0, size, node_size):
                ranks = list(range(first, first + node_size))
                made = dist.new_group(ranks)
                if isinstance(made, dist.ProcessGroup):  # it is in it
                    group = made
        return World(rank, size, node_size, group)

    def gather(self, values: Tensor) -> Tensor:
        """[batch, ...] of each process to [size * batch, ...] by rank; no gradient."""
        return _gather(values, self.size, None)

    def gather_with_gradient(self, values: Tensor) -> Tensor:
        """As `gather`; each process's gradient is the sum of all processes' for its own part.

        With a loss that all compute alike, the mean over processes that follows is the gradient of that loss.
        """
        return values if self.size == 1 else torch.cat(gather(values))

    def gather_in_node(self, values: Tensor) -> Tensor:
        """[batch, ...] of each process of this node to [node_size * batch, ...] by rank; no gradient."""
        return _gather(values, self.node_size, self.node_group)


def _gather(values: Tensor, count: int, group: dist.ProcessGroup | None) -> Tensor:
    values = values.detach()
    if count == 1:
        return values
    values = values.contiguous()
    parts = [torch.empty_like(values) for _ in range(count)]
    dist.all_gather(parts, values, group=group)
    return torch.cat(parts)


class Place(NamedTuple):
    """Where in a run a forward pass stands: what is drawn there is a function of it."""

    seed: int
    step: int
    part: int = 0


@torch.no_grad()
def shuffled_keys(
    encode: Callable[[Tensor], Tensor], images: Tensor, world: World, shuffle: Shuffle, place: Place
) -> tuple[Tensor, Tensor]:
    """Keys of images, each process's batch norm seeing images of all processes.

    Args:
        encode: Images to keys, [batch, dim].
        images: [batch, ...] of this process, as small as they are before normalisation.
        world: The processes.
        shuffle: Among those of a node, among all, or not at all.
        place: Draws the order.

    Returns:
        The keys of `images` in their order, [batch, dim], and those of all processes in the order in which
        they were computed, [size * batch, dim].

    Source:
        He et al. 2020, Momentum Contrast, section 3.3; HobbitLong/PyContrast `learning/contrast_trainer.py`:
        within a node, and keys go to the queue in shuffled order (MoCo's own code: among all GPUs, in order).
        Differs: the order is a function of (seed, step, part) and not of a global generator.
    """
    if shuffle == "none":
        keys = encode(images)
        return keys, world.gather(keys)
    count = world.size if shuffle == "global" else world.node_size
    pool = world.gather(images) if shuffle == "global" else world.gather_in_node(images)
    batch, rank = len(images), world.rank % count
    drawn = rng.generator(place.seed, "shuffle", place.step, place.part).permutation(len(pool))
    order = torch.from_numpy(drawn).to(images.device)
    share = slice(rank * batch, (rank + 1) * batch)
    all_keys = world.gather(encode(pool[order[share]]))
    first = (world.rank - rank) * batch
    pool_keys = all_keys[first : first + len(pool)]
    return pool_keys[torch.argsort(order)[share]], all_keys
