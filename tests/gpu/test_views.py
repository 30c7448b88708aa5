"""Views rendered on a real GPU: the reference's pixels, and losses that follow from them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.images.source import open_source
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.loader import TrainLoader, train_batches
from pretrain.data.order import Order
from pretrain.samples import Views, Way
from pretrain.views.batched import render_crops
from tests.helpers import pretraining as toy
from tests.pretrain.views.test_batched import draws, published_views

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
MOST_OFF = 1e-4
"""Share of values that may be a level beside."""


@pytest.mark.parametrize("name", published_views())
def test_pixels(name: str) -> None:
    view = published_views()[name]
    drawn, crops, expected = draws(view, 400)
    found = render_crops(view, drawn, crops.cuda()).movedim(1, -1).cpu().numpy()
    apart = np.abs(found.astype(int) - expected)
    print(f"{name}: {np.count_nonzero(apart):,} of {apart.size:,} values off, at most {apart.max()} levels")
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= MOST_OFF * apart.size


def batches(images: Path, way: Way, device: str) -> TrainLoader:
    source, view = open_source(images / "train"), published_views()["infomin_ep200-0"]
    return train_batches(
        source,
        Views((view, view), None, 0, way),
        Order(len(source), 12, 0),
        start_step=0,
        end_step=10,
        rank=0,
        world_size=1,
        accumulation=2,
        num_workers=2,
        feed=DeviceFeed(torch.device(device), (view, view)),
        with_labels=True,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_images(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("is_ahead", [False, True])
def test_batches_arrive_whole_beside_other_work(images: Path, is_ahead: bool) -> None:
    there = batches(images, "crops", "cuda")
    for expected in batches(images, "pillow", "cpu"):
        parts = next(there)
        torch.mm(*torch.randn(2, 2048, 2048, device="cuda").unbind())
        if is_ahead:
            there.prefetch()
        for one, other in zip(parts, expected, strict=True):
            assert one.views[0].is_cuda and torch.equal(one.index.cpu(), other.index)
            assert one.labels is not None and other.labels is not None
            assert torch.equal(one.labels.cpu(), other.labels)
            for view, reference in zip(one.views, other.views, strict=True):
                assert (view.cpu().int() - reference.int()).abs().max() <= 1
    with pytest.raises(StopIteration):
        next(there)


@pytest.mark.parametrize("name", ["infomin", "byol"])
def test_losses_over_twenty_steps(tmp_path: Path, images: Path, name: str) -> None:
    """In fp32; a few values a level beside move a loss by less than .1 %."""
    losses = {}
    for views in ("batched", "pillow"):
        job = toy.toy_job(tmp_path / views, images, name, f"loop.views='{views}'", "epochs=4")
        toy.run(job)
        losses[views] = toy.losses(job)
    assert len(losses["pillow"]) == 20
    for one, other in zip(losses["batched"], losses["pillow"], strict=True):
        assert math.isclose(one, other, rel_tol=1e-3)
