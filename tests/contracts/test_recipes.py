"""Every config of `configs/pretrain` against its publication, written out a second time.

Of PyContrast's methods `pycontrast/options/base_options.py` and `datasets/util.py`; of the others, the files
that each config names.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.config import read_toml
from bench.core.paths import CONFIGS
from pretrain.plan import read_config

FILES = {path.stem: path for path in sorted((CONFIGS / "pretrain").glob("*.toml"))}


def jitter(*values: float) -> dict[str, Any]:
    names = ("brightness", "contrast", "saturation", "hue", "probability")
    return {"jitter": dict(zip(names, values, strict=True))}


def pillow_blur(probability: float) -> dict[str, Any]:
    low, high = 0.1, 2.0
    values = {"kind": "pillow", "probability": probability, "sigma_low_px": low, "sigma_high_px": high}
    return {"blur": {**values, "taps": None}}


KERNEL_BLUR = {"blur": {**pillow_blur(0.5)["blur"], "kind": "gaussian", "taps": 23}}
GRAY, BICUBIC, SOLARIZE = (
    {"gray_probability": 0.2},
    {"crop_resample": "bicubic"},
    {"solarize_probability": 0.2},
)


def rand(out_of: str) -> dict[str, Any]:
    values: dict[str, Any] = {"operations": 2, "magnitude": 10.0, "magnitude_std": 0.5}
    values |= {"operation_probability": 0.5, "translate_fraction": 0.45, "fill": [124, 116, 104]}
    return {"randaugment": {"out_of": out_of, **values}}


def view(order: str, low: float = 0.08, high: float = 1.0, side: int = 224, **parts: Any) -> dict[str, Any]:
    plain = {
        "crop_px": side,
        "crop_area": [low, high],
        "crop_ratio": [3 / 4, 4 / 3],
        "crop_resample": "bilinear",
        "flip_probability": 0.5,
        "gray_probability": 0.0,
        "solarize_probability": 0.0,
    }
    return {"order": ["crop", *order.split()], **plain, **parts}


WEAK, MILD, STRONG = (
    jitter(0.4, 0.4, 0.2, 0.1, 0.8),
    jitter(0.4, 0.4, 0.4, 0.1, 0.8),
    jitter(0.8, 0.8, 0.8, 0.2, 0.8),
)
A = {**jitter(0.4, 0.4, 0.4, 0.4, 1.0), **GRAY}
SHARED = {**WEAK, **GRAY, **BICUBIC}
FLIP_FIRST, FLIP_LAST = "flip jitter gray blur", "jitter gray blur flip"
MOCO_V2 = [view(FLIP_LAST, 0.2, **MILD, **GRAY, **pillow_blur(0.5))]
BYOL = [
    view(FLIP_FIRST, **SHARED, **pillow_blur(1.0)),
    view(f"{FLIP_FIRST} solarize", **SHARED, **pillow_blur(0.1), **SOLARIZE),
]
MOCO_V3 = [
    view(FLIP_LAST, 0.2, **WEAK, **GRAY, **pillow_blur(1.0)),
    view("jitter gray blur solarize flip", 0.2, **WEAK, **GRAY, **pillow_blur(0.1), **SOLARIZE),
]
SWAV: list[Any] = [
    view(FLIP_FIRST, 0.14, **STRONG, **GRAY, **pillow_blur(0.5)),
    None,
    view(FLIP_FIRST, 0.05, 0.14, 96, **STRONG, **GRAY, **pillow_blur(0.5)),
]
DINO = [
    view(FLIP_FIRST, 0.14, **SHARED, **pillow_blur(1.0)),
    view(f"{FLIP_FIRST} solarize", 0.14, **SHARED, **pillow_blur(0.1), **SOLARIZE),
    view(FLIP_FIRST, 0.05, 0.14, 96, **SHARED, **pillow_blur(0.5)),
]
# What the preset calls it: the view, the second view, the small view; None for one that is not there.
AUGMENTATIONS: dict[str, list[Any]] = {
    "A bank": [view("flip jitter gray", 0.08, **A)],
    "A queue": [view("flip jitter gray", 0.2, **A)],
    "B": [view(FLIP_FIRST, 0.2, **MILD, **GRAY, **pillow_blur(0.5))],
    "C": [view("flip jitter", 0.08, **jitter(0.4, 0.4, 0.4, 0.1, 1.0))],
    "D": [view("flip jitter blur randaugment gray", 0.2, **STRONG, **KERNEL_BLUR, **rand("all"), **GRAY)],
    "E": [view("flip jitter blur randaugment", 0.2, **MILD, **KERNEL_BLUR, **rand("colour_free"))],
    "SimCLR": [view(FLIP_FIRST, 0.08, **STRONG, **GRAY, **pillow_blur(0.5))],
    "crop and flip": [view("flip", 0.08)],
    "MoCo v2": MOCO_V2,
    "BYOL": BYOL,
    "MoCo v3": MOCO_V3,
    "SwAV": SWAV,
    "DINO": DINO,
}
JIGSAW = {"crop_px": 255, "crop_area": [0.6, 1.0], "flip_probability": 0.5, "grid": 3, "patch_px": 64}
QUEUE = {
    "projection_dim": 128,
    "memory": "queue",
    "queue_size": 65536,
    "ema_momentum": 0.999,
    "shuffle_bn": "node",
}
BANK = {"projection_dim": 128, "memory": "bank", "num_negatives": 65536, "bank_momentum": 0.5}
BANK |= {"negatives_draw": "each"}
RGB, TWO = {"modality": "rgb"}, {"modality": "y_dbdr"}
SGD = {"kind": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "decay_norms_and_biases": True}
SGD |= {"norm_and_bias_rate_ratio": 1.0, "clip_norm": 0.0, "clip_tensor_norm": 0.0}
LARS = SGD | {"kind": "lars", "weight_decay": 1e-6, "decay_norms_and_biases": False}
STEP = {"kind": "step", "per": "epoch", "decay_rate": 0.1, "warmup_epochs": 0}
BY_120 = STEP | {"decay_epochs": [120, 160]}
COSINE = {"kind": "cosine", "per": "epoch", "floor_ratio": 0.001, "warmup_epochs": 0}
SMOOTH = {"kind": "cosine", "per": "step", "floor_ratio": 0.0, "warmup_epochs": 0}
RISE = SMOOTH | {"warmup_epochs": 10, "warmup_from": 0.0, "cosine_starts": "after_warmup"}
LINEAR, MLP = {"head": "linear", "temperature": 0.07}, {"head": "mlp", "temperature": 0.2}
HIDDEN = {"hidden_dim": 4096, "projection_dim": 256}
PARTS: dict[str, dict[str, Any]] = {
    "moco_v1": {**RGB, **QUEUE, **LINEAR},
    "moco_v2": {**RGB, **QUEUE, **MLP},
    "infomin": {**RGB, **QUEUE, "head": "mlp", "temperature": 0.15, "jigsaw_weight": 0.5},
    "instdis": {**RGB, **BANK, **LINEAR},
    "pirl": {**RGB, **BANK, **LINEAR, "jigsaw_weight": 0.5},
    "cmc": {**TWO, **BANK, **LINEAR},
    "cmc_v2": {**TWO, **QUEUE, **MLP},
    "contrast": {**RGB, "memory": "batch", "projection_dim": 128, **MLP, "jigsaw_weight": 0.5},
    "simclr": {"hidden_dim": 2048, "projection_dim": 128, "temperature": 0.1},
    "supervised": {"label_smoothing": 0.0},
    "byol": {**HIDDEN, "ema_momentum": 0.99},
    "simsiam": {"projection_dim": 2048, "hidden_dim": 512, "fixed_predictor_rate": True},
    "barlow_twins": {"projection_dim": 8192, "redundancy_weight": 0.0051},
    "vicreg": {
        "projection_dim": 8192,
        "invariance_weight": 25.0,
        "variance_weight": 25.0,
        "covariance_weight": 1.0,
    },
    "moco_v3": {**HIDDEN, "temperature": 1.0, "ema_momentum": 0.99},
    "swav": {
        "hidden_dim": 2048,
        "projection_dim": 128,
        "num_prototypes": 3000,
        "temperature": 0.1,
        "sinkhorn_epsilon": 0.05,
        "sinkhorn_iterations": 3,
        "frozen_prototype_steps": 5005,
        "queue_size": 3840,
        "queue_start_epoch": 15,
    },
    "dino": {
        "hidden_dim": 2048,
        "bottleneck_dim": 256,
        "num_prototypes": 65536,
        "head_norm": False,
        "temperature": 0.1,
        "teacher_temperature": 0.04,
        "center_momentum": 0.9,
        "frozen_head_epochs": 1,
        "ema_momentum": 0.996,
    },
    "densecl": {
        "projection_dim": 128,
        "temperature": 0.2,
        "dense_weight": 0.5,
        "queue_size": 65536,
        "ema_momentum": 0.999,
        "shuffle_bn": "global",
    },
}
PLAIN = {"norm": "batch", "zero_init_residual": False}
TOGETHER = {"norm": "sync_batch", "zero_init_residual": False}
ZERO = TOGETHER | {"zero_init_residual": True}
# File: augmentation; epochs, batch, learning rate; backbone, optimiser, schedule.
TABLE: dict[str, tuple[Any, ...]] = {
    "moco_v1_ep200": ("A queue", 200, 256, 0.03, PLAIN, SGD, BY_120),
    "moco_v1_ep800": ("A queue", 800, 256, 0.03, PLAIN, SGD, STEP | {"decay_epochs": [480, 640]}),
    "moco_v2_ep200": ("B", 200, 256, 0.03, PLAIN, SGD, COSINE),
    "moco_v2_ep800": ("B", 800, 256, 0.03, PLAIN, SGD, COSINE),
    "infomin_ep200": ("D", 200, 256, 0.03, PLAIN, SGD, COSINE),
    "infomin_ep800": ("D", 800, 256, 0.03, PLAIN, SGD, COSINE),
    "instdis_ep200": ("A bank", 200, 256, 0.03, PLAIN, SGD, BY_120),
    "pirl_ep200": ("A bank", 200, 256, 0.03, PLAIN, SGD, BY_120),
    "cmc_ep200": ("C", 200, 256, 0.03, PLAIN, SGD, BY_120),
    "cmc_v2_ep200": ("E", 200, 256, 0.03, PLAIN, SGD, COSINE),
    "contrast_ep200": ("B", 200, 256, 0.03, TOGETHER, SGD, COSINE),
    "simclr_ep200": ("SimCLR", 200, 256, 0.3, ZERO, LARS, RISE | {"warmup_from": 3e-5}),
    "simclr_ep800": ("SimCLR", 800, 4096, 4.8, ZERO, LARS, RISE | {"warmup_from": 4.8e-4}),
    "supervised_ep90": ("crop and flip", 90, 256, 0.1, PLAIN, SGD, STEP | {"decay_epochs": [30, 60]}),
    "byol_ep200": ("BYOL", 200, 4096, 4.8, TOGETHER, LARS, RISE | {"warmup_from": 4.8e-4}),
    "simsiam_ep100": ("MoCo v2", 100, 512, 0.1, ZERO, SGD, SMOOTH),
    "barlow_twins_ep300": (
        "BYOL",
        300,
        2048,
        1.6,
        ZERO,
        LARS | {"norm_and_bias_rate_ratio": 0.024},
        RISE | {"floor_ratio": 0.001},
    ),
    "vicreg_ep1000": ("BYOL", 1000, 2048, 1.6, ZERO, LARS, RISE | {"floor_ratio": 0.001}),
    "moco_v3_ep100": ("MoCo v3", 100, 4096, 9.6, ZERO, LARS, RISE),
    "swav_ep200": (
        "SwAV",
        200,
        256,
        0.6,
        TOGETHER,
        LARS | {"decay_norms_and_biases": True},
        SMOOTH | {"floor_ratio": 0.001},
    ),
    "dino_ep100": (
        "DINO",
        100,
        512,
        0.06,
        TOGETHER,
        SGD | {"decay_norms_and_biases": False, "clip_tensor_norm": 3.0},
        RISE | {"floor_ratio": pytest.approx(1e-6 / 0.06, rel=1e-5)},
    ),
    "densecl_ep200": ("MoCo v2", 200, 256, 0.03, PLAIN, SGD, SMOOTH),
}
LOCAL_VIEWS = {"swav_ep200": 6, "dino_ep100": 8}


def test_each_config_of_a_method_of_the_table_is_in_it() -> None:
    assert sorted(TABLE) == [name for name, path in FILES.items() if read_toml(path)["method"] in PARTS]


@pytest.mark.parametrize("name", TABLE)
def test_the_configs_are_the_published_recipes(name: str) -> None:
    augmentation, epochs, batch_size, rate, norms, optimizer, schedule = TABLE[name]
    method, config = read_config(FILES[name])
    found = config.model_dump(mode="json")
    assert config.name == name
    assert method.preset.augmentation in (augmentation.split(" b")[0].split(" q")[0], "any")
    assert (config.epochs, config.batch_size) == (epochs, batch_size)
    assert found["backbone"] == {"arch": "resnet50", **norms}
    given = {key: value for key, value in found["parts"].items() if value is not None}
    assert given == PARTS[config.method]
    views = [found[table] for table in ("view", "second_view", "local_view")]
    expected = AUGMENTATIONS[augmentation]
    for mine, theirs in zip(views, [*expected, None, None], strict=False):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert {key: value for key, value in mine.items() if value is not None} == theirs
    assert config.num_local_views == LOCAL_VIEWS.get(name, 0)
    assert found["jigsaw"] == (JIGSAW if "jigsaw_weight" in PARTS[config.method] else None)
    assert found["optimizer"] == {"learning_rate": rate, **optimizer}
    assert found["schedule"] | schedule == found["schedule"]
    assert config.loop.accumulation_steps == 1
