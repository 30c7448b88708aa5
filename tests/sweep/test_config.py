"""The file of a sweep, and the files that are here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands._common import Seeds
from bench.core.config import find_config
from bench.core.errors import ConfigError
from bench.core.paths import CONFIGS
from bench.report.tables import is_baseline
from bench.sweep.cells import Places, cells_of
from bench.sweep.config import load_sweep
from transfer.api import TASKS

FILES = sorted((CONFIGS / "sweeps").glob("*.toml"))
HEAD = 'name = "x"\n[[weights]]\ncheckpoint = "random"\n'
TRANSFER = '[[transfer]]\ntask = "voc-det"\nprotocols = "voc0712-r50c4-24k"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_here_names_what_there_is(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.name == path.stem
    for cell in cells_of(sweep, str(path)):
        column = cell.column
        protocol_file = find_config(CONFIGS / ("smoke" if column.smoke else "transfer"), column.protocol)
        task = TASKS.get(column.task)
        assert task.load_protocol(protocol_file, column.overrides).task == column.task
    assert sweep.weights[0].checkpoint == "random"
    if path.stem != "smoke":
        assert any(is_baseline(weights.name or "") for weights in sweep.weights[1:])


def test_the_papers_tables_are_here() -> None:
    assert {path.stem for path in FILES} >= {"voc", "coco-c4", "coco-fpn", "segmentation", "linear", "smoke"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + TRANSFER.replace("protocols", "protocol"), 'Did you mean "protocols"'),
        (HEAD.replace("checkpoint", "chekpoint") + TRANSFER, 'Did you mean "checkpoint"'),
        (HEAD + TRANSFER + "[slurm]\npartitions = 'x'\n", 'Did you mean "partition"'),
        (HEAD + TRANSFER + "seeds = '4-0'\n", "rising range"),
        (HEAD + TRANSFER + "seeds = [0, 1]\n", "seeds"),
        (HEAD + TRANSFER + "precision = 'fp8'\n", "fp8"),
        (HEAD + TRANSFER + "devices = 0\n", "devices"),
        (HEAD.replace('"x"', '"../x"') + TRANSFER, "name"),
        (HEAD, "transfer"),
        (TRANSFER, "weights"),
        (HEAD + TRANSFER.replace('"voc0712-r50c4-24k"', "[]"), "protocols"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep(write(tmp_path, text))
    assert words in str(caught.value) and "x.toml" in str(caught.value)


def test_a_cell_twice_is_refused(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, HEAD + TRANSFER + TRANSFER))
    with pytest.raises(ConfigError, match=r"x: random, voc-det voc0712-r50c4-24k, seed 0: is there twice"):
        cells_of(sweep, "x")


def test_far_too_many_cells_are_refused(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, HEAD + (TRANSFER + 'seeds = "0-999"\n') * 11))
    with pytest.raises(ConfigError, match="11,000 cells"):
        cells_of(sweep, "x")


def test_all_of_the_first_seed_come_first(tmp_path: Path) -> None:
    more = '[[weights]]\ncheckpoint = "a.pth"\n'
    sweep = load_sweep(write(tmp_path, HEAD + more + TRANSFER + 'seeds = "0-2"\nsmoke = true\n' + TRANSFER))
    order = [(cell.seed, cell.column.smoke, cell.weights.checkpoint) for cell in cells_of(sweep, "x")]
    assert order[:4] == [(0, True, "random"), (0, True, "a.pth"), (0, False, "random"), (0, False, "a.pth")]
    assert [seed for seed, _, _ in order[4:]] == [1, 1, 2, 2]


def test_the_command_of_a_cell_is_that_of_bench_transfer(tmp_path: Path) -> None:
    """Its words, read by `bench transfer`, give the options that the cell runs with."""
    from bench.commands.transfer import _task_command
    from transfer.run import Options

    more = 'data = "a b"\noverrides = ["solver.iterations=4"]\ndevices = 2\nprecision = "bf16"\n'
    head = HEAD.replace('"random"', '"net.pth"\nname = "resnet50.n"\nencoder = "e"\ninput_spec = "i.toml"')
    sweep = load_sweep(write(tmp_path, head + TRANSFER + more + "batch_size = 8\naccumulate = 2\n"))
    (cell,) = cells_of(sweep, "x")
    places = Places(tmp_path / "runs", tmp_path / "results")
    words = cell.command(places)
    assert words[:3] == ["bench", "transfer", "voc-det"]
    values = _task_command("voc-det").make_context("x", words[3:]).params
    for name in ("dry_run", "as_json", "show_predictions"):
        assert not values.pop(name)
    assert Options(**values) == cell.options(places)


def test_seeds_are_those_of_the_command_line() -> None:
    assert Seeds().convert("0-2,7", None, None) == (0, 1, 2, 7)
