"""What a run counts as, and which devices it may have."""

import pytest

from bench.core.config import load_config
from bench.core.errors import BenchError, EngineError, UsageError
from bench.core.paths import CONFIGS
from transfer.comparability import Devices, Wishes, fit, judge
from transfer.protocols.voc import VocProtocol

PATH = CONFIGS / "transfer" / "voc0712-r50c4-24k.toml"
EIGHT, ONE, CPU = Devices(8, 8), Devices(1, 1), Devices(1, 0)


def protocol(*overrides: str) -> VocProtocol:
    return load_config(VocProtocol, PATH, overrides)


def status(
    *overrides: str,
    devices: Devices = EIGHT,
    precision: str | None = None,
    data: bool = True,
    smoke: bool = False,
) -> str:
    changed = protocol(*overrides)
    found, departures = judge(
        protocol(),
        changed,
        fit(changed, devices, Wishes(precision)),
        data_departures=() if data else ("another",),
        smoke_file="x.toml" if smoke else None,
    )
    assert bool(departures) == (found != "exact")
    return found


def test_exact_substituted_custom() -> None:
    assert status() == "exact"
    assert status(devices=ONE) == "substituted"
    assert status(devices=CPU) == "substituted"
    assert status(precision="bf16") == "substituted"
    assert status(precision="fp32") == "exact"
    assert status(data=False) == "custom"
    assert status(smoke=True) == "custom"
    assert status("run.num_workers=0") == "exact"


@pytest.mark.parametrize(
    "override",
    [
        "solver.learning_rate=0.01",
        "solver.precision='bf16'",
        "model.norm='naiveSyncBN'",
        "model.norm='FrozenBN'",
        "model.extra_norm=false",
        "data.num_train=[16, 2]",
        "data.num_test=4",
        "data.train=['VOC2007/trainval', 'VOC2007/val']",
        "data.test='VOC2012/val'",
    ],
)
def test_whatever_is_set_by_hand_is_custom(override: str) -> None:
    assert status(override) == "custom"
    undone = "solver.precision" in override
    assert status(override, precision="fp32", devices=EIGHT) == ("exact" if undone else "custom")


@pytest.mark.parametrize(
    ("overrides", "devices", "precision", "error"),
    [
        (("model.norm='BN'",), EIGHT, None, UsageError),
        (("model.norm='naiveSyncBN'",), EIGHT, "bf16", UsageError),
        ((), Devices(2, 0), "bf16", UsageError),
        ((), Devices(3, 8), None, UsageError),
        ((), Devices(8, 2), None, EngineError),
        ((), CPU, "fp16", EngineError),
    ],
)
def test_what_would_be_another_number_is_refused(
    overrides: tuple[str, ...], devices: Devices, precision: str | None, error: type[BenchError]
) -> None:
    with pytest.raises(error):
        fit(protocol(*overrides), devices, Wishes(precision))


def test_stand_ins_for_synchronised_norms() -> None:
    assert fit(protocol(), EIGHT).model.norm == "SyncBN"
    assert fit(protocol(), ONE).model.norm == "BN"
    assert fit(protocol(), Devices(2, 0)).model.norm == "naiveSyncBN"
    assert fit(protocol("model.norm='FrozenBN'"), ONE).model.norm == "FrozenBN"


def test_the_schedule_follows_the_batch() -> None:
    """As facebookresearch/moco issue 11 has it: 8 images, 0.01, twice the iterations."""
    solver = fit(protocol(), ONE, Wishes(images_per_batch=8)).solver
    assert (solver.images_per_batch, solver.learning_rate) == (8, 0.01)
    assert (solver.iterations, solver.steps, solver.warmup_iterations) == (48000, (36000, 44000), 200)
    more = fit(protocol(), ONE, Wishes(images_per_batch=32)).solver
    assert (more.learning_rate, more.iterations, more.steps) == (0.04, 12000, (9000, 11000))
    for name in ("momentum", "weight_decay", "gamma", "warmup_factor", "precise_bn_iterations"):
        assert getattr(solver, name) == getattr(protocol().solver, name)
    assert fit(protocol(), EIGHT, Wishes(images_per_batch=16)) == protocol()


def test_a_scaled_batch_and_accumulation_are_substitutions_that_name_every_field() -> None:
    fitted = fit(protocol(), ONE, Wishes(images_per_batch=8, accumulation_steps=2))
    found, departures = judge(protocol(), protocol(), fitted, data_departures=(), smoke_file=None)
    assert found == "substituted"
    names = {line.partition(":")[0] for line in departures}
    assert names == {
        "model.norm",
        *(
            f"solver.{name}"
            for name in (
                "accumulation_steps",
                "images_per_batch",
                "iterations",
                "learning_rate",
                "steps",
                "warmup_iterations",
            )
        ),
    }


@pytest.mark.parametrize(
    ("wishes", "devices", "words"),
    [
        (Wishes(accumulation_steps=3), ONE, "does not divide"),
        (Wishes(accumulation_steps=4), EIGHT, "does not divide"),
        (Wishes(accumulation_steps=16), ONE, "at least two"),
        (Wishes(images_per_batch=12), EIGHT, "does not divide"),
        (Wishes(images_per_batch=1), ONE, "at least two"),
    ],
)
def test_parts_that_batch_norm_cannot_take_are_refused(wishes: Wishes, devices: Devices, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fit(protocol(), devices, wishes)


def test_each_field_is_named_once_with_what_was_run_and_what_is_published() -> None:
    changed = protocol("solver.learning_rate=0.1")
    fitted = fit(changed, EIGHT, Wishes(images_per_batch=8))
    status, lines = judge(protocol(), changed, fitted, data_departures=(), smoke_file=None)
    assert status == "custom"
    assert [line for line in lines if "learning_rate" in line] == [
        "solver.learning_rate: 0.05 (protocol: 0.02)"
    ]


def test_a_schedule_that_does_not_scale_is_refused() -> None:
    short = protocol("solver.iterations=6", "solver.steps=[4, 5]")
    with pytest.raises(UsageError, match=r"--batch-size 96: .*(steps|schedule)"):
        fit(short, ONE, Wishes(images_per_batch=96))
