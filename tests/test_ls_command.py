"""`bench ls`, and the rows in which facts are printed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bench.commands import _text
from bench.commands._text import printable, rows
from bench.commands.ls import command
from bench.core.card import InputSpec
from bench.core.paths import CONFIGS
from bench.report.published import read_published
from pretrain.analysis.api import STUDIES
from pretrain.api import METHODS
from transfer.adapters.layout import STANDARD_INPUT
from transfer.adapters.layouts import LAYOUTS


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout


def test_every_layout_with_its_places_and_source() -> None:
    *blocks, last = run("layouts").split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [layout.name for layout in LAYOUTS]
    assert last.startswith(f"{len(LAYOUTS)} layouts")
    for layout, block in zip(LAYOUTS, blocks, strict=True):
        lines = [line.strip() for line in block.split("\n")]
        labels = {line.split()[0] for line in lines}
        for place in [*layout.places, *(other for _, other in layout.others)]:
            assert any(line.endswith(str(place)) for line in lines), place
        assert {layout.label, *(label for label, _ in layout.others)} <= labels
        assert lines[-1].endswith(layout.source)
        assert ("input" in labels) == (layout.input != STANDARD_INPUT)


def test_an_input_that_the_file_cannot_say() -> None:
    (block,) = (block for block in run("layouts").split("\n\n") if block.startswith("obow-caffe2\n"))
    assert "--input-spec" in block


def test_json() -> None:
    values = json.loads(run("layouts", "--json"))
    assert [value["name"] for value in values] == [layout.name for layout in LAYOUTS]
    for layout, value in zip(LAYOUTS, values, strict=True):
        found = None if value["input"] is None else InputSpec.model_validate(value["input"])
        assert found == layout.input
        assert [tuple(place["container"]) for place in value["places"]] == [
            place.container for place in layout.places
        ]


def test_every_protocol_with_its_published_numbers() -> None:
    values = {value["slug"]: value for value in json.loads(run("protocols", "--json"))}
    assert sorted(values) == sorted(path.stem for path in (CONFIGS / "transfer").glob("*.toml"))
    assert values["voc0712-r50c4-24k"]["num_published"] > 100
    assert values["voc0712-r50fpn-24k"]["num_published"] == 0
    text = run("protocols")
    assert all(slug in text for slug in values)
    assert "run the baselines" in text


@pytest.mark.parametrize("width", [80, 120])
def test_lines_are_folded_to_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    whole = run("layouts")
    monkeypatch.setattr(_text, "terminal_width", lambda: width)
    folded = run("layouts")
    # One word may be longer than what is left of a line: it is not broken.
    long = [line for line in folded.splitlines() if len(line) > width]
    assert [line for line in long if " " in line[18:].strip()] == []
    assert folded.split() == whole.split()
    assert len(folded.splitlines()) > len(whole.splitlines())


def test_rows() -> None:
    facts = [("a", "one two three"), ("a", "four"), ("bc", "five"), ("", "six"), ("d", "")]
    assert rows(facts, column=2, width=None) == [
        "  a   one two three",
        "      four",
        "  bc  five",
        "      six",
        "  d",
    ]
    assert rows(facts[:2], column=2, width=14) == ["  a   one two", "        three", "      four"]
    for width in (None, 14):
        assert rows([("a", "\x1b[2J")], column=2, width=width) == [r"  a   \x1b[2J"]
    assert rows([("a", "x" * 20)], column=2, width=14) == ["  a   " + "x" * 20]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("caf\u00e9", "caf\u00e9"),
        ("\x1b[0m", r"\x1b[0m"),
        ("a\nb\x7f", r"a\nb\x7f"),
        ("\u202e\ud800", r"\u202e\ud800"),
    ],
)
def test_printable(text: str, said: str) -> None:
    assert printable(text) == said


def test_importing_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, bench.commands.ls, bench.commands.inspect, bench.commands.convert\n"
        "import bench.commands._text\n"
        "print([name for name in ('numpy', 'pydantic', 'rich', 'torch', 'transfer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_method_with_parts_configs_published_numbers_and_departures() -> None:
    values = json.loads(run("methods", "--json"))
    assert [value["name"].replace("_", "-") for value in values] == METHODS.names()
    published = read_published().rows
    blocks = run("methods").strip().split("\n\n")
    for value, block in zip(values, blocks, strict=True):
        method = METHODS.get(value["name"].replace("_", "-"))
        lines = block.split("\n")
        assert lines[0] == value["name"]
        assert method.source in block and method.summary in block
        assert method.default_config in value["configs"]
        rows = [row for row in published if row.method in method.published_as]
        assert [row["value"] for row in value["published"]] == [row.value for row in rows]
        probes = [row for row in rows if row.task == "linear-probe" and row.metric == "top1"]
        assert all(f"{row.value} ({row.method}" in block for row in probes)
        assert value["departures"] and all(text in block for text in value["departures"])
    by_name = {value["name"]: value for value in values}
    assert any("VISSL" in text for text in by_name["pirl"]["departures"])
    assert not any(text.startswith("see ") for value in values for text in value["departures"])
    # CMC's, as PyContrast's README has it: 58.6 after 200 epochs.
    (row,) = (row for row in by_name["cmc"]["published"] if row["protocol"] == "in1k-linear-60ep-pycontrast")
    assert (row["value"], row["pretrain_epochs"]) == (58.6, 200)


def test_every_study_with_what_is_turned_measured_and_its_three_configs() -> None:
    values = json.loads(run("studies", "--json"))
    assert [value["name"] for value in values] == STUDIES.names()
    for value, block in zip(values, run("studies").strip().split("\n\n"), strict=True):
        study = STUDIES.get(value["name"])
        assert value["configs"] == [f"{value['name']}-{size}" for size in ("full", "laptop", "smoke")]
        assert block.split("\n")[0] == value["name"]
        said = (study.summary, study.source, study.knob_name, *study.scores.values(), *value["configs"])
        assert all(text in block for text in said)
