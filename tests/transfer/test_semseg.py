"""The task semseg: status, identity, what it records, its check, its pictures, its published rows."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.commands.data import command as data_command
from bench.commands.transfer import command as transfer_command
from bench.core.card import InputSpec
from bench.core.errors import DataError, WeightsError
from bench.core.store import Store
from bench.report.published import num_published, read_published
from bench.report.tables import leaderboards
from tests.helpers.engine import options, semseg
from tests.helpers.label_sets import write_ade20k, write_cityscapes, write_nyuv2, write_voc_devkit
from tests.transfer.engines.test_segmentors import HEADS, TOY
from transfer.api import Job, Output
from transfer.data.segmentation import IGNORED, SegmentationDataset
from transfer.metrics.confusion import ImageLabels, LabelTest
from transfer.run import execute, make_plan
from transfer.show import FILE, show

MOCO, D8 = "voc12aug-fcn-moco", "voc12aug-fcn-d8"
WRITERS = {
    "voc-seg": (write_voc_devkit, D8),
    "cityscapes": (write_cityscapes, "cityscapes-fcn-d8-769-40k"),
    "ade20k": (write_ade20k, "ade20k-fcn-d8-80k"),
    "nyuv2": (write_nyuv2, "nyuv2-fcn-40k"),
}


def labels_of(data: SegmentationDataset, index: int) -> np.ndarray:
    labels = np.asarray(Image.open(data.test[index].label_path)).astype(np.int64)
    if data.zero_is_ignored:
        labels = np.where((labels == 0) | (labels == IGNORED), IGNORED, labels - 1)
    return labels.astype(np.uint8)


def perfect(job: Job) -> Output:
    """An engine that labels every pixel as it is, and trains nothing."""
    data: SegmentationDataset = job.data
    found = []
    for index in range(len(data.test)):
        truth = labels_of(data, index)
        right = np.where(truth == IGNORED, 0, truth).astype(np.uint8)
        found.append(ImageLabels.of(index, truth, right, len(data.classes), keep_maps=True))
    result = job.measure(LabelTest.of_images(found, [image.image_id for image in data.test], data.classes))
    return Output(result.metrics, result.details, result.predictions)


@pytest.mark.parametrize("layout", WRITERS)
def test_each_set_is_recorded_by_its_protocol(tmp_path: Path, layout: str) -> None:
    """The layouts are those of the published sets, their counts are not: each record says so."""
    write, slug = WRITERS[layout]
    plan = make_plan(semseg(), options(tmp_path, write(tmp_path / "set"), protocol=slug, smoke=False))
    assert plan.status == "custom"
    departures = [line for line in plan.departures if line.startswith("data: ")]
    assert departures and all("images (protocol: " in line for line in departures)
    (record,) = execute(plan, perfect)
    assert record.metrics["mIoU"].value == pytest.approx(100.0)
    assert record.metrics["pixel_accuracy"].value == pytest.approx(100.0)
    assert record.details["miou_rule"] == "classes_in_truth"


def published_size(monkeypatch: pytest.MonkeyPatch, root: Path, slug: str) -> None:
    """Let the task read a set that has the published counts."""
    task = semseg()
    protocol = make_plan(task, options(root, root, protocol=slug, smoke=False)).protocol
    full = replace(task.load_data(root, protocol), split_counts=protocol.data.split_counts)
    monkeypatch.setattr(type(task), "load_data", lambda self, root, protocol: full)


@pytest.mark.parametrize("slug", [D8, MOCO, "cityscapes-fcn-moco"])
def test_published_rows_join_by_slug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slug: str) -> None:
    monkeypatch.setattr(
        "transfer.run.Devices.here", classmethod(lambda cls, num_devices: cls(num_devices, 8))
    )
    write = write_cityscapes if slug.startswith("city") else write_voc_devkit
    root = write(tmp_path / "set")
    published_size(monkeypatch, root, slug)
    plan = make_plan(semseg(), options(tmp_path, root, protocol=slug, smoke=False, num_devices=4))
    assert (plan.status, plan.departures) == ("exact", ())
    (table,) = leaderboards(execute(plan, perfect), published=read_published())
    assert table.metric_rule == "mIoU rule: classes_in_truth"
    methods = {entry.method for entry in table.published or ()}
    assert methods
    assert len(table.published or ()) == num_published(read_published(), "semseg", slug)


def test_rows_of_another_stem_never_join() -> None:
    published = read_published()
    stems = {row.protocol for row in published.rows if row.protocol.endswith("-v1c")}
    assert stems
    for slug in ("cityscapes-fcn-d8-769-40k", "ade20k-fcn-d8-80k"):
        assert f"{slug}-v1c" in stems
        assert num_published(published, "semseg", slug) == 0


def test_a_set_of_its_own_is_custom(tmp_path: Path, voc: Path) -> None:
    plan = make_plan(semseg(), options(tmp_path, voc, protocol=D8, smoke=False))
    assert plan.status == "custom"
    assert any("layout voc-folder" in line for line in plan.departures)


def test_another_rule_is_another_identity(tmp_path: Path, voc: Path) -> None:
    asked = options(tmp_path, voc, protocol=D8)
    one = make_plan(semseg(), asked)
    other = make_plan(semseg(), replace(asked, overrides=("metric.miou_rule='classes_in_union'",)))
    assert one.identity != other.identity


def test_another_padding_is_refused() -> None:
    with pytest.raises(WeightsError, match="padding"):
        semseg().check_input(InputSpec(padding="tf_same"))


def test_predictions_are_drawn_beside_the_truth(tmp_path: Path, voc: Path) -> None:
    plan = make_plan(semseg(), options(tmp_path, voc, protocol=MOCO))
    (record,) = execute(plan, perfect)
    path = show(plan, record)
    assert path == plan.run_dir(0) / FILE
    page = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    assert page.std() > 20
    data, _, where = Store(plan.options.results).predictions(record)
    where.write_bytes(data[:-20])
    with pytest.raises(DataError, match=where.name):
        show(plan, record)


def test_the_command_trains_checks_and_draws(tmp_path: Path, voc: Path) -> None:
    """Through the command line with the real engine; a second call draws from what is kept."""
    sets = [word for override in (*TOY, *HEADS[MOCO]) for word in ("--set", override)]
    words = ["semseg", "--checkpoint", "random", "--smoke", "--data", str(voc), "--protocol", MOCO]
    words += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), *sets]
    first = CliRunner().invoke(transfer_command, words, standalone_mode=False)
    assert first.exception is None
    assert "mIoU " in first.stdout and "pixel_accuracy " in first.stdout
    again = CliRunner().invoke(transfer_command, [*words, "--show-predictions"], standalone_mode=False)
    assert again.exception is None
    assert again.stdout == first.stdout
    (drawn,) = tmp_path.rglob(FILE)
    assert Image.open(drawn).format == "PNG"


def check(layout: str, *arguments: object) -> tuple[str, BaseException | None]:
    words = ["check", layout, *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(data_command, words, standalone_mode=False)
    return result.stdout, result.exception


@pytest.mark.parametrize("layout", WRITERS)
def test_a_good_set_is_described(tmp_path: Path, layout: str) -> None:
    root = WRITERS[layout][0](tmp_path / "set")
    out, error = check(layout, root)
    assert error is None
    assert "no fault" in out and "custom" in out
    values = json.loads(check(layout, root, "--json")[0])
    assert values["faults"] == []
    assert values["counts"]["test"] > 0


def test_a_folder_is_no_published_set(tmp_path: Path, voc: Path) -> None:
    root = write_voc_devkit(tmp_path / "set")
    assert isinstance(check("folder", root)[1], DataError)
    out, error = check("voc-seg", voc)
    assert error is None and "layout voc-folder" in out


@pytest.mark.parametrize("layout", ["ade20k", "nyuv2"])
def test_maps_from_which_zero_was_taken_are_refused(tmp_path: Path, layout: str) -> None:
    """0 to 39 and 255 for 1 to 40 and 0: every class would have the next one's name."""
    root = WRITERS[layout][0](tmp_path / "set")
    for path in root.rglob("*.png"):
        if path.parent.parent.name != "images":
            labels = np.asarray(Image.open(path))
            Image.fromarray(np.where(labels == 0, 255, labels - 1).astype(np.uint8)).save(path)
    out, error = check(layout, root)
    assert isinstance(error, DataError)
    assert "Expected 0 for what is ignored" in out


def test_a_class_without_a_pixel_is_no_published_set(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "set")
    for path in root.rglob("*_labelTrainIds.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.where(labels == 18, 255, labels).astype(np.uint8)).save(path)
    out, error = check("cityscapes", root)
    assert error is None and "train: no pixel of bicycle" in out


@pytest.mark.parametrize("layout", ["ade20k", "nyuv2"])
def test_other_sets_with_such_folders_are_not_taken_for_published_ones(tmp_path: Path, layout: str) -> None:
    root = WRITERS[layout][0](tmp_path / "set")
    (root / ("objectInfo150.txt" if layout == "ade20k" else "classes.txt")).unlink()
    _, error = check(layout, root)
    assert isinstance(error, DataError)


def test_linked_folders_are_read(tmp_path: Path) -> None:
    """Large sets often lie elsewhere."""
    there, here = write_cityscapes(tmp_path / "there"), tmp_path / "here"
    here.mkdir()
    for name in ("leftImg8bit", "gtFine"):
        (here / name).symlink_to(there / name)
    assert check("cityscapes", here)[1] is None


def test_every_fault_is_listed(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "set")
    maps = sorted(root.rglob("annotations/training/*.png"))
    maps[0].unlink()
    Image.fromarray(np.full((8, 8, 3), 5, np.uint8)).save(maps[1])
    out, error = check("ade20k", root)
    assert isinstance(error, DataError) and "2 faults" in str(error)
    assert all(path.name in out or path.stem in out for path in maps[:2])
