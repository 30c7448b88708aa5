"""Mask R-CNN in real Detectron2 at toy size: C4 and both pyramids, what they are fed, what they find."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from safetensors.torch import load_file

from bench.core.errors import Stopped
from tests.helpers.engine import coco_instseg, options
from tests.helpers.often import often
from tests.transfer.engines.test_detectron2 import TOY, StopAfter, run
from transfer.api import Job, Output
from transfer.data.coco import CocoDataset
from transfer.engines import load_engine
from transfer.engines import train as training_room
from transfer.engines.detectron2.engine import _config
from transfer.engines.detectron2.evaluate import detect
from transfer.engines.detectron2.loader import mask_format, to_dicts, train_loader
from transfer.metrics.instances import unpack
from transfer.run import make_plan

C4, FPN, FPN_2FC = "coco-r50c4-1x", "coco-r50fpn4conv-1x", "coco-r50fpn-1x"
PYRAMID = ("model.anchor_sizes_px=[16, 32, 48, 64, 96]",)


def make_job(
    tmp_path: Path, coco: Path, *overrides: str, slug: str = C4, checkpoint: str = "random", **changes: Any
) -> Job:
    toy = (*TOY, *(PYRAMID if "fpn" in slug else ()), *overrides)
    asked = options(tmp_path, coco, checkpoint=checkpoint, protocol=slug, overrides=toy)
    return replace(make_plan(coco_instseg(), asked).job(0), run_dir=tmp_path / "run", **changes)


@pytest.fixture(
    scope="module", params=[C4, *(pytest.param(slug, marks=pytest.mark.slow) for slug in (FPN, FPN_2FC))]
)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, coco: Path, checkpoint: Path
) -> tuple[Job, Output]:
    """A run that nothing stops, of each family."""
    folder = tmp_path_factory.mktemp("trained")
    job = make_job(folder, coco, slug=request.param, checkpoint=str(checkpoint))
    return job, run(job)


def test_a_run_brings_both_kinds_of_numbers(trained: tuple[Job, Output]) -> None:
    job, output = trained
    needed = {f"{kind}_{name}" for kind in ("box", "mask") for name in ("ap", "ap50", "ap75")}
    assert needed <= output.metrics.keys()
    assert all(0.0 <= value <= 100.0 for value in output.metrics.values())
    verified = output.details["verified"]
    assert verified["backbone"].startswith("265 of 265")
    assert verified["largest_feature_difference"] == 0.0
    new = " ".join(verified["new_layers"])
    assert "roi_heads.mask_head" in new
    four = job.protocol.model.box_head == "4conv1fc"
    assert ("roi_heads.box_head.conv4.norm" in new) == four
    assert ("roi_heads.mask_head.mask_fcn4.norm" in new) == four
    assert ("roi_heads.res5.norm" in new) == (job.protocol.slug == C4)
    log = (job.run_dir / "log.csv").read_text().splitlines()
    assert "loss_mask" in log[0]
    assert len(log) == 7


def test_detections_are_kept_with_their_masks(trained: tuple[Job, Output]) -> None:
    job, output = trained
    kept = output.predictions
    assert kept is not None
    truth, found = unpack(kept.data, kept.sha256, "kept")
    data: CocoDataset = job.data
    assert truth.image_ids == tuple(image.image_id for image in data.test)
    assert found.masks is not None
    assert len(found.masks) == len(found.scores) == output.details["num_detections"]
    for index, mask in zip(found.image, found.masks, strict=True):
        image = data.test[index]
        decoded = coco_mask.decode({"size": [image.height, image.width], "counts": mask})
        assert decoded.shape == (image.height, image.width)


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    tmp_path: Path,
    coco: Path,
    checkpoint: Path,
    trained: tuple[Job, Output],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected_job, expected = trained
    slug = expected_job.protocol.slug
    job = make_job(tmp_path, coco, "run.num_workers=1", slug=slug, checkpoint=str(checkpoint))
    real = training_room.train
    with monkeypatch.context() as patch:
        patch.setattr(
            "transfer.engines.trial.train",
            lambda training, loader, state, stop: real(
                training, StopAfter(loader, 5, signal.SIGTERM), state, stop
            ),
        )
        with pytest.raises(Stopped):
            run(job)
    output = run(replace(job, resume=True))
    ours, theirs = (
        load_file(each.run_dir / "checkpoints" / "step-00000006" / "tensors.safetensors")
        for each in (job, expected_job)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert output.metrics == expected.metrics
    assert output.predictions == expected.predictions
    assert (job.run_dir / "log.csv").read_text() == (expected_job.run_dir / "log.csv").read_text()


def test_the_loader_gives_what_detectron2_reads_from_the_file(tmp_path: Path, coco: Path) -> None:
    """The same images, boxes, classes and outlines as its own COCO reader; crowds are not trained on."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances
    from detectron2.structures import BoxMode

    job = make_job(tmp_path, coco)
    data: CocoDataset = job.data
    name = f"ours_{tmp_path.name}"
    register_coco_instances(name, {}, str(data.train_split.file), str(data.train_split.images))
    try:
        theirs = DatasetCatalog.get(name)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    theirs = [entry for entry in theirs if any(item["iscrowd"] == 0 for item in entry["annotations"])]
    ours = to_dicts(data.train, with_objects=True)
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        for key in ("image_id", "height", "width"):
            assert mine[key] == other[key]
        assert Path(mine["file_name"]).samefile(other["file_name"])
        kept = [item for item in other["annotations"] if item["iscrowd"] == 0]
        for item, expected in zip(mine["annotations"], kept, strict=True):
            assert item["category_id"] == expected["category_id"]
            assert item["bbox"] == BoxMode.convert(expected["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
            for polygon, points in zip(item["segmentation"], expected["segmentation"], strict=True):
                assert polygon.tolist() == points


def test_crowds_and_flat_boxes_are_not_trained_on(tmp_path: Path, coco: Path) -> None:
    """A flat box is in the file of COCO 2017; Detectron2's mapper drops it, and so do we."""
    path = next((coco / "annotations").glob("instances_train*.json"))
    spoiled = tmp_path / "set"
    shutil.copytree(coco, spoiled)
    content = json.loads(path.read_text())
    flat = next(item for item in content["annotations"] if not item["iscrowd"])
    x, y, width, _ = flat["bbox"]
    flat.update(bbox=[x, y, width, 0.0], area=0.0, segmentation=[[x, y, x + width, y, x, y]])
    (spoiled / "annotations" / path.name).write_text(json.dumps(content))
    job = make_job(tmp_path, spoiled)
    assert any(str(flat["id"]) in note for note in job.data.notes)
    objects = [item for image in job.data.train for item in image.objects]
    good = sum(not item.is_crowd and not item.is_flat for item in objects)
    assert 0 < good < len(objects)
    assert _num_instances(job, len(job.data.train)) == good


def _num_instances(job: Job, num_images: int) -> int:
    """Objects in the batches of an epoch, each image once."""
    from lightning_fabric import Fabric

    protocol = job.protocol.model_copy(
        update={"input": job.protocol.input.model_copy(update={"aspect_ratio_grouping": False})}
    )
    cfg = _config(Fabric(accelerator="cpu", devices=1), replace(job, protocol=protocol))
    dicts = to_dicts(job.data.train, with_objects=True)
    batches = train_loader(cfg, dicts, seed=0, start=0, rank=0, num_processes=1, num_workers=0)
    first = [next(batches) for _ in range(len(dicts) // 2)]
    assert len({entry["image_id"] for batch in first for entry in batch}) == len(dicts)
    return sum(len(entry["instances"]) for batch in first for entry in batch)


def test_outlines_in_run_lengths_are_trained_on_as_bit_masks(tmp_path: Path, coco: Path) -> None:
    """Detectron2 takes run lengths as bit masks alone; with polygons it would stop in the first batch."""
    assert mask_format(make_job(tmp_path, coco).data) == "polygon"
    changed = tmp_path / "set"
    shutil.copytree(coco, changed)
    path = next((changed / "annotations").glob("instances_train*.json"))
    content = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    item = next(item for item in content["annotations"] if not item["iscrowd"])
    height, width = sizes[item["image_id"]]
    packed = coco_mask.merge(coco_mask.frPyObjects(item["segmentation"], height, width))
    item["segmentation"] = {"size": [height, width], "counts": packed["counts"].decode()}
    path.write_text(json.dumps(content))
    job = make_job(tmp_path, changed, "solver.iterations=3", "solver.steps=[2]", slug=FPN_2FC)
    assert mask_format(job.data) == "bitmask"
    assert run(job).metrics["mask_ap"] >= 0.0
    assert "bitmask" in (job.run_dir / "detectron2.yaml").read_text()


def test_a_detector_that_finds_the_truth_has_a_hundred(tmp_path: Path, coco: Path) -> None:
    from detectron2.structures import Boxes, Instances
    from lightning_fabric import Fabric

    job = make_job(tmp_path, coco)
    data: CocoDataset = job.data
    truth = {image.image_id: image for image in data.test}

    class Perfect(torch.nn.Module):
        def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
            image = truth[inputs[0]["image_id"]]
            items = [item for item in image.objects if not item.is_crowd]
            size = [image.height, image.width]
            found = Instances((image.height, image.width))
            found.pred_boxes = Boxes(torch.tensor([item.edges for item in items]).reshape(-1, 4))
            found.scores = torch.full((len(items),), 0.9)
            found.pred_classes = torch.tensor([item.class_index for item in items], dtype=torch.int64)
            masks = [coco_mask.decode({"size": size, "counts": item.mask}) for item in items]
            found.pred_masks = torch.from_numpy(np.array(masks, bool).reshape(-1, *size))
            return [{"instances": found}]

    cfg = _config(Fabric(accelerator="cpu", devices=1), job)
    found = detect(Perfect(), cfg, data, check_stop=lambda: None)
    assert found is not None
    metrics = job.measure(found).metrics
    assert metrics["mask_ap"] == pytest.approx(100.0)
    assert metrics["box_ap"] == pytest.approx(100.0)


@pytest.mark.parametrize("slug", often([C4, FPN], [C4]))
def test_an_estimate_counts_the_masks(tmp_path: Path, coco: Path, slug: str) -> None:
    job = make_job(tmp_path, coco, slug=slug)
    found = load_engine("detectron2").estimate_job(job)
    assert found.memory_bytes > 0
    more = make_job(tmp_path, coco, "model.roi_positive_fraction=1.0", slug=slug)
    assert load_engine("detectron2").estimate_job(more).memory_bytes > found.memory_bytes
