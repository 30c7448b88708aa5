"""What shares a table, what shares a row, and what never stands beside published rows."""

from __future__ import annotations

import math
import random

import pytest

from bench.core.card import InputSpec
from bench.report.published import Published, read_published
from bench.report.tables import is_baseline, leaderboards
from tests.helpers.records import make_record, make_trials


@pytest.fixture(scope="module")
def published() -> Published:
    return read_published()


def test_row_is_the_mean_over_seeds_with_differences_to_each_baseline() -> None:
    records = [
        *make_trials("resnet50.random", [33.0, 34.0]),
        *make_trials("resnet50.supervised_msra", [53.0]),
        *make_trials("resnet50.moco_v2_ep200", [56.0, 57.0, 58.0]),
    ]
    (table,) = leaderboards(records)
    assert [row.label for row in table.rows] == [
        "resnet50.moco_v2_ep200", "resnet50.supervised_msra", "resnet50.random",
    ]  # fmt: skip
    moco, supervised, rand = table.rows
    assert table.metrics == ("AP", "AP50", "AP75")
    assert table.baselines == ("resnet50.random", "resnet50.supervised_msra")
    assert (moco.cells["AP"].mean, moco.cells["AP"].std) == (57.0, 1.0)
    assert moco.cells["AP"].values == (56.0, 57.0, 58.0)
    assert [trial.seed for trial in moco.trials] == [0, 1, 2]
    assert supervised.cells["AP"].std is None
    gap = moco.differences["resnet50.random"]["AP"]
    assert gap.value == 23.5
    # variances 1 of three trials and 0.5 of two
    assert gap.standard_error == pytest.approx(math.sqrt(1 / 3 + 0.5 / 2))
    assert moco.differences["resnet50.supervised_msra"]["AP50"].value == 4.0
    assert moco.differences["resnet50.supervised_msra"]["AP"].standard_error is None
    assert set(rand.differences) == {"resnet50.supervised_msra"}


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "other"},
        {"task_version": 9},
        {"task": "other-det"},
        {"slug": "voc07-r50c4"},
        {"status": "custom"},
        {"data": "other"},
        {"classes": ("one", "two")},
        {"main_metric": "AP50"},
    ],
    ids=str,
)
def test_what_moves_a_number_is_never_in_one_table(change: dict[str, object]) -> None:
    first = make_trials("resnet50.random", [30.0, 31.0])
    second = [
        make_record("resnet50.moco_v2_ep200", seed, 57.0, **change)  # type: ignore[arg-type]
        for seed in range(2)
    ]
    tables = leaderboards([*first, *second])
    assert len(tables) == 2
    for table in tables:
        assert len(table.rows) == 1
        # a baseline of another identity is no baseline
        assert table.rows[0].differences == {}


def test_two_files_of_one_name_are_two_rows_told_apart_by_hash() -> None:
    records = [
        *make_trials("resnet50.moco", [50.0, 51.0], file="a"),
        *make_trials("resnet50.moco", [40.0], file="b"),
        *make_trials("resnet50.pirl", [45.0]),
    ]
    (table,) = leaderboards(records)
    first, pirl, second = table.rows
    assert pirl.label == "resnet50.pirl"
    assert first.tensors_sha256 is not None and second.tensors_sha256 is not None
    assert first.label == f"resnet50.moco #{first.tensors_sha256[:8]}"
    assert second.label == f"resnet50.moco #{second.tensors_sha256[:8]}"
    assert first.label != second.label
    assert (first.cells["AP"].mean, second.cells["AP"].mean) == (50.5, 40.0)


def test_the_hash_is_shown_also_where_the_other_file_is_in_another_table() -> None:
    records = [
        make_record("resnet50.moco", file="a"),
        make_record("resnet50.moco", file="b", identity="other"),
    ]
    assert all(" #" in table.rows[0].label for table in leaderboards(records))


def test_the_same_tensors_fed_in_another_way_are_another_row() -> None:
    bgr = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
    records = [make_record("resnet50.moco", 0), make_record("resnet50.moco", 1, spec=bgr)]
    (table,) = leaderboards(records)
    assert [len(row.trials) for row in table.rows] == [1, 1]
    assert len({row.label for row in table.rows}) == 2


def test_two_baselines_of_one_name_stay_apart() -> None:
    records = [
        *make_trials("resnet50.supervised_x", [50.0], file="a"),
        *make_trials("resnet50.supervised_x", [52.0], file="b"),
    ]
    (table,) = leaderboards(records)
    assert len(table.baselines) == 2
    assert [gap["AP"].value for row in table.rows for gap in row.differences.values()] == [2.0, -2.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50.random", True),
        ("resnet50.supervised_torchvision", True),
        ("resnet50.supervised_msra", True),
        ("resnet50.supervised_smoke", True),
        ("resnet50.moco_v2_ep200", False),
        ("resnet50.random_crop", False),
        ("resnet50.semi_supervised", False),
        ("supervised", False),
    ],
)
def test_which_weights_are_baselines(name: str, expected: bool) -> None:
    assert is_baseline(name) is expected


def test_order_of_records_does_not_matter() -> None:
    records = [
        *make_trials("resnet50.random", [33.1, 33.7, 34.3]),
        *make_trials("resnet50.moco", [56.1, 57.2]),
        *make_trials("resnet50.moco", [56.1], status="custom", departures=("a", "b")),
    ]
    shuffled = random.Random(0).sample(records, len(records))
    assert leaderboards(records) == leaderboards(shuffled)


def test_exact_tables_come_first() -> None:
    records = [
        make_record("resnet50.moco", status=status, identity=status)
        for status in ("custom", "substituted", "exact")
    ]
    assert [table.status for table in leaderboards(records)] == ["exact", "substituted", "custom"]


def test_published_rows_only_if_asked_for(published: Published) -> None:
    record = make_record()
    (without,) = leaderboards([record])
    (beside,) = leaderboards([record], published=published)
    assert without.published is None
    assert beside.published is not None
    names = [(entry.method, entry.pretrain_epochs) for entry in beside.published]
    assert ("InfoMin Aug", 200) in names
    # both sides of a contradiction
    assert ("MoCo v2", 800) in names and ("MoCo v2 [per PixPro README]", 800) in names
    assert all(entry.source and entry.confirmed for entry in beside.published)
    assert beside.rows == without.rows


def test_custom_is_never_beside_published_rows(published: Published) -> None:
    (table,) = leaderboards([make_record(status="custom", departures=("steps",))], published=published)
    assert table.published == ()
    assert "custom" in table.published_note


def test_other_classes_are_never_beside_published_rows(published: Published) -> None:
    (table,) = leaderboards([make_record(classes=("a", "b", "c"))], published=published)
    assert table.published == ()
    assert "3 classes" in table.published_note and "20" in table.published_note


def test_substituted_is_beside_published_rows_and_says_so(published: Published) -> None:
    record = make_record(status="substituted", departures=("norm: BN for SyncBN",))
    (table,) = leaderboards([record], published=published)
    assert table.published
    assert "substitution" in table.published_note
    assert table.departures == ("norm: BN for SyncBN",)


def test_another_slug_brings_other_rows(published: Published) -> None:
    (table,) = leaderboards([make_record(slug="voc07-r50c4")], published=published)
    assert table.published is not None
    assert not any(entry.method == "InfoMin Aug" for entry in table.published)
    (nothing,) = leaderboards([make_record(slug="no-such-slug")], published=published)
    assert nothing.published == () and "no-such-slug" in nothing.published_note


def test_metrics_after_the_main_one_are_in_natural_order() -> None:
    metrics = {"top5": 1.0, "AP75": 2.0, "AP5": 3.0, "AP50": 4.0, "AP": 5.0}
    (table,) = leaderboards([make_record(metrics=metrics, main_metric="AP75")])
    assert table.metrics == ("AP75", "AP", "AP5", "AP50", "top5")


def test_intervals_ranks_and_noise_stand_in_the_rows() -> None:
    records = [
        *make_trials("resnet50.random", [33.0, 33.2, 33.1]),
        *make_trials("resnet50.supervised_msra", [56.8, 57.2, 57.0]),
        *make_trials("resnet50.moco_v2_ep200", [56.9, 57.3, 57.1]),
        *make_trials("resnet50.infomin_ep200", [57.6]),
    ]
    (table,) = leaderboards(records)
    rows = {row.label.partition(".")[2]: row for row in table.rows}
    assert {name: row.rank for name, row in rows.items()} == {
        "infomin_ep200": None, "moco_v2_ep200": (1, 2), "supervised_msra": (1, 2), "random": (3, 3),
    }  # fmt: skip
    moco = rows["moco_v2_ep200"]
    # t of 2 degrees of freedom at 97.5 % is 4.3027
    assert moco.cells["AP"].interval == pytest.approx(
        (57.1 - 4.3027 * 0.2 / 3**0.5, 57.1 + 4.3027 * 0.2 / 3**0.5)
    )
    assert moco.differences["resnet50.random"]["AP"].beyond_noise is True
    assert moco.differences["resnet50.supervised_msra"]["AP"].beyond_noise is False
    single = rows["infomin_ep200"].differences["resnet50.random"]["AP"]
    assert single.interval is None and single.beyond_noise is None
