"""`bench results verify`: each fault is found and named, a sound store has none, nothing is changed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.commands.results import command
from bench.core import atomic
from bench.core.card import InputSpec
from bench.core.errors import StoreError, UsageError
from bench.core.records import sealed
from bench.core.store import Attachment, Store
from bench.results.kept import check_kept, kept_of
from bench.results.verify import Verdict, verify
from bench.sweep.claims import claim
from tests.helpers.records import make_record
from tests.helpers.stores import SUFFIX, fill, honest, make_file, make_kept
from transfer.metrics.kept import SUFFIX as REAL_SUFFIX
from transfer.metrics.kept import pack_arrays


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    fill(made)
    return made


def place(store: Store, end: str = ".json") -> Path:
    """A file of the first record of MoCo, by the end of its name."""
    return next(path for path in sorted(store.root.glob("resnet50.moco/*/*")) if path.name.endswith(end))


def tree(store: Store) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_a_sound_store_has_no_problem_and_is_not_changed(store: Store) -> None:
    before = tree(store)
    assert verify(store) == Verdict(num_good=4, num_predictions=4)
    assert tree(store) == before
    store.add(honest(make_record("resnet50.simclr")))
    assert verify(store) == Verdict(num_good=5, num_predictions=4), "a record may keep nothing"


def rewrite(change: Callable[[dict[str, Any]], object]) -> Callable[[Store], object]:
    """A record of another content that is sealed anew and lies where it must."""

    def apply(store: Store) -> None:
        from bench.core.records import Record

        path = place(store)
        value = json.loads(path.read_text())
        value.pop("sha256")
        change(value)
        record = Record.model_validate(value)
        path.unlink()
        new = store.path(record.weights.name, record.task, record.id)
        kept = place(store, SUFFIX)
        new.parent.mkdir(parents=True, exist_ok=True)
        kept.rename(new.parent / kept.name.replace(path.stem, new.stem))
        new.write_text(atomic.json_text(sealed(record)))

    return apply


def append(data: bytes) -> Callable[[Store], object]:
    return lambda store: place(store, SUFFIX).write_bytes(place(store, SUFFIX).read_bytes() + data)


def other_file(store: Store) -> None:
    """The predictions of another record under this one's name."""
    place(store, SUFFIX).write_bytes(make_file("another").data)


def second_name(store: Store) -> None:
    """The same weights under another name: an honest record, as a renamed checkpoint gives it."""
    record = store.scan().records[0]
    card = record.weights.model_copy(update={"name": "resnet50.again"})
    attachment = make_kept("resnet50.moco", record.seed, record.metrics["AP"].value)[1]
    store.add(record.model_copy(update={"weights": card}), attachment)


def stray_folder(store: Store) -> None:
    (store.root / "notes").mkdir()
    (store.root / "notes" / "README").write_text("x")


FAULTS: dict[str, tuple[Callable[[Store], object], str]] = {
    "edited": (
        lambda store: place(store).write_text(place(store).read_text().replace('"seed": ', '"seed": 1')),
        "was changed after it was written",
    ),
    "renamed": (lambda store: place(store).rename(place(store).with_stem("0" * 16)), "belongs to"),
    "not JSON": (lambda store: place(store).write_text("{"), "line 1"),
    "empty": (lambda store: place(store).write_text(""), "empty: left by a writer"),
    "another fingerprint": (rewrite(lambda value: value["data"].update(fingerprint="0" * 64)), "identity"),
    "another count": (rewrite(lambda value: value["data"]["counts"].update(test=1)), "identity"),
    "another field": (rewrite(lambda value: value["protocol"]["fields"].update(more=1)), "identity"),
    "another task version": (rewrite(lambda value: value.update(task_version=9)), "identity"),
    "another identity": (rewrite(lambda value: value["protocol"].update(identity="0" * 64)), "identity"),
    "above 100": (rewrite(lambda value: value["metrics"]["AP"].update(value=157.0)), "expected a percentage"),
    "below 0": (rewrite(lambda value: value["metrics"]["AP"].update(value=-1.0)), "expected a percentage"),
    "exact and departs": (rewrite(lambda value: value["protocol"].update(departures=["x"])), "departs: x"),
    "custom and does not": (rewrite(lambda value: value["protocol"].update(status="custom")), "no departure"),
    "predictions gone": (lambda store: place(store, SUFFIX).unlink(), "is missing"),
    "predictions empty": (lambda store: place(store, SUFFIX).write_bytes(b""), "damaged"),
    "predictions cut off": (
        lambda store: place(store, SUFFIX).write_bytes(place(store, SUFFIX).read_bytes()[:-1]),
        "cut off",
    ),
    "predictions longer": (append(b"\0"), "behind its end"),
    "predictions twice": (append(make_file("another").data), "behind its end"),
    "predictions of another": (other_file, "or the file of another record"),
    "predictions a folder": (
        lambda store: (path := place(store, SUFFIX), path.unlink(), path.mkdir()),
        "cannot be read",
    ),
    "predictions without hash": (
        rewrite(lambda value: value["details"].update(predictions={"suffix": SUFFIX})),
        "no sha256",
    ),
    "predictions elsewhere": (
        rewrite(lambda value: value["details"]["predictions"].update(suffix="/../../x")),
        "no end of a file name",
    ),
    "two names": (second_name, "under 2 names"),
    "a stray file": (lambda store: (store.root / "plot.png").write_bytes(b"x"), "belongs to no record"),
    "a stray folder": (stray_folder, "README: belongs to no record"),
    "a stray file beside": (
        lambda store: place(store).with_suffix(".txt").write_bytes(b"x"),
        "belongs to no record",
    ),
    "a link to a folder": (lambda store: (store.root / "more").symlink_to(store.root), "a link to a folder"),
}
NOT_OF_A_RECORD = ("a stray file", "a stray folder", "a stray file beside", "a link to a folder")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(store: Store, fault: str) -> None:
    spoil, words = FAULTS[fault]
    spoil(store)
    verdict = verify(store)
    assert any(words in line for line in verdict.problems), verdict.problems
    assert len(verdict.problems) == 1
    assert str(store.root) in verdict.problems[0] or "record " in verdict.problems[0]
    assert verdict.num_good == {"two names": 3}.get(fault, 4 if fault in NOT_OF_A_RECORD else 3)


def test_other_weights_are_no_twin(store: Store) -> None:
    spec = InputSpec(channel_order="bgr", mean=(1.5, 2.0, 3.0), std=(1.0, 1.0, 1.0))
    record, attachment = make_kept("resnet50.moco", spec=spec)
    store.add(record.model_copy(update={"weights": record.weights}), attachment)
    store.add(*make_kept("resnet50.other"))
    assert verify(store).problems == []


def test_the_claims_of_sweeps_belong_to_a_store(store: Store) -> None:
    """They are there while cells run, and after."""
    with claim(store.root, "0123456789abcdef"):
        assert verify(store).problems == []
    found = verify(store)
    assert (found.problems, found.leftovers) == ([], [])


def test_leftovers_are_named_and_are_no_problem(store: Store) -> None:
    folder = place(store).parent
    tempfile.mkstemp(prefix=atomic.TEMP_PREFIX, dir=folder)
    tempfile.mkdtemp(prefix=atomic.TEMP_PREFIX, dir=store.root)
    record, attachment = make_kept("resnet50.moco", 7)
    path = store.attachment_path(record, attachment.sha256, attachment.suffix)
    path.write_bytes(attachment.data)  # a kill between file and record
    verdict = verify(store)
    assert (verdict.problems, verdict.num_good) == ([], 4)
    assert len(verdict.leftovers) == 3
    assert sum("killed or is at work" in line for line in verdict.leftovers) == 2
    assert any(str(path) in line and "of no record" in line for line in verdict.leftovers)
    store.add(record, attachment)
    for place_ in (folder, store.root):
        atomic.sweep(place_)
    assert verify(store) == Verdict(num_good=5, num_predictions=5)


@pytest.mark.parametrize("kind", ["real", "zeros"])
def test_no_flipped_bit_changes_the_predictions_unseen(tmp_path: Path, kind: str) -> None:
    """Every bit of a small file; what is let through stands for the same content, bit for bit."""
    import numpy as np

    from transfer.metrics.kept import unpack_arrays

    draw = np.random.default_rng(0)
    array = draw.random(24, dtype=np.float32) if kind == "real" else np.zeros(64, np.float32)
    made = pack_arrays({"scores": array}, {"image_ids": ["a", "b"]})
    record = make_record(details={"predictions": {"sha256": made.sha256, "suffix": made.suffix}})
    kept = kept_of(record)
    assert kept is not None and made.suffix == REAL_SUFFIX
    path = tmp_path / f"x{made.suffix}"
    found = passed = 0
    for index in range(len(made.data)):
        for bit in range(8):
            data = bytearray(made.data)
            data[index] ^= 1 << bit
            path.write_bytes(bytes(data))
            try:
                check_kept(path, kept)
            except StoreError:
                found += 1
            else:
                passed += 1
                arrays, _ = unpack_arrays(bytes(data), made.sha256, "x")
                assert np.array_equal(arrays["scores"], array)
    assert found > 50 * passed, (found, passed)
    path.write_bytes(made.data)
    check_kept(path, kept)


def test_a_file_that_is_not_packed_is_hashed_as_it_is(store: Store) -> None:
    import hashlib

    data = b"image,score\n1,0.5\n"
    attachment = Attachment(".scores.csv", data, hashlib.sha256(data).hexdigest())
    kept = {"sha256": attachment.sha256, "suffix": attachment.suffix}
    store.add(honest(make_record("resnet50.simclr", details={"predictions": kept})), attachment)
    assert verify(store) == Verdict(num_good=5, num_predictions=5)
    next(store.root.rglob("*.csv")).write_bytes(data.replace(b"5", b"6"))
    assert "or the file of another record" in verify(store).problems[0]


def call(*arguments: object) -> Any:
    return CliRunner().invoke(command, ["verify", *map(str, arguments)])


def test_the_command(store: Store) -> None:
    good = call("--results", store.root)
    assert good.exit_code == 0
    assert good.stdout == (
        f"{store.root}: 4 records good, 4 files of predictions whole; 0 problems, 0 leftovers\n"
    )
    place(store, SUFFIX).unlink()
    (store.root / "a\x1b[2J.txt").write_text("x")
    bad = call("--results", store.root)
    assert isinstance(bad.exception, StoreError) and "2 problems" in str(bad.exception)
    assert bad.exception.exit_code == 8
    assert "3 records good" in bad.stdout and "is missing" in bad.stdout and "\x1b" not in bad.stdout
    value = json.loads(call("--results", store.root, "--json").stdout)
    assert (value["num_good"], value["num_predictions"], len(value["problems"])) == (3, 3, 2)


def test_no_store_is_said(tmp_path: Path) -> None:
    assert isinstance(call("--results", tmp_path / "none").exception, UsageError)
    (tmp_path / "file").write_text("x")
    assert isinstance(call("--results", tmp_path / "file").exception, StoreError)
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    (tmp_path / "none").mkdir()
    assert call("--results", tmp_path / "none").exit_code == 0
