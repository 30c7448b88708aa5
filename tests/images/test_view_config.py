"""Configs of views: read from TOML, every wrong combination named."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bench.core.config import check_config, load_config
from bench.core.errors import ConfigError
from bench.core.protocol import number_changing
from bench.images.view_config import Blur, JigsawConfig, RandAugment, ViewConfig

INFOMIN = """
order = ["crop", "flip", "jitter", "blur", "randaugment", "gray"]
crop_px = 224
crop_area = [0.2, 1]
flip_probability = 0.5
gray_probability = 0.2

[jitter]
brightness = 0.8
contrast = 0.8
saturation = 0.8
hue = 0.2
probability = 0.8

[blur]
kind = "gaussian"
probability = 0.5
sigma_low_px = 0.1
sigma_high_px = 2.0
taps = 23

[randaugment]
magnitude = 10
magnitude_std = 0.5
operation_probability = 0.5
"""


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "view.toml"
    path.write_text(INFOMIN)
    view = load_config(ViewConfig, path)
    assert view.order == ("crop", "flip", "jitter", "blur", "randaugment", "gray")
    assert view.crop_area == (0.2, 1.0)
    assert view.crop_ratio == (0.75, 4 / 3)
    assert view.blur == Blur(kind="gaussian", probability=0.5, sigma_low_px=0.1, sigma_high_px=2.0, taps=23)
    assert view.randaugment == RandAugment(
        operations=2,
        magnitude=10,
        magnitude_std=0.5,
        operation_probability=0.5,
        translate_fraction=0.45,
        fill=(124, 116, 104),
    )


def test_every_field_counts_for_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "view.toml"
    path.write_text(INFOMIN)
    fields = number_changing(load_config(ViewConfig, path))
    assert fields.keys() == ViewConfig.model_fields.keys()
    assert fields["randaugment"].keys() == RandAugment.model_fields.keys()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["crop", ', "[", "order must start with 'crop', found 'flip'"),
        ('"gray"]', '"gray", "flip"]', "order names an operation twice"),
        ('"flip", ', "", "flip_probability is given, but 'flip' is not in order"),
        ("flip_probability = 0.5", "flip_probability = 0", "order has 'flip', but flip_probability is not"),
        ("gray_probability = 0.2", "", "order has 'gray', but gray_probability is not given or 0"),
        (', "gray"]', "]", "gray_probability is given, but 'gray' is not in order"),
        ('"jitter", ', "", "jitter is given, but 'jitter' is not in order"),
        ('"blur", ', "", "blur is given, but 'blur' is not in order"),
        ('"randaugment", ', "", "randaugment is given, but 'randaugment' is not in order"),
        (INFOMIN[INFOMIN.index("[randaugment]") :], "", "order has 'randaugment', but randaugment is not"),
        ('"gray"]', '"grey"]', "grey"),
        ("[0.2, 1]", "[1, 0.2]", "crop_area: 1.0 is above 0.2"),
        ("[0.2, 1]", "[0.0, 1]", "greater than 0"),
        ("[0.2, 1]", "[0.2, 1.1]", "less than or equal to 1"),
        ("crop_px = 224", "crop_px = 224\ncrop_ratio = [2.0, 0.5]", "crop_ratio: 2.0 is above 0.5"),
        ("crop_px = 224", "crop_px = 11", "crop_px 11 must be above half of blur.taps, 11"),
        ("crop_px = 224", "crop_px = 224.5", "integer"),
        ("hue = 0.2", "hue = 0.51", "less than or equal to 0.5"),
        ("probability = 0.8", "probability = 0.0", "greater than 0"),
        ("probability = 0.8", "probability = 1.01", "less than or equal to 1"),
        ("taps = 23", "taps = 22", "taps must be an odd number for kind 'gaussian', found 22"),
        ("taps = 23", "", "taps must be an odd number for kind 'gaussian', found None"),
        ('"gaussian"', '"pillow"', "taps is for kind 'gaussian' alone"),
        ("sigma_high_px = 2.0", "sigma_high_px = 0.05", "sigma_low_px 0.1 is above sigma_high_px 0.05"),
        ("sigma_low_px = 0.1", "sigma_low_px = 0", "greater than or equal to 0.01"),
        ("magnitude = 10", "magnitude = 10.5", "less than or equal to 10"),
        ("magnitude = 10", "magnitude = 10\nfill = [0, 0, 256]", "less than or equal to 255"),
        ("magnitude = 10", "magnitude = 10\noperations = 0", "greater than or equal to 1"),
        ("magnitude_std = 0.5", "magnitude_sdt = 0.5", 'Did you mean "magnitude_std"'),
    ],
)
def test_what_does_not_fit_is_named(old: str, new: str, message: str) -> None:
    assert old in INFOMIN
    values = tomllib.loads(INFOMIN.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        check_config(ViewConfig, values, "view.toml")
    assert message in str(caught.value)


def test_the_smallest_view_for_a_filter_is_accepted() -> None:
    values = tomllib.loads(INFOMIN.replace("crop_px = 224", "crop_px = 12"))
    assert check_config(ViewConfig, values, "view.toml").crop_px == 12


def test_a_jitter_of_nothing_is_refused() -> None:
    values = tomllib.loads(INFOMIN)
    values["jitter"].update(brightness=0, contrast=0, saturation=0, hue=0)
    with pytest.raises(ConfigError, match="one at least must be above 0"):
        check_config(ViewConfig, values, "view.toml")


def test_the_jigsaw_of_pycontrast_is_the_default() -> None:
    jigsaw = check_config(JigsawConfig, {}, "x.toml")
    assert (jigsaw.crop_px, jigsaw.grid, jigsaw.cell_px, jigsaw.patch_px) == (255, 3, 85, 64)
    assert (jigsaw.crop_area, jigsaw.flip_probability) == ((0.6, 1.0), 0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch_px": 86}, r"patch_px 86 is larger than a cell of 85 px \(crop_px 255 in 3 parts\)"),
        ({"grid": 4}, "patch_px 64 is larger than a cell of 63 px"),
        ({"grid": 1}, "greater than or equal to 2"),
        ({"crop_area": [1.0, 0.6]}, "crop_area: 1.0 is above 0.6"),
    ],
)
def test_patches_that_do_not_fit_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(JigsawConfig, values, "x.toml")


def test_a_patch_may_fill_its_cell() -> None:
    assert check_config(JigsawConfig, {"patch_px": 85}, "x.toml").patch_px == 85
