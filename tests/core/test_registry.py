"""The registry: a folder is scanned, a file is an entry, faults name the files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core.errors import UsageError
from bench.core.registry import Registry, RegistryError

PACKAGE = "bench_toy_package.things"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    things = tmp_path / "bench_toy_package" / "things"
    things.mkdir(parents=True)
    (things.parent / "__init__.py").touch()
    (things / "__init__.py").write_text("raise RuntimeError('the package itself need not be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield things
    for name in [name for name in sys.modules if name.startswith("bench_toy_package")]:
        del sys.modules[name]


def registry(*extra: Path) -> Registry[dict]:  # type: ignore[type-arg]
    return Registry("thing", PACKAGE, dict, extra_folders=extra)


def put(folder: Path, stem: str, text: str = "ENTRY = {'file': __file__}\n") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.py"
    path.write_text(text)
    return path


def test_names_come_from_file_names_without_an_import(folder: Path) -> None:
    put(folder, "voc_det", "raise RuntimeError('imported')\n")
    put(folder, "abc", "this is no Python\n")
    put(folder, "_helper", "raise RuntimeError('imported')\n")
    (folder / "notes.txt").write_text("no entry")
    assert registry().names() == ["abc", "voc-det"]


def test_an_entry_is_imported_once_and_when_asked_for(folder: Path) -> None:
    put(
        folder,
        "first",
        "import sys\nsys.bench_toy_count = getattr(sys, 'bench_toy_count', 0) + 1\nENTRY = {}\n",
    )
    put(folder, "second", "raise RuntimeError('imported')\n")
    things = registry()
    assert things.get("first") is things.get("first")
    assert sys.bench_toy_count == 1  # type: ignore[attr-defined]
    del sys.bench_toy_count  # type: ignore[attr-defined]


def test_iteration_gives_every_entry_in_order(folder: Path) -> None:
    paths = [put(folder, stem) for stem in ("b", "a_c")]
    assert list(registry()) == [("a-c", {"file": str(paths[1])}), ("b", {"file": str(paths[0])})]


def test_an_unknown_name_is_a_usage_error_with_the_nearest(folder: Path) -> None:
    put(folder, "voc_det")
    put(folder, "semseg")
    with pytest.raises(UsageError, match='Did you mean "voc-det"') as caught:
        registry().get("voc-dte")
    assert "semseg" in str(caught.value), "all names are listed"


def test_extra_folders_are_scanned_too(folder: Path, tmp_path: Path) -> None:
    put(folder, "inner")
    path = put(tmp_path / "more", "outer")
    things = registry(tmp_path / "more")
    assert things.names() == ["inner", "outer"]
    assert things.get("outer") == {"file": str(path)}


def test_files_of_one_name_in_two_registries_are_two_entries(folder: Path, tmp_path: Path) -> None:
    paths = [put(tmp_path / name, "outer") for name in ("one", "two")]
    found = [registry(path.parent).get("outer")["file"] for path in paths]
    assert found == [str(path) for path in paths]


@pytest.mark.parametrize(("first", "second"), [("same", "same"), ("two_words", "two-words")])
def test_a_collision_names_both_files(folder: Path, tmp_path: Path, first: str, second: str) -> None:
    paths = put(folder, first), put(tmp_path / "more", second)
    with pytest.raises(RegistryError) as caught:
        registry(tmp_path / "more").names()
    assert all(str(path) in str(caught.value) for path in paths)


@pytest.mark.parametrize("text", ["", "ENTRY = 3\n", "ENTRY = None\n", "entry = {}\n"])
def test_a_file_without_the_right_entry_is_named(folder: Path, text: str) -> None:
    path = put(folder, "wrong", text)
    with pytest.raises(RegistryError, match="ENTRY") as caught:
        registry().get("wrong")
    assert str(path) in str(caught.value)


def test_a_file_that_fails_says_so_every_time(folder: Path) -> None:
    put(folder, "broken", "raise ZeroDivisionError('inside')\n")
    things = registry()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="inside"):
            things.get("broken")


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(RegistryError, match=r"bench\.no_such_folder"):
        Registry("thing", "bench.no_such_folder", dict).names()
