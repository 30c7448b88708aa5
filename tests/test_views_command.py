"""`bench views`, as a person types it: help without torch, a dry run, a run, its plots, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.core.study import StudyStore
from pretrain.analysis.api import STUDIES


def bench(*arguments: str, cwd: Path, capsys: pytest.CaptureFixture[str]) -> subprocess.CompletedProcess[str]:
    """The command in this process, which has imported torch already."""
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench", *arguments])
        patch.chdir(cwd)
        try:
            main()
        except SystemExit as caught:
            code = int(caught.code or 0)
    printed = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a study of two settings with two seeds was run, by a process of its own."""
    folder = tmp_path_factory.mktemp("views")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "views", "frequency", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 4
    return folder


def test_help_lists_every_study_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bench.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    for arguments in (["--help"], *([name, "--help"] for name in STUDIES.names())):
        done = subprocess.run(
            [sys.executable, "-c", code, "views", *arguments],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "torch" not in done.stderr.split()
        if arguments == ["--help"]:
            assert all(f"  {name}" in done.stdout for name in (*STUDIES.names(), "plot", "estimators"))
        else:
            assert "Source:" in done.stdout


def test_a_dry_run_says_cells_and_time_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = bench("views", "colour", "--dry-run", "--seeds", "0-2", cwd=tmp_path, capsys=capsys)
    assert (done.returncode, done.stdout) == (0, "")
    assert "3 settings x 3 seeds" in done.stderr
    assert "for 9 cells" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_not_done_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    done = bench("views", "frequency", cwd=folder, capsys=capsys)
    assert done.returncode == 0, done.stderr
    assert "sigma 0.5 px" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == before


def test_the_plots_are_drawn_and_a_record_changed_by_hand_is_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = bench("views", "plot", cwd=folder, capsys=capsys)
    assert done.returncode == 0, done.stderr
    names = {path.suffix for path in (folder / "runs/views/plots").iterdir()}
    assert names == {".png", ".svg", ".md"}
    assert "Too few settings" in done.stdout, "two settings are no curve"
    (path, *_) = sorted((folder / "results/views/frequency").iterdir())
    text = path.read_text()
    path.write_text(text.replace('"i_nce": ', '"i_nce": 1'))
    spoilt = bench("views", "plot", "--json", cwd=folder, capsys=capsys)
    path.write_text(text)
    assert path.name in spoilt.stderr
    (told,) = json.loads(spoilt.stdout)
    assert sum(len(row["seeds"]) for row in told["group"]["rows"]) == 3
    assert StudyStore(folder / "results/views").scan().left_out == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["colours"], 2, "colour"),
        (["moving-digits", "--data", "x"], 2, "draws its own data"),
        (["colour", "--data", "gone"], 4, "gone"),
        (["colour", "--set", "training.epochs=0"], 3, "epochs"),
        (["patches", "--set", "views.distances_px=[40]"], 3, "do not fit"),
        (["colour", "--set", "views.crop_px=33"], 3, "crop_px"),
        (["learned", "--set", "views.num_labelled=97"], 4, "num_labelled"),
        (["plot", "--results", "gone"], 8, "no study records"),
        (["plot", "--study", "gone", "--results", "gone"], 8, "gone"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    done = bench("views", *arguments, cwd=tmp_path, capsys=capsys)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_estimators_are_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = bench("views", "estimators", "--seeds", "0", "--steps", "5", "--json", cwd=tmp_path, capsys=capsys)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["critic"] for row in rows} == {"optimal", "trained"}
    assert {row["bound"] for row in rows} >= {"info_nce", "nwj", "js", "smile", "club"}
