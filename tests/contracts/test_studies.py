"""What holds for every study of views in the folder, with no test of its own."""

from __future__ import annotations

import ast
import json
import math
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.config import load_config
from bench.core.errors import ConfigError, Stopped, UsageError
from bench.core.study import StudyRecord, StudyStore
from pretrain.analysis import run as room
from pretrain.analysis.api import STUDIES
from pretrain.analysis.config import StudyConfig
from pretrain.analysis.plan import CONFIGS, Options, Plan, make_plan
from pretrain.analysis.run import estimate_seconds, execute

NAMES = STUDIES.names()
SIZES = ("smoke", "laptop", "full")
Done = tuple[Plan, list[StudyRecord]]


def options(tmp: Path, name: str, *overrides: str, **more: Any) -> Options:
    values: dict[str, Any] = {
        "size": "smoke",
        "data": None,
        "probe_data": None,
        "out": tmp / "runs",
        "results": tmp / "results",
        "seeds": (0,),
        "resume": False,
        "dry_run": False,
    }
    return Options(study=name, overrides=overrides, **{**values, **more})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Done]:
    """A study at smoke size with one seed, run once for all tests."""

    @cache
    def run(name: str) -> Done:
        plan = make_plan(options(tmp_path_factory.mktemp(name), name))
        return plan, execute(plan)

    return run


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_and_its_docstring_are_complete(name: str) -> None:
    study = STUDIES.get(name)
    assert study.name == name, "as the file"
    assert study.version >= 1
    assert study.summary
    assert study.source
    assert study.scores
    told = ast.get_docstring(ast.parse(STUDIES.files()[name].read_text(encoding="utf-8"))) or ""
    assert "\n\nSource:" in told
    documented = study.views.__doc__ or ""
    assert [field for field in study.views.model_fields if f"{field}:" not in documented] == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_config_of_each_size(name: str, size: str) -> None:
    study = STUDIES.get(name)
    text = (CONFIGS / f"{name}-{size}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    config = load_config(StudyConfig[study.views], CONFIGS / f"{name}-{size}.toml")  # type: ignore[name-defined]
    assert (config.study, config.size) == (name, size)
    settings = study.settings(config)
    assert len({setting.name for setting in settings}) == len(settings) >= 2 - (size == "smoke")
    assert all((setting.knob is not None) == bool(study.knob_name) for setting in settings)


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_has_a_folder_of_its_own(name: str, done: Callable[[str], Done]) -> None:
    plan, _ = done(name)
    folders = {plan.folder(setting, seed) for setting in plan.settings for seed in (0, 1)}
    assert len(folders) == 2 * len(plan.settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_a_record_within_its_bounds(name: str, done: Callable[[str], Done]) -> None:
    plan, records = done(name)
    study = plan.study
    assert [record.setting for record in records] == [setting.name for setting in plan.settings]
    for record in records:
        assert record.i_nce <= math.log(record.num_candidates)
        assert record.num_candidates == plan.config.training.num_candidates
        assert record.critic
        assert set(record.scores) == set(study.scores)
        assert all(0.0 <= value <= 100.0 for value in record.scores.values())
        assert not record.custom
        assert record.data.counts
    assert StudyStore(plan.options.results).scan().left_out == []
    assert plan.missing() == []
    assert not list(plan.options.out.rglob("checkpoints")), "what is done needs none"


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_that_was_stopped_goes_on_as_if_it_had_not(
    name: str, done: Callable[[str], Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, records = done(name)
    last = plan.settings[-1]
    num_steps = plan.study.trainer(plan.cell(last, 0)).num_steps
    stops, real = {0, num_steps // 2, num_steps - 1}, room._step

    def stopping(trainer: Any, number: int, bar: Any) -> None:
        real(trainer, number, bar)
        if number in stops:
            stops.remove(number)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(room, "_step", stopping)
    again = make_plan(options(tmp_path, name, resume=True))
    monkeypatch.setattr(Plan, "missing", lambda self: [(last, 0)] if self.record(last, 0) is None else [])
    for _ in range(3):
        with pytest.raises(Stopped):
            execute(again)
    assert stops == set()
    found = execute(again)
    (mine,) = [record for record in found if record.setting == last.name]
    (theirs,) = [record for record in records if record.setting == last.name]
    assert mine.result() == theirs.result()


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_that_was_begun_needs_resume(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = room._step

    def stopping(trainer: Any, number: int, bar: Any) -> None:
        real(trainer, number, bar)
        signal.raise_signal(signal.SIGTERM)

    plan = make_plan(options(tmp_path, name))
    monkeypatch.setattr(room, "_step", stopping)
    with pytest.raises(Stopped):
        execute(plan)
    with pytest.raises(UsageError, match="--resume"):
        execute(plan)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_otherwise_is_another_study(
    name: str, tmp_path: Path, done: Callable[[str], Done]
) -> None:
    plan, _ = done(name)
    other = make_plan(options(tmp_path, name, "training.temperature=0.2"))
    assert other.identity != plan.identity
    assert other.departures
    fewer = make_plan(options(tmp_path, name, "images.num_probe=60"))
    assert fewer.identity != plan.identity
    saved_more = make_plan(options(tmp_path, name, "training.checkpoint_epochs=1"))
    assert saved_more.identity == plan.identity
    assert estimate_seconds(plan) == 0.0, "all is done"
    assert list(tmp_path.iterdir()) == [], "planning writes nothing"


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_key_is_refused_by_name(name: str, tmp_path: Path) -> None:
    for key in ("views.strenght=1", "training.epoch=1"):
        with pytest.raises(ConfigError, match=key.partition(".")[2].partition("=")[0]):
            make_plan(options(tmp_path, name, key))


@pytest.mark.parametrize("name", NAMES)
def test_the_trainer_moves_all_that_it_trains_and_saves_all_that_moves(name: str, tmp_path: Path) -> None:
    plan = make_plan(options(tmp_path, name))
    trainer = plan.study.trainer(plan.cell(plan.settings[-1], 0))
    before = {key: value.clone() for key, value in trainer.module.state_dict().items()}
    for number in range(trainer.num_steps):
        trainer.step(number)
    after = trainer.module.state_dict()
    trained = {
        id(value) for one in trainer.optimizers.values() for g in one.param_groups for value in g["params"]
    }
    named = dict(trainer.module.named_parameters())
    assert {id(value) for value in named.values()} == trained
    still = [key for key in named if torch.equal(before[key], after[key])]
    assert still == []
    assert json.dumps(dict(trainer.measure().details))
