"""The YAML and the `.pkl` of a run train in stock Detectron2, by its own trainer, with one import of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.voc_set import make_devkit
from tests.transfer.engines import test_instances as instances
from tests.transfer.engines.test_detectron2 import make_job, run

# What a user writes, but for the lines that shrink it to a test; nothing else of ours is imported.
SCRIPT = """
import json, sys
from transfer.engines.detectron2 import extra_norm_head
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import PascalVOCDetectionEvaluator

class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        return PascalVOCDetectionEvaluator(dataset_name)

cfg = get_cfg()
cfg.merge_from_file(sys.argv[1])
cfg.OUTPUT_DIR = sys.argv[2]
cfg.DATALOADER.NUM_WORKERS = 0
seen = []
log = DetectionCheckpointer._log_incompatible_keys
DetectionCheckpointer._log_incompatible_keys = lambda self, keys: (seen.append(keys), log(self, keys))
trainer = Trainer(cfg)
trainer.resume_or_load(resume=False)
trainer.train()
(keys,) = seen
print(json.dumps({"result": trainer._last_eval_results["bbox"], "iterations": trainer.iter,
                  "head": type(trainer.model.roi_heads).__name__,
                  "extra_norm": hasattr(trainer.model.roi_heads, "res5") and
                  hasattr(trainer.model.roi_heads.res5, "norm"),
                  "missing": keys.missing_keys, "unexpected": keys.unexpected_keys}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "slug", ["voc0712-r50c4-24k", pytest.param("voc0712-r50fpn-24k", marks=pytest.mark.slow)]
)
def test_a_stock_trainer_trains_from_our_files(
    tmp_path: Path, voc: Path, checkpoint: Path, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devkit = make_devkit(voc, tmp_path)
    anchors = ["model.anchor_sizes_px=[32, 32, 64, 64, 64]"] if "fpn" in slug else []
    job = make_job(
        tmp_path, devkit, "solver.precision='fp32'", *anchors, checkpoint=str(checkpoint), protocol=slug
    )
    # As with the default --out: a relative folder, and another one to start Detectron2 from.
    monkeypatch.chdir(tmp_path)
    job = replace(job, run_dir=Path("runs") / "mine")
    ours = run(job)
    folder = tmp_path / job.run_dir
    assert ours.details["verified"]["largest_feature_difference"] == 0.0
    assert ("roi_heads.res5.norm" in ours.details["verified"]["new_layers"]) == ("c4" in slug)
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            SCRIPT,
            str(folder / "detectron2.yaml"),
            str(tmp_path / "out"),
        ],
        cwd=folder,
        env={**os.environ, "DETECTRON2_DATASETS": str(devkit)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["iterations"] == 6
    assert found["head"] == ("Res5ROIHeadsExtraNorm" if "c4" in slug else "StandardROIHeads")
    assert found["extra_norm"] == ("c4" in slug)
    assert found["unexpected"] == []
    new = ("proposal_generator.", "roi_heads.box", "roi_heads.res5.norm.", "backbone.fpn_")
    assert [key for key in found["missing"] if not key.startswith(new)] == []
    assert found["result"].keys() == ours.metrics.keys()


COCO_SCRIPT = """
import json, sys
from transfer.engines.detectron2 import extra_norm_head
from detectron2.config import get_cfg
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator

config, train_name, train, train_images, test_name, test, test_images, out = sys.argv[1:]
register_coco_instances(train_name, {}, train, train_images)
register_coco_instances(test_name, {}, test, test_images)

class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR, use_fast_impl=False)

cfg = get_cfg()
cfg.merge_from_file(config)
cfg.OUTPUT_DIR = out
cfg.DATALOADER.NUM_WORKERS = 0
trainer = Trainer(cfg)
trainer.resume_or_load(resume=False)
trainer.train()
heads = trainer.model.roi_heads
print(json.dumps({"kinds": sorted(trainer._last_eval_results), "iterations": trainer.iter,
                  "box_head": len(getattr(heads, "box_head", [])),
                  "mask_norms": sum("norm" in name for name, _ in heads.mask_head.named_modules())}))
"""


@pytest.mark.parametrize(
    "slug",
    [
        pytest.param(instances.C4, marks=pytest.mark.slow),
        pytest.param(instances.FPN, marks=pytest.mark.slow),
        pytest.param(instances.FPN_2FC, marks=pytest.mark.slow),
    ],
)
def test_a_stock_trainer_trains_masks_from_our_files(
    tmp_path: Path, coco: Path, checkpoint: Path, slug: str
) -> None:
    job = instances.make_job(tmp_path, coco, "solver.precision='fp32'", slug=slug, checkpoint=str(checkpoint))
    ours = run(job)
    data, folder = job.data, job.run_dir
    splits = [
        argument
        for split, name in ((data.train_split, data.train_names[0]), (data.test_split, data.test_name))
        for argument in (name, str(split.file), str(split.images))
    ]
    command = [sys.executable, "-W", "ignore", "-c", COCO_SCRIPT, str(folder / "detectron2.yaml"), *splits]
    done = subprocess.run(
        [*command, str(tmp_path / "out")], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kinds"] == ["bbox", "segm"]
    assert found["iterations"] == 6
    new = ours.details["verified"]["new_layers"]
    assert found["mask_norms"] == sum("mask_head" in name and "norm" in name for name in new)
    assert (found["mask_norms"] > 0) == (slug == instances.FPN)
