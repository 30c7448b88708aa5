"""Our segmentation protocol as a whole config of MMEngine. Names and values alone: no engine is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.card import InputSpec
from bench.core.errors import WeightsError
from bench.core.palette import voc_palette
from transfer.adapters.mmseg import config_text, model_settings
from transfer.data.segmentation import IGNORED, Pairs
from transfer.protocols.segmentation import (
    FcnHead,
    Input,
    Model,
    Poly,
    SegmentationProtocol,
    Sliding,
    Solver,
    UPerHead,
)

STAGE_CHANNELS = (256, 512, 1024, 2048)
"""C2 to C5 of a ResNet-50."""

_AMP = {"bf16": "bfloat16", "fp16": "float16"}
_LEVELS = [0, 1, 2, 3]
_HEADER = """\
# Written by transfer-bench for one trial, for MMSegmentation's own tools/train.py and tools/test.py.
# By those tools a run is another one: they draw order and augmentation from running generators.
"""


@dataclass(frozen=True)
class Listed:
    """Images and label maps of one kind, and the file that lists their ids, one a line."""

    pairs: Pairs
    list_file: Path


def check_input(spec: InputSpec) -> None:
    """Refuse what MMSegmentation's ResNet cannot do.

    Raises:
        WeightsError: another padding than PyTorch's.
    """
    if spec.padding != "pytorch":
        raise WeightsError(
            f"these weights expect {spec.padding} padding, MMSegmentation's ResNet pads as PyTorch does; "
            "its features would shift by a pixel"
        )


def mmseg_config(
    protocol: SegmentationProtocol,
    spec: InputSpec,
    *,
    classes: Sequence[str],
    zero_is_ignored: bool,
    train: Sequence[Listed],
    test: Sequence[Listed],
    weights_file: str,
    seed: int,
    num_devices: int = 1,
) -> dict[str, Any]:
    """Every entry of a config that MMSegmentation's own tools take, started in `num_devices` processes.

    They count parts of a batch as iterations (`accumulative_counts`): with `accumulation_steps` above 1, all
    counts of iterations are so many times higher.

    Args:
        protocol: As it will be run.
        spec: The input spec of the weights' card.
        classes: In the order of labels.
        zero_is_ignored: Of the data set.
        train: Where the images to train on lie.
        test: The same to test on.
        weights_file: The converted weights, or "" for random initialisation.
        seed: Of the trial.
        num_devices: Among which a batch is divided.

    Raises:
        WeightsError: the input spec asks for what MMSegmentation's ResNet cannot do.

    Source:
        open-mmlab/mmsegmentation configs/_base_/{models,datasets,schedules}/, default_runtime.py.
        Differs: the plain ResNet; smaller images are filled up behind the normalisation, as in its versions
        before 1.0, and not with black pixels before it, as its pascal_voc12_aug.py of today.
    """
    check_input(spec)
    solver, images, parts = protocol.solver, protocol.input, protocol.solver.accumulation_steps
    train_transforms, test_transforms = train_pipeline(images), test_pipeline(images)

    def dataset(parts: Sequence[Listed], pipeline: list[dict[str, Any]]) -> dict[str, Any]:
        each = [_dataset(part, classes, zero_is_ignored, pipeline) for part in parts]
        return each[0] if len(each) == 1 else {"type": "ConcatDataset", "datasets": each}

    test_loader = {
        "batch_size": 1,
        "num_workers": protocol.run.num_workers,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": dataset(test, test_transforms),
    }
    evaluator = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
    return {
        "default_scope": "mmseg",
        "model": _model(protocol, spec, num_classes=len(classes), weights_file=weights_file),
        "train_dataloader": {
            "batch_size": solver.images_per_batch // (num_devices * parts),
            "num_workers": protocol.run.num_workers,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": dataset(train, train_transforms),
        },
        "val_dataloader": test_loader,
        "test_dataloader": test_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "optim_wrapper": _optimizer(solver),
        "param_scheduler": [schedule(solver, parts)],
        "train_cfg": {
            "type": "IterBasedTrainLoop",
            "max_iters": solver.iterations * parts,
            "val_interval": solver.iterations * parts,
        },
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": protocol.run.log_iterations * parts},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {
                "type": "CheckpointHook",
                "by_epoch": False,
                "interval": protocol.run.checkpoint_iterations * parts,
            },
            "sampler_seed": {"type": "DistSamplerSeedHook"},
        },
        "log_processor": {"by_epoch": False},
        "env_cfg": {"dist_cfg": {"backend": "nccl"}},
        "randomness": {"seed": seed},
    }


def config_file(config: Mapping[str, Any], num_devices: int = 1) -> str:
    """The text of a config: Python that MMEngine runs, every string quoted."""
    processes = f"# For {num_devices} process(es): tools/dist_train.sh CONFIG {num_devices}.\n"
    return _HEADER + (processes if num_devices > 1 else "") + config_text(config)


def train_pipeline(images: Input) -> list[dict[str, Any]]:
    """The transforms of a training image, in order."""
    pipeline: list[dict[str, Any]] = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {
            "type": "RandomResize",
            "scale": images.train_scale_px,
            "ratio_range": images.train_scale_factors,
            "keep_ratio": True,
        },
        {
            "type": "RandomCrop",
            "crop_size": (images.crop_px, images.crop_px),
            "cat_max_ratio": images.max_class_share,
        },
    ]
    if images.horizontal_flip:
        pipeline.append({"type": "RandomFlip", "prob": 0.5})
    if images.photometric_distortion:
        pipeline.append({"type": "PhotoMetricDistortion"})
    return [*pipeline, {"type": "PackSegInputs"}]


def test_pipeline(images: Input) -> list[dict[str, Any]]:
    """The transforms of a test image; its label map, which is loaded after them, keeps its size."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": images.test_scale_px, "keep_ratio": True},
        {"type": "LoadAnnotations"},
        {"type": "PackSegInputs"},
    ]


def schedule(solver: Solver, parts: int = 1) -> dict[str, Any]:
    """How the rate falls; a step of the schedule is one of so many parts of an iteration."""
    if isinstance(solver.schedule, Poly):
        return {
            "type": "PolyLR",
            "eta_min": solver.schedule.min_learning_rate,
            "power": solver.schedule.power,
            "begin": 0,
            "end": solver.iterations * parts,
            "by_epoch": False,
        }
    return {
        "type": "MultiStepLR",
        "milestones": [step * parts for step in solver.schedule.steps],
        "gamma": solver.schedule.gamma,
        "by_epoch": False,
    }


def optimizer(solver: Solver) -> dict[str, Any]:
    """SGD for every parameter alike."""
    return {
        "type": "SGD",
        "lr": solver.learning_rate,
        "momentum": solver.momentum,
        "weight_decay": solver.weight_decay,
    }


def _optimizer(solver: Solver) -> dict[str, Any]:
    wrapper: dict[str, Any] = {"type": "OptimWrapper", "optimizer": optimizer(solver), "clip_grad": None}
    if solver.accumulation_steps > 1:
        wrapper["accumulative_counts"] = solver.accumulation_steps
    if solver.precision != "fp32":
        wrapper |= {"type": "AmpOptimWrapper", "dtype": _AMP[solver.precision]}
    return wrapper


def _dataset(
    part: Listed, classes: Sequence[str], zero_is_ignored: bool, pipeline: list[dict[str, Any]]
) -> dict[str, Any]:
    pairs = part.pairs
    colours = voc_palette()
    return {
        "type": "BaseSegDataset",
        "metainfo": {
            "classes": list(classes),
            "palette": [list(colours[index % len(colours)]) for index in range(len(classes))],
        },
        "data_prefix": {"img_path": str(pairs.image_dir), "seg_map_path": str(pairs.label_dir)},
        "img_suffix": pairs.image_suffix,
        "seg_map_suffix": pairs.label_suffix,
        "ann_file": str(part.list_file),
        "reduce_zero_label": zero_is_ignored,
        "ignore_index": IGNORED,
        "pipeline": pipeline,
    }


def _model(
    protocol: SegmentationProtocol, spec: InputSpec, *, num_classes: int, weights_file: str
) -> dict[str, Any]:
    """The network, fed as the card of the weights says."""
    model = model_settings(spec)
    crop = protocol.input.crop_px
    model["data_preprocessor"] |= {"size": (crop, crop), "pad_val": 0, "seg_pad_val": IGNORED}
    network = protocol.model
    norm = {"type": network.norm, "requires_grad": True}
    model["backbone"] |= {
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "strides": network.strides,
        "dilations": network.dilations,
        "contract_dilation": network.contract_dilation,
        "frozen_stages": -1,
        "norm_cfg": norm,
        "norm_eval": False,
    }
    if weights_file:
        model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": weights_file}
    common = {
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": network.align_corners,
        "ignore_index": IGNORED,
    }
    return {
        "type": "EncoderDecoder",
        **model,
        **_heads(network, common),
        "train_cfg": {},
        "test_cfg": _inference(protocol),
    }


def _heads(network: Model, common: dict[str, Any]) -> dict[str, Any]:
    """The decode head, with a neck where it needs one, and the auxiliary head."""
    head, auxiliary = network.decode_head, network.auxiliary_head
    parts: dict[str, Any] = {}
    if isinstance(head, FcnHead):
        own: dict[str, Any] = {
            "type": "FCNHead",
            "in_channels": STAGE_CHANNELS[3],
            "in_index": 3,
            "num_convs": head.num_convs,
            "dilation": head.dilation,
            "concat_input": head.concat_input,
        }
    elif isinstance(head, UPerHead):
        own = {
            "type": "UPerHead",
            "in_channels": list(STAGE_CHANNELS),
            "in_index": _LEVELS,
            "pool_scales": head.pool_scales,
        }
    else:
        parts["neck"] = {
            "type": "FPN",
            "in_channels": list(STAGE_CHANNELS),
            "out_channels": head.pyramid_channels,
            "num_outs": 4,
        }
        own = {
            "type": "FPNHead",
            "in_channels": [head.pyramid_channels] * 4,
            "in_index": _LEVELS,
            "feature_strides": _feature_strides(network),
        }
    shared = {"channels": head.channels, "dropout_ratio": head.dropout, "loss_decode": _loss(1.0)}
    parts["decode_head"] = {**own, **shared, **common}
    if auxiliary is not None:
        parts["auxiliary_head"] = {
            "type": "FCNHead",
            "in_channels": STAGE_CHANNELS[2],
            "in_index": 2,
            "num_convs": auxiliary.num_convs,
            "concat_input": False,
            "channels": auxiliary.channels,
            "dropout_ratio": auxiliary.dropout,
            "loss_decode": _loss(auxiliary.weight),
            **common,
        }
    return parts


def _feature_strides(network: Model) -> list[int]:
    """Pixels of the image between two of C2 to C5; the stem takes every fourth."""
    strides, total = [], 4
    for stride in network.strides:
        total *= stride
        strides.append(total)
    return strides


def _loss(weight: float) -> dict[str, Any]:
    return {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": weight}


def _inference(protocol: SegmentationProtocol) -> dict[str, Any]:
    inference = protocol.inference
    if isinstance(inference, Sliding):
        crop, stride = inference.crop_px, inference.stride_px
        return {"mode": "slide", "crop_size": (crop, crop), "stride": (stride, stride)}
    return {"mode": "whole"}
