"""The queue of keys: the negatives of momentum contrast, first in, first out.

Keys and pointer are both saved: a queue whose pointer starts again at zero is another run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class KeyQueue(nn.Module):
    """Keys of recent batches.

    Attributes:
        keys: [queue_size, dim], each of length 1; random directions at first.
        pointer: [] int64, the row that is overwritten next.

    Source:
        He et al. 2020, Momentum Contrast, section 3.2; HobbitLong/PyContrast `memory/mem_moco.py`: the
        pointer wraps inside a batch (MoCo's own code asks that the batch divides the queue).
        Differs: the pointer is saved with the keys; there it is not.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, queue_size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", functional.normalize(torch.randn(queue_size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys in place of the oldest.

        Args:
            keys: [batch, dim], at most as many as the queue holds; the first is the oldest from now on.
        """
        size = len(self.keys)
        rows = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.keys.index_copy_(0, rows, keys.detach().to(self.keys.dtype))
        self.pointer.add_(len(keys)).remainder_(size)
