"""The file as shipped, its README, and broken files."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from bench.core.errors import StoreError
from bench.core.paths import PUBLISHED
from bench.report.published import (
    COLUMNS,
    NUM_CLASSES,
    PUBLISHED_CSV,
    Published,
    Task,
    num_published,
    published_place,
    quote,
    read_published,
)

GOOD = {
    "method": "MoCo v2", "year": "2020", "arch": "ResNet-50", "pretrain_data": "ImageNet-1K",
    "pretrain_epochs": "200", "labels_used": "none", "task": "voc-det", "dataset": "VOC",
    "protocol": "voc0712-r50c4-24k", "metric": "AP", "value": "57.0", "std": "0.2", "seeds": "5",
    "source": "a paper, Table 1", "confirmed": "yes", "note": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def published() -> Published:
    return read_published()


def write(path: Path, *changes: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**GOOD, **change} for change in changes)
    path.write_bytes(text.getvalue().encode())
    return path


def test_every_row_is_read_and_every_confirmed_one_has_a_source(published: Published) -> None:
    with open(PUBLISHED_CSV, encoding="utf-8", newline="") as file:
        assert len(published.rows) == sum(1 for _ in csv.reader(file)) - 1
    for row in published.rows:
        assert row.source.strip()
        assert (row.confirmed == "no") == row.source.startswith("unconfirmed")


def test_readme_counts_are_those_of_the_file(published: Published) -> None:
    readme = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    rows = Counter(row.task for row in published.rows)
    confirmed = Counter(row.task for row in published.rows if row.confirmed == "yes")
    table = re.findall(r"^\| ([a-z0-9-]+) \| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    assert {task: (int(all_), int(sure)) for task, all_, sure in table} == {
        task: (rows[task], confirmed[task]) for task in get_args(Task)
    }
    assert f"{rows.total():,} values" in readme
    assert f"{confirmed.total():,} values are confirmed" in readme
    assert f"other {rows.total() - confirmed.total()} come" in readme
    for column in COLUMNS:
        assert f"`{column}`" in readme
    known = {row.protocol for row in published.rows}
    for slug in ("voc0712-r50c4-24k", "voc07-r50c4", "coco-r50c4-1x", "in1k-semi-ft", "in1k-linear-paper"):
        assert f"`{slug}`" in readme and slug in known


def test_class_counts_are_of_known_tasks() -> None:
    assert set(NUM_CLASSES) <= set(get_args(Task))


def test_rows_for_keeps_to_task_and_slug(published: Published) -> None:
    rows = published.rows_for("voc-det", "voc0712-r50c4-24k")
    assert len(rows) == 141
    moco = [row for row in rows if (row.method, row.pretrain_data, row.pretrain_epochs)
            == ("MoCo v2", "ImageNet-1K", 200)]  # fmt: skip
    assert {row.metric: row.value for row in moco} == {"AP": 57.0, "AP50": 82.4, "AP75": 63.6}
    assert published.rows_for("coco-det", "voc0712-r50c4-24k") == ()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("method", ""), ("year", "20"), ("year", "2020.5"), ("arch", "ResNet-101"), ("pretrain_epochs", "-1"),
        ("pretrain_epochs", "2e2"), ("labels_used", "some"), ("task", "voc"), ("dataset", ""),
        ("protocol", "VOC 07"), ("protocol", ""), ("metric", "mAP"), ("value", ""), ("value", "nan"),
        ("value", "inf"), ("value", "1e1"), ("value", "-3"), ("value", "100.1"), ("value", " 57"),
        ("value", "57,0"), ("value", "5_7"), ("std", "x"), ("std", "-0.1"), ("seeds", "five"),
        ("source", ""), ("source", "unconfirmed: somewhere"), ("confirmed", ""), ("confirmed", "maybe"),
    ],
)  # fmt: skip
def test_a_broken_value_is_refused_with_its_line(tmp_path: Path, column: str, value: str) -> None:
    path = write(tmp_path / "results.csv", {"metric": "AP50"}, {column: value})
    with pytest.raises(StoreError) as caught:
        read_published(path)
    assert f"{path}, line 3" in str(caught.value)
    if not value.startswith("unconfirmed"):
        assert column in str(caught.value)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "results.csv", {}, {"value": "58.0", "source": "another"})
    with pytest.raises(StoreError, match=r"line 3: the same key as line 2"):
        read_published(path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="line 1"):
        read_published(write(tmp_path / "a.csv", {}, columns=COLUMNS[::-1]))
    with pytest.raises(StoreError, match="line 1"):
        read_published(write(tmp_path / "b.csv", {}, columns=COLUMNS[:-1]))
    short = tmp_path / "c.csv"
    short.write_text(",".join(COLUMNS) + "\na,b\n\n")
    with pytest.raises(StoreError, match="line 2: 2 columns; expected 16"):
        read_published(short)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'"open'])
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=re.escape(str(path))):
        read_published(path)
    with pytest.raises(StoreError, match="cannot be read"):
        read_published(tmp_path / "missing.csv")


def test_twenty_problems_then_a_count(tmp_path: Path) -> None:
    path = write(tmp_path / "results.csv", *({"value": "x"} for _ in range(30)))
    with pytest.raises(StoreError, match="10 more problems"):
        read_published(path)


def test_metrics_of_one_source_share_a_row_and_sources_stay_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path / "results.csv",
        {"note": "mean of 5; other README gives 58"},
        {"metric": "AP50", "value": "82.4", "note": "mean of 5"},
        {"method": "MoCo v2 [per X]", "value": "58.0", "source": "X", "seeds": "", "std": ""},
        {"method": "InfoMin", "metric": "AP50", "value": "99.0", "source": "Y"},
    )
    first, second, third = quote(read_published(path), "voc-det", "voc0712-r50c4-24k", ("AP", "AP50"))
    assert (first.method, first.source, first.trials) == ("MoCo v2 [per X]", "X", None)
    assert (second.method, second.trials) == ("MoCo v2", 5)
    assert {name: (value.value, value.std) for name, value in second.values.items()} == {
        "AP": (57.0, 0.2), "AP50": (82.4, 0.2),
    }  # fmt: skip
    assert second.notes == ("mean of 5", "AP: other README gives 58")
    assert third.method == "InfoMin", "without the main metric: last"


def test_unconfirmed_rows_only_if_asked_for(published: Published) -> None:
    metrics = ("box_ap", "mask_ap")
    sure = quote(published, "coco-instseg", "coco-r50fpn4conv-1x", metrics)
    every = quote(published, "coco-instseg", "coco-r50fpn4conv-1x", metrics, unconfirmed=True)
    assert all(entry.confirmed for entry in sure)
    assert {entry.method for entry in every if not entry.confirmed}
    assert len(every) > len(sure)


def test_box_and_mask_metrics_come_from_their_own_tasks(published: Published) -> None:
    assert published_place("coco-instseg", "coco-r50c4-1x", "box_ap50") == ("coco-det", "AP50")
    assert published_place("coco-instseg", "coco-r50c4-1x", "mask_ap") == ("coco-instseg", "AP")
    assert published_place("voc-det", "voc0712-r50c4-24k", "AP") == ("voc-det", "AP")
    for slug, task in {
        "voc12aug-fcn-d8": "voc-seg",
        "cityscapes-fcn-moco": "cityscapes-seg",
        "ade20k-semfpn-80k": "ade20k-seg",
        "nyuv2-fcn-40k": "nyu-seg",
    }.items():
        assert published_place("semseg", slug, "mIoU") == (task, "mIoU")
    quoted = quote(published, "coco-instseg", "coco-r50c4-2x", ("box_ap", "mask_ap"))
    anchors = [entry.values for entry in quoted if entry.method == "Supervised"]
    assert any((v["box_ap"].value, v["mask_ap"].value) == (40.0, 34.7) for v in anchors if len(v) == 2)


def test_boxes_and_masks_of_a_run_are_counted_together(published: Published) -> None:
    both = [len(published.rows_for(task, "coco-r50c4-1x")) for task in ("coco-det", "coco-instseg")]
    assert min(both) > 0
    assert num_published(published, "coco-instseg", "coco-r50c4-1x") == sum(both)
    rows = published.rows_for("voc-det", "voc0712-r50c4-24k")
    assert num_published(published, "voc-det", "voc0712-r50c4-24k") == len(rows)
