"""`bench results merge`: equal is one, different is said, nothing is overwritten, a kill does no harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.commands.results import command
from bench.core import atomic
from bench.core.errors import StoreError, UsageError
from bench.core.store import Store
from bench.results.merge import Merge, merge
from bench.results.verify import Verdict, verify
from tests.helpers.stores import SUFFIX, fill, make_kept


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store, Store]:
    """Two sources that share two records, and a destination that is not there."""
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    fill(one, num_seeds=1)
    fill(two, num_seeds=2)
    return one, two, Store(tmp_path / "new" / "all")


def tree(store: Store) -> dict[Path, bytes]:
    files = (path for path in store.root.rglob("*") if path.is_file())
    return {path.relative_to(store.root): path.read_bytes() for path in files}


def test_records_and_files_arrive_as_they_are(stores: tuple[Store, Store, Store]) -> None:
    one, two, all_ = stores
    before = tree(one), tree(two)
    done = merge([one, two], all_)
    assert (done.num_found, done.num_there, len(done.added), done.problems) == (6, 2, 4, [])
    assert tree(all_) == {**tree(one), **tree(two)}
    assert verify(all_) == Verdict(num_good=4, num_predictions=4)
    again = merge([two, one], all_)
    assert again == Merge(num_found=6, num_there=6)
    assert (tree(one), tree(two)) == before


def test_what_comes_out_does_not_depend_on_the_order(tmp_path: Path, stores: Any) -> None:
    one, two, all_ = stores
    one.add(*make_kept("resnet50.byol", ap=1.0))
    two.add(*make_kept("resnet50.byol", ap=2.0))
    other = Store(tmp_path / "other")
    first, second = merge([one, two], all_), merge([two, one], other)
    assert tree(all_) == tree(other)
    assert len(first.problems) == len(second.problems) == 1


def test_a_dry_run_writes_nothing_and_says_the_same(stores: tuple[Store, Store, Store]) -> None:
    one, two, all_ = stores
    would = merge([one, two], all_, dry_run=True)
    assert not all_.root.parent.exists()
    assert would == merge([one, two], all_)


def test_all_conflicts_are_listed_with_both_values(stores: tuple[Store, Store, Store]) -> None:
    one, two, all_ = stores
    for seed in range(3):
        one.add(*make_kept("resnet50.byol", seed, 41.0 + seed))
        all_.add(*make_kept("resnet50.byol", seed, 51.0 + seed))
    two.add(*make_kept("resnet50.swav", ap=10.0))
    one.add(*make_kept("resnet50.swav", ap=20.0))
    before = tree(all_)
    done = merge([one, two], all_)
    assert len(done.problems) == 4
    for seed in range(3):
        line = next(line for line in done.problems if f"{41.0 + seed}" in line)
        assert f"{51.0 + seed}" in line and str(one.root) in line and str(all_.root) in line
    swav = next(line for line in done.problems if "swav" in line)
    assert "10.0" in swav and "20.0" in swav and "AP.value" in swav
    assert before.items() <= tree(all_).items()
    assert not (all_.root / "resnet50.swav").exists(), "neither of two that differ"
    assert len(done.added) == 4, "the others are added"


def test_damage_in_a_source_is_named_and_not_carried_on(stores: tuple[Store, Store, Store]) -> None:
    one, two, all_ = stores
    path = next(one.root.rglob("*.json"))
    path.write_text(path.read_text().replace("AP75", "AP57"))
    beside = next(two.root.glob(f"resnet50.moco/*/*{SUFFIX}"))
    beside.write_bytes(beside.read_bytes()[:-1])
    beside_random = sorted(two.root.glob(f"resnet50.random/*/*{SUFFIX}"))[0]
    beside_random.unlink()
    done = merge([one, two], all_)
    # A record whose file is whole in the other store comes with that one.
    assert len(done.problems) in (2, 3)
    assert any(str(path) in line and "was changed" in line for line in done.problems)
    assert verify(all_).problems == []
    assert verify(all_).num_good == len(done.added)


def test_a_missing_file_of_predictions_is_put_back(stores: tuple[Store, Store, Store]) -> None:
    one, _, all_ = stores
    merge([one], all_)
    whole = tree(all_)
    for lost in all_.root.rglob(f"*{SUFFIX}"):
        lost.unlink()
    done = merge([one], all_)
    assert (len(done.completed), done.added, done.num_there) == (2, [], 2)
    assert tree(all_) == whole
    damaged = next(all_.root.rglob(f"*{SUFFIX}"))
    damaged.write_bytes(b"mine")
    assert "damaged" in merge([one], all_).problems[0]
    assert damaged.read_bytes() == b"mine", "nothing is overwritten"


def test_a_merge_that_was_killed_is_run_again(
    stores: tuple[Store, Store, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before each file that it writes in turn."""
    one, two, _ = stores
    expected = {**tree(one), **tree(two)}
    for point in range(len(expected)):
        all_, left = Store(tmp_path / f"all{point}"), [point]

        def cut(real: Any, left: list[int]) -> Any:
            def write(path: Path, data: bytes) -> None:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                real(path, data)

            return write

        with monkeypatch.context() as patch:
            for name in ("create_bytes", "write_bytes"):
                patch.setattr(atomic, name, cut(getattr(atomic, name), left))
            with pytest.raises(KeyboardInterrupt):
                merge([one, two], all_)
        assert verify(all_).problems == []
        assert merge([one, two], all_).problems == []
        assert tree(all_) == expected


def test_places_that_are_one_are_refused(stores: tuple[Store, Store, Store], tmp_path: Path) -> None:
    one, two, all_ = stores
    for sources, destination in (
        ([one], one),
        ([one], Store(one.root / "sub")),
        ([one], Store(one.root.parent)),
        ([one, two, Store(tmp_path / "two" / ".." / "one")], all_),
        ([Store(tmp_path / "none")], all_),
    ):
        with pytest.raises(UsageError):
            merge(sources, destination)
    assert not all_.root.exists()


def call(*arguments: object) -> Any:
    return CliRunner().invoke(command, ["merge", *map(str, arguments)])


def test_the_command(stores: tuple[Store, Store, Store]) -> None:
    one, two, all_ = stores
    dry = call(one.root, two.root, "--results", all_.root, "--dry-run")
    assert dry.exit_code == 0 and "4 would be added, 2 there already" in dry.stdout
    assert not all_.root.exists()
    done = call(one.root, two.root, "--results", all_.root)
    assert done.exit_code == 0
    assert done.stdout == f"{all_.root}: 6 records found, 4 added, 2 there already; 0 problems\n"
    one.add(*make_kept("resnet50.byol", ap=1.0))
    two.add(*make_kept("resnet50.byol", ap=2.0))
    bad = call(one.root, two.root, "--results", all_.root)
    assert isinstance(bad.exception, StoreError) and bad.exception.exit_code == 8
    assert "problem: " in bad.stdout and "1.0 and 2.0" in bad.stdout
    value = json.loads(call(one.root, two.root, "--results", all_.root, "--json").stdout)
    assert (value["num_found"], value["num_there"], value["added"]) == (8, 6, [])
    assert len(value["problems"]) == 1
