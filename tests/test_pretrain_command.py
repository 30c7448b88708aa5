"""`bench pretrain` as a user starts it: plans, dry runs, sheets, what is refused, a run to its weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bench.cli import main
from bench.core.card import hash_tensors
from bench.core.weights import read_weights
from bench.synth.generate import Counts, generate
from tests.helpers.often import often

TOY = (
    "view.crop_px=32",
    "batch_size=8",
    "epochs=2",
    "loop.precision='fp32'",
    "monitor.resize_px=32",
    "monitor.crop_px=32",
    "monitor.neighbours=3",
)


Run = Callable[..., subprocess.CompletedProcess[str]]


def bench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300, check=False
    )


@pytest.fixture
def bench_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, which has imported torch already."""

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        code = 0
        try:
            main()
        except SystemExit as caught:
            code = int(caught.code or 0)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return run


def toy(*more: str) -> list[str]:
    return ["--smoke", *(part for value in (*TOY, *more) for part in ("--set", value))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pretrain") / "data"
    generate(root, class_size_px=32, counts=Counts(0, 0, 4, 2))
    return root / "folder"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, str]:
    """The folder of a finished ResNet-50 run, and what it printed."""
    out = tmp_path_factory.mktemp("runs")
    done = bench("pretrain", "supervised", *toy(), "--data", str(data), "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return Path(json.loads(done.stdout)[0]["weights"]).parent, done.stdout


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_run_ends_in_weights_with_a_card(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    (result,) = json.loads(printed)
    weights = read_weights(folder / "weights.safetensors")
    assert weights.card.name == "resnet50.supervised_smoke"
    assert weights.card.tensors_sha256 == hash_tensors(weights.tensors) == result["card"]["tensors_sha256"]
    assert len(weights.tensors) == 265
    assert any("seed 0" in note for note in weights.card.notes)
    assert any("departs from its config file" in note for note in weights.card.notes)
    assert any("neighbours 3" in note and "crop_px 32" in note for note in weights.card.notes)
    facts = json.loads((folder / "result.json").read_text())
    assert [row["epoch"] for row in facts["monitor"]] == [0, 2]
    assert facts["steps"] == 2 * (40 // 8)
    assert result["monitor"] == {key: facts["monitor"][-1][key] for key in ("knn", "val_top1")}
    assert 0.0 <= result["monitor"]["knn"] <= 100.0
    log = (folder / "log.csv").read_text().splitlines()
    assert log[0] == "step,epoch,learning_rate,loss,top1"
    assert [line.split(",")[0] for line in log[1:]] == ["10"]


@pytest.mark.slow
def test_the_folder_of_a_run_is_a_checkpoint_for_the_other_commands(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = finished
    seen = bench("inspect", str(folder), "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["card"]["name"] == "resnet50.supervised_smoke"
    made = bench("convert", str(folder), "--to", "torchvision", "-o", str(tmp_path / "net.pth"))
    assert made.returncode == 0, made.stderr

    above = bench("inspect", str(folder.parent))
    assert above.returncode == 5
    assert "seed-0" in above.stderr
    empty = bench("inspect", str(tmp_path))
    assert empty.returncode == 5
    (tmp_path / "checkpoints").mkdir()
    unfinished = bench("inspect", str(tmp_path))
    assert (unfinished.returncode, "--resume" in unfinished.stderr) == (5, True)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(finished: tuple[Path, str], data: Path, bench_here: Run) -> None:
    folder, printed = finished
    out = folder.parents[2]
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    again = bench("pretrain", "supervised", *toy(), "--data", str(data), "--out", str(out), "--json")
    assert again.returncode == 0, again.stderr
    assert again.stdout == printed
    assert "already" in again.stderr
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before
    # Other batch norm, other k-NN: under the same name, and not these.
    for more in (("--devices", "2"), ("--set", "monitor.neighbours=4")):
        other = bench_here("pretrain", "supervised", *toy(), *more, "--data", str(data), "--out", str(out))
        assert (other.returncode, other.stdout) == (2, "")
        assert "was pretrained with other" in other.stderr


@pytest.mark.parametrize(
    "method", often(["supervised", "moco_v1", "moco_v2", "simclr", "infomin"], ["supervised", "infomin"])
)
def test_a_dry_run_says_steps_time_and_disk_and_writes_nothing(
    data: Path, tmp_path: Path, bench_here: Run, method: str
) -> None:
    small = () if method != "infomin" else ("jigsaw.crop_px=36", "jigsaw.patch_px=12")
    arguments = ["pretrain", method, *toy("backbone.arch=resnet18", *small), "--data", str(data), "--dry-run"]
    done = bench_here(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 epochs of 5 steps = 10 steps" in done.stderr
    lines = {line.split()[0]: line for line in done.stderr.splitlines()}
    assert "a seed" in lines["Time"] and "s a step" in lines["Time"]
    assert "MiB" in lines["Disk"]
    assert ("nobody to shuffle keys with" in done.stderr) == (method not in ("supervised", "simclr"))
    assert "nothing was written" in lines["Dry"]
    assert done.stdout == ""
    assert files(tmp_path) == []


def test_the_sheet_of_views_is_a_picture_and_is_not_replaced_unasked(
    data: Path, tmp_path: Path, bench_here: Run
) -> None:
    sheet = tmp_path / "views.png"
    small = ("jigsaw.crop_px=36", "jigsaw.patch_px=12")
    show = ["pretrain", "infomin", *toy(*small), "--data", str(data), "--show-views", str(sheet)]
    done = bench_here(*show, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sheet)
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and picture.width > 8 * 32
    assert bench_here(*show).returncode == 2
    assert bench_here(*show, "--force").returncode == 0
    assert not list((tmp_path / "out").glob("pretrain"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["moco_v4"], 2, 'Did you mean "moco_v'),
        (["moco_v2_ep100"], 2, "moco_v2_ep200"),
        (["none.toml"], 3, "none.toml"),
        (["moco_v2_ep200", "--smoke"], 2, "--smoke goes with"),
        (["moco_v2", "--set", "parts.temperatur=0.1"], 3, 'Did you mean "temperature"'),
        (["moco_v2", "--set", "parts.temperature=0"], 3, "temperature"),
        (["moco_v2", "--set", "parts.queue_size=100"], 3, "queue_size"),
        (["moco_v2", "--set", "parts.jigsaw_weight=0.5"], 3, "jigsaw"),
        (["simclr", "--set", "parts.queue_size=100"], 3, "queue_size"),
        (["supervised", "--set", "method='simclr'"], 3, "method"),
        (["moco_v2", "--set", "batch_size=3"], 4, "fewer than one batch"),
        (["moco_v2", "--smoke", "--precision", "fp16"], 6, "GPU"),
        (["moco_v2", "--smoke", "--set", "batch_size=7", "--devices", "2"], 3, "does not divide"),
        (["moco_v2", "--smoke", "--name", "a/b"], 2, "name"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    data: Path, tmp_path: Path, bench_here: Run, arguments: list[str], code: int, words: str
) -> None:
    few = ["--set", "batch_size=4096"] if words == "fewer than one batch" else []
    done = bench_here("pretrain", *arguments, *few, "--data", str(data), "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "pretrain").exists()


def test_images_without_classes_pretrain_what_needs_none(data: Path, tmp_path: Path, bench_here: Run) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((data / "train").rglob("*.jpg"))):
        (flat / f"{number:03d}.jpg").write_bytes(path.read_bytes())
    more = ("backbone.arch=resnet18", "epochs=1", "parts.queue_size=8")
    run = [*toy(*more), "--data", str(flat), "--out", str(tmp_path / "out")]
    refused = bench_here("pretrain", "supervised", *run[: -(2 * 1 + 4)], "--data", str(flat))
    assert refused.returncode == 4, refused.stderr
    assert "classes" in refused.stderr
    done = bench_here("pretrain", "moco_v1", *run)
    assert done.returncode == 0, done.stderr
    assert "no k-NN monitor" in done.stderr
    assert "resnet18.moco_v1_smoke  seed 0  " in done.stdout


def test_held_out_images_of_other_classes_are_refused(data: Path, tmp_path: Path, bench_here: Run) -> None:
    (tmp_path / "train").symlink_to(data / "train")
    (tmp_path / "val" / "zebra").mkdir(parents=True)
    image = next((data / "val").rglob("*.jpg"))
    (tmp_path / "val" / "zebra" / "a.jpg").write_bytes(image.read_bytes())
    done = bench_here(
        "pretrain", "supervised", *toy(), "--data", str(tmp_path), "--out", str(tmp_path / "out")
    )
    assert done.returncode == 4
    assert "classes" in done.stderr


@pytest.mark.slow
def test_packed_images_are_named_in_the_plan_and_on_the_card(tmp_path: Path, bench_here: Run) -> None:
    generate(tmp_path / "data", class_size_px=32, counts=Counts(0, 0, 3, 2))
    for split in ("train", "val"):
        source, out = tmp_path / "data" / "folder" / split, tmp_path / "pack" / split
        assert bench_here("data", "pack", str(source), "--out", str(out), "--kind", "decoded").returncode == 0
    settings = [word for setting in TOY for word in ("--set", setting)]
    data, runs = str(tmp_path / "pack"), str(tmp_path / "runs")
    done = bench_here("pretrain", "moco_v2", "--smoke", "--data", data, "--out", runs, *settings)
    assert done.returncode == 0, done.stderr
    assert "the images are a pack" in done.stderr and "the held-out images are a pack" in done.stderr
    (path,) = (tmp_path / "runs").glob("pretrain/*/seed-0/weights.safetensors")
    notes = " ".join(read_weights(path).card.notes)
    assert "trained on a pack" in notes and "held-out images, a pack" in notes


def test_one_question_at_a_time(tmp_path: Path, bench_here: Run) -> None:
    asked = ("pretrain", "moco_v2", "--smoke", "--benchmark", "--show-views", str(tmp_path / "a.png"))
    assert bench_here(*asked).returncode == 2
