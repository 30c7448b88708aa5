"""Views: pixels against the reference's transforms, and randomness from the generator alone."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from timm.data import auto_augment as timm
from torchvision import transforms as T

from bench.core.errors import ConfigError
from bench.core.rng import generator as generator_of
from bench.images.operations import JITTER_NAMES, Crop, gaussian_blur
from bench.images.view_config import JigsawConfig, ViewConfig
from bench.images.views import (
    DrawnView,
    center_view,
    draw_patches,
    draw_view,
    make_patches,
    render_patches,
    render_view,
)
from tests.helpers.views import make_view
from tests.images.test_operations import picture
from tests.images.test_view_draws import TABLE, preset


def reference(name: str, drawn: DrawnView, crop_px: int, patch: pytest.MonkeyPatch) -> Image.Image:
    """The transforms of the authors' files, made to use the numbers drawn; order written out again."""
    crop, changes = drawn.crop, dict(drawn.jitter)
    window = (crop.top_px, crop.left_px, crop.height_px, crop.width_px)
    patch.setattr(T.RandomResizedCrop, "get_params", staticmethod(lambda *_: window))
    order = [JITTER_NAMES.index(step) for step, _ in drawn.jitter]
    numbers = (torch.tensor(order), *(changes.get(step) for step in JITTER_NAMES))
    patch.setattr(T.ColorJitter, "get_params", staticmethod(lambda *_: numbers))

    def jitter(image: Image.Image) -> Image.Image:
        return T.ColorJitter(0.4, 0.4, 0.4, 0.1)(image) if changes else image

    def blur(image: Image.Image) -> Image.Image:
        if drawn.blur_sigma_px is None:
            return image
        if name != "D":
            return image.filter(ImageFilter.GaussianBlur(radius=drawn.blur_sigma_px))
        return Image.fromarray(gaussian_blur(np.asarray(image), drawn.blur_sigma_px, 23))

    def randaugment(image: Image.Image) -> Image.Image:
        for operation in drawn.randaugment:
            function = timm.NAME_TO_OP[operation.name.removesuffix("Tpu")]
            whole = operation.name in ("PosterizeTpu", "Solarize", "SolarizeAdd")
            argument = int(operation.argument) if whole else operation.argument
            arguments = () if operation.name in ("AutoContrast", "Equalize", "Invert") else (argument,)
            resample = (
                Image.Resampling.BICUBIC if operation.resample == "bicubic" else Image.Resampling.BILINEAR
            )
            image = function(image, *arguments, resample=resample, fillcolor=(124, 116, 104))
        return image

    start = [T.RandomResizedCrop(crop_px), T.RandomHorizontalFlip(p=float(drawn.is_flipped)), jitter]
    gray = T.RandomGrayscale(p=float(drawn.is_gray))
    rest = {"A": [gray], "B": [gray, blur], "SimCLR": [gray, blur], "D": [blur, randaugment, gray]}[name]
    result: Image.Image = T.Compose([*start, *rest])(picture(90, 70))
    return result


@pytest.mark.parametrize("name", TABLE)
def test_views_have_the_pixels_of_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, image = preset(name, crop_px=40), np.asarray(picture(90, 70))
    seen: Counter[str] = Counter()
    for index in range(120):
        drawn = draw_view(config, (90, 70), generator_of(1, "view", 3, index))
        ours = render_view(config, drawn, image)
        assert ours.shape == (40, 40, 3) and ours.dtype == np.uint8 and ours.flags.writeable
        assert np.array_equal(ours, reference(name, drawn, 40, monkeypatch)), drawn
        seen.update(operation.name for operation in drawn.randaugment)
    assert len(seen) == (15 if name == "D" else 0)


def test_the_order_of_operations_is_the_configs() -> None:
    config, image = preset("B", crop_px=40), np.asarray(picture(90, 70))
    drawn = DrawnView((90, 70), Crop(0, 0, 70, 90), is_gray=True, jitter=(("saturation", 1.8), ("hue", 0.1)))
    turned = config.model_copy(update={"order": ("crop", "flip", "gray", "jitter", "blur")})
    assert not np.array_equal(render_view(config, drawn, image), render_view(turned, drawn, image))


def test_a_view_is_a_function_of_its_generator_and_disturbs_no_other() -> None:
    config, jigsaw, image = preset("D", crop_px=64), JigsawConfig(), np.asarray(picture(90, 70))

    def everything() -> list[bytes]:
        numbers = generator_of(5, "view", 2, 11)
        views = [make_view(config, image, numbers).tobytes() for _ in range(8)]
        return [*views, make_patches(jigsaw, image, numbers).tobytes()]

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist())
    first = everything()
    assert (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()) == before
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    assert everything() == first
    assert len(set(first)) == 9


def test_draws_stay_what_they_were() -> None:
    # A resumed run draws again what was drawn before; numbers taken in another order would be another run.
    drawn = draw_view(preset("D"), (500, 375), generator_of(0, "view", 2, 9))
    assert drawn.crop == Crop(top_px=4, left_px=37, height_px=329, width_px=387)
    assert drawn.is_flipped and drawn.is_gray
    expected = {
        "contrast": 0.286565971,
        "hue": 0.072891871,
        "saturation": 1.556610439,
        "brightness": 1.792627723,
    }
    assert [name for name, _ in drawn.jitter] == list(expected)
    assert dict(drawn.jitter) == pytest.approx(expected, abs=1e-8)
    assert drawn.blur_sigma_px == pytest.approx(1.628318676, abs=1e-8)
    operations = [(item.name, item.argument, item.resample) for item in drawn.randaugment]
    assert operations == [
        ("Sharpness", pytest.approx(1.9), None),
        ("TranslateYRel", pytest.approx(-0.431988924, abs=1e-8), "bilinear"),
    ]
    patches = draw_patches(JigsawConfig(), (500, 375), generator_of(0, "view", 2, 9))
    assert patches.crop == Crop(top_px=1, left_px=23, height_px=366, width_px=430)
    assert patches.corners_px[:3] == ((8, 6), (0, 21), (8, 1))
    assert patches.order == (6, 3, 4, 2, 5, 7, 0, 1, 8)


def test_patches_are_cut_from_their_cells() -> None:
    jigsaw, image = JigsawConfig(), np.asarray(picture(255, 255))
    corners = tuple((index, 21 - index) for index in range(9))
    whole = Crop(0, 0, 255, 255)
    for is_flipped in (False, True):
        shown = image[:, ::-1] if is_flipped else image
        drawn = draw_patches(jigsaw, (255, 255), np.random.default_rng(0))
        drawn = replace(drawn, crop=whole, is_flipped=is_flipped, corners_px=corners, order=(8, *range(8)))
        patches = render_patches(jigsaw, drawn, image)
        assert patches.shape == (9, 64, 64, 3) and patches.dtype == np.uint8
        # The last cell, first in order: third row and column, 8 down and 13 right in it.
        assert np.array_equal(patches[0], shown[170 + 8 : 170 + 72, 170 + 13 : 170 + 77])
        # Cell 5 is the last of the second row.
        assert np.array_equal(patches[6], shown[85 + 5 : 85 + 69, 170 + 16 : 170 + 80])


@pytest.mark.parametrize("size", [(90, 70), (70, 90), (33, 201), (64, 64), (5, 4)])
def test_the_centre_has_the_pixels_of_torchvision(size: tuple[int, int]) -> None:
    expected = T.Compose([T.Resize(64), T.CenterCrop(56)])(picture(*size))
    assert np.array_equal(center_view(np.asarray(picture(*size)), resize_px=64, crop_px=56), expected)


@pytest.mark.parametrize("crop_px", [0, 65])
def test_a_centre_that_does_not_fit_is_refused(crop_px: int) -> None:
    with pytest.raises(ConfigError, match=f"a crop of {crop_px} px does not fit .* 64 px"):
        center_view(np.asarray(picture()), resize_px=64, crop_px=crop_px)


def test_other_arrays_than_images_are_our_fault() -> None:
    image = np.asarray(picture(20, 10))
    for wrong in (image[..., 0], image.astype(np.float32), image[..., :2], image[:0]):
        with pytest.raises(ValueError, match=r"expected .height, width, 3. uint8"):
            render_view(preset("A"), draw_view(preset("A"), (8, 8), np.random.default_rng(0)), wrong)
    drawn = draw_view(preset("A"), (10, 20), np.random.default_rng(0))
    with pytest.raises(ValueError, match="drawn for an image of 10 x 20 px"):
        render_view(preset("A"), drawn, image)


def test_solarize_inverts_what_is_bright_and_bicubic_is_pillows() -> None:
    plain = ViewConfig(order=("crop",), crop_px=40, crop_area=(0.5, 1.0))
    image, drawn = np.asarray(picture(90, 70)), DrawnView((90, 70), Crop(3, 5, 60, 70))
    window = picture(90, 70).crop((5, 3, 75, 63))
    rendered = render_view(plain, drawn, image)
    assert np.array_equal(rendered, window.resize((40, 40), Image.Resampling.BILINEAR))
    cubic = plain.model_copy(update={"crop_resample": "bicubic"})
    assert np.array_equal(render_view(cubic, drawn, image), window.resize((40, 40), Image.Resampling.BICUBIC))
    bright = ViewConfig(
        order=("crop", "solarize"), crop_px=40, crop_area=(0.5, 1.0), solarize_probability=0.2
    )
    assert np.array_equal(render_view(bright, drawn, image), rendered)
    inverted = render_view(bright, replace(drawn, is_solarized=True), image)
    assert np.array_equal(inverted, np.where(rendered >= 128, 255 - rendered, rendered))
    numbers = generator_of(0, "view", 0, 0)
    count = sum(draw_view(bright, (90, 70), numbers).is_solarized for _ in range(5000))
    assert abs(count - 1000) < 5 * 28.3
