"""The published protocols in MMEngine's entries, field by field, and every field's way there."""

import re
from pathlib import Path
from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.errors import ConfigError, WeightsError
from bench.core.paths import CONFIGS
from transfer.adapters.mmseg_config import Listed, config_file, mmseg_config
from transfer.data.segmentation import Pairs
from transfer.protocols.segmentation import SegmentationProtocol

RGB, MSRA = (
    InputSpec(),
    InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1"),
)
VOC, AUG = (
    Listed(Pairs(Path("JPEGImages"), Path(maps), ".jpg", ".png"), Path(f"{maps}.txt"))
    for maps in ("SegmentationClass", "SegmentationClassAug")
)
SLUGS = {
    path.stem
    for path in (CONFIGS / "transfer").glob("*.toml")
    if 'task = "semseg"' in path.read_text(encoding="utf-8")
}


def load(slug: str, *overrides: str) -> SegmentationProtocol:
    return load_config(SegmentationProtocol, CONFIGS / "transfer" / f"{slug}.toml", overrides)


def config(*overrides: str, slug: str = "voc12aug-fcn-d8", spec: InputSpec = RGB) -> dict[str, Any]:
    protocol = load(slug, *overrides)
    return mmseg_config(
        protocol,
        spec,
        classes=[str(label) for label in range(protocol.data.num_classes)],
        zero_is_ignored=protocol.data.layout in ("ade20k", "nyuv2"),
        train=[VOC, AUG],
        test=[VOC],
        weights_file="weights.pth",
        seed=3,
    )


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Every value of a config, as "a.b"; entries of lists by their number, transforms by their name."""
    if isinstance(node, dict):
        items = list(node.items()) or [("", {})]
        if not node:
            return {prefix: {}}
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        items = [(str(number), inner) for number, inner in enumerate(node)]
    else:
        return {prefix: list(node) if isinstance(node, tuple | list) else node}
    found: dict[str, Any] = {}
    for name, inner in items:
        found |= flat(inner, f"{prefix}.{name}" if prefix else name)
    return found


# Every number below is written down by hand from these files, not taken from a config of ours:
# open-mmlab/mmselfsup (0.x) configs/benchmarks/mmsegmentation/{_base_/models/fcn_r50-d8.py,
# _base_/datasets/{pascal_voc12_aug,cityscapes_769x769}.py, _base_/schedules/schedule_{20k,40k}.py,
# cityscapes/fcn_r50-d8_769x769_40k_cityscapes.py}, CVMI-Lab/SlotCon transfer/segmentation/configs, and
# open-mmlab/mmsegmentation configs/_base_/models/{upernet_r50,fpn_r50}.py, configs/_base_/datasets/ade20k.py.
NORM = {"type": "SyncBN", "requires_grad": True}
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


def test_transforms(scale: list[int]) -> list[dict[str, Any]]:
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": scale, "keep_ratio": True},
        {"type": "LoadAnnotations"},
        {"type": "PackSegInputs"},
    ]


test_transforms.__test__ = False  # type: ignore[attr-defined]


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


def plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return [plain(item) for item in node] if isinstance(node, list | tuple) else node


def test_all_protocols_are_pinned() -> None:
    assert set(PINNED) == SLUGS


@pytest.mark.parametrize("slug", PINNED)
def test_every_entry(slug: str) -> None:
    found = plain(config(slug=slug))
    network, train, test_scale, numbers = PINNED[slug]
    assert flat({"model": found["model"]}) == network
    expected_ignored = slug.startswith(("ade20k", "nyuv2"))
    both = found["train_dataloader"]["dataset"]
    assert both["type"] == "ConcatDataset"
    for dataset, part in zip(both["datasets"], (VOC, AUG), strict=True):
        assert dataset["pipeline"] == train
        assert dataset["type"] == "BaseSegDataset"
        assert dataset["reduce_zero_label"] is expected_ignored
        assert dataset["ignore_index"] == 255
        assert dataset["ann_file"] == str(part.list_file)
        assert dataset["data_prefix"]["seg_map_path"] == str(part.pairs.label_dir)
    tested = found["test_dataloader"]["dataset"]
    assert tested["pipeline"] == test_transforms(test_scale)
    assert tested["reduce_zero_label"] is expected_ignored
    assert found["optim_wrapper"] == numbers["optim_wrapper"]
    assert found["param_scheduler"] == numbers["param_scheduler"]
    assert found["train_cfg"]["max_iters"] == numbers["iterations"]
    assert found["train_dataloader"]["batch_size"] == numbers["batch"]
    assert found["randomness"] == {"seed": 3}


@pytest.mark.parametrize("slug", PINNED)
def test_what_is_not_in_the_engines_config(slug: str) -> None:
    protocol = load(slug)
    data = protocol.data
    assert (*data.num_train, data.num_test, data.num_classes) == COUNTS[slug.split("-")[0]]
    assert protocol.metric.miou_rule == "classes_in_truth"
    assert protocol.solver.accumulation_steps == 1
    assert protocol.solver.precision == "fp32"


STOCK = {
    "ade20k-upernet-160k": "upernet/upernet_r50_4xb4-160k_ade20k-512x512.py",
    "ade20k-semfpn-80k": "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py",
    "ade20k-fcn-d8-80k": "fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
    "cityscapes-fcn-d8-769-40k": "fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py",
}


@pytest.mark.parametrize("slug", STOCK)
def test_the_network_is_the_stock_one_but_for_its_stem(slug: str) -> None:
    """MMSegmentation's own file, resolved by MMEngine, differs in ResNetV1c and in what is said twice."""
    from transfer.engines.mmseg.repairs import load_mmseg

    package = load_mmseg()
    from mmengine.config import Config

    path = Path(str(package.__file__)).parent / ".mim" / "configs" / STOCK[slug]
    stock = flat(plain(Config.fromfile(str(path)).model.to_dict()), "model")
    ours = flat(plain(config(slug=slug)["model"]), "model")
    different = {key for key in stock.keys() & ours.keys() if stock[key] != ours[key]}
    assert different == {"model.pretrained", "model.backbone.type"}
    assert stock.keys() - ours.keys() == set()
    defaults = {
        "model.data_preprocessor.rgb_to_bgr": False,
        "model.backbone.frozen_stages": -1,
        "model.backbone.init_cfg.type": "Pretrained",
        "model.backbone.init_cfg.checkpoint": "weights.pth",
        "model.decode_head.ignore_index": 255,
        "model.auxiliary_head.ignore_index": 255,
        "model.decode_head.dilation": 1,
    }
    added = {key: ours[key] for key in ours.keys() - stock.keys()}
    assert added == {key: value for key, value in defaults.items() if key in added}


@pytest.mark.parametrize("slug", PINNED)
def test_the_file_says_what_the_entries_say(tmp_path: Path, slug: str) -> None:
    from transfer.engines.mmseg.repairs import load_mmseg

    load_mmseg()
    from mmengine.config import Config

    path = tmp_path / "mmseg.py"
    path.write_text(config_file(config(slug=slug)), encoding="utf-8")
    assert plain(Config.fromfile(str(path)).to_dict()) == plain(config(slug=slug))


def test_the_msra_baseline_is_fed_as_it_was_trained() -> None:
    found = flat(plain(config(spec=MSRA)["model"]))
    assert found["data_preprocessor.bgr_to_rgb"] is False
    assert found["data_preprocessor.mean"] == [103.53, 116.28, 123.675]
    assert found["data_preprocessor.std"] == [1.0, 1.0, 1.0]
    assert found["backbone.style"] == "caffe"


def test_tf_padding_is_refused() -> None:
    with pytest.raises(WeightsError, match="padding"):
        config(spec=InputSpec(padding="tf_same"))


MUTATIONS = (
    "model.norm='BN'", "model.align_corners=true", "model.decode_head.channels=256",
    "model.decode_head.num_convs=1", "model.decode_head.dilation=6", "model.decode_head.concat_input=false",
    "model.decode_head.dropout=0.0", "model.auxiliary_head.weight=0.2", "model.auxiliary_head.channels=128",
    "model.auxiliary_head.num_convs=2", "model.auxiliary_head.dropout=0.2",
    "input.train_scale_px=[2048, 640]", "input.train_scale_factors=[1.0, 2.0]", "input.crop_px=480",
    "input.max_class_share=1.0", "input.horizontal_flip=false", "input.photometric_distortion=false",
    "input.test_scale_px=[2048, 640]", "solver.iterations=40000", "solver.images_per_batch=8",
    "solver.learning_rate=0.02", "solver.momentum=0.8", "solver.weight_decay=0.0001",
    "solver.precision='bf16'", "solver.accumulation_steps=2", "solver.schedule.power=1.0",
    "solver.schedule.min_learning_rate=0.0",
)  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_field_reaches_the_engine(mutation: str) -> None:
    assert plain(config(mutation)) != plain(config())


def test_the_mutations_cover_every_field() -> None:
    def keys(value: Any, prefix: str) -> set[str]:
        if isinstance(value, dict):
            return {key for name, inner in value.items() for key in keys(inner, f"{prefix}.{name}")}
        return {prefix}

    protocol = load("voc12aug-fcn-d8").model_dump()
    fields = {key for name in ("model", "input", "solver") for key in keys(protocol[name], name)}
    # Strides and dilations go together, see below; a kind decides the whole set of keys.
    elsewhere = {"model.strides", "model.dilations", "model.contract_dilation"}
    elsewhere |= {"model.decode_head.kind", "solver.schedule.kind"}
    assert {mutation.partition("=")[0] for mutation in MUTATIONS} == fields - elsewhere


@pytest.mark.parametrize(
    ("slug", "change"),
    [
        ("voc12aug-fcn-d8", "model.dilations=[1, 1, 1, 1]"),
        ("voc12aug-fcn-d8", "model.dilations=[1, 1, 2, 2]"),
        ("voc12aug-fcn-d8", "model.strides=[1, 2, 2, 2]"),
        ("voc12aug-fcn-d8", "model.strides=[2, 2, 1, 1]"),
        ("voc12aug-fcn-d8", "model.contract_dilation=false"),
        ("voc12aug-fcn-d8", "model.norm='FrozenBN'"),
        ("voc12aug-fcn-d8", "model.decode_head.kind='segformer'"),
        ("voc12aug-fcn-d8", "model.decode_head.pool_scales=[1]"),
        ("voc12aug-fcn-d8", "solver.schedule.min_learning_rate=1.0"),
        ("voc12aug-fcn-d8", "input.train_scale_factors=[2.0, 0.5]"),
        ("voc12aug-fcn-d8", "metric.miou_rule='mean'"),
        ("voc12aug-fcn-d8", "task='voc-det'"),
        ("voc12aug-fcn-moco", "solver.schedule.steps=[27000, 21000]"),
        ("voc12aug-fcn-moco", "solver.schedule.steps=[30000]"),
        ("cityscapes-fcn-moco", "inference.stride_px=800"),
    ],
)
def test_parts_that_do_not_fit_are_refused(slug: str, change: str) -> None:
    with pytest.raises(ConfigError, match=re.split("[.=]", change)[0]):
        load(slug, change)


def test_an_unknown_key_of_a_head_is_named() -> None:
    with pytest.raises(ConfigError, match="chanels"):
        load("voc12aug-fcn-d8", "model.decode_head.chanels=3")


@pytest.mark.parametrize("slug", PINNED)
def test_another_batch_scales_the_schedule(slug: str) -> None:
    solver = load(slug).solver
    half = type(solver).model_validate(
        {**solver.model_dump(), **solver.schedule_for(solver.images_per_batch // 2)}
    )
    assert half.iterations == 2 * solver.iterations
    assert half.learning_rate == solver.learning_rate / 2
    if half.schedule.kind == "steps" and solver.schedule.kind == "steps":
        assert half.schedule.steps == tuple(2 * step for step in solver.schedule.steps)
    elif half.schedule.kind == "poly" and solver.schedule.kind == "poly":
        assert half.schedule.min_learning_rate == solver.schedule.min_learning_rate / 2
