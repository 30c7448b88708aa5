"""Sixteen processes that add records to one store, killed at random moments and started again.

Runs as a process of its own (`python -m tests.faults.store_rig FOLDER ADD NUM_KILLS`), since a fork of the
test run would carry threads along. Two readers scan the store all the while. Prints one JSON object; ends
itself after two minutes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.records import Record, sealed
from bench.core.store import Attachment, Store
from bench.results.kept import check_kept, kept_of
from bench.results.verify import verify
from tests.faults.rig import child, finished
from tests.helpers.records import make_record
from tests.helpers.stores import SUFFIX, honest

NUM_WRITERS, NUM_READERS = 16, 3
SHARED_EVERY = 4
"""Every fourth record is one that all writers add."""


def trial(writer: int, seed: int) -> tuple[Record, Attachment]:
    """The record that a writer adds as its number `seed`, and the file beside it: the same at each start."""
    name = "resnet50.shared" if seed % SHARED_EVERY == 0 else f"resnet50.writer{writer}"
    content = random.Random(f"{name} {seed}").randbytes(30_000 + 997 * (seed % 50))
    attachment = Attachment(SUFFIX, gzip.compress(content, 1, mtime=0), hashlib.sha256(content).hexdigest())
    details = {"predictions": {"sha256": attachment.sha256, "suffix": SUFFIX}}
    return honest(make_record(name, seed, ap=seed % 70 + 0.1, details=details)), attachment


def in_place(store: Store, record: Record, attachment: Attachment) -> None:
    """A naive writer: each file where it belongs, in two pieces."""
    path = store.path(record.weights.name, record.task, record.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = store.attachment_path(record, attachment.sha256, attachment.suffix)
    for place, data in (
        (beside, attachment.data),
        (path, atomic.json_text(sealed(record)).encode()),
    ):
        if not place.exists():
            with open(place, "wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                time.sleep(0.001)
                file.write(data[len(data) // 2 :])


def record_first(store: Store, record: Record, attachment: Attachment) -> None:
    """Another: all is atomic, but the record is there before what it promises."""
    store.add(record)
    time.sleep(0.001)
    beside = store.attachment_path(record, attachment.sha256, attachment.suffix)
    if not beside.exists():
        atomic.write_bytes(beside, attachment.data)


def told_early(store: Store, record: Record, attachment: Attachment) -> None:
    """Another: it says so before it has written."""
    tell(store, record)
    time.sleep(0.001)
    store.add(record, attachment)


ADDS: dict[str, Callable[[Store, Record, Attachment], object]] = {
    "store": Store.add,
    "in_place": in_place,
    "record_first": record_first,
    "told_early": told_early,
}


def tell(store: Store, record: Record) -> None:
    """Acknowledge a record: one write of one line, which a kill cannot tear."""
    handle = os.open(store.root.parent / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{record.weights.name} {record.seed} {record.id}\n".encode())
    os.close(handle)


def write(store: Store, writer: int, add: str, num: int | None = None) -> None:
    """Add one record after the other, from a little before where this writer was killed; `num` or no end."""
    num_there = len(list((store.root / f"resnet50.writer{writer}").glob("*/*.json")))
    seed = max(num_there * SHARED_EVERY // (SHARED_EVERY - 1) - 3, 0)
    end = None if num is None else seed + num
    while seed != end:
        record, attachment = trial(writer, seed)
        ADDS[add](store, record, attachment)
        tell(store, record)
        seed += 1


def broken(store: Store) -> list[str]:
    """What a reader of the store would trip over now, a line each."""
    scan = store.scan()
    lines = list(scan.left_out)
    for record in scan.records:
        kept = kept_of(record)
        try:
            if kept is None:
                raise BenchError("keeps nothing")
            check_kept(store.attachment_path(record, kept.sha256, kept.suffix), kept)
        except BenchError as error:
            lines.append(str(error))
    return lines


def read(store: Store) -> None:
    """Scan without end; what is broken goes into a file."""
    while True:
        time.sleep(0.01)
        for line in [*broken(store), "scan"]:
            handle = os.open(store.root.parent / "seen", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(handle, f"{line}\n".encode())
            os.close(handle)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def run(folder: Path, add: str, num_kills: int) -> dict[str, Any]:
    store, draw = Store(folder / "runs"), random.Random(0)
    readers = [child(lambda: read(store)) for _ in range(NUM_READERS)]

    def start(writer: int) -> int:
        return child(lambda: write(store, writer, add))

    writers = [start(writer) for writer in range(NUM_WRITERS)]
    codes: Counter[int] = Counter()

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        codes[finished(pid)] += 1

    for _ in range(num_kills - NUM_WRITERS):
        time.sleep(draw.expovariate(1 / 0.01))
        writer = draw.randrange(NUM_WRITERS)
        kill(writers[writer])
        writers[writer] = start(writer)
    for pid in [*writers, *readers]:
        kill(pid)
    return judge(store, folder, add, codes[-signal.SIGKILL] - NUM_READERS)


def judge(store: Store, folder: Path, add: str, num_kills: int) -> dict[str, Any]:
    """What is left, and what is left when every writer has gone on once more, and leftovers are swept."""
    seen = lines_of(folder / "seen")
    acknowledged = {line.split()[2]: line for line in lines_of(folder / "acknowledged")}
    now = store.scan()
    there = {record.id for record in now.records}
    wrong = 0
    for record in now.records:
        writer = int(record.weights.name.removeprefix("resnet50.writer").replace("resnet50.shared", "0"))
        wrong += record.result() != trial(writer, record.seed)[0].result()
    verdict = verify(store)
    again = {}
    if not verdict.problems and acknowledged.keys() <= there:
        codes = [
            finished(child(lambda writer=writer: write(store, writer, add, num=8)))  # type: ignore[misc]
            for writer in range(NUM_WRITERS)
        ]
        for place in [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]:
            atomic.sweep(place)
        end = verify(store)
        again = {"codes": sorted(set(codes)), "good": end.num_good, "left": end.problems + end.leftovers}
    return {
        "kills": num_kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged.keys() - there),
        "records": len(there),
        "good": verdict.num_good,
        "wrong": wrong,
        "problems": len(verdict.problems),
        "leftovers": Counter(
            "temporary" if "killed or is" in line else "predictions" for line in verdict.leftovers
        ),
        "scans": seen.count("scan"),
        "seen": sorted(set(seen) - {"scan"})[:5],
        "again": again,
    }


if __name__ == "__main__":
    signal.alarm(120)
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
