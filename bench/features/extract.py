"""Features of images, from a network that is not changed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.core.errors import BenchError
from bench.core.signals import end_workers_at_exit, leave_stopping_to_the_parent, leave_with_the_parent
from bench.images.source import ImageSource
from bench.images.views import center_view

Resample = Literal["bilinear", "bicubic"]


class _Centres(Dataset[Any]):
    def __init__(
        self,
        source: ImageSource,
        indices: npt.NDArray[np.int64],
        resize_px: int,
        crop_px: int,
        resample: Resample,
    ) -> None:
        self._source, self._indices = source, indices
        self._resize_px, self._crop_px, self._resample = resize_px, crop_px, resample

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, row: int) -> Tensor | BenchError:
        try:
            image = self._source.read(int(self._indices[row]))
        except BenchError as error:
            # Returned: torch would wrap one that a worker raises in the text of its traceback.
            return error
        view = center_view(image, resize_px=self._resize_px, crop_px=self._crop_px, resample=self._resample)
        return torch.from_numpy(view)


def centre_batches(
    source: ImageSource,
    indices: npt.NDArray[np.int64],
    *,
    resize_px: int,
    crop_px: int,
    resample: Resample = "bilinear",
    batch_size: int,
    num_workers: int,
) -> Iterator[Tensor]:
    """Centre crops, [batch, 3, crop_px, crop_px] uint8, in the order of `indices`.

    Raises:
        DataError: an image cannot be read; when its batch comes.
    """
    end_workers_at_exit()
    num_workers = num_workers if len(indices) > batch_size else 0
    loader: DataLoader[Any] = DataLoader(
        _Centres(source, indices, resize_px, crop_px, resample),
        batch_size=batch_size,
        num_workers=num_workers,
        # As in training: spawned ones would import torch for seconds.
        multiprocessing_context="fork" if num_workers else None,
        collate_fn=_as_list,
        worker_init_fn=_start_worker,
        # Its own: the loader draws a seed for its workers, by default from torch's global generator.
        generator=torch.Generator(),
    )
    for items in loader:
        for item in items:
            if isinstance(item, BenchError):
                raise item
        yield torch.stack(items).permute(0, 3, 1, 2)


@torch.no_grad()
def extract(backbone: nn.Module, batches: Iterator[Tensor], feed: Callable[[Tensor], Tensor]) -> Tensor:
    """Features of batches of images, [images, dim] float32.

    Args:
        backbone: Images to features; the caller has set it to evaluation.
        batches: uint8 images.
        feed: Brings a batch to the device and normalises it.
    """
    found = [backbone(feed(batch)).float() for batch in batches]
    return torch.cat(found) if found else torch.empty(0, 0)


def _as_list(items: list[Any]) -> list[Any]:
    return items


def _start_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    leave_stopping_to_the_parent()
    leave_with_the_parent()
