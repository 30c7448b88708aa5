"""Commands that are rebuilt from a record's fields alone, for every protocol; results that are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from bench.commands.transfer import command
from bench.core import provenance
from bench.core.card import RANDOM_NAME
from bench.core.config import read_toml
from bench.core.errors import BenchError, StoreError, UsageError
from bench.core.paths import CONFIGS
from bench.core.protocol import number_changing
from bench.core.records import Metric, ProtocolStamp, Record
from tests.helpers.records import make_record
from tests.helpers.stores import honest
from transfer.api import TASKS, Task
from transfer.comparability import Devices, Wishes, fit, judge
from transfer.reproduce import Call, Comparison, Fact, check_is_ours, compare, rebuild, then_and_now
from transfer.run import Options

SLUGS = sorted(path.stem for path in (CONFIGS / "transfer").glob("*.toml"))
DATA = Path("some data")
CPU, GPU, GPUS = Devices(1, 0), Devices(1, 1), Devices(8, 8)


def options(slug: str, devices: Devices, **more: Any) -> Options:
    values: dict[str, Any] = {"checkpoint": "random", "data": DATA, "protocol": slug, "seeds": (5,)}
    values |= {"out": Path("x/runs"), "results": Path("x/results"), "num_devices": devices.num_devices}
    return Options(**{**values, **more})


def task_of(slug: str) -> Task:
    return TASKS.get(read_toml(CONFIGS / "transfer" / f"{slug}.toml")["task"])


def stamp(options: Options, devices: Devices) -> ProtocolStamp:
    """As `make_plan` makes it, for data with classes of its own where `smoke`."""
    task = task_of(options.protocol)
    path = CONFIGS / ("smoke" if options.smoke else "transfer") / f"{options.protocol}.toml"
    base, changed = task.load_protocol(path, ()), task.load_protocol(path, options.overrides)
    set_precision = changed.precision if changed.precision != base.precision else None
    wishes = Wishes(options.precision or set_precision, options.batch_size, options.accumulate)
    protocol = fit(changed, devices, wishes)
    status, departures = judge(
        base,
        changed,
        protocol,
        data_departures=("toys, 3 classes of its own",) if options.smoke else (),
        smoke_file=path.name if options.smoke else None,
    )
    fields = number_changing(protocol)
    return ProtocolStamp(
        slug=protocol.slug, identity="0" * 64, status=status, departures=departures, fields=fields
    )


def made(options: Options, devices: Devices) -> Record:
    """The record of a trial with these options, on these devices, by a program of its own."""
    record = make_record(RANDOM_NAME, 5, task=task_of(options.protocol).spec.name)
    hardware = {
        "cpu": "none",
        **({"gpu": "one", "num_gpus": str(devices.num_gpus)} if devices.num_gpus else {}),
    }
    made_by = record.provenance.model_copy(update={"command": ("study.py",), "hardware": hardware})
    update: dict[str, Any] = {"protocol": stamp(options, devices), "provenance": made_by}
    update["details"] = {"num_devices": devices.num_devices}
    return honest(record.model_copy(update=update))


def rebuilt(record: Record, **more: Any) -> Call:
    values: dict[str, Any] = {"said": None, "data": DATA, "checkpoint": None, "out": Path("x")}
    task = TASKS.get(record.task)
    return rebuild(record, task, **{**values, "embedded": Path("embedded"), **more})


def parsed(words: list[str]) -> dict[str, Any]:
    assert words[:2] == ["bench", "transfer"]
    found = command.get_command(click.Context(command), words[2])
    assert found is not None
    return found.make_context(words[2], words[3:]).params


def check(asked: Options, devices: Devices) -> Options:
    """The options that are rebuilt; they give the same fields, status and departures, and so do the words."""
    record = made(asked, devices)
    call = rebuilt(record)
    again, then = stamp(call.options, devices), record.protocol
    assert again.fields == then.fields
    assert (again.status, again.departures) == (then.status, then.departures)
    said = parsed(call.words())
    assert {key: said[key] for key in vars(call.options)} == vars(call.options)
    from_words = rebuilt(record, said=said, data=None)
    assert from_words == call
    return call.options


@pytest.mark.parametrize("slug", SLUGS)
def test_every_protocol_is_rebuilt_with_no_more_than_was_asked(slug: str) -> None:
    for devices in (GPU, GPUS):
        found = check(options(slug, devices), devices)
        assert (found.overrides, found.batch_size, found.accumulate, found.smoke) == ((), None, None, False)
    found = check(options(slug, CPU, smoke=True), CPU)
    assert (found.overrides, found.batch_size, found.accumulate, found.smoke) == ((), None, None, True)
    found = check(options(slug, GPU, precision="bf16"), GPU)
    assert (found.overrides, found.precision) == ((), "bf16")


def test_without_bf16_the_precision_of_then_is_named() -> None:
    old = Devices(1, 0, has_bf16=False)
    found = check(options("voc0712-r50c4-24k", old, smoke=True), old)
    assert (found.precision, found.overrides) == ("fp32", ())


VOC, KNN, SEG, PROBE = "voc0712-r50c4-24k", "in1k-knn-k20", "voc12aug-fcn-moco", "in1k-linear-60ep-pycontrast"


@pytest.mark.parametrize(
    ("slug", "asked"),
    [
        (VOC, {"accumulate": 2}),
        (VOC, {"batch_size": 8}),
        (VOC, {"batch_size": 8, "accumulate": 4, "precision": "fp16"}),
        (VOC, {"overrides": ("solver.learning_rate=0.01",)}),
        (VOC, {"overrides": ("solver.iterations=80", "solver.steps=[65]"), "smoke": True}),
        (VOC, {"overrides": ("model.norm='FrozenBN'", "model.extra_norm=false")}),
        (VOC, {"overrides": ("solver.accumulation_steps=2",)}),
        (VOC, {"overrides": ("solver.images_per_batch=8",)}),
        (VOC, {"overrides": ("solver.iterations=12000", "solver.steps=[9000, 11000]"), "batch_size": 8}),
        (VOC, {"overrides": ("data.train=['VOC2007/trainval']", "data.num_train=[5011]")}),
        (VOC, {"overrides": ("solver.precision='bf16'",)}),
        (KNN, {"overrides": ("knn.neighbours=200", "input.resample='bilinear'"), "smoke": True}),
        (SEG, {"overrides": ("solver.schedule.steps=[3, 5]", "solver.iterations=7"), "smoke": True}),
        (PROBE, {"batch_size": 64}),
        (PROBE, {"overrides": ("input.train_view.crop_px=32", "input.test.crop_px=32"), "smoke": True}),
    ],
)
def test_what_was_asked_is_rebuilt(slug: str, asked: dict[str, Any]) -> None:
    check(options(slug, GPU, **asked), GPU)


def test_flags_are_flags_again() -> None:
    """So that a stand-in stays one: by --set it would be `custom`."""
    found = check(options(VOC, GPU, batch_size=8, accumulate=4), GPU)
    assert (found.batch_size, found.accumulate, found.overrides) == (8, 4, ())
    found = check(options(VOC, GPU, overrides=("solver.accumulation_steps=2",)), GPU)
    assert (found.accumulate, found.overrides) == (None, ("solver.accumulation_steps=2",))
    found = check(options(VOC, GPU, overrides=("data.num_test=4",)), GPU)
    assert found.overrides == ("data.num_test=4",)


def test_a_seed_of_many_is_taken_from_its_own_command_line() -> None:
    record = made(options(KNN, GPU, smoke=True), GPU)
    words = ["bench", "transfer", "knn", "--checkpoint", "random", "--seeds", "0-9", "--smoke", "--resume"]
    call = rebuilt(record, said=parsed([*words, "--input-spec", "a b.toml"]), data=None)
    assert call.options.seeds == (5,)
    assert (call.is_embedded, call.options.data) == (True, Path("embedded"))
    assert "--data" not in call.words()
    assert call.options.input_spec == Path("a b.toml")
    moved = rebuilt(record, said=parsed(words))
    assert (moved.is_embedded, moved.options.data) == (False, DATA)


def test_what_a_record_does_not_say_is_asked_for() -> None:
    record = made(options(KNN, GPU), GPU)
    with pytest.raises(UsageError, match=r"made by study\.py.*Give --data\."):
        rebuilt(record, data=None)
    given = record.weights.model_copy(update={"notes": ("the input spec was given by the user",)})
    with pytest.raises(UsageError, match="--input-spec"):
        rebuilt(record.model_copy(update={"weights": given}))


def test_the_encoder_of_several_is_named() -> None:
    record = made(options(KNN, GPU), GPU)
    notes = ("several encoders: key (module.encoder_k) was taken; also there: query (module.encoder_q)",)
    card = make_record("resnet50.two").weights.model_copy(
        update={"notes": notes, "encoder": "module.encoder_k"}
    )
    call = rebuilt(record.model_copy(update={"weights": card}), checkpoint="two.pth")
    assert (call.options.encoder, call.options.name) == ("module.encoder_k", "resnet50.two")


def facts_of(record: Record) -> dict[str, Fact]:
    return {fact.what: fact for fact in then_and_now(record, rebuilt(record))}


def test_facts_of_then_and_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(provenance, "package_versions", lambda: {"torch": "2.14.1", "numpy": "2.4.0"})
    monkeypatch.setattr(provenance, "git_state", lambda: ("0" * 40, False))
    record = made(options(KNN, CPU), CPU)
    facts = facts_of(record)
    assert (facts["torch"].same, facts["git commit"].same) == (True, True)
    assert (facts["numpy"].then, facts["numpy"].now, facts["numpy"].same) == ("none", "2.4.0", False)
    assert not facts["data"].same
    assert facts["hardware, cpu"].then == "none"
    assert facts["protocol"].same
    assert [fact.what for fact in facts.values() if fact.stops] == []
    monkeypatch.setattr(provenance, "git_state", lambda: ("0" * 40, True))
    dirty = record.model_copy(update={"provenance": record.provenance.model_copy(update={"git_dirty": True})})
    assert not facts_of(dirty)["git commit"].same, "the changes may be others"


def test_a_machine_that_gives_another_protocol_stops() -> None:
    """SyncBN of eight GPUs is naiveSyncBN in eight processes: another identity. On a machine with GPUs that
    are too few, the engine's own error says so."""
    record = made(options("coco-r50c4-1x", GPUS), GPUS)
    fact = facts_of(record)["protocol"]
    assert not fact.same
    if Devices.here(1).num_gpus == 0:
        assert "model.norm" in fact.now
        assert fact.stops


def with_metrics(record: Record, **values: float) -> Record:
    metrics = {name: Metric(value=value) for name, value in values.items()}
    return record.model_copy(update={"metrics": metrics})


def test_equal_results_reproduce() -> None:
    record = make_record(details={"a": [1, 2], "machine": {"commits": ["x"]}})
    elsewhere = record.provenance.model_copy(update={"platform": "Mars", "wall_seconds": 1.0})
    now = record.model_copy(update={"provenance": elsewhere, "details": {"a": [1, 2], "machine": {}}})
    found = compare(record, now)
    assert found == Comparison((("AP", 57.0, 57.0), ("AP50", 82.0, 82.0), ("AP75", 63.0, 63.0)), ())
    assert found.first_difference() is None
    assert found.first_difference(0.0) is None


def test_the_first_metric_that_differs_is_named_to_the_last_bit() -> None:
    record = make_record(metrics={"AP": 57.0, "AP50": 82.0})
    near = compare(record, with_metrics(record, AP=57.0, AP50=82.00000000000001))
    said = near.first_difference()
    assert said is not None
    assert "AP50 is 82.0 in the record, 82.00000000000001 now" in said
    assert near.first_difference(1e-9) is None
    both = compare(record, with_metrics(record, AP=56.5, AP50=83.0))
    assert (both.first_difference() or "").startswith("AP is")
    assert (both.first_difference(0.5) or "").startswith("AP50 is")
    assert both.first_difference(1.0) is None


def test_a_metric_that_is_missing_is_within_no_tolerance() -> None:
    record = make_record(metrics={"AP": 57.0, "AP50": 82.0})
    for then, now in ((record, with_metrics(record, AP=57.0)), (with_metrics(record, AP=57.0), record)):
        assert "AP50" in (compare(then, now).first_difference(100.0) or "")


def test_another_field_counts_unless_a_tolerance_is_given() -> None:
    record = make_record(details={"final_loss": 1.0})
    found = compare(record, record.model_copy(update={"details": {"final_loss": 1.5}}))
    assert found.others == ("details.final_loss: 1.5 (record: 1.0)",)
    assert found.first_difference() == found.others[0]
    assert found.first_difference(0.1) is None


def test_names_count_only_where_the_content_is_another() -> None:
    record = make_record(
        status="custom", departures=("data: toys, 3 classes", "a: 1 (protocol: 2)"), data="toys"
    )
    weights = record.weights.model_copy(update={"source_file": "moved.pth"})
    data = record.data.model_copy(update={"name": "moved"})
    lines = ("data: moved, 3 classes", "a: 1 (protocol: 2)")
    protocol = record.protocol.model_copy(update={"departures": lines})
    now = record.model_copy(update={"weights": weights, "data": data, "protocol": protocol})
    assert compare(record, now).others == ()
    other = now.model_copy(update={"data": data.model_copy(update={"fingerprint": "1" * 64})})
    assert len(compare(record, other).others) == 3
    resaved = weights.model_copy(update={"source_sha256": "1" * 64})
    assert len(compare(record, now.model_copy(update={"weights": resaved})).others) == 2


def test_a_record_must_be_ours() -> None:
    record = honest(make_record())
    check_is_ours(record, "x.json")
    with pytest.raises(StoreError, match=r"x\.json: its identity"):
        check_is_ours(record.model_copy(update={"task_version": 9}), "x.json")
    for told in ({"from": "MMSegmentation"}, "by hand"):
        imported = record.model_copy(update={"details": {"imported": told}})
        with pytest.raises(UsageError, match="imported, trained elsewhere"):
            check_is_ours(imported, "x.json")


def test_a_protocol_that_is_no_longer_there_is_an_error() -> None:
    record = made(options(KNN, GPU), GPU)
    gone = record.protocol.model_copy(update={"slug": "in1k-knn-k21"})
    with pytest.raises(BenchError, match="in1k-knn-k20"):
        rebuilt(record.model_copy(update={"protocol": gone}))
    assert replace(rebuilt(record), is_embedded=True).options.protocol == KNN
