"""What the processor can do."""

from __future__ import annotations


def has_bf16() -> bool:
    """Whether PyTorch computes bf16 here at the speed of fp32 or better.

    oneDNN has kernels for it from AVX-512 on. Below, a convolution takes ten times as long as in fp32, and a
    ResNet-50 that should train in minutes takes hours.
    """
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False
