"""Views from crops: the pixels of the reference, for the views of every config, alone and together."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from bench.core.paths import CONFIGS
from bench.core.rng import generator
from bench.images.operations import apply_crop
from bench.images.view_config import ViewConfig
from bench.images.views import DrawnView, draw_view, render_view
from pretrain.plan import read_config
from pretrain.views import batched, randaugment
from tests.helpers.levels import pictures
from tests.helpers.often import often

GOLDEN = Path(__file__).parents[2] / "golden" / "views.json"
IMAGES = [np.asarray(one) for one in pictures(24, width=150, height=110)]
SMALL_PX = 40
"""The published views, at a side that lets hundreds of them be drawn here."""


@cache
def published_views() -> dict[str, ViewConfig]:
    """Every other view of configs/pretrain, by config and number."""
    found: dict[ViewConfig, str] = {}
    for path in sorted((CONFIGS / "pretrain").glob("*.toml")):
        for number, view in enumerate(dict.fromkeys(read_config(path)[1].views)):
            found.setdefault(view.model_copy(update={"crop_px": SMALL_PX}), f"{path.stem}-{number}")
    return {name: view for view, name in found.items()}


def draws(view: ViewConfig, count: int) -> tuple[list[DrawnView], torch.Tensor, np.ndarray]:
    """Drawn views, their crops as a batch, and the pixels that Pillow makes of them."""
    drawn, crops, expected = [], [], []
    for index in range(count):
        image = IMAGES[index % len(IMAGES)]
        one = draw_view(view, (image.shape[1], image.shape[0]), generator(7, "view", 0, index))
        drawn.append(one)
        cut = apply_crop(Image.fromarray(image), one.crop, view.crop_px, view.crop_resample)
        crops.append(np.asarray(cut))
        expected.append(render_view(view, one, image))
    return drawn, torch.from_numpy(np.stack(crops)).movedim(-1, 1), np.stack(expected)


# The others have some of the operations of these.
OFTEN = ("infomin_ep200-0", "dino_ep100-1", "moco_v1_ep200-0", "simclr_ep200-0", "moco_v3_ep100-1")
VIEWS = often(published_views(), OFTEN)


@pytest.mark.parametrize("name", VIEWS)
def test_each_image_by_itself(name: str) -> None:
    view = published_views()[name]
    drawn, crops, expected = draws(view, 200)
    before = crops.clone()
    found = batched.render_crops(view, drawn, crops)
    assert found.dtype == torch.uint8 and found.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(found.movedim(1, -1).numpy(), expected)
    assert torch.equal(crops, before)


@pytest.mark.parametrize("name", VIEWS)
def test_all_images_together_as_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = published_views()[name]
    drawn, crops, expected = draws(view, 200)
    monkeypatch.setattr(batched, "apply_randaugment", randaugment.by_kind)
    levels = batched.render_levels(view, drawn, crops)
    assert np.array_equal(levels.movedim(1, -1).numpy(), expected)


def test_the_reference_has_not_moved() -> None:
    """Pixels of another version of Pillow are others: then there is nothing to compare with."""
    found = {
        name: hashlib.sha256(draws(view, 40)[2].tobytes()).hexdigest()
        for name, view in published_views().items()
    }
    if os.environ.get("UPDATE_GOLDEN"):
        golden = {"pillow": PIL.__version__, "sha256": found}
        GOLDEN.write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")
    golden = json.loads(GOLDEN.read_text())
    if golden["pillow"] != PIL.__version__:
        pytest.skip(f"golden views are of Pillow {golden['pillow']}, this is {PIL.__version__}")
    assert found == golden["sha256"]
