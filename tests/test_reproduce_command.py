"""`bench reproduce`, as a person types it: a real record, its command, the run, and each reason why not."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import main
from bench.core.card import InputSpec
from bench.core.records import Metric, Record
from bench.core.store import Attachment, Store
from bench.core.weights import WEIGHTS_FILE
from tests.helpers.known_network import colour_set, known_file
from tests.helpers.stores import honest
from transfer import run as transfer_run
from transfer.api import TASKS, Job, Output
from transfer.engines import Room, load_engine

CHECKPOINT = "resnet50.known.safetensors"
CHANGES = ("--set", "input.resize_px=40", "--set", "input.crop_px=32", "--set", "run.channels_last=false")
Done = subprocess.CompletedProcess[str]


def bench(*arguments: object, cwd: Path) -> Done:
    """The command in this process, which has imported torch already."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        patch.chdir(cwd)
        try:
            main()
        except SystemExit as caught:
            code = int(caught.code or 0)
    return subprocess.CompletedProcess(list(map(str, arguments)), code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `bench transfer` has made two records; not to be changed."""
    folder = tmp_path_factory.mktemp("reproduce")
    colour_set(folder / "colours")
    known_file(folder)
    places = ("--checkpoint", CHECKPOINT, "--data", "colours")
    done = bench("transfer", "knn", *places, "--smoke", *CHANGES, "--seeds", "2-3", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def record(folder: Path) -> Record:
    """That of seed 3."""
    return {record.seed: record for record in Store(folder / "results" / "runs").scan().records}[3]


def place(record: Record, root: Path) -> Path:
    return Store(root).path(record.weights.name, record.task, record.id)


def tree(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, folder: Path, record: Record) -> list[Job]:
    """Another one, which brings back what stands in the record; the jobs that it was given."""
    jobs: list[Job] = []
    kept = record.details["predictions"]
    path = Store(folder / "results" / "runs").attachment_path(record, kept["sha256"], kept["suffix"])
    predictions = Attachment(kept["suffix"], path.read_bytes(), kept["sha256"])

    def run_job(job: Job) -> Output:
        jobs.append(job)
        details = {key: value for key, value in record.details.items() if key != "predictions"}
        values = {name: metric.value for name, metric in record.metrics.items()}
        return Output(metrics=values, details=details, predictions=predictions)

    room = Room(run_job, load_engine(record.engine).estimate_job)
    monkeypatch.setattr(transfer_run, "load_engine", lambda _name: room)
    return jobs


def test_the_command_is_that_of_one_seed_and_gives_the_same_trial(folder: Path, record: Record) -> None:
    before = tree(folder)
    done = bench("reproduce", record.id[:8], cwd=folder)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    words = shlex.split(line)
    assert words[:3] == ["bench", "transfer", "knn"]
    assert words[words.index("--seeds") + 1] == "3"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--set"] == list(CHANGES[1::2])
    assert "Differs   data" not in done.stderr
    assert "Differs   checkpoint" not in done.stderr
    assert "Differs   protocol" not in done.stderr
    assert bench("reproduce", place(record, Path("results/runs")), cwd=folder).stdout == done.stdout

    assert words[words.index("--results") + 1] != "results/runs"
    words[words.index("--results") + 1] = "results/runs"
    there = bench(*words[1:], "--dry-run", cwd=folder)
    assert "every seed is recorded already" in there.stderr
    assert tree(folder) == before


def test_a_real_run_gives_the_record_bit_for_bit(folder: Path, record: Record, tmp_path: Path) -> None:
    before = tree(folder)
    out = tmp_path / "out"
    done = bench("reproduce", record.id, "--run", "--out", out, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reproduces"]
    assert found["others"] == []
    assert {metric["name"]: metric["now"] for metric in found["metrics"]} == {
        name: metric.value for name, metric in record.metrics.items()
    }
    assert tree(folder) == before, "the record's store and the place it came from are as they were"
    (again,) = Store(out / "results").scan().records
    assert again.result() == record.result()
    assert list(again.provenance.command) == found["command"], "and can be reproduced in turn"

    refused = bench("reproduce", record.id, "--run", "--out", out, cwd=folder)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    with_it = bench("reproduce", record.id, "--run", "--out", out, "--resume", cwd=folder)
    assert with_it.returncode == 0, with_it.stderr
    assert "recorded already" in with_it.stderr


def test_a_run_without_out_leaves_nothing(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = tree(folder)
    done = bench("reproduce", record.id[:6], "--run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "top1: 90.0 then, 90.0 now, difference 0" in done.stdout
    assert (len(engine), engine[0].seed) == (1, 3)
    assert engine[0].run_dir.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tree(folder) == before


def test_a_dry_run_writes_nothing(folder: Path, record: Record, engine: list[Job]) -> None:
    before = tree(folder)
    done = bench("reproduce", record.id, "--run", "--dry-run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    command = bench("reproduce", record.id, cwd=folder).stdout.strip()
    assert f"would run {command}; nothing was written" in done.stderr
    assert (engine, tree(folder)) == ([], before)


def test_another_result_is_not_reproduced(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    """A record whose content was changed and sealed anew."""
    metrics = {**record.metrics, "top1": Metric(value=record.metrics["top1"].value - 2.0)}
    path = Store(tmp_path).add(record.model_copy(update={"metrics": metrics}))
    done = bench("reproduce", path, "--run", cwd=folder)
    assert done.returncode == 8
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("bench: "))
    assert "not reproduced: top1 is 88.0 in the record, 90.0 now" in said
    assert "top1: 88.0 then, 90.0 now, difference +2" in done.stdout
    assert bench("reproduce", path, "--run", "--tolerance", "1.9", cwd=folder).returncode == 8
    near = bench("reproduce", path, "--run", "--tolerance", "2", "--json", cwd=folder)
    assert near.returncode == 0
    assert json.loads(near.stdout)["reproduces"]
    assert len(engine) == 3


def test_equal_metrics_of_another_kind_are_not_the_same_result(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    path = Store(tmp_path).add(
        record.model_copy(update={"details": {**record.details, "num_neighbours": 21}})
    )
    done = bench("reproduce", path, "--run", cwd=folder)
    assert done.returncode == 8
    assert "not reproduced: details.num_neighbours: 20 (record: 21)" in done.stderr


@pytest.mark.parametrize("how", ["path", "id"])
def test_a_record_edited_by_hand_is_refused(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path, how: str
) -> None:
    path = Store(tmp_path / "runs").add(record)
    path.write_text(path.read_text().replace('"value": 90.0', '"value": 91.0'))
    where = (path,) if how == "path" else (record.id[:10], "--results", tmp_path / "runs")
    done = bench("reproduce", *where, "--run", cwd=folder)
    assert (done.returncode, done.stdout, engine) == (8, "", [])
    assert f"{path}: its sha256 does not fit its content" in done.stderr


def test_an_identity_that_is_not_of_its_fields_is_refused(
    folder: Path, record: Record, tmp_path: Path
) -> None:
    fields = {**record.protocol.fields, "knn": {"neighbours": 21, "temperature": 0.07}}
    protocol = record.protocol.model_copy(update={"fields": fields})
    path = Store(tmp_path).add(record.model_copy(update={"protocol": protocol}))
    done = bench("reproduce", path, cwd=folder)
    assert (done.returncode, done.stdout) == (8, "")
    assert "its fields, task, data and counts give" in done.stderr


def test_an_older_version_of_the_task_is_named(
    folder: Path, record: Record, engine: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TASKS.get("knn")
    monkeypatch.setattr(task, "spec", replace(task.spec, version=record.task_version + 1))
    done = bench("reproduce", record.id, cwd=folder)
    assert done.returncode == 0
    assert "Differs   task version: 1 then, 2 now" in done.stderr
    refused = bench("reproduce", record.id, "--run", cwd=folder)
    assert (refused.returncode, refused.stdout, engine) == (8, "", [])
    assert "task version: 1 then, 2 now" in refused.stderr.partition("bench: ")[2]


def test_a_command_that_named_no_protocol_has_the_one_of_its_record(
    folder: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though another is the default by now."""
    assert "--protocol" not in record.provenance.command
    task = TASKS.get("knn")
    monkeypatch.setattr(task, "spec", replace(task.spec, default_protocol="in1k-knn-k200"))
    done = bench("reproduce", record.id, cwd=folder)
    assert "--protocol in1k-knn-k20 " in done.stdout
    assert "Differs   protocol" not in done.stderr


def test_another_protocol_is_named_before_anything_is_run(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    """As if the protocol's file had had another value then; the command line is as it was."""
    fields = {**record.protocol.fields, "knn": {"neighbours": 21, "temperature": 0.07}}
    protocol = record.protocol.model_copy(update={"fields": fields})
    path = Store(tmp_path).add(honest(record.model_copy(update={"protocol": protocol})))
    done = bench("reproduce", path, cwd=folder)
    assert done.returncode == 0
    assert "knn.neighbours: 20 (record: 21)" in done.stderr
    refused = bench("reproduce", path, "--run", cwd=folder)
    assert (refused.returncode, engine) == (8, [])
    assert "knn.neighbours: 20 (record: 21)" in refused.stderr.partition("bench: ")[2]


def test_another_status_is_named_although_the_identity_is_equal(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    departures = (*record.protocol.departures, "a stand-in of then")
    protocol = record.protocol.model_copy(update={"departures": departures})
    path = Store(tmp_path).add(record.model_copy(update={"protocol": protocol}))
    refused = bench("reproduce", path, "--run", cwd=folder)
    assert (refused.returncode, engine) == (8, [])
    assert "a stand-in of then" in refused.stderr.partition("bench: ")[2]


def test_what_has_moved_is_the_same_where_its_content_is(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    (tmp_path / "pictures").symlink_to(folder / "colours")
    os.link(folder / CHECKPOINT, tmp_path / "moved.safetensors")
    gone = tmp_path / "elsewhere"
    gone.mkdir()
    path = place(record, folder / "results" / "runs")
    done = bench("reproduce", path, cwd=gone)
    assert done.returncode == 0
    assert "Differs   checkpoint" in done.stderr
    assert "Differs   data: colours, fingerprint" in done.stderr
    assert bench("reproduce", path, "--run", cwd=gone).returncode == 5
    places = ("--data", tmp_path / "pictures", "--checkpoint", tmp_path / "moved.safetensors")
    done = bench("reproduce", path, *places, "--run", cwd=gone)
    assert done.returncode == 0, done.stderr
    assert "every field is equal" in done.stdout
    assert len(engine) == 1


def test_other_weights_or_data_are_refused_before_anything_is_run(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    fed = InputSpec(channel_order="bgr", mean=(1.0, 2.0, 3.0), std=(50.0, 50.0, 50.0))
    other = known_file(tmp_path, fed, "resnet50.other")
    done = bench("reproduce", record.id, "--run", "--checkpoint", other, cwd=folder)
    assert done.returncode == 8
    assert "checkpoint: file" in done.stderr
    none = bench("reproduce", record.id, "--checkpoint", "random", cwd=folder)
    assert (none.returncode, none.stdout) == (2, "")
    colours = colour_set(tmp_path / "colours", num_test=9)
    done = bench("reproduce", record.id, "--run", "--data", colours, cwd=folder)
    assert done.returncode == 8
    assert "data fingerprint" in done.stderr
    assert engine == []


def test_a_record_of_another_program_is_rebuilt_from_its_fields(
    folder: Path, record: Record, engine: list[Job], tmp_path: Path
) -> None:
    made_by = record.provenance.model_copy(update={"command": ("study.py", "--fast")})
    path = Store(tmp_path).add(record.model_copy(update={"provenance": made_by}))
    done = bench("reproduce", path, "--data", "colours", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Give --checkpoint" in done.stderr
    done = bench("reproduce", path, "--data", "colours", "--checkpoint", CHECKPOINT, "--run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(engine) == 1


def test_the_demo_s_data_and_weights_are_found(folder: Path, record: Record, tmp_path: Path) -> None:
    made_by = record.provenance.model_copy(update={"command": ("bench", "demo", "--fast", "--out", "toys")})
    path = Store(tmp_path).add(record.model_copy(update={"provenance": made_by}))
    run_dir = Path("toys", "runs", "pretrain", "resnet50.x-0123abcd", "seed-0")
    (tmp_path / run_dir).mkdir(parents=True)
    os.link(folder / CHECKPOINT, tmp_path / run_dir / WEIGHTS_FILE)
    words = shlex.split(bench("reproduce", path, cwd=tmp_path).stdout)
    assert words[words.index("--checkpoint") + 1] == str(run_dir)
    assert words[words.index("--data") + 1] == str(Path("toys", "data", "folder"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["12345"], 2, "6 to 16 digits"),
        (["nonsense"], 2, "6 to 16 digits"),
        (["000000"], 2, "0 records"),
        (["000000", "--results", "nowhere"], 2, "no such folder"),
        (["nowhere.json"], 8, "cannot be read"),
        (["000000", "--tolerance", "1"], 2, "--run"),
        (["000000", "--run", "--resume"], 2, "--out"),
    ],
)
def test_what_is_no_record_is_said(folder: Path, arguments: list[str], code: int, words: str) -> None:
    done = bench("reproduce", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_two_records_of_one_id_are_named(folder: Path, record: Record, tmp_path: Path) -> None:
    twin = record.model_copy(update={"weights": record.weights.model_copy(update={"name": "resnet50.twin"})})
    paths = [Store(tmp_path).add(each) for each in (record, twin)]
    done = bench("reproduce", record.id[:6], "--results", tmp_path, cwd=folder)
    assert done.returncode == 2
    assert all(str(path) in done.stderr for path in paths)
    lost = paths[0].with_name(f"{'0' * 16}.json")
    paths[0].rename(lost)
    done = bench("reproduce", "000000", "--results", tmp_path, cwd=folder)
    assert done.returncode == 8
    assert f"{lost}: its content is that of record {record.id}" in done.stderr


def test_the_record_s_own_store_is_no_place_to_work_in(folder: Path, record: Record, tmp_path: Path) -> None:
    path = Store(tmp_path / "results").add(record)
    done = bench("reproduce", path, "--run", "--resume", "--out", tmp_path, cwd=folder)
    assert done.returncode == 2
    assert "holds the record itself" in done.stderr


def test_an_imported_record_has_no_command(folder: Path, record: Record, tmp_path: Path) -> None:
    path = Store(tmp_path).add(record.model_copy(update={"details": {"imported": {"from": "Detectron2"}}}))
    done = bench("reproduce", path, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "imported, trained elsewhere" in done.stderr
