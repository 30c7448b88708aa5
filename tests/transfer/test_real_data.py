"""Small real sets go through the real engine, from annotations to a record."""

from pathlib import Path

import pytest

from tests.helpers.engine import coco_instseg, options, voc_det
from transfer.run import execute, make_plan

QUICK = (
    "solver.iterations=3",
    "solver.steps=[2]",
    "solver.images_per_batch=2",
    "solver.precise_bn_iterations=1",
    "input.train_short_sides_px=[96]",
    "input.test_short_side_px=96",
    "model.roi_pool_resolution=4",
    "model.rpn_post_nms_test=10",
)


def test_fruits_and_nuts(tmp_path: Path, real_data: Path, checkpoint: Path) -> None:
    plan = make_plan(
        voc_det(),
        options(tmp_path, real_data / "fruits_nuts" / "voc", checkpoint=str(checkpoint), overrides=QUICK),
    )
    (record,) = execute(plan)
    assert record.data.counts == {"train": 16, "test": 2}
    assert record.data.classes == ("date", "fig", "hazelnut")
    assert record.details["verified"]["backbone"].startswith("265 of 265")
    assert 0.0 <= record.metrics["AP50"].value <= 100.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bccd_voc", "openimages5_voc", "person_cc_voc", "voc_cc_mini"])
def test_every_real_set(tmp_path: Path, real_data: Path, checkpoint: Path, name: str) -> None:
    plan = make_plan(
        voc_det(), options(tmp_path, real_data / name, checkpoint=str(checkpoint), overrides=QUICK)
    )
    (record,) = execute(plan)
    assert record.protocol.status == "custom"
    assert 0.0 <= record.metrics["AP"].value <= 100.0


@pytest.mark.parametrize(
    "protocol", [pytest.param("coco-r50c4-1x", marks=pytest.mark.slow), "coco-r50fpn4conv-1x"]
)
@pytest.mark.slow
def test_fruits_and_nuts_with_masks(tmp_path: Path, real_data: Path, checkpoint: Path, protocol: str) -> None:
    data = real_data / "fruits_nuts" / "coco"
    asked = options(tmp_path, data, checkpoint=str(checkpoint), protocol=protocol, overrides=QUICK)
    (record,) = execute(make_plan(coco_instseg(), asked))
    assert record.data.counts == {"train": 12, "test": 6}
    assert record.details["verified"]["backbone"].startswith("265 of 265")
    assert 0.0 <= record.metrics["mask_ap"].value <= 100.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco_cc_mini", "facades"])
def test_every_real_set_with_masks(tmp_path: Path, real_data: Path, checkpoint: Path, name: str) -> None:
    asked = options(
        tmp_path, real_data / name, checkpoint=str(checkpoint), protocol="coco-r50fpn-1x", overrides=QUICK
    )
    (record,) = execute(make_plan(coco_instseg(), asked))
    assert record.protocol.status == "custom"
    assert 0.0 <= record.metrics["box_ap"].value <= 100.0
