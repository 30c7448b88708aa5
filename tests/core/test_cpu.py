"""bf16 is for processors that have it: without, what should take minutes takes hours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.cpu import has_bf16
from bench.core.paths import CONFIGS
from tests.helpers.pretraining import make_images
from transfer.api import TASKS
from transfer.comparability import Devices, Wishes, fit


def test_it_is_what_pytorch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert has_bf16() is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@pytest.mark.parametrize("task", ["voc-det", "semseg", "low-shot"])
def test_a_transfer_takes_fp32_unless_it_is_asked(task: str) -> None:
    spec = TASKS.get(task).spec
    protocol: Any = TASKS.get(task).load_protocol(CONFIGS / "smoke" / f"{spec.default_protocol}.toml", ())
    assert protocol.precision == "bf16"
    old, new, gpu = Devices(1, 0, has_bf16=False), Devices(1, 0), Devices(1, 1, has_bf16=False)
    assert fit(protocol, old).precision == "fp32"
    assert fit(protocol, old, Wishes("bf16")).precision == "bf16"
    assert fit(protocol, new).precision == fit(protocol, gpu).precision == "bf16"


@pytest.mark.parametrize(("override", "expected"), [((), "fp32"), (("solver.precision='bf16'",), "bf16")])
def test_what_is_set_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: tuple[str, ...], expected: str
) -> None:
    """Set by hand where the file says fp32, bf16 is a wish, and the record is custom."""
    from tests.helpers.known_network import colour_set
    from transfer import run

    monkeypatch.setattr(run.Devices, "here", lambda count: Devices(count, 0, has_bf16=False))
    asked = run.Options(
        "random", colour_set(tmp_path / "set"), "in1k-linear-100ep", tmp_path / "runs",
        tmp_path / "results", (0,), overrides=override,
    )  # fmt: skip
    plan = run.make_plan(TASKS.get("linear-probe"), asked)
    assert plan.protocol.precision == expected
    assert any("solver.precision" in line for line in plan.departures) is bool(override)


@pytest.mark.parametrize("asked", [None, "bf16"])
def test_pretraining_takes_fp32_unless_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    from pretrain import plan

    monkeypatch.setattr(plan, "accelerator", lambda: "cpu")
    images = make_images(tmp_path)
    few = ("batch_size=20",)
    options = plan.Options(
        "supervised", images, tmp_path / "out", (0,), smoke=True, precision=asked, overrides=few
    )
    found = {}
    for value in (False, True):
        monkeypatch.setattr(plan, "has_bf16", lambda value=value: value)
        found[value] = plan.make_plan(options)
    assert found[True].config.loop.precision == "bf16"
    assert found[False].config.loop.precision == ("bf16" if asked else "fp32")
    assert any("loop.precision" in line for line in found[False].departures) is (asked is None)
    assert (found[True].identity == found[False].identity) is bool(asked)
