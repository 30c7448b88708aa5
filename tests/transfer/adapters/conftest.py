"""One random ResNet-50, built once, as torch tensors and as a checkpoint in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from bench.core.tensor_ref import Storage, TensorRef, contiguous_strides


def reference(array: np.ndarray, dtype: str = "") -> TensorRef:
    """An array as the reader would give it; `dtype` names what numpy has no name for."""
    raw = np.ascontiguousarray(array).tobytes()
    storage = Storage(dtype or str(array.dtype), array.size, lambda start, count: raw[start : start + count])
    return TensorRef(storage, array.shape, contiguous_strides(array.shape))


def trained(seed: int) -> dict[str, torch.Tensor]:
    """A state dict as after some training: random running statistics, one step counted."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = torchvision.models.resnet50(weights=None).state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        else:
            tensor.normal_(0, 0.1, generator=generator)
    return state


@pytest.fixture(scope="session")
def torch_state() -> dict[str, torch.Tensor]:
    """320 tensors of torchvision's resnet50, `fc` and counters included. Not to be changed."""
    return trained(0)


@pytest.fixture(scope="session")
def arrays(torch_state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The same as numpy arrays."""
    return {name: tensor.numpy() for name, tensor in torch_state.items()}


@pytest.fixture(scope="session")
def references(arrays: dict[str, np.ndarray]) -> Mapping[str, TensorRef]:
    """The same as the reader gives it."""
    return {name: reference(array) for name, array in arrays.items()}


Wrap = Callable[[Mapping[str, Any]], dict[str, Any]]


def prefixed(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in state.items()}
