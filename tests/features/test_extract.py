"""Features in the images' order, from a network that is left as it was; a bad image is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bench.core.errors import DataError
from bench.features.extract import centre_batches, extract
from bench.images.source import ImageSource, open_source
from bench.images.views import center_view

COUNT = 11


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    """Random pictures of several sizes."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        size = (20 + number, 24, 3)
        pixels = np.random.default_rng(number).integers(0, 256, size).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number:02d}.png")
    return open_source(root)


def batches_of(
    source: ImageSource, indices: Any, *, num_workers: int = 0, batch_size: int = 4
) -> list[Tensor]:
    numbers: npt.NDArray[np.int64] = np.asarray(indices, dtype=np.int64)
    return list(
        centre_batches(
            source, numbers, resize_px=16, crop_px=12, batch_size=batch_size, num_workers=num_workers
        )
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_crops_come_in_the_order_that_was_asked_for(source: ImageSource, num_workers: int) -> None:
    indices = np.random.default_rng(0).permutation(COUNT)
    found = batches_of(source, indices, num_workers=num_workers)
    assert [len(batch) for batch in found] == [4, 4, 3]
    crops = torch.cat(found)
    assert crops.shape == (COUNT, 3, 12, 12) and crops.dtype == torch.uint8
    for crop, index in zip(crops, indices.tolist(), strict=True):
        expected = center_view(source.read(index), resize_px=16, crop_px=12)
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), expected)


def test_an_image_may_come_twice(source: ImageSource) -> None:
    (batch,) = batches_of(source, [3, 3, 5])
    assert torch.equal(batch[0], batch[1]) and not torch.equal(batch[0], batch[2])


def test_no_image_gives_no_batch(source: ImageSource) -> None:
    assert batches_of(source, []) == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named_when_its_batch_comes(tmp_path: Path, num_workers: int) -> None:
    for number in range(6):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    batches = centre_batches(
        open_source(tmp_path),
        np.arange(6),
        resize_px=16,
        crop_px=12,
        batch_size=2,
        num_workers=num_workers,
    )
    assert len(next(batches)) == 2
    with pytest.raises(DataError, match=r"3\.png"):
        next(batches)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_global_generator_is_moved(source: ImageSource, num_workers: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    batches_of(source, range(COUNT), num_workers=num_workers)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == before_numpy


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def feed(images: Tensor) -> Tensor:
    return images.float() / 255


@pytest.mark.parametrize("num_workers", [0, 2])
def test_features_are_those_of_each_image_alone(source: ImageSource, num_workers: int) -> None:
    backbone = network().eval()
    found = extract(backbone, iter(batches_of(source, range(COUNT), num_workers=num_workers)), feed)
    assert found.shape == (COUNT, 4) and found.dtype == torch.float32 and not found.requires_grad
    for index in range(COUNT):
        view = center_view(source.read(index), resize_px=16, crop_px=12)
        alone = backbone(feed(torch.from_numpy(view).permute(2, 0, 1)[None]))[0]
        torch.testing.assert_close(found[index], alone.detach(), atol=1e-6, rtol=0)


def test_the_network_is_left_as_it_was(source: ImageSource) -> None:
    backbone = network().eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    extract(backbone, iter(batches_of(source, range(COUNT))), feed)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not any(module.training for module in backbone.modules())
    assert all(value.requires_grad and value.grad is None for value in backbone.parameters())
    assert torch.is_grad_enabled()


def test_the_mode_is_the_callers_to_set(source: ImageSource) -> None:
    backbone = network().train()
    extract(backbone, iter(batches_of(source, range(COUNT))), feed)
    assert backbone.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_features_are_float32_whatever_the_network_is(source: ImageSource, dtype: torch.dtype) -> None:
    backbone = network().eval().to(dtype)
    found = extract(backbone, iter(batches_of(source, range(4))), lambda images: feed(images).to(dtype))
    assert found.dtype == torch.float32


def test_no_batch_gives_no_feature() -> None:
    assert extract(network().eval(), iter(()), feed).shape == (0, 0)
