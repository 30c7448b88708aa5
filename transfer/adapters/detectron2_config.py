"""Our detection protocol in Detectron2's own keys. Names and values alone: no engine is imported."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np

from bench.core.card import Card, InputSpec
from bench.core.errors import WeightsError
from transfer.protocols.coco import CocoProtocol
from transfer.protocols.detection import DetectionProtocol, Model

MaskFormat = Literal["polygon", "bitmask"]

EXTRA_NORM_HEAD = "Res5ROIHeadsExtraNorm"
PLAIN_HEAD = "Res5ROIHeads"


def check_input(spec: InputSpec) -> None:
    """Refuse what Detectron2's ResNet cannot do.

    Raises:
        WeightsError: another padding than PyTorch's.
    """
    if spec.padding != "pytorch":
        raise WeightsError(
            f"these weights expect {spec.padding} padding, Detectron2's ResNet pads as PyTorch does; "
            "its features would shift by a pixel"
        )


def pixel_settings(spec: InputSpec) -> dict[str, Any]:
    """What Detectron2 must be told of the weights, as "A.B": value; the rest is for the protocol.

    Mean and std are on the 0-255 scale, in the order of INPUT.FORMAT.

    Source: detectron2 `config/defaults.py`, whose own values are those of the MSRA weights.
    """
    return {
        "MODEL.PIXEL_MEAN": list(spec.mean),
        "MODEL.PIXEL_STD": list(spec.std),
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.STRIDE_IN_1X1": spec.stride_in == "1x1",
        "INPUT.FORMAT": spec.channel_order.upper(),
    }


def config_yaml(card: Card, file_name: str) -> tuple[str, str]:
    """(`.yaml`, text) with the settings of `pixel_settings` and the file.

    It has to be merged last; as `_BASE_` it is overruled. Every string from a card or a file name is quoted.
    """
    lines = [
        f"# From the card of the weights {json.dumps(card.name)}.",
        "# Merge it last, cfg.merge_from_file, over your config; as _BASE_ of it, your values would win.",
        "# PIXEL_MEAN, PIXEL_STD: on the 0-255 scale, in the order of FORMAT.",
        "# STRIDE_IN_1X1: where these weights have a stage's stride; the wrong place loads without a word.",
        "# WEIGHTS: a path as seen from where the training starts.",
    ]
    if card.input.padding != "pytorch":
        lines.append("# These weights expect TensorFlow's SAME padding; Detectron2 pads as PyTorch does.")
    tree: dict[str, Any] = {"VERSION": 2, "MODEL": {"WEIGHTS": file_name}}
    for key, value in pixel_settings(card.input).items():
        node = tree
        *path, last = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return ".yaml", "\n".join([*lines, *_yaml(tree, "")]) + "\n"


def _yaml(tree: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_yaml(value, f"{indent}  ")]
        elif isinstance(value, list):
            # YAML 1.1 takes 1e-05 for a word: digits alone, as many as the number has.
            numbers = [np.format_float_positional(number, trim="0") for number in value]
            lines.append(f"{indent}{key}: [{', '.join(numbers)}]")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def _architecture(model: Model) -> dict[str, Any]:
    """The keys in which a C4 detector and one with a pyramid differ.

    Source: facebookresearch/detectron2 `configs/Base-RCNN-C4.yaml`, `configs/Base-RCNN-FPN.yaml`.
    Differs: `MODEL.FPN.NORM` is the backbone's norm, and not none.
    """
    if not model.is_fpn:
        return {
            "MODEL.BACKBONE.NAME": "build_resnet_backbone",
            "MODEL.RESNETS.OUT_FEATURES": ["res4"],
            "MODEL.ANCHOR_GENERATOR.SIZES": [list(model.anchor_sizes_px)],
            "MODEL.RPN.IN_FEATURES": ["res4"],
            "MODEL.ROI_HEADS.NAME": EXTRA_NORM_HEAD if model.extra_norm else PLAIN_HEAD,
            "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
        }
    stages = ["res2", "res3", "res4", "res5"]
    return {
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": stages,
        "MODEL.FPN.IN_FEATURES": stages,
        "MODEL.FPN.NORM": model.norm,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[size] for size in model.anchor_sizes_px],
        "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        **_box_head(model),
    }


def _box_head(model: Model) -> dict[str, Any]:
    """The layers between a region of the pyramid and its class and box.

    Source: facebookresearch/detectron2 `configs/Base-RCNN-FPN.yaml` (2fc); HobbitLong/PyContrast
    `pycontrast/detection/configs/R_50_FPN_1x.yaml` (4conv1fc).
    """
    if model.box_head == "2fc":
        return {"MODEL.ROI_BOX_HEAD.NUM_FC": 2}
    return {
        "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.NORM": model.norm,
    }


def _masks(protocol: DetectionProtocol, mask_format: MaskFormat) -> dict[str, Any]:
    """The keys of a mask head, where there is one.

    Source: facebookresearch/detectron2 `modeling/roi_heads/mask_head.py`, `config/defaults.py`.
    """
    if not isinstance(protocol, CocoProtocol):
        return {"MODEL.MASK_ON": False}
    head = protocol.mask_head
    return {
        "MODEL.MASK_ON": True,
        "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
        "MODEL.ROI_MASK_HEAD.NUM_CONV": head.num_convs,
        "MODEL.ROI_MASK_HEAD.NORM": protocol.model.norm if head.norm else "",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": head.pool_resolution,
        "INPUT.MASK_FORMAT": mask_format,
    }


def detectron2_config(
    protocol: DetectionProtocol,
    spec: InputSpec,
    *,
    num_classes: int,
    train_names: tuple[str, ...],
    test_name: str,
    weights_file: str,
    seed: int,
    mask_format: MaskFormat = "polygon",
) -> dict[str, Any]:
    """Every Detectron2 key that a protocol decides, as "A.B": value.

    Args:
        protocol: As it will be run.
        spec: The input spec of the weights' card.
        num_classes: Object classes, background not counted.
        train_names: Data sets as Detectron2 knows them.
        test_name: The same, for the test.
        weights_file: The converted weights, or "" for random initialisation.
        seed: Of the trial.
        mask_format: What outlines are trained on as, where masks are.

    Raises:
        WeightsError: the input spec asks for what Detectron2's ResNet cannot do.

    Source:
        facebookresearch/detectron2 `detectron2/config/defaults.py`.
    """
    check_input(spec)
    model, solver, pixels = protocol.model, protocol.solver, protocol.input
    return {
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.WEIGHTS": weights_file,
        **pixel_settings(spec),
        **_architecture(model),
        **_masks(protocol, mask_format),
        "MODEL.BACKBONE.FREEZE_AT": model.freeze_at,
        "MODEL.RESNETS.NORM": model.norm,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(model.anchor_aspect_ratios)],
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": model.rpn_batch_per_image,
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": model.rpn_pre_nms_train,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": model.rpn_post_nms_train,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": model.rpn_pre_nms_test,
        "MODEL.RPN.POST_NMS_TOPK_TEST": model.rpn_post_nms_test,
        "MODEL.RPN.NMS_THRESH": model.rpn_nms_iou,
        "MODEL.ROI_HEADS.NUM_CLASSES": num_classes,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": model.roi_batch_per_image,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": model.roi_positive_fraction,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": model.test_score_threshold,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": model.test_nms_iou,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": model.roi_pool_resolution,
        "INPUT.MIN_SIZE_TRAIN": list(pixels.train_short_sides_px),
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
        "INPUT.MAX_SIZE_TRAIN": pixels.train_max_side_px,
        "INPUT.MIN_SIZE_TEST": pixels.test_short_side_px,
        "INPUT.MAX_SIZE_TEST": pixels.test_max_side_px,
        "INPUT.RANDOM_FLIP": "horizontal" if pixels.horizontal_flip else "none",
        "DATASETS.TRAIN": list(train_names),
        "DATASETS.TEST": [test_name],
        "DATALOADER.ASPECT_RATIO_GROUPING": pixels.aspect_ratio_grouping,
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": True,
        "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
        "SOLVER.MAX_ITER": solver.iterations,
        "SOLVER.IMS_PER_BATCH": solver.images_per_batch,
        "SOLVER.BASE_LR": solver.learning_rate,
        "SOLVER.STEPS": list(solver.steps),
        "SOLVER.GAMMA": solver.gamma,
        "SOLVER.WARMUP_ITERS": solver.warmup_iterations,
        "SOLVER.WARMUP_FACTOR": solver.warmup_factor,
        "SOLVER.WARMUP_METHOD": "linear",
        "SOLVER.MOMENTUM": solver.momentum,
        "SOLVER.NESTEROV": False,
        "SOLVER.WEIGHT_DECAY": solver.weight_decay,
        "SOLVER.WEIGHT_DECAY_NORM": solver.weight_decay_norm,
        "SOLVER.AMP.ENABLED": solver.precision != "fp32",
        "TEST.DETECTIONS_PER_IMAGE": model.test_detections_per_image,
        "TEST.PRECISE_BN.ENABLED": solver.precise_bn_iterations > 0,
        "TEST.PRECISE_BN.NUM_ITER": max(solver.precise_bn_iterations, 1),
        "SEED": seed,
        "VERSION": 2,
    }
