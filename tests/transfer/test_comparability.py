"""What a run counts as, and which devices it may have."""

import pytest

from bench.core.config import load_config
from bench.core.errors import BenchError, EngineError, UsageError
from bench.core.paths import CONFIGS
from transfer.comparability import Devices, Wishes, fit, judge
from transfer.protocols.detection import DetectionProtocol

PATH = CONFIGS / "transfer" / "voc0712-r50c4-24k.toml"
EIGHT, ONE, CPU = Devices(8, 8), Devices(1, 1), Devices(1, 0)


def protocol(*overrides: str) -> DetectionProtocol:
    return load_config(DetectionProtocol, PATH, overrides)


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
    assert status(override, precision="fp32", devices=EIGHT) == "custom"


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
