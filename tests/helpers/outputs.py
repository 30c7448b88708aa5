"""Output folders in the form in which Detectron2 and MMSegmentation write them, at the size of a test.

Keys, anchors and line breaks are those of real ones; a slow test holds the readers against those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG_YAML = """\
CUDNN_BENCHMARK: false
DATALOADER:
  NUM_WORKERS: 4
DATASETS:
  TEST:
  - voc_2007_test
  TRAIN:
  - voc_2007_trainval
  - voc_2012_trainval
INPUT:
  FORMAT: RGB
  MIN_SIZE_TRAIN:
  - 480
  - 800
MODEL:
  BACKBONE:
    FREEZE_AT: 0
    NAME: build_resnet_backbone
  DEVICE: cuda
  MASK_ON: false
  PIXEL_MEAN:
  - 123.675
  - 116.28
  - 103.53
  PIXEL_STD:
  - 58.395
  - 57.12
  - 57.375
  RESNETS:
    DEPTH: 50
    NORM: SyncBN
    NUM_GROUPS: 1
    STEM_OUT_CHANNELS: 64
    STRIDE_IN_1X1: false
    WIDTH_PER_GROUP: 64
  RETINANET:
    BBOX_REG_WEIGHTS: &id001
    - 1.0
    - 1.0
    - 1.0
    - 1.0
  ROI_BOX_HEAD:
    NORM: ''
    NUM_CONV: 0
    NUM_FC: 0
  ROI_HEADS:
    NAME: Res5ROIHeads
    NUM_CLASSES: 20
  RPN:
    BBOX_REG_WEIGHTS: *id001
  WEIGHTS: ./net.pkl
OUTPUT_DIR: ./output
SEED: 3
SOLVER:
  BASE_LR: 0.02
  CHECKPOINT_PERIOD: 5000
  IMS_PER_BATCH: 16
  MAX_ITER: 24000
  STEPS:
  - 18000
  - 22000
  WEIGHT_DECAY_BIAS: null
TEST:
  EVAL_PERIOD: 12000
  EXPECTED_RESULTS: []
  PRECISE_BN:
    ENABLED: true
    NUM_ITER: 200
VERSION: 2
VIS_PERIOD: 0
"""

VOC = {"bbox/AP": 57.25, "bbox/AP50": 82.5, "bbox/AP75": 63.7}
COCO = {
    **{f"bbox/{name}": 40.0 + i for i, name in enumerate(("AP", "AP50", "AP75", "APl", "APm", "APs"))},
    **{f"segm/{name}": 35.0 + i for i, name in enumerate(("AP", "AP50", "AP75", "APl", "APm", "APs"))},
    "bbox/AP-cat": float("nan"),
}
COCO_SETS = {"voc_2007_trainval\n  - voc_2012_trainval": "coco_2017_train", "voc_2007_test": "coco_2017_val"}


def make_detectron2(
    folder: Path,
    results: Sequence[tuple[int, Mapping[str, float]]] = ((11999, {**VOC, "bbox/AP": 50.0}), (24000, VOC)),
    changes: Mapping[str, str] | None = None,
    *,
    num_devices: int | None = 8,
) -> Path:
    """A folder with evaluations of (iteration, values); `changes` are replaced in the text of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG_YAML
    for old, new in (changes or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "config.yaml").write_text(text)
    lines: list[dict[str, Any]] = []
    for iteration, values in results:
        lines.append({"iteration": iteration - 20, "lr": 0.02, "total_loss": 0.5})
        lines.append({**values, "iteration": iteration})
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (folder / "metrics.json").write_text(text)
    if num_devices is not None:
        head = f"[01/02 03:04:05] detectron2 INFO: Rank of current process: 0. World size: {num_devices}\n"
        (folder / "log.txt").write_text(head)
    (folder / "last_checkpoint").write_text("model_final.pth")
    return folder


CONFIG_PY = """\
crop_size = (
    512,
    512,
)
data_preprocessor = dict(type='SegDataPreProcessor')
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False, type='LoggerHook'))
default_scope = 'mmseg'
load_from = None
model = dict(
    backbone=dict(
        depth=50,
        init_cfg=dict(checkpoint='/data/net.pth', type='Pretrained'),
        norm_cfg=dict(requires_grad=True, type='SyncBN'),
        strides=(
            1,
            2,
            1,
            1,
        ),
        style='pytorch',
        type='ResNet'),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor'),
    decode_head=dict(num_classes=21, type='FCNHead'),
    pretrained=None,
    type='EncoderDecoder')
optim_wrapper = dict(
    optimizer=dict(lr=0.01, momentum=0.9, type='SGD', weight_decay=0.0005),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=20000, eta_min=0.0001, type='PolyLR'),
]
randomness = dict(seed=3)
resume = False
train_cfg = dict(max_iters=20000, type='IterBasedTrainLoop', val_interval=2000)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        datasets=[
            dict(ann_file='ImageSets/Segmentation/train.txt', type='PascalVOCDataset'),
            dict(ann_file='ImageSets/Segmentation/aug.txt', type='PascalVOCDataset'),
        ],
        type='ConcatDataset'),
    num_workers=4)
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file='ImageSets/Segmentation/val.txt',
        data_root='/data/VOC2012',
        type='PascalVOCDataset'),
    num_workers=4)
val_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
work_dir = './work_dirs/fcn'
"""

LABELS = {"aAcc": 93.1, "mIoU": 67.25, "mAcc": 78.0, "data_time": 0.002, "time": 0.05}


def make_mmseg(
    folder: Path,
    results: Sequence[tuple[int, Mapping[str, float]]] = ((18000, {**LABELS, "mIoU": 60.0}), (20000, LABELS)),
    changes: Mapping[str, str] | None = None,
    *,
    timestamp: str = "20260102_030405",
    num_devices: int | None = 4,
    by_epoch: bool = False,
) -> Path:
    """A folder with evaluations of (iteration, values); `by_epoch`: their `step` is 0, as by default."""
    part = folder / timestamp
    (part / "vis_data").mkdir(parents=True)
    text = CONFIG_PY
    for old, new in {**(changes or {}), **({" log_metric_by_epoch=False,": ""} if by_epoch else {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    (part / "vis_data" / "config.py").write_text(text)
    lines: list[dict[str, Any]] = []
    for iteration, values in results:
        lines.append({"lr": 0.01, "loss": 0.5, "iter": iteration - 30, "step": iteration - 30})
        lines.append({**values, "step": 0 if by_epoch else iteration})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (part / "vis_data" / "scalars.json").write_text(text)
    if num_devices is not None:
        head = f"------\nSystem environment:\n    GPU number: {num_devices}\n------\n"
        (part / f"{timestamp}.log").write_text(head)
    return folder
