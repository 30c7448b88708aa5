"""Twenty steps on views of both renderers: on a CPU the losses are equal, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import pretraining as toy
from tests.helpers.often import often

STEPS = 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_images(tmp_path_factory.mktemp("images"))


# Between them every operation: both blurs, both lists of RandAugment, solarize, patches, small views.
@pytest.mark.parametrize("name", often(["infomin", "cmc-v2", "byol", "swav"], ["infomin"]))
def test_losses_agree(tmp_path: Path, images: Path, name: str) -> None:
    losses = {}
    for views in ("batched", "pillow"):
        with toy.narrow_networks():
            job = toy.toy_job(tmp_path / views, images, name, f"loop.views='{views}'", "epochs=4")
            losses[views] = toy.first_losses(job, STEPS)
    assert losses["batched"] == losses["pillow"]
    assert len(set(losses["pillow"])) == STEPS
