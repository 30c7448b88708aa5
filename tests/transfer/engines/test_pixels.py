"""A config that disagrees with the card is refused, key by key, in both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from tests.helpers.converted import CHANGES, MSRA, RGB
from tests.transfer.engines.test_detectron2 import make_job, run
from transfer.adapters import detectron2_config, mmseg
from transfer.engines.detectron2.model import build_config, check_pixels
from transfer.engines.mmseg.backbone import check_pixels as check_mmseg

D2_OTHERS: dict[str, Any] = {
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.RESNETS.DEPTH": 101,
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "INPUT.FORMAT": "BGR",
}
MMSEG_OTHERS: dict[str, Any] = {
    "model.data_preprocessor.type": "ImgDataPreprocessor",
    # As in public configs of SlotCon: means of 0 to 1 for pixels of 0 to 255.
    "model.data_preprocessor.mean": [0.485, 0.456, 0.406],
    "model.data_preprocessor.std": [0.229, 0.224, 0.225],
    "model.data_preprocessor.bgr_to_rgb": False,
    "model.data_preprocessor.rgb_to_bgr": True,
    "model.pretrained": "open-mmlab://resnet50_v1c",
    "model.backbone.type": "ResNetV1c",
    "model.backbone.depth": 18,
    "model.backbone.style": "caffe",
}


def d2_config(entries: dict[str, Any]) -> Any:
    return build_config(entries, "cpu")


def mmseg_config(entries: dict[str, Any]) -> Any:
    from mmengine import Config

    cfg = Config({"model": {"data_preprocessor": {}, "backbone": {}}})
    cfg.merge_from_dict(entries)
    return cfg


ENGINES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "detectron2": (detectron2_config.pixel_settings, d2_config, check_pixels, D2_OTHERS),
    "mmseg": (mmseg.pixel_settings, mmseg_config, check_mmseg, MMSEG_OTHERS),
}
KEYS = [(engine, key) for engine, (*_, others) in ENGINES.items() for key in others]


@pytest.mark.parametrize("spec", [RGB, MSRA], ids=["rgb", "msra"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_cards_own_settings_pass(engine: str, spec: InputSpec) -> None:
    settings, config, check, _ = ENGINES[engine]
    check(config(settings(spec)), spec)


@pytest.mark.parametrize(("engine", "key"), KEYS)
def test_another_value_is_refused_by_its_key(engine: str, key: str) -> None:
    settings, config, check, others = ENGINES[engine]
    entries = settings(RGB)
    with pytest.raises(WeightsError) as error:
        check(config({**entries, key: others[key]}), RGB)
    text = str(error.value)
    assert key in text and repr(others[key]) in text and repr(entries[key]) in text
    assert [other for other in entries if f"{other} is" in text] == [key]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_keys_are_all(engine: str) -> None:
    settings, _, _, others = ENGINES[engine]
    assert set(others) == set(settings(RGB))


@pytest.mark.parametrize("key", sorted(set(MMSEG_OTHERS) - {"model.pretrained"}))
def test_a_missing_key_is_refused(key: str) -> None:
    """MMSegmentation would take a default, which may be that of other weights."""
    entries = {name: value for name, value in mmseg.pixel_settings(RGB).items() if name != key}
    with pytest.raises(WeightsError, match=key):
        check_mmseg(mmseg_config(entries), RGB)


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("engine", ENGINES)
def test_weights_of_another_card_are_refused(engine: str, field: str) -> None:
    settings, config, check, _ = ENGINES[engine]
    with pytest.raises(WeightsError):
        check(config(settings(RGB)), RGB.model_copy(update={field: CHANGES[field]}))


@pytest.mark.parametrize("engine", ENGINES)
def test_several_problems_are_told_together(engine: str) -> None:
    settings, config, check, _ = ENGINES[engine]
    with pytest.raises(WeightsError) as error:
        check(config(settings(RGB)), MSRA)
    expected = {key for key, value in settings(RGB).items() if settings(MSRA)[key] != value}
    assert len(expected) >= 4
    assert all(f"{key} is" in str(error.value) for key in expected)


def test_a_training_run_asks(
    tmp_path: Path, voc: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, voc, checkpoint=str(checkpoint))
    monkeypatch.setattr(
        "transfer.engines.detectron2.engine.build_config",
        lambda entries, device: build_config({**entries, "INPUT.FORMAT": "BGR"}, device),
    )
    with pytest.raises(WeightsError, match=r"INPUT\.FORMAT is 'BGR'"):
        run(job)
    assert not list(tmp_path.rglob("step-*"))
