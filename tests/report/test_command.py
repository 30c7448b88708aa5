"""`bench report` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bench.commands._report_out import PAGE, _turn_about
from bench.commands.report import FORMATS, command
from bench.core.errors import UsageError
from bench.core.store import Store
from bench.core.study import StudyStore
from tests.helpers.records import make_record, make_trials, version_of
from tests.helpers.stores import honest
from tests.helpers.studies import make_study_record

TEXTS = tuple(form for form in FORMATS if form != "html")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store = Store(tmp_path / "runs")
    for record in [
        *make_trials("resnet50.random", [33.0, 34.0]),
        *make_trials("resnet50.moco_v2_ep200", [56.0, 57.0]),
        make_record(
            "resnet50.moco_v2_ep200", ap=3.0, slug="voc07-r50c4", fields={"metric": {"ap_rule": "area"}}
        ),
    ]:
        store.add(honest(record))
    return store.root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_all_forms_go_to_stdout(results: Path) -> None:
    for form in TEXTS:
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


def test_another_task_version_is_named_and_left_out_or_has_a_table_of_its_own(results: Path) -> None:
    old = honest(make_record("resnet50.random", 7, 99.0, task_version=1))
    path = Store(results).add(old)
    shown = call("--results", results, "--json")
    (line,) = (line for line in shown.stderr.splitlines() if str(path) in line)
    assert (
        line.startswith("left out: ") and "version 1" in line and f"version {version_of('voc-det')}" in line
    )
    assert old.id not in shown.stdout
    everything = call("--results", results, "--json", "--other-versions")
    assert "left out" not in everything.stderr
    tables = json.loads(everything.stdout)
    assert [[row["label"] for row in table["rows"]] for table in tables if table["task_version"] == 1] == [
        ["resnet50.random"]
    ]
    assert [table for table in tables if table["task_version"] != 1] == json.loads(shown.stdout)


def test_an_identity_that_does_not_follow_is_named_and_left_out(results: Path) -> None:
    """As of a record whose fields were changed, and that was sealed anew."""
    record = honest(make_record("resnet50.random", 7, 99.0))
    protocol = record.protocol.model_copy(update={"fields": {**record.protocol.fields, "more": 1}})
    path = Store(results).add(record.model_copy(update={"protocol": protocol}))
    shown = call("--results", results, "--json")
    (line,) = (line for line in shown.stderr.splitlines() if str(path) in line)
    assert line.startswith("left out: ") and record.protocol.identity[:12] in line
    assert record.id not in shown.stdout


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
        one, other = (tmp_path / f"{name}.{form}" for name in ("a", "b"))
        if form == "html":
            one, other = one / PAGE, other / PAGE
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json", "--format", "csv"], "two forms"),
        (["--unconfirmed"], "--published"),
        (["--out", "."], "is a folder"),
        (["--results", __file__], "is a file"),
        (["--format", "html"], "give --out"),
        (["--format", "html", "--out", __file__], "is a file"),
        (["--published-only", "--results", "."], "reads no record"),
        (["--task", "voc-det", "compare", "a", "b"], "--task is"),
        (["--format", "csv", "compare", "a", "b"], "--format is"),
        (["--json", "compare", "a", "b"], "--json is"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: list[str], words: str) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception) and result.stdout == ""


def test_published_only_reads_no_record_and_has_every_source(tmp_path: Path) -> None:
    arguments = ("--published-only", "--task", "voc-det", "--protocol", "voc0712-r50c4-24k")
    text = call(*arguments).stdout
    (line,) = (line for line in text.splitlines() if line.startswith("InfoMin Aug, 200 ep"))
    assert line.split()[4:7] == ["57.6", "82.7", "64.6"] and line.split()[-1].startswith("S")
    for form in TEXTS:
        assert "InfoMin Aug" in call(*arguments, "--format", form).stdout
    assert call(*arguments, "--format", "html", "-o", tmp_path).exit_code == 0
    assert "InfoMin Aug" in (tmp_path / PAGE).read_text(encoding="utf-8")
    nothing = call("--published-only", "--task", "voc-det", "--protocol", "mine", "--json")
    assert nothing.exit_code == 0 and json.loads(nothing.stdout) == []
    assert "voc0712-r50c4-24k" in nothing.stderr


def test_a_row_that_reproduces_a_published_one_is_said_to(results: Path) -> None:
    for record in make_trials("resnet50.infomin_ep200", [57.5, 57.7]):
        Store(results).add(honest(record))
    (table, _) = sorted(
        json.loads(call("--results", results, "--published", "--json").stdout),
        key=lambda table: -len(table["rows"]),
    )
    said = {(verdict["label"], verdict["method"]): verdict["within"] for verdict in table["verdicts"]}
    assert said["resnet50.infomin_ep200", "InfoMin Aug"] is True
    assert said["resnet50.random", "Random init"] is True
    assert json.loads(call("--results", results, "--json").stdout)[0]["verdicts"] == []


def test_the_page_shows_what_run_folders_and_studies_have(results: Path, tmp_path: Path) -> None:
    record = honest(make_trials("resnet50.random", [33.0])[0])
    weights = f"{record.weights.name}-{record.weights.key[:8]}"
    protocol = f"{record.protocol.slug}-{record.protocol.identity[:8]}"
    run = tmp_path / "out" / record.task / weights / protocol / "seed-0"
    run.mkdir(parents=True)
    Image.new("RGB", (64, 48), (200, 30, 30)).save(run / "predictions.png")
    (run / "log.csv").write_text("iteration,learning_rate,loss\n1,0.1,2.5\n2,0.1,1.5\n")
    studies = StudyStore(tmp_path / "views")
    for seed in (0, 1):
        for setting in ("rgb", "lab", "yuv"):
            studies.add(make_study_record(setting, seed, 1.0 + seed / 10, {"top1": 40.0 + seed}))

    def written(name: str, runs: str, views: str) -> str:
        out = tmp_path / name
        result = call(
            "--results", results, "--format", "html", "-o", out,
            "--runs", tmp_path / runs, "--views", tmp_path / views,
        )  # fmt: skip
        assert result.exit_code == 0, result.exception
        assert ("left out" in result.stderr) == (name == "spoilt")
        return (out / PAGE).read_text(encoding="utf-8")

    rich, plain = written("rich", "out", "views"), written("plain", "none", "none")
    assert rich.count("data:image") > plain.count("data:image")
    assert "Training curves" in rich and "Training curves" not in plain
    assert "colour" in rich.partition("studies of views")[2]
    (run / "predictions.png").write_bytes(b"no picture")
    assert written("spoilt", "out", "none").count("data:image") == plain.count("data:image")


def test_each_row_has_a_picture_before_any_has_a_second() -> None:
    rows = {"resnet50.a": (0, 1, 2), "resnet50.b": (10, 11)}
    records = [make_record(name, seed) for name, seeds in rows.items() for seed in seeds]
    ordered = [(record.weights.name[-1], record.seed) for record in _turn_about(records)]
    assert ordered == [("a", 0), ("b", 10), ("a", 1), ("b", 11), ("a", 2)]


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
