"""Planning and recording a transfer, with a stand-in for the engine."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core import lock
from bench.core.errors import (
    BenchError,
    ConfigError,
    DataError,
    DiskError,
    DivergedError,
    EngineError,
    Stopped,
    StoreError,
    UsageError,
    WeightsError,
)
from bench.core.paths import CONFIGS
from bench.core.store import Attachment, Store
from tests.helpers.engine import StandIn, options, voc_det
from transfer.api import Job, Output
from transfer.data.voc import VOC_CLASSES, VocDataset
from transfer.data.voc_splits import Split
from transfer.run import execute, make_plan


@pytest.fixture
def published_data(monkeypatch: pytest.MonkeyPatch, voc: Path) -> None:
    """Let the task read a set that has VOC07+12's classes, splits and counts."""
    task = voc_det()
    small = task.load_data(voc, task.load_protocol(CONFIGS / "transfer" / "voc0712-r50c4-24k.toml", ()))
    assert isinstance(small, VocDataset)
    splits = (Split(Path("VOC2007"), "trainval"), Split(Path("VOC2012"), "trainval"))
    full = replace(
        small,
        classes=VOC_CLASSES,
        train=small.train[:1] * 16551,
        test=small.test[:1] * 4952,
        train_splits=splits,
        test_split=Split(Path("VOC2007"), "test"),
        split_counts={"VOC2007/trainval": 5011, "VOC2012/trainval": 11540, "VOC2007/test": 4952},
    )
    monkeypatch.setattr(type(task), "load_data", lambda self, root, protocol: full)


@pytest.fixture(autouse=True)
def _eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning asks how many GPUs there are; here always eight."""
    monkeypatch.setattr(
        "transfer.run.Devices.here", classmethod(lambda cls, num_devices: cls(num_devices, 8))
    )


@pytest.mark.usefixtures("published_data")
def test_status_of_the_published_protocol(tmp_path: Path) -> None:
    task = voc_det()
    several = options(tmp_path, tmp_path, smoke=False, num_devices=8)
    plans = [
        make_plan(task, several),
        make_plan(task, replace(several, num_devices=1)),
        make_plan(task, replace(several, precision="bf16")),
        make_plan(task, replace(several, overrides=("solver.learning_rate=0.01",))),
    ]
    assert [plan.status for plan in plans] == ["exact", "substituted", "substituted", "custom"]
    assert len({plan.identity for plan in plans}) == len(plans)


@pytest.mark.usefixtures("published_data")
def test_another_expectation_does_not_make_other_data_the_published(tmp_path: Path) -> None:
    lie = ("data.num_train=[3, 3]", "data.num_test=2")
    plan = make_plan(voc_det(), options(tmp_path, tmp_path, smoke=False, num_devices=8, overrides=lie))
    assert plan.status == "custom"


def test_another_data_set_or_smoke_is_custom(tmp_path: Path, voc: Path) -> None:
    task = voc_det()
    data = make_plan(task, options(tmp_path, voc, smoke=False, num_devices=8))
    assert data.status == "custom"
    assert any(line.startswith("data:") for line in data.departures)
    smoke = make_plan(task, options(tmp_path, voc))
    assert smoke.status == "custom"
    assert smoke.departures[0].startswith("smoke")


@pytest.mark.usefixtures("published_data")
def test_smoke_on_the_published_data_is_custom(tmp_path: Path) -> None:
    assert make_plan(voc_det(), options(tmp_path, tmp_path, num_devices=2)).status == "custom"


def test_what_cannot_move_a_number_leaves_the_identity(tmp_path: Path, voc: Path) -> None:
    task = voc_det()
    plan = make_plan(task, options(tmp_path, voc))
    other = make_plan(task, options(tmp_path, voc, overrides=("run.num_workers=2", "run.log_iterations=7")))
    assert other.identity == plan.identity


def test_records_each_seed_once(tmp_path: Path, voc: Path) -> None:
    engine = StandIn()
    plan = make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1)))
    records = execute(plan, engine)
    assert [record.metrics["AP50"].value for record in records] == [10.0, 11.0]
    assert [job.seed for job in engine.jobs] == [0, 1]
    assert len({job.run_dir for job in engine.jobs}) == 2

    again = execute(make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1, 2))), engine)
    assert [job.seed for job in engine.jobs] == [0, 1, 2]
    assert again[:2] == records
    scan = Store(tmp_path / "results").scan()
    assert len(scan.records) == 3
    assert not scan.left_out


def test_a_record_says_what_made_it(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    plan = make_plan(voc_det(), options(tmp_path, voc, checkpoint=str(checkpoint), name="resnet50.mine"))
    (record,) = execute(plan, StandIn())
    assert record.weights.name == "resnet50.mine"
    assert record.weights.layout == "torchvision"
    assert record.weights.tensors_sha256
    assert record.protocol.fields["solver"]["iterations"] == plan.protocol.solver.iterations
    assert record.data.counts == {"train": 6, "test": 3}
    assert record.provenance.packages["torch"]
    assert record.provenance.packages["pillow"]
    json.dumps(record.model_dump(mode="json"), allow_nan=False)


def test_equal_tensors_fed_otherwise_are_another_record(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    spec = tmp_path / "bgr.toml"
    spec.write_text('channel_order = "bgr"\nmean = [103.53, 116.28, 123.675]\nstd = [1.0, 1.0, 1.0]\n')
    engine = StandIn()
    plain = options(tmp_path, voc, checkpoint=str(checkpoint))
    first = execute(make_plan(voc_det(), plain), engine)
    second = execute(make_plan(voc_det(), replace(plain, input_spec=spec)), engine)
    assert len(engine.jobs) == 2
    assert first[0].id != second[0].id
    assert first[0].protocol.identity == second[0].protocol.identity
    assert engine.jobs[1].card.input.channel_order == "bgr"


def test_a_started_run_is_not_started_over(tmp_path: Path, voc: Path) -> None:
    plan = make_plan(voc_det(), options(tmp_path, voc))
    (plan.run_dir(0) / "checkpoints").mkdir(parents=True)
    with pytest.raises(UsageError, match="--resume"):
        execute(plan, StandIn())
    resumed = make_plan(voc_det(), options(tmp_path, voc, resume=True))
    engine = StandIn()
    execute(resumed, engine)
    assert engine.jobs[0].resume


def test_weights_called_random_are_not_the_random_baseline(
    tmp_path: Path, voc: Path, checkpoint: Path
) -> None:
    path = tmp_path / "random.pth"
    path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UsageError, match="--name"):
        make_plan(voc_det(), options(tmp_path, voc, checkpoint=str(path)))


def test_two_files_of_one_name_have_two_run_folders(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    from tests.helpers.weights import make_checkpoint

    other = make_checkpoint(tmp_path / "net.pth", seed=1)
    first = make_plan(voc_det(), options(tmp_path, voc, checkpoint=str(checkpoint)))
    second = make_plan(voc_det(), options(tmp_path, voc, checkpoint=str(other)))
    assert first.card.name == second.card.name
    assert first.run_dir(0) != second.run_dir(0)


def test_two_processes_do_not_share_a_run(tmp_path: Path, voc: Path) -> None:
    plan = make_plan(voc_det(), options(tmp_path, voc))
    with lock.hold(plan.run_dir(0)), pytest.raises(UsageError, match="in use"):
        execute(plan, StandIn())


def test_a_late_signal_keeps_the_record_and_starts_no_other_trial(tmp_path: Path, voc: Path) -> None:
    class Signalled(StandIn):
        def __call__(self, job: Job) -> Output:
            return replace(super().__call__(job), stopped_by="SIGTERM")

    engine = Signalled()
    plan = make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1)))
    with pytest.raises(Stopped):
        execute(plan, engine)
    assert [job.seed for job in engine.jobs] == [0]
    assert [record.seed for record in Store(tmp_path / "results").scan().records] == [0]


def test_a_failed_trial_leaves_no_record(tmp_path: Path, voc: Path) -> None:
    plan = make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1)))
    with pytest.raises(DivergedError):
        execute(plan, StandIn(error=DivergedError("iteration 3: the loss is nan")))
    assert not Store(tmp_path / "results").scan().records


class FailsOn(StandIn):
    """Fails for some seeds, once each."""

    def __init__(self, *seeds: int) -> None:
        super().__init__()
        self.failing = set(seeds)

    def __call__(self, job: Job) -> Output:
        output = super().__call__(job)
        if job.seed in self.failing:
            self.failing.remove(job.seed)
            raise DivergedError(f"seed {job.seed} diverged")
        return output


def test_a_failed_seed_does_not_lose_the_others(tmp_path: Path, voc: Path) -> None:
    engine = FailsOn(0, 2)
    asked = options(tmp_path, voc, seeds=(0, 1, 2, 3))
    with pytest.raises(DivergedError) as caught:
        execute(make_plan(voc_det(), asked), engine)
    assert "seed 0 diverged" in str(caught.value) and "seed 2 diverged" in str(caught.value)
    assert "2 failed, 2 recorded" in str(caught.value)
    assert [job.seed for job in engine.jobs] == [0, 1, 2, 3]
    assert sorted(record.seed for record in Store(tmp_path / "results").scan().records) == [1, 3]

    again = execute(make_plan(voc_det(), replace(asked, resume=True)), engine)
    assert [job.seed for job in engine.jobs[4:]] == [0, 2]
    assert [record.seed for record in again] == [0, 1, 2, 3]


def test_a_failed_seed_keeps_nothing_alive(tmp_path: Path, voc: Path) -> None:
    """What a trial held, a model on a device above all, is gone when the next one starts."""

    class Held:
        pass

    alive: list[weakref.ref[Held]] = []
    counts: list[int] = []

    def engine(job: Job) -> Output:
        counts.append(sum(reference() is not None for reference in alive))
        held = Held()
        alive.append(weakref.ref(held))
        try:
            raise MemoryError("of the device")
        except MemoryError as error:
            raise EngineError(f"seed {job.seed}: too little memory") from error

    with pytest.raises(EngineError, match="3 failed, 0 recorded"):
        execute(make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1, 2))), engine)
    assert counts == [0, 0, 0]


def test_a_fault_of_ours_does_not_lose_the_others(tmp_path: Path, voc: Path) -> None:
    def engine(job: Job) -> Output:
        if job.seed == 0:
            raise ZeroDivisionError("by nothing")
        return StandIn()(job)

    with pytest.raises(RuntimeError, match="by nothing"):
        execute(make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1))), engine)
    assert [record.seed for record in Store(tmp_path / "results").scan().records] == [1]


def test_a_full_disk_ends_all_seeds(tmp_path: Path, voc: Path) -> None:
    engine = StandIn(error=DiskError("runs: the disk is full"))
    with pytest.raises(DiskError):
        execute(make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1))), engine)
    assert len(engine.jobs) == 1


def test_a_started_seed_stops_all_before_any_trains(tmp_path: Path, voc: Path) -> None:
    plan = make_plan(voc_det(), options(tmp_path, voc, seeds=(0, 1)))
    (plan.run_dir(1) / "checkpoints").mkdir(parents=True)
    engine = StandIn()
    with pytest.raises(UsageError, match="seed-1"):
        execute(plan, engine)
    assert engine.jobs == []


def test_predictions_are_kept_beside_the_record(tmp_path: Path, voc: Path) -> None:
    class WithPredictions(StandIn):
        def __call__(self, job: Job) -> Output:
            return replace(super().__call__(job), predictions=Attachment(".txt", b"boxes", "ab" * 32))

    (record,) = execute(make_plan(voc_det(), options(tmp_path, voc)), WithPredictions())
    kept = record.details["predictions"]
    path = Store(tmp_path / "results").attachment_path(record, kept["sha256"], kept["suffix"])
    assert path.read_bytes() == b"boxes"
    scan = Store(tmp_path / "results").scan()
    assert scan.records == [record] and not scan.left_out


@pytest.mark.usefixtures("published_data")
def test_a_missing_image_makes_the_published_set_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = voc_det()
    full = task.load_data(tmp_path, task.load_protocol(CONFIGS / "transfer" / "voc0712-r50c4-24k.toml", ()))
    counts = {**full.split_counts, "VOC2012/trainval": 11539}
    monkeypatch.setattr(
        type(task),
        "load_data",
        lambda self, root, protocol: replace(full, split_counts=counts),
    )
    plan = make_plan(task, options(tmp_path, tmp_path, smoke=False, num_devices=8))
    assert plan.status == "custom"
    assert "data: VOC2012/trainval: 11,539 images (protocol: 11,540)" in plan.departures


def test_the_area_rule_needs_objects_of_every_class(tmp_path: Path, voc: Path) -> None:
    """The engine's area rule is nan for a class without objects: refused before anything trains."""
    with pytest.raises(DataError, match="area rule"):
        make_plan(voc_det(), options(tmp_path, voc, overrides=("metric.ap_rule='area'",)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"protocol": "voc0712-r50c4-24"}, ConfigError),
        ({"overrides": ("solver.iteration=3",)}, ConfigError),
        ({"overrides": ("solver.learning_rate=nan",)}, ConfigError),
        ({"overrides": ("solver.steps=[300, 20]",)}, ConfigError),
        ({"checkpoint": "nowhere.pth"}, WeightsError),
        ({"checkpoint": "random", "name": "resnet50.x"}, UsageError),
        ({"checkpoint": "nowhere.pth", "name": "a/b"}, UsageError),
        ({"data": Path("nowhere")}, BenchError),
        ({"num_devices": 3}, UsageError),
        ({"accumulate": 3}, UsageError),
        ({"batch_size": 1}, UsageError),
        ({"results": Path(__file__)}, StoreError),
        ({"results": Path(__file__) / "below"}, StoreError),
        ({"overrides": ("data.train=['VOC2007']",)}, ConfigError),
    ],
)
def test_a_bad_request_writes_nothing(
    tmp_path: Path, voc: Path, change: dict[str, object], error: type[BenchError]
) -> None:
    with pytest.raises(error):
        make_plan(voc_det(), replace(options(tmp_path, voc), **change))
    assert not list(tmp_path.iterdir())


def test_the_plan_names_what_silently_goes_wrong(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    plan = make_plan(voc_det(), options(tmp_path, voc, checkpoint=str(checkpoint)))
    text = "\n".join(plan.lines())
    for fact in ("RGB", "123.675", "stride in the 3x3", "torchvision", "custom", "learning rate", "norm BN"):
        assert fact in text
