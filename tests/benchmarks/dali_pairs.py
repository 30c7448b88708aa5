"""Pairs of views by NVIDIA DALI on a CPU, for `bench_input`; no dependency of ours, None without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH = 25


def dali_pairs(data: list[bytes]) -> Callable[[bytes, int], Any] | None:
    """MoCo v2's views as DALI has them: its jitter has no order of its own, and grayscale is left out.

    It works on `_BATCH` images at once, when the first of them is asked for.
    """
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError:
        return None

    def maybe(changed: Any, same: Any, probability: float) -> Any:
        chosen = fn.cast(fn.random.coin_flip(probability=probability), dtype=types.UINT8)
        return changed * chosen + same * (fn.cast(1, dtype=types.UINT8) - chosen)

    def view(images: Any) -> Any:
        cut = fn.random_resized_crop(images, size=(224, 224), random_area=(0.2, 1.0))
        names = ("brightness", "contrast", "saturation")
        factors = {name: fn.random.uniform(range=(0.6, 1.4)) for name in names}
        twisted = fn.color_twist(cut, hue=fn.random.uniform(range=(-36.0, 36.0)), **factors)
        jittered = maybe(twisted, cut, 0.8)
        blurred = fn.gaussian_blur(jittered, sigma=fn.random.uniform(range=(0.1, 2.0)), window_size=23)
        return fn.crop_mirror_normalize(
            maybe(blurred, jittered, 0.5),
            mirror=fn.random.coin_flip(),
            dtype=types.FLOAT,
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
        )

    @pipeline_def(batch_size=_BATCH, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pair() -> Any:
        images = fn.decoders.image(fn.external_source(name="jpeg"), device="cpu")
        return view(images), view(images)

    pipeline = pair()
    pipeline.build()

    def make(_data: bytes, index: int) -> Any:
        if index % _BATCH:
            return None
        pipeline.feed_input("jpeg", [np.frombuffer(one, np.uint8) for one in data[index : index + _BATCH]])
        return pipeline.run()

    return make
