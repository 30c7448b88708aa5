"""What holds for every task in the folder, with no test of its own.

`tests/golden/protocols.json` holds version and hash of each protocol file. After a change that is meant,
raise `version` in the file and run `UPDATE_GOLDEN=1 uv run pytest -n 0 tests/contracts/test_tasks.py`; a
hash that moved without its version is refused even then.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bench.core.config import read_toml
from bench.core.errors import ConfigError
from bench.core.paths import CONFIGS
from bench.core.protocol import identity, number_changing
from bench.core.registry import Registry, RegistryError
from bench.report.published import published_place, read_published
from transfer.api import TASKS, Task

GOLDEN = Path(__file__).parents[1] / "golden" / "protocols.json"
FOLDERS = ("transfer", "smoke")
NAMES = TASKS.names()


def protocol_files() -> dict[str, Path]:
    """Every config that names a task; those of pretraining lie in configs/smoke, too."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((CONFIGS / folder).glob("*.toml")):
            if folder == "transfer" or "task" in read_toml(path):
                found[f"{folder}/{path.stem}"] = path
    return found


FILES = protocol_files()


def load(path: Path) -> Any:
    return TASKS.get(read_toml(path)["task"]).load_protocol(path, ())


def fields_sha256(protocol: BaseModel) -> str:
    text = json.dumps(number_changing(protocol), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_there_are_tasks() -> None:
    assert "voc-det" in NAMES
    assert dict(TASKS).keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_is_complete(name: str) -> None:
    spec = TASKS.get(name).spec
    assert spec.name == name, "as the file"
    assert spec.version >= 1
    assert spec.summary.endswith(".")
    assert spec.layouts
    assert spec.engine
    assert spec.source
    metrics = [metric.name for metric in spec.metrics]
    assert metrics
    assert len(set(metrics)) == len(metrics)
    assert all(metric.meaning for metric in spec.metrics)
    assert spec.main_metric in metrics


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_what_it_is_and_where_it_is_from(name: str) -> None:
    text = sys.modules[type(TASKS.get(name)).__module__].__doc__ or ""
    assert "Source:" in text
    assert len(text.partition("Source:")[2].strip()) > 20


@pytest.mark.parametrize("name", NAMES)
def test_the_default_protocol_is_there_in_both_sizes(name: str) -> None:
    task = TASKS.get(name)
    for folder in FOLDERS:
        protocol = task.load_protocol(CONFIGS / folder / f"{task.spec.default_protocol}.toml", ())
        assert (protocol.slug, protocol.task) == (task.spec.default_protocol, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_protocol_and_the_main_metric_are_those_of_published_rows(name: str) -> None:
    """A run's boxes and masks stand in two tasks of the file. Where there are no rows, the task says why."""
    spec = TASKS.get(name).spec
    task, printed = published_place(name, spec.default_protocol, spec.main_metric)
    rows = read_published().rows_for(task, spec.default_protocol)
    assert bool(rows) is not bool(spec.unpublished)
    assert not rows or printed in {row.metric for row in rows}


@pytest.mark.parametrize("name", NAMES)
def test_each_layout_is_held_against_a_protocol_of_the_task(name: str) -> None:
    task = TASKS.get(name)
    for layout in task.spec.layouts:
        path = CONFIGS / "transfer" / f"{layout.protocol}.toml"
        assert task.load_protocol(path, layout.overrides).task == name


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_of_a_task_and_named_by_its_slug(name: str) -> None:
    protocol = load(FILES[name])
    assert protocol.slug == FILES[name].stem
    assert protocol.task in NAMES


def keys(value: Any, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {prefix}
    return {key for name, inner in value.items() for key in keys(inner, f"{prefix}.{name}")}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("transfer/")])
def test_the_smoke_twin_has_the_same_keys(name: str) -> None:
    full = FILES[name]
    twin = CONFIGS / "smoke" / full.name
    assert twin.is_file(), "--smoke would not find it"

    both = [keys(tomllib.loads(path.read_text(encoding="utf-8"))) for path in (twin, full)]
    assert both[0] ^ both[1] == set()
    assert keys(number_changing(load(twin))) == keys(number_changing(load(full)))
    assert fields_sha256(load(twin)) != fields_sha256(load(full))


def test_the_identity_moves_only_with_the_version() -> None:
    found = {}
    for name, path in FILES.items():
        protocol = load(path)
        found[name] = {"version": protocol.version, "sha256": fields_sha256(protocol)}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    assert stale(found, golden) == [], "raise `version` in these files: their numbers would move"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
        golden = found
    assert found == golden, "see the docstring of this file"


def stale(found: dict[str, Any], golden: dict[str, Any]) -> list[str]:
    """Files whose hash is another one without a higher version."""
    both = found.keys() & golden.keys()
    moved = [name for name in both if found[name]["sha256"] != golden[name]["sha256"]]
    return sorted(name for name in moved if found[name]["version"] <= golden[name]["version"])


def test_a_change_without_a_version_is_seen() -> None:
    golden = {"a": {"version": 1, "sha256": "x"}}
    assert stale({"a": {"version": 1, "sha256": "y"}}, golden) == ["a"]
    assert stale({"a": {"version": 2, "sha256": "y"}}, golden) == []
    assert stale({"a": {"version": 1, "sha256": "x"}, "b": {"version": 1, "sha256": "y"}}, golden) == []


def leaves(config: BaseModel, counts: bool = True) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The place of each leaf field, and whether it is part of the identity."""
    for name, info in type(config).model_fields.items():
        extra = info.json_schema_extra
        here = counts and not (isinstance(extra, dict) and extra.get("identity") is False)
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from (((name, *place), inner) for place, inner in leaves(value, here))
        else:
            yield (name,), here


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, other(value[-1])) if value else (1,)
    if value is None:
        return 1
    return value + ("x" if isinstance(value, str) else 1)


def mutated(config: Any, place: tuple[str, ...]) -> Any:
    value = getattr(config, place[0])
    new = mutated(value, place[1:]) if len(place) > 1 else other(value)
    return config.model_copy(update={place[0]: new})


@pytest.mark.parametrize("name", FILES)
def test_every_field_that_counts_moves_the_identity_and_no_other(name: str) -> None:
    protocol = load(FILES[name])

    def of(config: BaseModel) -> str:
        fields = number_changing(config)
        return identity(fields, task="t", task_version=1, data_fingerprint="f", split_counts={})

    places = dict(leaves(protocol))
    assert sum(places.values()) >= 9
    moving = [of(mutated(protocol, place)) for place, counts in places.items() if counts]
    assert len({of(protocol), *moving}) == len(moving) + 1
    resting = {of(mutated(protocol, place)) for place, counts in places.items() if not counts}
    assert resting <= {of(protocol)}


@pytest.mark.parametrize("name", FILES)
def test_an_unknown_key_anywhere_is_refused_by_name(tmp_path: Path, name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    task = TASKS.get(load(FILES[name]).task)
    lines = text.splitlines()
    places = [0, *(index + 1 for index, line in enumerate(lines) if line.startswith("["))]
    for place in places:
        path = tmp_path / FILES[name].name
        path.write_text("\n".join([*lines[:place], "strange_key = 1", *lines[place:]]), encoding="utf-8")
        with pytest.raises(ConfigError, match="strange_key: unknown key") as caught:
            task.load_protocol(path, ())
        assert str(path) in str(caught.value)


TOY = '''"""A toy.

Source: a test of ours, which shows that one file is enough.
"""
from transfer.api import Layout, MetricSpec, Task, TaskSpec


class Toy(Task):
    spec = TaskSpec(
        "toy-task", 1, "A toy.", (Layout("toys", "toy"),), "none", (MetricSpec("A", "a"),), "A", "toy", "ours"
    )

    def load_protocol(self, path, overrides): ...
    def check_input(self, spec): ...
    def load_data(self, root, protocol): ...
    def stamp_data(self, data): ...
    def data_departures(self, data, protocol): ...
    def measure(self, data, found, protocol): ...
    def draw(self, data, kept, sha256, where): ...
    def embedded_data(self, root): ...


ENTRY = Toy()
'''


def registry(*folders: Path) -> Registry[Task]:
    return Registry("task", "transfer.tasks", Task, extra_folders=folders)  # type: ignore[type-abstract]


def test_a_task_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "toy_task.py").write_text(TOY)
    tasks = registry(tmp_path)
    assert tasks.names() == sorted([*NAMES, "toy-task"])
    assert tasks.get("toy-task").spec.name == "toy-task"
    assert [name for name, task in tasks if task.spec.name != name] == []
    assert "toy-task" not in TASKS.names()


def test_two_tasks_of_one_name_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "voc_det.py").write_text(TOY)
    with pytest.raises(RegistryError) as caught:
        registry(tmp_path).names()
    assert str(tmp_path / "voc_det.py") in str(caught.value)
    assert str(TASKS.files()["voc-det"]) in str(caught.value)


def test_a_task_that_leaves_a_part_out_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "toy_task.py").write_text(TOY.replace("    def stamp_data(self, data): ...\n", ""))
    with pytest.raises(TypeError, match="stamp_data"):
        registry(tmp_path).get("toy-task")
