"""What the stock tools write is what is read here: a training by each, then an import of its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.card import random_card
from transfer.api import TASKS
from transfer.imports.adopt import Choice, adopt, read_folder

# As tools/train_net.py does it: default_setup writes the config, the trainer the log.
SCRIPT = """
import json, sys
from transfer.engines.detectron2 import extra_norm_head
from detectron2.config import get_cfg
from detectron2.engine import defaults
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator

config, out, *splits = sys.argv[1:]
for name, file, images in zip(splits[::3], splits[1::3], splits[2::3]):
    register_coco_instances(name, {}, file, images)

class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        if splits:
            return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR, use_fast_impl=False)
        return PascalVOCDetectionEvaluator(dataset_name)

cfg = get_cfg()
cfg.merge_from_file(config)
cfg.merge_from_list(["OUTPUT_DIR", out, "DATALOADER.NUM_WORKERS", 0])
cfg.merge_from_list(["TEST.EVAL_PERIOD", 4, "SOLVER.MAX_ITER", 6])
cfg.freeze()
default_setup(cfg, default_argument_parser().parse_args([]))
trainer = Trainer(cfg)
trainer.resume_or_load(resume=False)
trainer.train()
print(json.dumps(trainer._last_eval_results))
"""


def train_detectron2(
    config: Path, out: Path, *splits: str, **environment: str
) -> dict[str, dict[str, float]]:
    import json

    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(config), str(out), *splits]
    environ = {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=config.parent, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_detectron2_voc(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    from tests.helpers.voc_set import make_devkit
    from tests.transfer.engines.test_detectron2 import make_job, run

    devkit = make_devkit(voc, tmp_path)
    job = make_job(
        tmp_path, devkit, "solver.precision='fp32'", checkpoint=str(checkpoint), protocol="voc0712-r50c4-24k"
    )
    run(job)
    out = tmp_path / "out"
    result = train_detectron2(job.run_dir / "detectron2.yaml", out, DETECTRON2_DATASETS=str(devkit))["bbox"]
    found = read_folder(out)
    assert [item.iteration for item in found.evaluations] == [3, 6], "one less on the way"
    assert found.facts["num_devices"] == 1
    record = adopt(found, TASKS.get("voc-det").spec, job.card, Choice(), out)
    assert {name: metric.value for name, metric in record.metrics.items()} == result
    assert set(found.files) == {"config.yaml", "metrics.json", "log.txt"}
    assert record.protocol.fields["metric"] == {"ap_rule": "voc07_11point"}


@pytest.mark.slow
def test_detectron2_coco(tmp_path: Path, coco: Path, checkpoint: Path) -> None:
    from tests.transfer.engines import test_instances as instances
    from tests.transfer.engines.test_detectron2 import run

    job = instances.make_job(
        tmp_path, coco, "solver.precision='fp32'", slug=instances.FPN, checkpoint=str(checkpoint)
    )
    run(job)
    data = job.data
    splits = [
        argument
        for split, name in ((data.train_split, data.train_names[0]), (data.test_split, data.test_name))
        for argument in (name, str(split.file), str(split.images))
    ]
    out = tmp_path / "out"
    result = train_detectron2(job.run_dir / "detectron2.yaml", out, *splits)
    record = adopt(read_folder(out), TASKS.get("coco-instseg").spec, job.card, Choice(), out)
    assert record.metrics["mask_ap"].value == result["segm"]["AP"]
    assert record.metrics["box_ap75"].value == result["bbox"]["AP75"]
    assert "box_ap_large" not in record.metrics, "no such object is there"


@pytest.mark.slow
@pytest.mark.parametrize("by_epoch", [False, True])
def test_mmseg(tmp_path: Path, voc: Path, checkpoint: Path, by_epoch: bool) -> None:
    import mmseg

    from tests.transfer.engines.test_segmentors import FCN, make_job, run

    job = make_job(tmp_path, voc, "solver.precision='fp32'", slug=FCN, checkpoint=str(checkpoint))
    run(job)
    tool, out = Path(str(mmseg.__file__)).parent / ".mim" / "tools" / "train.py", tmp_path / "out"
    options = [
        "train_cfg.max_iters=4",
        "train_cfg.val_interval=2",
        "default_hooks.logger.log_metric_by_epoch=" + str(by_epoch),
        *(f"{loader}_dataloader.num_workers=0" for loader in ("train", "val", "test")),
    ]
    command = [sys.executable, "-W", "ignore", str(tool), str(job.run_dir / "mmseg.py")]
    done = subprocess.run(
        [*command, "--work-dir", str(out), "--cfg-options", *options],
        cwd=job.run_dir, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = read_folder(out)
    assert [item.iteration for item in found.evaluations] == [2, 4]
    assert found.facts["num_devices"] == 1
    assert found.classes == job.data.classes
    record = adopt(found, TASKS.get("semseg").spec, random_card(), Choice(), out)
    said = f"mIoU: {record.metrics['mIoU'].value:.4f}"
    assert said in done.stdout + done.stderr
