"""Two weights against each other: which records meet, what noise is, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from bench.core.card import InputSpec
from bench.core.errors import StoreError, UsageError
from bench.core.records import Record
from bench.report.compare import Comparison, EvidenceOf, compare
from bench.report.compare_text import as_text
from tests.helpers.records import make_record, make_trials

IMAGES = tuple(f"{index:03}" for index in range(200))


@dataclass(frozen=True)
class Rights:
    """top1 of images that are right or wrong."""

    right: npt.NDArray[np.float64]
    metric: str = "AP"
    images: tuple[str, ...] = IMAGES

    @property
    def value(self) -> float:
        return float(100 * self.right.mean())

    def values(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = 100 * (counts @ self.right) / counts.sum(axis=1)
        return found


def rights(record: Record) -> Rights:
    """As many right as the record's AP says, the same ones first for all."""
    share = record.metrics["AP"].value / 100
    order = np.random.default_rng(0).permutation(len(IMAGES))
    return Rights((order < share * len(IMAGES)).astype(np.float64))


def none_kept(record: Record) -> Rights:
    raise StoreError(f"record {record.id}: keeps no predictions")


def two(
    first: Sequence[float], second: Sequence[float], evidence: EvidenceOf = rights, **more: object
) -> Comparison:
    records = [*make_trials("resnet50.a", first), *make_trials("resnet50.b", second, **more)]
    return compare(records, "a", "b", evidence, num_resamples=200)


def test_a_difference_beyond_both_kinds_of_noise() -> None:
    (task,) = two([60.0, 60.5, 61.0], [40.0, 40.5, 41.0]).tasks
    assert task.seeds.value == pytest.approx(20.0) and task.seeds.beyond_noise
    assert task.images is not None and task.images.value == pytest.approx(20.0) and task.images.beyond_noise
    assert task.better == "first" == task.model_dump()["better"]
    assert task.images.interval[0] < 20.0 < task.images.interval[1]
    assert (task.first.values, task.second.values) == ((60.0, 60.5, 61.0), (40.0, 40.5, 41.0))


def test_the_order_of_the_two_turns_the_sign_alone() -> None:
    records = [*make_trials("resnet50.a", [60.0, 60.5]), *make_trials("resnet50.b", [40.0, 40.5])]
    (one,), (other,) = (
        compare(records, *names, rights, num_resamples=200).tasks for names in (("a", "b"), ("b", "a"))
    )
    assert one.seeds.value == -other.seeds.value
    assert one.images and other.images and one.images.interval[0] == pytest.approx(-other.images.interval[1])
    assert (one.better, other.better) == ("first", "second")


def test_where_less_is_better_the_lower_one_wins() -> None:
    def turned(record: Record) -> Record:
        metrics = {
            name: metric.model_copy(update={"higher_is_better": False})
            for name, metric in record.metrics.items()
        }
        return record.model_copy(update={"metrics": metrics})

    records = [*make_trials("resnet50.a", [60.0, 60.5]), *make_trials("resnet50.b", [40.0, 40.5])]
    (task,) = compare([turned(record) for record in records], "a", "b", rights, num_resamples=200).tasks
    assert task.better == "second"


def test_noise_of_either_kind_decides_nothing() -> None:
    # three seeds that spread by tens
    (task,) = two([40.0, 60.0, 80.0], [35.0, 55.0, 75.0]).tasks
    assert task.seeds.beyond_noise is False and "seeds" in task.better and "images" not in task.better
    # half a point of 200 images is one image
    (task,) = two([60.5, 60.5], [60.0, 60.0]).tasks
    assert task.seeds.beyond_noise is True and task.images is not None and not task.images.beyond_noise
    assert "images" in task.better and "seeds" not in task.better


def test_what_is_not_known_is_said() -> None:
    (task,) = two([60.0], [40.0]).tasks
    assert task.seeds.beyond_noise is None and task.better.startswith("not known")
    (task,) = two([60.0, 60.1], [40.0, 40.1], none_kept).tasks
    assert task.images is None and "keeps no predictions" in task.images_note
    assert task.better.startswith("not known")


@pytest.mark.parametrize("change", [{"identity": "other"}, {"task_version": 9}, {"data": "other"}], ids=str)
def test_other_identities_never_meet(change: dict[str, object]) -> None:
    found = two([60.0, 61.0], [40.0, 41.0], **change)
    assert found.tasks == () and len(found.only_first) == len(found.only_second) == 1


def test_tasks_of_one_alone_are_listed() -> None:
    records = [
        *make_trials("resnet50.a", [60.0]),
        *make_trials("resnet50.b", [40.0]),
        make_record("resnet50.a", task="knn", slug="toy-knn", identity="knn"),
    ]
    found = compare(records, "a", "b", rights, num_resamples=50)
    assert len(found.tasks) == 1 and found.only_second == ()
    (only,) = found.only_first
    assert only.startswith("knn toy-knn")


def test_what_differs_in_cards_and_environments_is_found() -> None:
    bgr = InputSpec(channel_order="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
    found = two([60.0, 61.0], [40.0, 41.0], spec=bgr)
    differs = {name: values for name, *values in found.differs}
    assert differs["input.channel_order"] == ["rgb", "bgr"]
    assert "tensors_sha256" in differs and "input.padding" not in differs and "name" not in differs
    assert found.tasks[0].environments == ()
    assert ("seed", "0, 1", "0") in two([60.0, 61.0], [40.0]).tasks[0].environments


def test_one_commit_with_local_changes_on_both_sides_is_told() -> None:
    """They may be other changes."""
    made = make_record().provenance.model_copy(update={"git_dirty": True})
    records = [
        make_record(f"resnet50.{name}", seed, 50.0 + seed).model_copy(update={"provenance": made})
        for name in "ab"
        for seed in (0, 1)
    ]
    found = compare(records, "a", "b", none_kept, num_resamples=100)
    commit = f"{made.git_commit} with local changes"
    assert found.tasks[0].environments == (("commit", commit, commit),)


@pytest.mark.parametrize("name", ["resnet50.moco_v2_ep200", "moco_v2_ep200", "moco", "resnet50.m"])
def test_names_may_be_short_while_they_are_clear(name: str) -> None:
    records = [*make_trials("resnet50.moco_v2_ep200", [60.0]), *make_trials("resnet50.pirl", [50.0])]
    found = compare(records, name, "pirl", none_kept)
    assert (found.first, found.second) == ("resnet50.moco_v2_ep200", "resnet50.pirl")


def test_a_whole_name_is_no_beginning_of_another() -> None:
    records = [*make_trials("resnet50.moco", [60.0]), *make_trials("resnet50.moco_v2", [50.0])]
    assert compare(records, "moco", "moco_v2", none_kept).first == "resnet50.moco"


@pytest.mark.parametrize(("first", "second"), [("p", "moco"), ("mcoo", "pirl"), ("moco", "resnet50.moco")])
def test_unclear_unknown_and_equal_names_are_refused(first: str, second: str) -> None:
    names = ("resnet50.moco", "resnet50.pirl", "resnet50.pcl")
    with pytest.raises(UsageError):
        compare([record for name in names for record in make_trials(name, [50.0])], first, second, none_kept)


def test_the_text_says_both_intervals_and_who_is_better() -> None:
    text = as_text(two([60.0, 60.5, 61.0], [40.0, 40.5, 41.0]), width=120)
    (line,) = (line for line in text.splitlines() if line.startswith("voc-det"))
    assert "+20.0" in line and line.count("[+") == 2 and line.rstrip().endswith("A")
    assert max(map(len, as_text(two([60.0], [40.0]), width=80).splitlines())) <= 80


def test_hostile_text_reaches_no_terminal() -> None:
    records = [*make_trials("resnet50.a", [60.0]), *make_trials("resnet50.b\x1b[2J", [40.0])]
    assert "\x1b" not in as_text(compare(records, "a", "b", none_kept))
