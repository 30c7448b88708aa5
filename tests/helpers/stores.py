"""Sample records as a store of real runs holds them: an identity that is theirs, a file beside them."""

from __future__ import annotations

import gzip
import hashlib
import random
from typing import Any

from bench.core.protocol import identity_of
from bench.core.records import Record
from bench.core.store import Attachment, Store
from tests.helpers.records import make_record

SUFFIX = ".predictions.safetensors.gz"


def honest(record: Record) -> Record:
    """The record with the identity that its fields, task, data and counts give."""
    stamp = record.protocol.model_copy(update={"identity": identity_of(record)})
    return record.model_copy(update={"protocol": stamp})


def make_file(text: str, num_bytes: int = 3000) -> Attachment:
    """A file of predictions; another `text` is another content."""
    draw = random.Random(text)
    content = bytes(draw.choice(b"\0\0\0\0abc") for _ in range(num_bytes))
    return Attachment(SUFFIX, gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest())


def make_kept(
    weights: str = "resnet50.moco", seed: int = 0, ap: float = 57.0, *, file: str = "", **more: Any
) -> tuple[Record, Attachment]:
    """A record and the file beside it; the file depends on all that is given, or on `file`."""
    attachment = make_file(file or f"{weights} {seed} {ap}")
    kept = {"sha256": attachment.sha256, "suffix": attachment.suffix}
    return honest(make_record(weights, seed, ap, details={"predictions": kept}, **more)), attachment


def fill(store: Store, num_seeds: int = 2) -> list[Record]:
    """Random and MoCo weights, each with its file."""
    records = []
    for weights, ap in (("resnet50.random", 33.0), ("resnet50.moco", 57.0)):
        for seed in range(num_seeds):
            record, attachment = make_kept(weights, seed, ap + seed / 8)
            store.add(record, attachment)
            records.append(record)
    return records
