"""What the page knows of a record: everything that made its number, once, and inert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.paths import DEFAULT_RESULTS
from bench.core.records import SEAL, Record, sealed
from bench.report.html.record_data import as_data, inert, pairs
from bench.report.tables import leaderboards
from tests.helpers.records import make_record, make_trials
from tests.report.html.sample import NAMES, sample_boards, sample_records


def data_of(records: list[Record]) -> Any:
    return json.loads(as_data(leaderboards(records), {record.id: record for record in records}))


def test_a_record_has_all_that_made_its_number() -> None:
    record = make_record("resnet50.best", 7, 57.0, details={"num_detections": 3})
    data = data_of([record])
    row = data["rows"]["0.0"]
    (found,) = row["records"]
    shared = {name: dict(data["shared"][row[name]]) for name in ("protocol", "weights", "data")}
    assert found["id"] == record.id and found["seed"] == 7
    assert found["commit"] == "0" * 40 and found["made"].startswith("2026-11-22T12:00:00+00:00")
    assert dict(found["hashes"])["seal (sha256)"] == sealed(record)[SEAL]
    assert found["command"] == "bench transfer voc-det"
    assert found["reproduce"] == f"bench reproduce {record.id}"
    assert dict(data["shared"][found["packages"]]) == {"torch": "2.14.1"}
    assert dict(data["shared"][found["machine"]])["python"] == "3.11.7"
    assert dict(data["shared"][found["details"]]) == {"num_detections": "3"}
    assert shared["protocol"]["identity"] == record.protocol.identity
    assert shared["protocol"]["solver.num_steps"] == "24000"
    assert shared["weights"]["tensors_sha256"] == record.weights.tensors_sha256
    assert shared["weights"]["input.channel_order"] == "rgb"
    assert shared["data"]["fingerprint"] == record.data.fingerprint


def test_a_command_can_be_pasted_into_a_shell() -> None:
    record = make_record()
    made = record.provenance.model_copy(update={"command": ("bench", "transfer", "--out", "my runs; rm x")})
    (found,) = data_of([record.model_copy(update={"provenance": made})])["rows"]["0.0"]["records"]
    assert found["command"] == "bench transfer --out 'my runs; rm x'"


def test_local_changes_and_an_unknown_commit_are_said() -> None:
    record = make_record()
    for update, text in (
        ({"git_dirty": True}, f"{'0' * 40} with local changes"),
        ({"git_commit": None, "git_dirty": None}, "not known"),
    ):
        made = record.provenance.model_copy(update=update)
        (found,) = data_of([record.model_copy(update={"provenance": made})])["rows"]["0.0"]["records"]
        assert found["commit"] == text


def test_a_value_stands_under_its_own_seed_where_another_trial_lacks_the_metric() -> None:
    lacking = make_record(seed=0, metrics={"AP": 57.0})
    (row,) = data_of([lacking, make_record(seed=1, metrics={"AP": 56.0, "AP50": 81.0})])["rows"].values()
    values = {metric: trials for metric, *_, trials in row["metrics"]}
    assert row["seeds"] == ["0", "1"]
    assert values == {"AP": ["57.0000", "56.0000"], "AP50": ["-", "81.0000"]}


def test_the_command_finds_a_store_that_is_not_in_the_usual_place() -> None:
    record = make_record()
    boards = leaderboards([record])
    for store, option in ((DEFAULT_RESULTS, ""), (Path("my runs"), " --results 'my runs'")):
        data = json.loads(as_data(boards, {record.id: record}, store))
        (found,) = data["rows"]["0.0"]["records"]
        assert found["reproduce"] == f"bench reproduce {record.id}{option}"


def test_what_was_run_elsewhere_cannot_be_run_again_here() -> None:
    (found,) = data_of([make_record(details={"imported": {"from": "Detectron2"}})])["rows"]["0.0"]["records"]
    assert "reproduce" not in found


def test_numbers_with_their_doubt() -> None:
    data = data_of(
        [*make_trials("resnet50.random", [33.0, 34.0]), *make_trials("resnet50.a", [33.4, 34.2, 33.6])]
    )
    row = data["rows"]["0.0"]
    assert row["title"] == "resnet50.a" and row["rank"] == "1-2"
    name, shown, interval, values = row["metrics"][0]
    # mean 33.733, std .416: 33.733 -+ 4.303 * .416 / sqrt(3)
    assert (name, shown, interval) == ("AP", "33.7 ± 0.4", "32.7 to 34.8")
    assert values == ["33.4000", "34.2000", "33.6000"]
    baseline, metric, gap, error, _, noise = row["differences"][0]
    # sqrt(.416^2 / 3 + .707^2 / 2)
    assert (baseline, metric, gap, error) == ("resnet50.random", "AP", "+0.23", "0.55")
    assert noise == "~ not beyond noise"
    single = data_of([make_record()])["rows"]["0.0"]
    assert single["metrics"][0][2] == "-" and single["rank"] == "-"


def test_what_records_share_is_there_once() -> None:
    records = sample_records()
    text = as_data(sample_boards(records), {record.id: record for record in records})
    assert text.count("2.14.1") == 1 and text.count("solver.num_steps") == 4  # one a table
    assert text.count("thing 42") == 1


def test_every_row_says_whether_it_reproduces() -> None:
    records = sample_records()
    boards = sample_boards(records)
    data = json.loads(as_data(boards, {record.id: record for record in records}))
    said = {row["title"]: row["verdicts"] for row in data["rows"].values() if "voc-det" in row["place"]}
    (moco,) = said["resnet50.moco_v2_ep200"]
    assert NAMES["moco_v2"][0] in moco and "reproduces" in moco


def test_equal_records_with_keys_in_another_order_give_equal_text() -> None:
    details = {"b": {"d": 1, "c": 2}, "a": [1, 2], "per_class": {"x": {"AP": 1.0}, "y": {"AP": 2.0}}}
    turned = {"per_class": {"y": {"AP": 2.0}, "x": {"AP": 1.0}}, "a": [1, 2], "b": {"c": 2, "d": 1}}
    assert data_of([make_record(details=details)]) == data_of([make_record(details=turned)])


def test_nothing_in_it_can_end_its_script() -> None:
    hostile = "</script><!--<script>&amp;\u2028"
    text = inert({"name": hostile})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": hostile}


def test_a_nested_mapping_is_flat_and_cut_where_it_is_long() -> None:
    found = pairs({"b": {"c": 0.02, "d": []}, "a": True, "e": None, "f": ["x", 1], "g": {}})
    assert found == [
        ["a", "true"],
        ["b.c", "0.02"],
        ["b.d", "none"],
        ["e", "null"],
        ["f", "x, 1"],
        ["g", "{}"],
    ]
    notes = ["x" * 50, "a note, with a comma"]
    assert pairs({"notes": notes}) == [["notes", notes[0]], ["notes", notes[1]]]
    long = pairs({f"k{place:03}": place for place in range(200)})
    assert len(long) == 81 and long[-1] == ["...", "120 more in the record's file"]
    (line,) = pairs({"text": "x" * 5000})
    assert len(line[1]) < 450 and "5,000 letters" in line[1]
