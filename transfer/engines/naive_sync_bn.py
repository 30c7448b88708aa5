"""SyncBN for processes on CPUs, where PyTorch has none: mean and mean square, averaged over the processes.

The statistics are those of the whole batch if each process has as many pixels, as here, where all crops are
of one size. In fp32 alone: the variance is a difference, which bf16 would cancel.

Source:
    The idea is that of facebookresearch/detectron2 `detectron2/layers/batch_norm.py`, NaiveSyncBatchNorm.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class NaiveSyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over [batch, channels, height, width] of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalised by the statistics of all processes in training, by the running ones in eval mode."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        total = input.numel() // input.shape[1] * dist.get_world_size()
        own = torch.cat([input.mean(dim=[0, 2, 3]), input.square().mean(dim=[0, 2, 3])])
        together: Tensor = all_reduce(own)  # type: ignore[no-untyped-call]
        mean, square = (together / dist.get_world_size()).chunk(2)
        variance = square - mean.square()
        self._remember(mean.detach(), variance.detach() * total / max(total - 1, 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalised: Tensor = input * scale[:, None, None] + shift[:, None, None]
        return normalised

    def _remember(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        """Let the running statistics follow, as PyTorch does, by the unbiased variance."""
        momentum = self.momentum or 0.0
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(unbiased_variance, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
