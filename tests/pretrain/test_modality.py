"""What networks see: torchvision's RGB bit for bit; YDbDr and Lab with numbers of scikit-image 0.26."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as F

from pretrain.modality import feed, num_branches

# RGB, and what scikit-image's rgb2ydbdr and rgb2lab make of it (D65, 2 degrees).
COLOURS = {
    (0, 0, 0): ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    (255, 255, 255): ((1.0, 0.0, 0.0), (100.0, -0.0024549, 0.0046534)),
    (255, 0, 0): ((0.299, -0.45, -1.333), (53.2405879, 80.0923082, 67.202751)),
    (0, 255, 0): ((0.587, -0.883, 1.116), (87.7350995, -86.1830297, 83.1797032)),
    (0, 0, 255): ((0.114, 1.333, 0.217), (32.2956726, 79.1855909, -107.8573002)),
    (10, 128, 200): ((0.39578824, 0.58461176, 0.6781098), (51.4624601, -2.2534033, -45.3085825)),
    (3, 2, 7): ((0.01125098, 0.02437255, -0.00097255), (0.7055899, 0.9566836, -1.7999132)),
}
MEAN = {"y_dbdr": (0.457, -0.082, -0.052), "l_ab": (50.0, 6.025, -6.6895)}
STD = {"y_dbdr": (0.5, 1.331, 1.333), "l_ab": (50.0, 92.208, 101.1675)}


def pictures() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 9, 7), generator=draw, dtype=torch.uint8)


def test_rgb_is_torchvisions_bit_for_bit() -> None:
    expected = F.normalize(pictures() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert torch.equal(feed(pictures(), "rgb", torch.float32), expected)


@pytest.mark.parametrize(("modality", "place"), [("y_dbdr", 0), ("l_ab", 1)])
@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_those_of_scikit_image(colour: tuple[int, ...], modality: str, place: int) -> None:
    image = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1)
    found = feed(image, modality, torch.float64).flatten()  # type: ignore[arg-type]
    values = found * torch.tensor(STD[modality], dtype=torch.float64)
    values += torch.tensor(MEAN[modality], dtype=torch.float64)
    assert values.tolist() == pytest.approx(COLOURS[colour][place], abs=2e-5)


@pytest.mark.parametrize("modality", ["rgb", "y_dbdr", "l_ab"])
def test_float32_is_near_float64_and_patches_are_fed_as_views(modality: str) -> None:
    exact = feed(pictures(), modality, torch.float64)  # type: ignore[arg-type]
    assert (feed(pictures(), modality, torch.float32) - exact).abs().max() < 2e-5  # type: ignore[arg-type]
    patches = feed(pictures()[None], modality, torch.float64)  # type: ignore[arg-type]
    assert torch.equal(patches[0], exact)


@pytest.mark.parametrize("modality", ["rgb", "y_dbdr", "l_ab"])
def test_mixed_precision_around_it_changes_nothing(modality: str) -> None:
    plain = feed(pictures(), modality, torch.float32)  # type: ignore[arg-type]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(feed(pictures(), modality, torch.float32), plain)  # type: ignore[arg-type]


def test_lightness_and_colour_are_two_networks() -> None:
    assert [num_branches(name) for name in ("rgb", "y_dbdr", "l_ab")] == [1, 2, 2]  # type: ignore[arg-type]
