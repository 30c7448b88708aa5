"""`bench report` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.commands.report import FORMATS, command
from bench.core.errors import UsageError
from bench.core.store import Store
from tests.helpers.records import make_record, make_trials


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store = Store(tmp_path / "runs")
    for record in [
        *make_trials("resnet50.random", [33.0, 34.0]),
        *make_trials("resnet50.moco_v2_ep200", [56.0, 57.0]),
        make_record("resnet50.moco_v2_ep200", ap=3.0, slug="voc07-r50c4", identity="07"),
    ]:
        store.add(record)
    return store.root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_all_forms_go_to_stdout(results: Path) -> None:
    for form in FORMATS:
        result = call("--results", results, "--format", form)
        assert result.exit_code == 0 and result.stderr == ""
        assert "voc0712-r50c4-24k" in result.stdout and "voc07-r50c4" in result.stdout
    assert (
        call("--results", results, "--json").stdout == call("--results", results, "--format", "json").stdout
    )


def test_filters(results: Path) -> None:
    tables = json.loads(call("--results", results, "--json", "--protocol", "voc07-r50c4").stdout)
    assert [table["protocol"] for table in tables] == ["voc07-r50c4"]
    assert len(json.loads(call("--results", results, "--json", "--task", "voc-det").stdout)) == 2
    for option, near in (("--task", "voc-det"), ("--protocol", "voc07-r50c4")):
        result = call("--results", results, "--json", option, near + "x")
        assert result.exit_code == 0 and json.loads(result.stdout) == []
        assert f'Did you mean "{near}"?' in result.stderr


def test_published_rows_beside(results: Path) -> None:
    assert "InfoMin Aug" not in call("--results", results).stdout
    assert "InfoMin Aug" in call("--results", results, "--published").stdout


def test_no_records_is_said_and_is_no_error(tmp_path: Path) -> None:
    for form, expected in (("json", "[]\n"), ("table", ""), ("markdown", "")):
        result = call("--results", tmp_path / "none", "--format", form)
        assert (result.exit_code, result.stdout) == (0, expected)
        assert str(tmp_path / "none") in result.stderr and "no such folder" in result.stderr
        assert "bench demo" in result.stderr and "bench transfer" in result.stderr


def test_what_is_left_out_is_listed_on_stderr(results: Path) -> None:
    path = next((results / "resnet50.random").rglob("*.json"))
    path.write_text(path.read_text().replace('"value": 3', '"value": 9', 1))
    result = call("--results", results, "--json")
    assert result.exit_code == 0
    assert f"left out: {path}" in result.stderr and "1 files are left out, 4 are used" in result.stderr
    assert len(json.loads(result.stdout)) == 2


def test_out_writes_what_stdout_would_have_and_overwrites_only_with_force(results: Path) -> None:
    out = results.parent / "new" / "report.md"
    arguments = ("--results", results, "--format", "markdown")
    first = call(*arguments, "--out", out)
    assert first.exit_code == 0 and first.stdout == "" and str(out) in first.stderr
    assert out.read_text(encoding="utf-8") == call(*arguments).stdout
    out.write_text("mine")
    refused = call(*arguments, "--out", out)
    assert isinstance(refused.exception, UsageError) and "--force" in str(refused.exception)
    assert out.read_text() == "mine"
    assert call(*arguments, "--out", out, "--force").exit_code == 0
    assert out.read_text(encoding="utf-8") == call(*arguments).stdout
    assert [path.name for path in out.parent.iterdir()] == ["report.md"]


def test_two_runs_write_equal_bytes(results: Path, tmp_path: Path) -> None:
    for form in FORMATS:
        for name in ("a", "b"):
            call("--results", results, "--published", "--format", form, "--out", tmp_path / f"{name}.{form}")
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json", "--format", "csv"], "two forms"),
        (["--unconfirmed"], "--published"),
        (["--out", "."], "is a folder"),
        (["--results", __file__], "is a file"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: list[str], words: str) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception) and result.stdout == ""


def test_help_ends_with_examples() -> None:
    text = call("--help").stdout
    assert text.rstrip().splitlines()[-1].strip() == "bench report --json --no-published"
    assert "Examples:\n  bench report\n" in "\n".join(line[2:] for line in text.splitlines())


def test_help_is_light() -> None:
    code = (
        "import sys, bench.commands.report\n"
        "print([name for name in ('numpy', 'pydantic', 'rich', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
