"""Brings batches to the device; on a GPU beside the network's work, where views are rendered, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bench.images.view_config import ViewConfig
from bench.images.views import DrawnView
from pretrain.data.batch import Batch
from pretrain.views.batched import render_crops


class DeviceFeed:
    """Copies batches out of the buffers of the workers, and renders what those have only cropped.

    Attributes:
        is_beside: Whether there is a stream of its own, so that a batch is made ready while another one is
            computed on.

    Args:
        device: Where batches are wanted.
        views: How the crops become views; not used for batches in which nothing is left to do.
    """

    def __init__(self, device: torch.device, views: Sequence[ViewConfig] = ()) -> None:
        """See the class."""
        self._device, self._views = device, tuple(views)
        self._stream: Any = None
        self._copied: Any = None
        self._gaps: list[tuple[Any, Any]] = []
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]

    @property
    def is_beside(self) -> bool:
        """See the class."""
        return self._stream is not None

    def send(self, batch: Batch, drawn: Sequence[Sequence[DrawnView]] = ()) -> Batch:
        """The batch on the device, for `receive`.

        Args:
            batch: In buffers that may be written again after `settle`.
            drawn: For each of its views, what is left to do to each crop; empty if nothing is.
        """
        with torch.cuda.stream(self._stream):  # no stream: nothing
            sent = Batch(tuple(map(self._copy, batch.views)), *map(self._copy, batch[1:]))
            if self._copied:
                self._copied.record()
            if not drawn:
                return sent
            rendered = (
                render_crops(config, of_view, crops)
                for config, of_view, crops in zip(self._views, drawn, sent.views, strict=True)
            )
            return sent._replace(views=tuple(rendered))

    def settle(self) -> None:
        """Wait until what was sent has left its buffers."""
        if self._copied:
            self._copied.synchronize()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note how long the network's stream has nothing to do while a batch is waited for."""
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record()
        yield
        after.record()
        self._gaps.append((before, after))

    def idle_seconds(self) -> float:
        """What has been noted since it was asked last; the stream is waited for."""
        seconds = 0.0
        for before, after in self._gaps:
            after.synchronize()
            seconds += before.elapsed_time(after) / 1000.0
        self._gaps.clear()
        return seconds

    def receive(self, batches: list[Batch]) -> list[Batch]:
        """The same batches, once they are whole; from here on the network's work waits for them."""
        if self._stream is None:
            return batches
        now = torch.cuda.current_stream(self._device)
        now.wait_stream(self._stream)
        for tensor in (tensor for batch in batches for tensor in _tensors(batch)):
            # Its memory must not be taken for the next batch while the network still reads it.
            tensor.record_stream(now)
        return batches

    def _copy(self, tensor: Any) -> Any:
        if tensor is None or self._stream is None:
            return None if tensor is None else tensor.clone()
        return tensor.to(self._device, non_blocking=True)


def _tensors(batch: Batch) -> list[Tensor]:
    return [*batch.views, *(one for one in batch[1:] if one is not None)]
