"""The samples of an image: a function of (seed, epoch, index) and of nothing else."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from bench.core.paths import CONFIGS
from pretrain.plan import read_config
from pretrain.samples import Views, Way, make_views
from pretrain.views.batched import render_crops

_, CONFIG = read_config(CONFIGS / "smoke" / "infomin.toml")
IMAGE = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)


def views(seed: int = 0, way: Way = "batched") -> Views:
    return Views(CONFIG.views, CONFIG.jigsaw, seed, way)


@pytest.mark.parametrize("way", ["batched", "crops"])
def test_every_way_makes_what_pillow_makes(way: Way) -> None:
    for index in range(30):
        expected, found = views(way="pillow")(IMAGE, index, 2), views(way=way)(IMAGE, index, 2)
        made = found.views
        if way == "crops":
            assert found.drawn == views().draw((90, 80), index, 2)
            made = tuple(
                render_crops(view, [drawn], torch.from_numpy(crop).movedim(-1, 0)[None])[0]
                .movedim(0, -1)
                .numpy()
                for view, drawn, crop in zip(CONFIG.views, found.drawn, made, strict=True)
            )
        assert all(np.array_equal(one, two) for one, two in zip(made, expected.views, strict=True))
        assert np.array_equal(found.patches, expected.patches)


def test_the_config_says_which_way_and_a_gpu_gets_crops() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (make_views(CONFIG, 0, cpu).way, make_views(CONFIG, 0, gpu).way) == ("batched", "crops")
    reference = CONFIG.model_copy(update={"loop": CONFIG.loop.model_copy(update={"views": "pillow"})})
    assert {make_views(reference, 0, device).way for device in (cpu, gpu)} == {"pillow"}


def test_shapes_are_those_of_what_is_made() -> None:
    sample, shapes = views()(IMAGE, 0, 0), views().shapes
    assert shapes.views == tuple(view.shape[:2] for view in sample.views)
    assert sample.patches is not None and shapes.patches == sample.patches.shape[:3]


def test_equal_places_give_equal_samples_also_in_another_process() -> None:
    first, again = views()(IMAGE, 3, 1), pickle.loads(pickle.dumps(views()))(IMAGE, 3, 1)
    assert all(np.array_equal(one, two) for one, two in zip(first.views, again.views, strict=True))
    assert first.patches is not None and np.array_equal(first.patches, again.patches)


def test_another_seed_epoch_or_image_gives_another_sample() -> None:
    first = views()(IMAGE, 3, 1)
    for other in (views(1)(IMAGE, 3, 1), views()(IMAGE, 3, 2), views()(IMAGE, 4, 1)):
        assert not np.array_equal(first.views[0], other.views[0])
        assert not np.array_equal(first.patches, other.patches)


def test_the_views_of_an_image_differ() -> None:
    sample = views()(IMAGE, 0, 0)
    assert [view.shape for view in sample.views] == [(64, 64, 3)] * 2
    assert not np.array_equal(*sample.views)
    assert CONFIG.jigsaw is not None and sample.patches is not None
    number, side = CONFIG.jigsaw.grid**2, CONFIG.jigsaw.patch_px
    assert sample.patches.shape == (number, side, side, 3)
    assert Views(CONFIG.views[:1], None, 0)(IMAGE, 0, 0).patches is None
