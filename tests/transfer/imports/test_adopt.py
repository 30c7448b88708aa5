"""Foreign output folders as records: what is taken, what it is compared with, what is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.card import Card, InputSpec, random_card
from bench.core.errors import BenchError, ConfigError, DataError, UsageError
from bench.core.records import Record
from bench.core.store import Store
from bench.report.published import read_published
from bench.report.tables import leaderboards
from bench.results.verify import Verdict, verify
from tests.helpers.outputs import COCO, COCO_SETS, LABELS, VOC, make_detectron2, make_mmseg
from tests.helpers.records import digest, make_trials
from transfer.api import TASKS
from transfer.imports.adopt import METRICS, Choice, adopt, check_task, read_folder

NET = Card(
    name="resnet50.net", layout="torchvision", source_file="net.pth", tensors_sha256=digest("tensors of net")
)


MINE = Choice()


def take(folder: Path, task: str = "voc-det", card: Card = NET, choice: Choice = MINE) -> Record:
    return adopt(read_folder(folder), TASKS.get(task).spec, card, choice, folder)


def notes(record: Record) -> str:
    return "; ".join(record.details["imported"]["notes"])


def test_voc(tmp_path: Path) -> None:
    folder = make_detectron2(tmp_path / "out")
    record = take(folder)
    assert {name: metric.value for name, metric in record.metrics.items()} == {
        "AP": 57.25, "AP50": 82.5, "AP75": 63.7,
    }  # fmt: skip
    assert (record.task, record.engine, record.seed, record.main_metric) == (
        "voc-det",
        "detectron2",
        3,
        "AP50",
    )
    protocol, data, imported = record.protocol, record.data, record.details["imported"]
    assert (protocol.slug, protocol.status) == ("imported-detectron2", "custom")
    assert protocol.departures == (
        "imported from Detectron2: trained and tested elsewhere, nothing of it was checked here",
    )
    assert protocol.fields["metric"] == {"ap_rule": "voc07_11point"}
    assert protocol.fields["datasets"]["train"] == ["voc_2007_trainval", "voc_2012_trainval"]
    assert data.name == "voc_2007_trainval + voc_2012_trainval; tested on voc_2007_test"
    assert (data.counts, len(data.classes)) == ({}, 20) and "not checked" in data.notes[0]
    assert record.weights == NET
    assert (imported["iteration"], imported["last_iteration"]) == (24000, 24000)
    assert imported["config"]["SOLVER.IMS_PER_BATCH"] == 16 and imported["config"]["num_devices"] == 8
    assert imported["config"]["MODEL.RESNETS.NORM"] == "SyncBN"
    assert imported["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("config.yaml", "metrics.json", "log.txt")
    }
    assert "starts from ./net.pkl; that it was net.pth" in notes(record)
    assert (record.provenance.packages, record.provenance.git_commit) == ({}, None), "of the run, not known"


def test_coco_and_what_has_no_value(tmp_path: Path) -> None:
    nothing = {**COCO, "bbox/APs": float("nan"), "segm/APs": float("nan")}
    folder = make_detectron2(tmp_path / "out", [(24000, nothing)], COCO_SETS)
    record = take(folder, "coco-instseg")
    found = {name: metric.value for name, metric in record.metrics.items()}
    assert found == {
        "box_ap": 40.0, "box_ap50": 41.0, "box_ap75": 42.0, "box_ap_large": 43.0, "box_ap_medium": 44.0,
        "mask_ap": 35.0, "mask_ap50": 36.0, "mask_ap75": 37.0, "mask_ap_large": 38.0, "mask_ap_medium": 39.0,
    }  # fmt: skip
    assert record.protocol.fields["metric"] == {"ap_rule": "coco_101point"}


@pytest.mark.parametrize("by_epoch", [False, True])
def test_semseg(tmp_path: Path, by_epoch: bool) -> None:
    folder = make_mmseg(tmp_path / "out", by_epoch=by_epoch)
    record = take(folder, "semseg")
    assert {name: metric.value for name, metric in record.metrics.items()} == {
        "mIoU": 67.25, "pixel_accuracy": 93.1, "mean_accuracy": 78.0,
    }  # fmt: skip
    assert record.protocol.fields["metric"] == {"miou_rule": "classes_in_union"}
    assert record.protocol.fields["datasets"] == {
        "train": [
            "PascalVOCDataset ImageSets/Segmentation/train.txt",
            "PascalVOCDataset ImageSets/Segmentation/aug.txt",
        ],
        "test": ["PascalVOCDataset ImageSets/Segmentation/val.txt"],
    }
    assert record.protocol.fields["config"]["num_devices"] == 4, "the batch is one device's"
    assert (record.seed, len(record.data.classes)) == (3, 21)
    assert record.details["imported"]["iteration"] == 20000
    early = take(folder, "semseg", choice=Choice(iteration=18000))
    assert early.metrics["mIoU"].value == 60.0


def test_a_run_in_two_parts(tmp_path: Path) -> None:
    folder = make_mmseg(tmp_path / "out", [(18000, {**LABELS, "mIoU": 60.0})])
    changes = {"load_from = None": "load_from = '/w/iter_18000.pth'", "resume = False": "resume = True"}
    make_mmseg(folder, [(20000, LABELS)], changes, timestamp="20260103_000000")
    record = take(folder, "semseg")
    assert record.metrics["mIoU"].value == 67.25
    assert record.details["imported"]["weights_of_config"] == "/data/net.pth"
    assert len(record.details["imported"]["files"]) == 6
    make_mmseg(folder, [(20000, LABELS)], {"lr=0.01": "lr=0.02"}, timestamp="20260104_000000")
    with pytest.raises(ConfigError, match=r"lr: 0\.02"):
        take(folder, "semseg")


def test_metrics_are_those_of_the_tasks() -> None:
    for task, names in METRICS.items():
        assert names.keys() == {metric.name for metric in TASKS.get(task).spec.metrics}


SAME = {
    "seed": {"SEED: 3": "SEED: 4"},
    "output": {"./output": "./other"},
    "workers": {"NUM_WORKERS: 4": "NUM_WORKERS: 0"},
    "weights": {"./net.pkl": "/other/place/moco.pkl"},
    "pixels": {"FORMAT: RGB": "FORMAT: BGR"},
}
OTHER = {
    "rate": {"BASE_LR: 0.02": "BASE_LR: 0.01"},
    "norm": {"NORM: SyncBN": "NORM: FrozenBN"},
    "train set": {"  - voc_2012_trainval\n": ""},
    "test set": {"voc_2007_test": "voc_2007_val"},
    "head": {"Res5ROIHeads": "Res5ROIHeadsExtraNorm"},
    "a field that nobody thought of": {"VIS_PERIOD: 0": "VIS_PERIOD: 0\nNEW: 1"},
}


@pytest.mark.parametrize("case", [*SAME, *OTHER])
def test_what_shares_a_table(tmp_path: Path, case: str) -> None:
    changes: Mapping[str, str] = {**SAME, **OTHER}[case]
    one = take(make_detectron2(tmp_path / "one"))
    two = take(make_detectron2(tmp_path / "two", changes=changes), choice=Choice(seed=4))
    assert (one.protocol.identity == two.protocol.identity) == (case in SAME)
    assert len(leaderboards([one, two])) == (1 if case in SAME else 2)


def test_where_the_norm_is_of_one_device_their_number_counts(tmp_path: Path) -> None:
    identities = {
        (norm, count): take(
            make_detectron2(
                tmp_path / f"{norm}{count}", changes={"NORM: SyncBN": f"NORM: {norm}"}, num_devices=count
            )
        ).protocol.identity
        for norm in ("BN", "SyncBN")
        for count in (1, 8, None)
    }
    assert len(set(identities.values())) == 4
    assert "on how many devices it ran is not known" in notes(
        take(make_detectron2(tmp_path / "x", changes={"NORM: SyncBN": "NORM: BN"}, num_devices=None))
    )


def test_an_import_never_stands_beside_ours_or_published(tmp_path: Path) -> None:
    folder = make_detectron2(tmp_path / "out")
    named = take(folder, choice=Choice(protocol="voc0712-r50c4-24k"))
    assert named.protocol.slug == "imported-voc0712-r50c4-24k"
    tables = leaderboards([named, *make_trials("resnet50.random", [33.0])], published=read_published())
    assert len(tables) == 2
    (table,) = [table for table in tables if table.protocol.startswith("imported-")]
    assert (table.status, table.published) == ("custom", ())
    assert "nothing of it was checked here" in table.departures[0]


def test_an_import_is_a_sound_record_and_the_same_twice(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for folder in (make_detectron2(tmp_path / "a" / "out"), make_detectron2(tmp_path / "b" / "elsewhere")):
        store.add(take(folder))
    store.add(take(make_mmseg(tmp_path / "c"), "semseg", random_card()))
    assert verify(store) == Verdict(num_good=2)


def test_what_was_fed_is_part_of_the_weights(tmp_path: Path) -> None:
    changes = {
        "FORMAT: RGB": "FORMAT: BGR",
        "- 123.675\n  - 116.28\n  - 103.53\n": "- 103.53\n  - 116.28\n  - 123.675\n",
        "- 58.395\n  - 57.12\n  - 57.375\n": "- 1.0\n  - 1.0\n  - 1.0\n",
        "STRIDE_IN_1X1: false": "STRIDE_IN_1X1: true",
    }
    record = take(make_detectron2(tmp_path / "out", changes=changes))
    fed = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), stride_in="1x1")
    assert record.weights.input == fed and record.weights.key != NET.key
    assert "the run was fed BGR" in notes(record) and "these weights expect RGB" in notes(record)


WEIGHTS = {
    "another": ({"./net.pkl": "detectron2://ImageNetPretrained/MSRA/R-50.pkl"}, NET, "are these the same?"),
    "none in the config": ({"./net.pkl": "''"}, NET, "starts from no weights"),
    "random, and some": ({}, random_card(), "starts from ./net.pkl, the record says no weights"),
    "random": ({"./net.pkl": "''"}, random_card(), ""),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_other_weights_are_a_note(tmp_path: Path, case: str) -> None:
    changes, card, words = WEIGHTS[case]
    found = notes(take(make_detectron2(tmp_path / "out", changes=changes), card=card))
    assert words in found and (found != "") == (words != "")


def test_seeds(tmp_path: Path) -> None:
    fixed = make_detectron2(tmp_path / "fixed")
    free = make_detectron2(tmp_path / "free", changes={"SEED: 3": "SEED: -1"})
    other = take(fixed, choice=Choice(seed=7))
    assert other.seed == 7 and "recorded as trial 7; its config has seed 3" in notes(other)
    assert take(free, choice=Choice(seed=0)).seed == 0
    with pytest.raises(UsageError, match="--seed N"):
        take(free)


def test_an_evaluation_on_the_way_is_another_table(tmp_path: Path) -> None:
    folder = make_detectron2(tmp_path / "out")
    early = take(folder, choice=Choice(iteration=11999))
    assert early.metrics["AP"].value == 50.0
    assert "tested at iteration 11,999 of 24,000" in early.protocol.departures
    assert early.protocol.identity != take(folder).protocol.identity


def write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def d2(**more: object) -> Callable[[Path], object]:
    return lambda folder: make_detectron2(folder, **more)  # type: ignore[arg-type]


def seg(**more: object) -> Callable[[Path], object]:
    return lambda folder: make_mmseg(folder / "seg", **more)  # type: ignore[arg-type]


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: next(folder.rglob(name)).unlink()


NAN = float("nan")
BAD: dict[str, tuple[list[Callable[[Path], object]], str, type[BenchError], str]] = {
    "no result": ([d2(results=[])], "voc-det", DataError, "no evaluation in it"),
    "no result of the last": (
        [d2(results=[(5999, VOC), (11999, VOC)])],
        "voc-det",
        DataError,
        "24,000; it has 5,999, 11,999",
    ),
    "two of the last": (
        [d2(results=[(24000, VOC), (24000, {**VOC, "bbox/AP": 1.0})])],
        "voc-det",
        DataError,
        "line 3",
    ),
    "nan": ([d2(results=[(24000, {**VOC, "bbox/AP50": NAN})])], "voc-det", DataError, "bbox/AP50 is nan"),
    "above 100": ([d2(results=[(24000, {**VOC, "bbox/AP": 100.5})])], "voc-det", DataError, "100.5"),
    "below 0": ([d2(results=[(24000, {**VOC, "bbox/AP": -1.0})])], "voc-det", DataError, "-1.0"),
    "text": ([d2(results=[(24000, {**VOC, "bbox/AP": "x"})])], "voc-det", DataError, "expected a number"),
    "no AP75": ([d2(results=[(24000, {"bbox/AP": 1.0, "bbox/AP50": 2.0})])], "voc-det", DataError, "AP75"),
    "COCO for VOC": ([d2(results=[(24000, COCO)])], "voc-det", DataError, "COCO's evaluator"),
    "VOC for COCO": ([d2()], "coco-instseg", DataError, "segm/AP is missing"),
    "no config": ([d2(), without("config.yaml")], "voc-det", ConfigError, "config.yaml: is missing"),
    "no log": ([d2(), without("metrics.json")], "voc-det", DataError, "metrics.json: is missing"),
    "LazyConfig": (
        [d2(), write("config.yaml", b"train:\n  max_iter: 1\n")],
        "voc-det",
        ConfigError,
        "LazyConfig",
    ),
    "a tag": (
        [d2(), write("config.yaml", b"SOLVER: !!python/object/apply:os.system [x]")],
        "voc-det",
        ConfigError,
        "python/object",
    ),
    "two test sets": (
        [d2(changes={"- voc_2007_test": "- voc_2007_test\n  - voc_2007_val"})],
        "voc-det",
        ConfigError,
        "2 sets",
    ),
    "ResNet-101": ([d2(changes={"DEPTH: 50": "DEPTH: 101"})], "voc-det", ConfigError, "ResNet-101"),
    "ResNeXt": ([d2(changes={"NUM_GROUPS: 1": "NUM_GROUPS: 32"})], "voc-det", ConfigError, "NUM_GROUPS"),
    "scale of 0 to 1": (
        [d2(changes={"123.675": "0.485", "116.28": "0.456", "103.53": "0.406"})],
        "voc-det",
        ConfigError,
        "0-255",
    ),
    "a torn result": (
        [d2(), write("metrics.json", b'{"bbox/AP": 57.0, "bb')],
        "voc-det",
        DataError,
        "line 1",
    ),
    "Detectron2 for semseg": ([d2()], "semseg", UsageError, "an output of Detectron2; semseg runs in mmseg"),
    "semseg, no result": ([seg(results=[])], "semseg", DataError, "no validation in it"),
    "semseg, not the last": ([seg(results=[(4000, LABELS)])], "semseg", DataError, "20,000; it has 4,000"),
    "semseg, nan": ([seg(results=[(20000, {**LABELS, "mAcc": NAN})])], "semseg", DataError, "mAcc is nan"),
    "semseg for voc-det": ([seg()], "voc-det", UsageError, "an output of MMSegmentation"),
    "semseg, V1c": (
        [seg(changes={"type='ResNet'": "type='ResNetV1c'"})],
        "semseg",
        ConfigError,
        "whose stem",
    ),
    "semseg, of before 1.0": ([seg(), write("seg/1.log.json", b"{}")], "semseg", DataError, "before 1.0"),
    "semseg, code": (
        [seg(changes={"resume = False": "import os\nresume = os.system('touch it')"})],
        "semseg",
        ConfigError,
        "kind Import",
    ),
    "semseg, a call": (
        [seg(changes={"resume = False": "resume = print(1)"})],
        "semseg",
        ConfigError,
        "kind Call",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    makes, task, error, words = BAD[case]
    for make in makes:
        make(tmp_path)
    folder = tmp_path / "seg" if (tmp_path / "seg").exists() else tmp_path
    with pytest.raises(error) as caught:
        take(folder, task)
    assert type(caught.value) is error and words in str(caught.value), str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_task_without_folders_is_refused(tmp_path: Path) -> None:
    spec = replace(TASKS.get("voc-det").spec, name="probe")
    found = read_folder(make_detectron2(tmp_path))
    with pytest.raises(UsageError, match="no output folders are read for it"):
        check_task(found, spec, tmp_path)


def test_a_line_that_a_kill_has_torn_is_passed_over(tmp_path: Path) -> None:
    folder = make_detectron2(tmp_path / "out")
    path = folder / "metrics.json"
    path.write_text('{"iteration": 3, "total_lo\n' + path.read_text() + '{"loss": NaN, "iteration": 24000}\n')
    assert take(folder).metrics["AP"].value == 57.25
    again = path.read_text().splitlines()[4]
    path.write_text(path.read_text() + again + "\n")
    assert take(folder).metrics["AP"].value == 57.25, "the same result twice is one"


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(UsageError, match="no output of a known engine"):
        read_folder(tmp_path)
    folder = make_detectron2(tmp_path / "out")
    for choice, words in (
        (Choice(protocol="A b"), "--protocol-name"),
        (Choice(iteration=5), "it has 11,999, 24,000"),
    ):
        with pytest.raises(UsageError, match=words):
            take(folder, choice=choice)
    shutil.rmtree(folder)
