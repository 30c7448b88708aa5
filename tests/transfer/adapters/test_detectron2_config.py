"""The published protocol in Detectron2's keys, field by field, and every field's way there."""

import re
from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.config import load_config, read_toml
from bench.core.errors import ConfigError, WeightsError
from bench.core.paths import CONFIGS
from transfer.adapters.detectron2_config import detectron2_config
from transfer.api import TASKS
from transfer.protocols.coco import CocoProtocol
from transfer.protocols.voc import VocProtocol

RGB, MSRA = (
    InputSpec(),
    InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1"),
)


def load(slug: str, *overrides: str) -> Any:
    kind: Any = CocoProtocol if slug.startswith("coco") else VocProtocol
    return load_config(kind, CONFIGS / "transfer" / f"{slug}.toml", overrides)


def entries(*overrides: str, slug: str = "voc0712-r50c4-24k", spec: InputSpec = RGB) -> dict[str, Any]:
    names = DATA[slug.split("-")[0]]
    return detectron2_config(load(slug, *overrides), spec, weights_file="weights.pkl", seed=0, **names)


# Every number below is written down by hand from these files, not taken from a config of ours:
# facebookresearch/moco detection/configs/{Base-RCNN-C4-BN,pascal_voc_R_50_C4_24k{,_moco}}.yaml
# (M), and what they leave to facebookresearch/detectron2 configs/Base-RCNN-C4.yaml and defaults.py (D).
SHORT_SIDES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
PUBLISHED_C4 = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",  # M
    "MODEL.MASK_ON": False,  # M
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",  # D
    "MODEL.BACKBONE.FREEZE_AT": 0,  # M: everything trains
    "MODEL.RESNETS.DEPTH": 50,  # D
    "MODEL.RESNETS.NORM": "SyncBN",  # M until November 2020, then naiveSyncBN
    "MODEL.RESNETS.STRIDE_IN_1X1": False,  # M
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],  # D
    "MODEL.PIXEL_MEAN": [123.675, 116.280, 103.530],  # M
    "MODEL.PIXEL_STD": [58.395, 57.120, 57.375],  # M
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],  # D
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],  # D
    "MODEL.RPN.IN_FEATURES": ["res4"],  # D
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,  # D
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,  # D
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,  # M
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,  # M
    "MODEL.RPN.NMS_THRESH": 0.7,  # D
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,  # D
    "MODEL.RPN.POSITIVE_FRACTION": 0.5,  # D
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",  # M
    "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],  # D
    "MODEL.ROI_HEADS.NUM_CLASSES": 20,  # M
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,  # D
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,  # D
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,  # D
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,  # D
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,  # D
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",  # D
    "INPUT.FORMAT": "RGB",  # M
    "INPUT.MIN_SIZE_TRAIN": list(SHORT_SIDES),  # M
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",  # D
    "INPUT.MAX_SIZE_TRAIN": 1333,  # D
    "INPUT.MIN_SIZE_TEST": 800,  # M
    "INPUT.MAX_SIZE_TEST": 1333,  # D
    "INPUT.RANDOM_FLIP": "horizontal",  # D
    "INPUT.CROP.ENABLED": False,  # D
    "DATASETS.TRAIN": ["voc_2007_trainval", "voc_2012_trainval"],  # M
    "DATASETS.TEST": ["voc_2007_test"],  # M
    "DATALOADER.ASPECT_RATIO_GROUPING": True,  # D
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": True,  # D
    "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",  # D
    "SOLVER.MAX_ITER": 24000,  # M
    "SOLVER.STEPS": [18000, 22000],  # M
    "SOLVER.GAMMA": 0.1,  # D
    "SOLVER.WARMUP_ITERS": 100,  # M
    "SOLVER.WARMUP_FACTOR": 0.001,  # D
    "SOLVER.WARMUP_METHOD": "linear",  # D
    "SOLVER.IMS_PER_BATCH": 16,  # M
    "SOLVER.BASE_LR": 0.02,  # M
    "SOLVER.MOMENTUM": 0.9,  # D
    "SOLVER.NESTEROV": False,  # D
    "SOLVER.WEIGHT_DECAY": 0.0001,  # D
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,  # D
    "SOLVER.BIAS_LR_FACTOR": 1.0,  # D
    "SOLVER.CLIP_GRADIENTS.ENABLED": False,  # D
    "SOLVER.AMP.ENABLED": False,  # D
    "TEST.PRECISE_BN.ENABLED": True,  # M
    "TEST.PRECISE_BN.NUM_ITER": 200,  # D
    "TEST.DETECTIONS_PER_IMAGE": 100,  # D
    "TEST.AUG.ENABLED": False,  # D
}
# Ours: Detectron2's VOC FPN (configs/Base-RCNN-FPN.yaml) on the schedule above, with its norms.
OURS_FPN = PUBLISHED_C4 | {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.NORM": "SyncBN",
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
}
# facebookresearch/moco detection/configs/coco_R_50_C4_2x{,_moco}.yaml (M), HobbitLong/PyContrast
# pycontrast/detection/configs/R_50_{C4,FPN}_{1x,2x,6x}{,_infomin}.yaml (P), open-mmlab/mmselfsup
# configs/benchmarks/detectron2/coco_R_50_FPN_{1x,2x}{,_moco}.yaml (S), on facebookresearch/detectron2
# configs/Base-RCNN-FPN.yaml (F) and defaults.py (D).
COCO = {
    "MODEL.MASK_ON": True,  # M, P, S
    "MODEL.ROI_HEADS.NUM_CLASSES": 80,  # D
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",  # D, F
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,  # D, F
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2",  # D
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 256,  # D
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": False,  # D
    "INPUT.MASK_FORMAT": "polygon",  # D
    "INPUT.MIN_SIZE_TRAIN": [640, 672, 704, 736, 768, 800],  # M, P, F
    "DATASETS.TRAIN": ["coco_2017_train"],
    "DATASETS.TEST": ["coco_2017_val"],
    "SOLVER.WARMUP_ITERS": 1000,  # D
}
SCHEDULES = {
    "1x": {"SOLVER.MAX_ITER": 90000, "SOLVER.STEPS": [60000, 80000]},  # P, S
    "2x": {"SOLVER.MAX_ITER": 180000, "SOLVER.STEPS": [120000, 160000]},  # M, P, S
    "6x": {"SOLVER.MAX_ITER": 540000, "SOLVER.STEPS": [480000, 520000]},  # P
}
COCO_C4 = PUBLISHED_C4 | COCO | {"MODEL.ROI_MASK_HEAD.NUM_CONV": 0, "MODEL.ROI_MASK_HEAD.NORM": ""}  # D
COCO_FPN_2FC = OURS_FPN | COCO | {"MODEL.ROI_MASK_HEAD.NUM_CONV": 4, "MODEL.ROI_MASK_HEAD.NORM": ""}  # F
COCO_FPN_4CONV = COCO_FPN_2FC | {
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,  # P
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,  # P
    "MODEL.ROI_BOX_HEAD.CONV_DIM": 256,  # D
    "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,  # D
    "MODEL.ROI_BOX_HEAD.NORM": "SyncBN",  # P
    "MODEL.ROI_MASK_HEAD.NORM": "SyncBN",  # P
}
OF_THE_RUN = {"MODEL.WEIGHTS": "weights.pkl", "MODEL.DEVICE": "cpu", "SEED": 0}
PINNED = {
    "voc0712-r50c4-24k": PUBLISHED_C4,
    "voc0712-r50fpn-24k": OURS_FPN,
    "coco-r50c4-1x": COCO_C4 | SCHEDULES["1x"],
    "coco-r50c4-2x": COCO_C4 | SCHEDULES["2x"],
    "coco-r50fpn4conv-1x": COCO_FPN_4CONV | SCHEDULES["1x"],
    "coco-r50fpn4conv-2x": COCO_FPN_4CONV | SCHEDULES["2x"],
    "coco-r50fpn4conv-6x": COCO_FPN_4CONV | SCHEDULES["6x"],
    "coco-r50fpn-1x": COCO_FPN_2FC | SCHEDULES["1x"],
    "coco-r50fpn-2x": COCO_FPN_2FC | SCHEDULES["2x"],
}
DATA: dict[str, dict[str, Any]] = {
    "voc0712": {
        "num_classes": 20,
        "train_names": ("voc_2007_trainval", "voc_2012_trainval"),
        "test_name": "voc_2007_test",
    },
    "coco": {"num_classes": 80, "train_names": ("coco_2017_train",), "test_name": "coco_2017_val"},
}


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Every key of a config node, as "A.B"."""
    if not hasattr(node, "items"):
        return {prefix: _plain(node)}
    return {
        key: value
        for name, inner in node.items()
        for key, value in flat(inner, f"{prefix}.{name}" if prefix else name).items()
    }


def resolved(*overrides: str, slug: str = "voc0712-r50c4-24k", spec: InputSpec = RGB) -> dict[str, Any]:
    """The whole config that the engine is built from."""
    from transfer.engines.detectron2.model import build_config

    return flat(build_config(entries(*overrides, slug=slug, spec=spec), "cpu"))


def pinned(slug: str) -> dict[str, Any]:
    """The whole config as it must be: the numbers above, and Detectron2's default in every other field."""
    from transfer.engines.detectron2.repairs import load_detectron2

    load_detectron2()
    from detectron2.config import get_cfg

    return flat(get_cfg()) | PINNED[slug] | OF_THE_RUN


@pytest.mark.parametrize("slug", PINNED)
def test_every_field_of_the_resolved_config(slug: str) -> None:
    assert resolved(slug=slug) == pinned(slug)


def test_every_field_of_ours_is_pinned_by_hand() -> None:
    """Detectron2's defaults fill in what the protocol does not name, and nothing that it names."""
    for slug, numbers in PINNED.items():
        assert entries(slug=slug).keys() - numbers.keys() - OF_THE_RUN.keys() == {"VERSION"}


def test_what_is_not_in_the_engines_config() -> None:
    voc = {"VOC2007/trainval": 5011, "VOC2012/trainval": 11540, "VOC2007/test": 4952}
    for slug in PINNED:
        protocol = load(slug)
        is_coco = slug.startswith("coco")
        assert protocol.metric.ap_rule == ("coco_101point" if is_coco else "voc07_11point")
        assert protocol.solver.accumulation_steps == 1
        assert protocol.data.split_counts == ({"train2017": 118_287, "val2017": 5_000} if is_coco else voc)


def test_all_protocols_are_pinned() -> None:
    files = {path.stem: read_toml(path) for path in (CONFIGS / "transfer").glob("*.toml")}
    assert set(PINNED) == {
        slug for slug, file in files.items() if TASKS.get(file["task"]).spec.engine == "detectron2"
    }


def test_the_two_pyramids_differ_in_their_heads_alone() -> None:
    one, other = (resolved(slug=f"coco-{family}-1x") for family in ("r50fpn4conv", "r50fpn"))
    assert {key for key in one if one[key] != other[key]} == {
        "MODEL.ROI_BOX_HEAD.NUM_CONV",
        "MODEL.ROI_BOX_HEAD.NUM_FC",
        "MODEL.ROI_BOX_HEAD.NORM",
        "MODEL.ROI_MASK_HEAD.NORM",
    }


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_the_msra_baseline_is_fed_as_it_was_trained() -> None:
    found = entries(spec=MSRA)
    assert found["INPUT.FORMAT"] == "BGR"
    assert found["MODEL.PIXEL_STD"] == [1.0, 1.0, 1.0]
    assert found["MODEL.PIXEL_MEAN"] == [103.53, 116.28, 123.675]
    assert found["MODEL.RESNETS.STRIDE_IN_1X1"] is True


def test_tf_padding_is_refused() -> None:
    with pytest.raises(WeightsError, match="padding"):
        entries(spec=InputSpec(padding="tf_same"))


MUTATIONS = (
    "model.norm='FrozenBN'", "model.extra_norm=false", "model.freeze_at=2", "model.anchor_sizes_px=[64]",
    "model.anchor_aspect_ratios=[1.0]", "model.rpn_batch_per_image=128", "model.rpn_pre_nms_train=6000",
    "model.rpn_post_nms_train=1000", "model.rpn_pre_nms_test=1000", "model.rpn_post_nms_test=300",
    "model.rpn_nms_iou=0.5", "model.roi_batch_per_image=128", "model.roi_positive_fraction=0.5",
    "model.roi_pool_resolution=7", "model.test_score_threshold=0.0", "model.test_nms_iou=0.3",
    "model.test_detections_per_image=300", "input.train_short_sides_px=[800]", "input.train_max_side_px=1200",
    "input.test_short_side_px=600", "input.test_max_side_px=1000", "input.horizontal_flip=false",
    "input.aspect_ratio_grouping=false", "solver.iterations=25000", "solver.images_per_batch=8",
    "solver.learning_rate=0.1", "solver.steps=[17000]", "solver.gamma=0.2", "solver.warmup_iterations=1000",
    "solver.warmup_factor=0.3333", "solver.momentum=0.8", "solver.weight_decay=0.001",
    "solver.weight_decay_norm=0.0001", "solver.precise_bn_iterations=0", "solver.precision='bf16'",
)  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_field_reaches_the_engine(mutation: str) -> None:
    assert resolved(mutation) != pinned("voc0712-r50c4-24k")


@pytest.mark.parametrize(
    "change",
    [
        {"channel_order": "bgr"},
        {"mean": (103.53, 116.28, 123.675)},
        {"mean": (127.5, 127.5, 127.5)},
        {"std": (1.0, 1.0, 1.0)},
        {"stride_in": "1x1"},
    ],
)
def test_every_field_of_the_card_reaches_the_engine(change: dict[str, Any]) -> None:
    assert resolved(spec=RGB.model_copy(update=change)) != pinned("voc0712-r50c4-24k")


def test_the_mutations_cover_every_field() -> None:
    protocol = load("voc0712-r50c4-24k")
    fields = {
        f"{section}.{name}"
        for section in ("model", "input", "solver")
        for name in getattr(protocol, section).model_dump()
    }
    # The architecture decides the whole set of keys, its box head with it; our own loop accumulates.
    elsewhere = {"model.architecture", "model.box_head", "solver.accumulation_steps"}
    assert {mutation.partition("=")[0] for mutation in MUTATIONS} == fields - elsewhere


MASK_MUTATIONS = ("mask_head.num_convs=3", "mask_head.norm=false", "mask_head.pool_resolution=7")


@pytest.mark.parametrize("mutation", MASK_MUTATIONS)
def test_every_field_of_the_mask_head_reaches_the_engine(mutation: str) -> None:
    assert resolved(mutation, slug="coco-r50fpn4conv-1x") != pinned("coco-r50fpn4conv-1x")
    fields = {f"mask_head.{name}" for name in load("coco-r50c4-1x").mask_head.model_dump()}
    assert {mutation.partition("=")[0] for mutation in MASK_MUTATIONS} == fields


@pytest.mark.parametrize(
    ("slug", "change"),
    [
        ("coco-r50c4-1x", "mask_head.norm=true"),
        ("coco-r50c4-1x", "mask_head.num_convs=4"),
        ("coco-r50c4-1x", "model.box_head='4conv1fc'"),
        ("coco-r50fpn-1x", "model.box_head='res5'"),
        ("coco-r50fpn-1x", "model.architecture='faster-rcnn-r50-fpn'"),
        ("coco-r50fpn-1x", "metric.ap_rule='voc07_11point'"),
        ("voc0712-r50c4-24k", "model.architecture='mask-rcnn-r50-c4'"),
        ("voc0712-r50c4-24k", "task='coco-instseg'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(slug: str, change: str) -> None:
    with pytest.raises(ConfigError, match=re.split("[.=]", change)[0]):
        load(slug, change)
