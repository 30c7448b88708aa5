"""The published protocols in MMEngine's entries, field by field, and every field's way there."""

import re
from pathlib import Path
from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.errors import ConfigError, WeightsError
from bench.core.paths import CONFIGS
from tests.helpers.segmentation_pins import COUNTS, PINNED, for_the_test
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


def plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return [plain(item) for item in node] if isinstance(node, list | tuple) else node


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
    test_set = found["test_dataloader"]["dataset"]
    assert test_set["pipeline"] == for_the_test(test_scale)
    assert test_set["reduce_zero_label"] is expected_ignored
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


def test_parts_and_processes_take_the_same_run_in_stock_tools() -> None:
    """MMEngine counts parts of a batch as iterations, and its batch size is that of one process."""
    protocol = load("voc12aug-fcn-moco", "solver.accumulation_steps=2")
    found = mmseg_config(
        protocol, RGB, classes=["a", "b"], zero_is_ignored=False, train=[VOC], test=[VOC], weights_file="",
        seed=0, num_devices=4,
    )  # fmt: skip
    assert found["train_dataloader"]["batch_size"] == 2
    assert found["optim_wrapper"]["accumulative_counts"] == 2
    assert found["train_cfg"] == {"type": "IterBasedTrainLoop", "max_iters": 60_000, "val_interval": 60_000}
    assert found["param_scheduler"][0]["milestones"] == [42_000, 54_000]
    assert "dist_train.sh CONFIG 4" in config_file(found, 4)


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
