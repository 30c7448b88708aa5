"""The published segmentation protocols in MMEngine's entries, written down by hand."""

from __future__ import annotations

from typing import Any

# Every number below is written down by hand from these files, not taken from a config of ours:
# open-mmlab/mmselfsup (0.x) configs/benchmarks/mmsegmentation/{_base_/models/fcn_r50-d8.py,
# _base_/datasets/{pascal_voc12_aug,cityscapes_769x769}.py, _base_/schedules/schedule_{20k,40k}.py,
# cityscapes/fcn_r50-d8_769x769_40k_cityscapes.py}, CVMI-Lab/SlotCon transfer/segmentation/configs, and
# open-mmlab/mmsegmentation configs/_base_/models/{upernet_r50,fpn_r50}.py, configs/_base_/datasets/ade20k.py.
NETWORK = {
    "model.type": "EncoderDecoder",
    "model.pretrained": None,
    "model.data_preprocessor.type": "SegDataPreProcessor",
    "model.data_preprocessor.mean": [123.675, 116.28, 103.53],
    "model.data_preprocessor.std": [58.395, 57.12, 57.375],
    "model.data_preprocessor.bgr_to_rgb": True,
    "model.data_preprocessor.rgb_to_bgr": False,
    "model.data_preprocessor.size": [512, 512],
    "model.data_preprocessor.pad_val": 0,
    "model.data_preprocessor.seg_pad_val": 255,
    "model.backbone.type": "ResNet",
    "model.backbone.depth": 50,
    "model.backbone.num_stages": 4,
    "model.backbone.out_indices": [0, 1, 2, 3],
    "model.backbone.strides": [1, 2, 1, 1],
    "model.backbone.dilations": [1, 1, 2, 4],
    "model.backbone.contract_dilation": True,
    "model.backbone.style": "pytorch",
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_eval": False,
    "model.backbone.norm_cfg.type": "SyncBN",
    "model.backbone.norm_cfg.requires_grad": True,
    "model.backbone.init_cfg.type": "Pretrained",
    "model.backbone.init_cfg.checkpoint": "weights.pth",
    "model.train_cfg": {},
    "model.test_cfg.mode": "whole",
}


def head(place: str, **values: Any) -> dict[str, Any]:
    common = {
        "norm_cfg.type": "SyncBN",
        "norm_cfg.requires_grad": True,
        "ignore_index": 255,
        "align_corners": False,
        "loss_decode.type": "CrossEntropyLoss",
        "loss_decode.use_sigmoid": False,
        "loss_decode.loss_weight": 1.0,
        "dropout_ratio": 0.1,
    }
    return {f"model.{place}.{key}": value for key, value in {**common, **values}.items()}


FCN = head(
    "decode_head", type="FCNHead", in_channels=2048, in_index=3, channels=512, num_convs=2, dilation=1,
    concat_input=True, num_classes=21,
)  # fmt: skip
AUXILIARY = head(
    "auxiliary_head", type="FCNHead", in_channels=1024, in_index=2, channels=256, num_convs=1,
    concat_input=False, num_classes=21, **{"loss_decode.loss_weight": 0.4},
)  # fmt: skip
UPERNET = head(
    "decode_head", type="UPerHead", in_channels=[256, 512, 1024, 2048], in_index=[0, 1, 2, 3], channels=512,
    pool_scales=[1, 2, 3, 6], num_classes=150,
)  # fmt: skip
SEMFPN = head(
    "decode_head", type="FPNHead", in_channels=[256] * 4, in_index=[0, 1, 2, 3], channels=128,
    feature_strides=[4, 8, 16, 32], num_classes=150,
) | {
    "model.neck.type": "FPN",
    "model.neck.in_channels": [256, 512, 1024, 2048],
    "model.neck.out_channels": 256,
    "model.neck.num_outs": 4,
}  # fmt: skip
NOT_DILATED = {"model.backbone.strides": [1, 2, 2, 2], "model.backbone.dilations": [1, 1, 1, 1]}


def transforms(scale: list[int], crop: int, share: float, *, distort: bool) -> list[dict[str, Any]]:
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": scale, "ratio_range": [0.5, 2.0], "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": [crop, crop], "cat_max_ratio": share},
        {"type": "RandomFlip", "prob": 0.5},
        *([{"type": "PhotoMetricDistortion"}] if distort else []),
        {"type": "PackSegInputs"},
    ]


def for_the_test(scale: list[int]) -> list[dict[str, Any]]:
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": scale, "keep_ratio": True},
        {"type": "LoadAnnotations"},
        {"type": "PackSegInputs"},
    ]


def solver(rate: float, decay: float, iterations: int, batch: int, **schedule: Any) -> dict[str, Any]:
    poly = {"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "begin": 0, "end": iterations, "by_epoch": False}
    return {
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": decay},
            "clip_grad": None,
        },
        "param_scheduler": [schedule or poly],
        "iterations": iterations,
        "batch": batch,
    }


def steps(*milestones: int) -> dict[str, Any]:
    return {"type": "MultiStepLR", "milestones": list(milestones), "gamma": 0.1, "by_epoch": False}


def classes(count: int) -> dict[str, Any]:
    return {"model.decode_head.num_classes": count, "model.auxiliary_head.num_classes": count}


def squares(crop: int) -> dict[str, Any]:
    return {"model.data_preprocessor.size": [crop, crop]}


ALIGNED = {"model.decode_head.align_corners": True}
SLIDING = {
    "model.test_cfg.mode": "slide",
    "model.test_cfg.crop_size": [769, 769],
    "model.test_cfg.stride": [513, 513],
}
MOCO = (
    NETWORK
    | FCN
    | ALIGNED
    | {
        "model.backbone.strides": [1, 2, 2, 1],
        "model.backbone.dilations": [1, 1, 1, 2],
        "model.decode_head.channels": 256,
        "model.decode_head.concat_input": False,
        "model.decode_head.dropout_ratio": 0.0,
        "model.decode_head.dilation": 6,
    }
)
CITY_D8 = NETWORK | FCN | AUXILIARY | ALIGNED | {"model.auxiliary_head.align_corners": True} | SLIDING
PINNED: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[int], dict[str, Any]]] = {
    "voc12aug-fcn-d8": (
        NETWORK | FCN | AUXILIARY,
        transforms([2048, 512], 512, 0.75, distort=True),
        [2048, 512],
        solver(0.01, 5e-4, 20_000, 16),
    ),
    "voc12aug-fcn-moco": (
        MOCO | squares(513),
        transforms([2049, 513], 513, 1.0, distort=False),
        [2049, 513],
        solver(0.003, 1e-4, 30_000, 16, **steps(21_000, 27_000)),
    ),
    "cityscapes-fcn-d8-769-40k": (
        CITY_D8 | classes(19) | squares(769),
        transforms([2049, 1025], 769, 0.75, distort=True),
        [2049, 1025],
        solver(0.01, 5e-4, 40_000, 8),
    ),
    "cityscapes-fcn-moco": (
        MOCO | SLIDING | squares(769) | {"model.decode_head.num_classes": 19},
        transforms([2049, 1025], 769, 1.0, distort=False),
        [2049, 1025],
        solver(0.01, 1e-4, 90_000, 16, **steps(63_000, 81_000)),
    ),
    "ade20k-fcn-d8-80k": (
        NETWORK | FCN | AUXILIARY | classes(150),
        transforms([2048, 512], 512, 0.75, distort=True),
        [2048, 512],
        solver(0.01, 5e-4, 80_000, 16),
    ),
    "ade20k-upernet-160k": (
        NETWORK | UPERNET | AUXILIARY | classes(150) | NOT_DILATED,
        transforms([2048, 512], 512, 0.75, distort=True),
        [2048, 512],
        solver(0.01, 5e-4, 160_000, 16),
    ),
    "ade20k-semfpn-80k": (
        NETWORK | SEMFPN | NOT_DILATED,
        transforms([2048, 512], 512, 0.75, distort=True),
        [2048, 512],
        solver(0.01, 5e-4, 80_000, 16),
    ),
    "nyuv2-fcn-40k": (
        NETWORK | FCN | AUXILIARY | classes(40) | squares(480),
        transforms([640, 480], 480, 0.75, distort=True),
        [640, 480],
        solver(0.01, 5e-4, 40_000, 16),
    ),
}
COUNTS = {
    "voc12aug": (10_582, 1_449, 21),
    "cityscapes": (2_975, 500, 19),
    "ade20k": (20_210, 2_000, 150),
    "nyuv2": (795, 654, 40),
}
