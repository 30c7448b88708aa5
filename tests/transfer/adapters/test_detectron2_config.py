"""The published protocol in Detectron2's keys, field by field, and every field's way there."""

from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.errors import WeightsError
from bench.core.paths import CONFIGS
from transfer.adapters.detectron2_config import detectron2_config
from transfer.protocols.detection import DetectionProtocol

PATH = CONFIGS / "transfer" / "voc0712-r50c4-24k.toml"
RGB, MSRA = (
    InputSpec(),
    InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1"),
)


def entries(*overrides: str, spec: InputSpec = RGB) -> dict[str, Any]:
    protocol = load_config(DetectionProtocol, PATH, overrides)
    return detectron2_config(
        protocol,
        spec,
        num_classes=20,
        train_names=("voc_2007_trainval", "voc_2012_trainval"),
        test_name="voc_2007_test",
        weights_file="weights.pkl",
        seed=0,
    )


def test_the_moco_recipe() -> None:
    # Source: facebookresearch/moco detection/configs/{Base-RCNN-C4-BN,pascal_voc_R_50_C4_24k*}.yaml
    published = {
        "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",
        "MODEL.ROI_HEADS.NUM_CLASSES": 20,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.NORM": "SyncBN",
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.PIXEL_MEAN": [123.675, 116.280, 103.530],
        "MODEL.PIXEL_STD": [58.395, 57.120, 57.375],
        "MODEL.MASK_ON": False,
        "INPUT.FORMAT": "RGB",
        "INPUT.MIN_SIZE_TRAIN": [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800],
        "INPUT.MIN_SIZE_TEST": 800,
        "SOLVER.STEPS": [18000, 22000],
        "SOLVER.MAX_ITER": 24000,
        "SOLVER.WARMUP_ITERS": 100,
        "SOLVER.IMS_PER_BATCH": 16,
        "SOLVER.BASE_LR": 0.02,
        "TEST.PRECISE_BN.ENABLED": True,
        "TEST.PRECISE_BN.NUM_ITER": 200,
    }
    found = entries()
    assert {key: found[key] for key in published} == published


def test_all_else_is_detectron2s_default() -> None:
    from transfer.engines.detectron2.repairs import load_detectron2

    load_detectron2()
    from detectron2.config import get_cfg

    defaults = get_cfg()
    ours = {
        "INPUT.FORMAT", "INPUT.MIN_SIZE_TRAIN", "MODEL.BACKBONE.FREEZE_AT", "MODEL.MASK_ON",
        "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.RESNETS.NORM",
        "MODEL.RESNETS.STRIDE_IN_1X1", "MODEL.ROI_HEADS.NAME",
        "MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.RPN.POST_NMS_TOPK_TEST", "MODEL.WEIGHTS", "DATASETS.TRAIN",
        "DATASETS.TEST", "SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS",
        "TEST.PRECISE_BN.ENABLED", "SEED",
    }  # fmt: skip
    for key, value in entries().items():
        node: Any = defaults
        for part in key.split("."):
            node = node[part]
        if key not in ours:
            assert _plain(node) == _plain(value), key
    # What MoCo's config leaves to the default of Mask R-CNN C4's base is in the list above or equal here:
    assert defaults.MODEL.RPN.PRE_NMS_TOPK_TEST == 6000


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
    assert entries(mutation) != entries()


def test_the_mutations_cover_every_field() -> None:
    protocol = load_config(DetectionProtocol, PATH)
    fields = {
        f"{section}.{name}"
        for section in ("model", "input", "solver")
        for name in getattr(protocol, section).model_dump()
    }
    # The architecture decides the whole set of keys, its box head with it; our own loop accumulates.
    elsewhere = {"model.architecture", "model.box_head", "solver.accumulation_steps"}
    assert {mutation.partition("=")[0] for mutation in MUTATIONS} == fields - elsewhere
