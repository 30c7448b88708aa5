"""The task coco-instseg: status, what it records, its check, its pictures, the two families of pyramids."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.commands.data import command as data_command
from bench.commands.transfer import command as transfer_command
from bench.core.errors import DataError, StoreError
from bench.core.paths import CONFIGS
from bench.core.store import Store
from bench.report.published import read_published
from bench.report.tables import leaderboards
from tests.helpers.engine import coco_instseg, options
from tests.transfer.engines.test_detectron2 import TOY
from transfer.api import Job, Output
from transfer.data.coco import CocoDataset
from transfer.data.coco_classes import COCO_CLASSES
from transfer.data.coco_splits import CocoSplit
from transfer.metrics.detections import Detections
from transfer.metrics.masks import Masks
from transfer.run import execute, make_plan
from transfer.show import FILE, show

FOUR, TWO, C4 = "coco-r50fpn4conv-1x", "coco-r50fpn-1x", "coco-r50c4-1x"


def perfect(job: Job) -> Output:
    """An engine that finds every object as it is, and trains nothing."""
    data: CocoDataset = job.data
    items = [
        (index, item) for index, image in enumerate(data.test) for item in image.objects if not item.is_crowd
    ]
    found = Detections(
        image=np.array([index for index, _ in items]),
        label=np.array([item.class_index for _, item in items]),
        scores=np.linspace(0.9, 0.5, len(items)).astype(np.float32),
        boxes=np.array([item.edges for _, item in items], np.float32),
        masks=Masks.of([item.mask for _, item in items]),
    )
    result = job.measure(found)
    return Output(result.metrics, result.details, result.predictions)


@pytest.fixture
def published_data(monkeypatch: pytest.MonkeyPatch, coco: Path) -> None:
    """Let the task read a set that has COCO's classes, splits and counts."""
    task = coco_instseg()
    small = task.load_data(coco, task.load_protocol(CONFIGS / "transfer" / f"{FOUR}.toml", ()))
    assert isinstance(small, CocoDataset)
    splits = [CocoSplit(name, Path(f"instances_{name}.json"), ()) for name in ("train2017", "val2017")]
    full = replace(
        small,
        classes=COCO_CLASSES,
        train_split=splits[0],
        test_split=splits[1],
        split_counts={"train2017": 118_287, "val2017": 5_000},
    )
    monkeypatch.setattr(type(task), "load_data", lambda self, root, protocol: full)


@pytest.mark.usefixtures("published_data")
def test_status_and_published_rows_of_each_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal weights on equal data: two tables, and beside each the rows of its own family."""
    monkeypatch.setattr(
        "transfer.run.Devices.here", classmethod(lambda cls, num_devices: cls(num_devices, 8))
    )
    records = []
    for slug in (FOUR, TWO):
        asked = options(tmp_path, tmp_path, protocol=slug, smoke=False, num_devices=8)
        plan = make_plan(coco_instseg(), asked)
        assert (plan.status, plan.departures) == ("exact", ())
        records += execute(plan, perfect)
    first, second = leaderboards(records, published=read_published())
    assert [first.protocol, second.protocol] == [TWO, FOUR]
    anchors = [
        {
            entry.values["box_ap"].value
            for entry in table.published or ()
            if entry.method == "Supervised" and "box_ap" in entry.values
        }
        for table in (first, second)
    ]
    assert 38.9 in anchors[0] and 39.7 in anchors[1]
    assert not anchors[0] & anchors[1]
    custom = make_plan(coco_instseg(), replace(asked, overrides=("model.box_head='4conv1fc'",)))
    assert custom.status == "custom"


def test_a_set_of_its_own_is_custom(tmp_path: Path, coco: Path) -> None:
    plan = make_plan(coco_instseg(), options(tmp_path, coco, protocol=FOUR, smoke=False))
    assert plan.status == "custom"
    assert any(line.startswith("data: coco, splits train, ") for line in plan.departures)


def test_the_evaluator_is_no_part_of_the_identity(tmp_path: Path, coco: Path) -> None:
    asked = options(tmp_path, coco, protocol=FOUR)
    one = make_plan(coco_instseg(), asked)
    other = make_plan(coco_instseg(), replace(asked, overrides=("metric.evaluator='pycocotools'",)))
    assert one.identity == other.identity
    records = [
        execute(plan, perfect)[0] for plan in (one, replace(other, options=replace(asked, seeds=(1,))))
    ]
    assert [record.details["evaluator"] for record in records] == ["hotcoco", "pycocotools"]
    assert records[0].metrics == records[1].metrics


def test_sizes_without_an_object_are_not_in_the_record(tmp_path: Path, coco: Path) -> None:
    """At 96 px the embedded scenes have no large object."""
    (record,) = execute(make_plan(coco_instseg(), options(tmp_path, coco, protocol=FOUR)), perfect)
    assert record.metrics["mask_ap"].value == pytest.approx(100.0)
    assert not record.metrics.keys() & {"mask_ap_large", "box_ap_large"}
    assert min(metric.value for metric in record.metrics.values()) >= 0.0


def test_an_engine_that_leaves_out_more_is_refused(tmp_path: Path, coco: Path) -> None:
    def poor(job: Job) -> Output:
        output = perfect(job)
        return replace(output, metrics={k: v for k, v in output.metrics.items() if k != "mask_ap50"})

    with pytest.raises(RuntimeError, match="mask_ap50"):
        execute(make_plan(coco_instseg(), options(tmp_path, coco, protocol=FOUR)), poor)


def test_predictions_are_drawn_beside_the_truth(tmp_path: Path, coco: Path) -> None:
    plan = make_plan(coco_instseg(), options(tmp_path, coco, protocol=FOUR))
    records = execute(plan, perfect)
    path = show(plan, records[0])
    assert path == plan.run_dir(0) / FILE
    page = Image.open(io.BytesIO(path.read_bytes()))
    assert page.width > page.height > 0
    data, _, where = Store(plan.options.results).predictions(records[0])
    where.write_bytes(data[:-20])
    with pytest.raises(DataError, match=where.name):
        show(plan, records[0])
    where.unlink()
    with pytest.raises(StoreError, match=where.name):
        show(plan, records[0])


@pytest.mark.slow
def test_the_command_trains_checks_and_draws(tmp_path: Path, coco: Path) -> None:
    """Through the command line with the real engine; a second call draws from what is kept."""
    sets = [
        word
        for override in (*TOY, "model.anchor_sizes_px=[16, 32, 48, 64, 96]")
        for word in ("--set", override)
    ]
    words = ["coco-instseg", "--checkpoint", "random", "--smoke", "--data", str(coco), "--protocol", TWO]
    words += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), *sets]
    first = CliRunner().invoke(transfer_command, words, standalone_mode=False)
    assert first.exception is None
    assert "mask_ap " in first.stdout and "box_ap50 " in first.stdout
    assert not list(tmp_path.rglob(FILE))
    again = CliRunner().invoke(transfer_command, [*words, "--show-predictions"], standalone_mode=False)
    assert again.exception is None
    assert again.stdout == first.stdout
    (drawn,) = tmp_path.rglob(FILE)
    assert Image.open(drawn).format == "PNG"
    (kept,) = tmp_path.rglob("*.predictions.safetensors.gz")
    kept.unlink()
    lost = CliRunner().invoke(transfer_command, [*words, "--show-predictions"], standalone_mode=False)
    assert isinstance(lost.exception, StoreError) and kept.name in str(lost.exception)
    assert lost.stdout == first.stdout, "the numbers come first"


def check(*arguments: object) -> tuple[str, BaseException | None]:
    words = ["check", "coco", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(data_command, words, standalone_mode=False)
    return result.stdout, result.exception


def test_a_good_set_is_described(coco: Path) -> None:
    out, error = check(coco)
    assert error is None
    assert "6 train, 3 test" in out and "custom" in out
    values = json.loads(check(coco, "--json")[0])
    assert (values["faults"], values["counts"]) == ([], {"train": 6, "test": 3})


def test_counts_are_held_against_the_published_ones(tmp_path: Path, coco: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(coco, root)
    names = {"train": "train2017", "val": "val2017"}
    for old, new in names.items():
        (root / "annotations" / f"instances_{old}.json").rename(
            root / "annotations" / f"instances_{new}.json"
        )
        (root / "images" / old).rename(root / new)
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_text())
        content["categories"] = [
            {"id": number, "name": name} for number, name in enumerate(COCO_CLASSES, start=1)
        ]
        path.write_text(json.dumps(content))
    out, error = check(root)
    assert error is None
    assert "train2017: 6 images (protocol: 118,287)" in out
    assert "val2017: 3 images (protocol: 5,000)" in out


def test_all_faults_are_listed_with_their_ids(tmp_path: Path, coco: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(coco, root)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    for item in content["annotations"]:
        item["category_id"] = 99
    path.write_text(json.dumps(content))
    out, error = check(root)
    assert isinstance(error, DataError) and error.exit_code == 4
    for item in content["annotations"]:
        assert f"annotation {item['id']}: category_id is 99" in out
