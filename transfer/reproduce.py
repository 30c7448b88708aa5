"""A record made once more: the command that gives it, what is another now than it was then, the comparison.

What `bench transfer` was told stands in the record's own command line. Where that is another command's, all
that moves the number is taken from the record's fields, and held against them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.card import Card
from bench.core.config import find_config
from bench.core.errors import BenchError, StoreError, UsageError
from bench.core.paths import CONFIGS
from bench.core.protocol import differences, identity_of, number_changing
from bench.core.provenance import Stopwatch
from bench.core.records import Provenance, Record
from transfer.api import Task
from transfer.comparability import Devices, Wishes, fit, judge
from transfer.run import RANDOM, Options, Plan, load_weights

_DATA = "data: "
"""How a departure begins that says on what data set, by its folder's name; see `transfer.comparability`."""


@dataclass(frozen=True)
class Call:
    """`bench transfer` for one record.

    Attributes:
        task: What to do.
        options: Of one seed.
        is_embedded: Whether it takes the embedded data set, for which `--data` is left out.
    """

    task: Task
    options: Options
    is_embedded: bool = False

    def words(self) -> list[str]:
        """The command line."""
        options = self.options
        flags = {
            "--protocol": options.protocol,
            "--checkpoint": options.checkpoint,
            "--name": options.name,
            "--encoder": options.encoder,
            "--input-spec": options.input_spec,
            "--data": None if self.is_embedded else options.data,
            "--seeds": ",".join(map(str, options.seeds)),
            "--devices": options.num_devices,
            "--precision": options.precision,
            "--batch-size": options.batch_size,
            "--accumulate": options.accumulate,
            "--out": options.out,
            "--results": options.results,
        }
        words = ["bench", "transfer", self.task.spec.name]
        for flag, value in flags.items():
            words += [] if value is None else [flag, str(value)]
        for override in options.overrides:
            words += ["--set", override]
        return [*words, *(["--smoke"] if options.smoke else [])]


def check_is_ours(record: Record, where: str) -> None:
    """Refuse a record of which no command of ours can be the maker; `where` is its file.

    Raises:
        UsageError: it was imported.
        StoreError: its identity does not follow from its fields.
    """
    if "imported" in record.details:
        raise UsageError(f"{where}: imported, trained elsewhere; no command of ours gives it again")
    expected = identity_of(record)
    if expected != record.protocol.identity:
        raise StoreError(
            f"{where}: its identity is {record.protocol.identity[:12]}..., its fields, task, data and counts "
            f"give {expected[:12]}...: it was edited, or written by another program. Nothing was run"
        )


def rebuild(
    record: Record,
    task: Task,
    *,
    said: Mapping[str, Any] | None,
    data: Path | None,
    checkpoint: str | None,
    embedded: Path,
    out: Path,
) -> Call:
    """The command that gives a record again, into other folders than its own.

    Args:
        record: What is to come out.
        task: Of the record.
        said: The options of `bench transfer` in the record's command line, or None where that is another's.
        data: Where the data lies, if not where the command line says.
        checkpoint: As `data`.
        embedded: Where the task's part of the embedded set lies, which is taken if none is named.
        out: The folder to work in.

    Raises:
        UsageError: nothing says where data or weights lie, or weights are given for a record of none.
        ConfigError: there is no such protocol.
    """
    is_random = record.weights.tensors_sha256 is None
    if checkpoint is not None and (checkpoint == RANDOM) != is_random:
        has = "started from random" if is_random else f"is of the weights {record.weights.name}"
        raise UsageError(f"--checkpoint {checkpoint}: the record {has}; expected the same")
    solver = record.protocol.fields.get("solver") or record.protocol.fields.get("features") or {}
    # The precision is always named: what stands in for it on a CPU without bf16 depends on the machine.
    own: dict[str, Any] = {"precision": solver.get("precision"), "seeds": (record.seed,)}
    own |= {"out": out / "runs", "results": out / "results"}
    # A file that has another name now still gives the weights that the record calls by theirs.
    name = None if checkpoint is None or is_random else record.weights.name
    if said is not None:
        keys = ("protocol", "encoder", "input_spec", "smoke", "num_devices", "batch_size", "accumulate")
        own |= {key: said[key] for key in (*keys, "overrides")}
        own["protocol"] = own["protocol"] or record.protocol.slug
        own |= {"checkpoint": checkpoint or said["checkpoint"], "name": said["name"] or name}
        where = data or said["data"]
        return Call(task, Options(data=where or embedded, **own), is_embedded=where is None)
    if is_random:
        checkpoint = RANDOM
    missing = [flag for flag, value in (("--data", data), ("--checkpoint", checkpoint)) if value is None]
    given = "the input spec was given by the user" in record.weights.notes
    if data is None or checkpoint is None or given:
        made_by = " ".join(record.provenance.command[:2]) or "an unknown command"
        lacks = " and ".join(missing) or "--input-spec"
        also = " --input-spec is in no option of this command." if given else ""
        raise UsageError(
            f"record {record.id}: cannot be rebuilt: it was made by {made_by}, and does not say what "
            f"{lacks} was.{f' Give {lacks}.' if missing else ''}{also}"
        )
    several = any(note.startswith("several encoders: ") for note in record.weights.notes)
    own |= {"checkpoint": checkpoint, "name": name, "encoder": record.weights.encoder if several else None}
    own |= {"data": data, "protocol": record.protocol.slug}
    own["smoke"] = any(line.startswith("smoke: ") for line in record.protocol.departures)
    own["num_devices"] = int(record.details.get("num_devices", 1))
    return Call(task, _with_changes(record, task, Options(**own)))


def _with_changes(record: Record, task: Task, plain: Options) -> Options:
    """The options with what was changed in the protocol: by flags as far as they say it, else by --set."""
    hardware, fields = record.provenance.hardware, record.protocol.fields
    then = Devices(plain.num_devices, int(hardware.get("num_gpus", 0)))
    base = number_changing(task.load_protocol(_file(plain), ()))
    of_data = (
        re.fullmatch(r"(data\.\w+): (.*) \(protocol: .*\)", line) for line in record.protocol.departures
    )
    data = tuple(f"{found[1]}={found[2]}" for found in of_data if found)
    parts = fields.get("solver", {}).get("accumulation_steps", 1)
    flags = replace(plain, accumulate=parts if parts > 1 else None)
    batch = fields.get("solver", {}).get("images_per_batch")
    for guess in (flags, replace(flags, batch_size=batch), plain):
        try:
            now = number_changing(_protocol(task, guess, then))
            found = replace(guess, overrides=(*_settings(fields, now), *data))
            if not _departs(record, task, found, then):
                return found
        except BenchError:
            continue  # such flags do not go with this protocol; --set says the same
    return replace(plain, overrides=(*_settings(fields, base), *data))


def _settings(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`--set` for each value that differs. TOML has no null, and what a file is called is not to be set."""
    for key, value in then.items():
        other = now.get(key)
        if isinstance(value, dict):
            yield from _settings(value, other if isinstance(other, dict) else {}, f"{prefix}{key}.")
        elif other != value and value is not None and f"{prefix}{key}" not in ("slug", "task", "version"):
            yield f"{prefix}{key}={json.dumps(value, ensure_ascii=False)}"


def _file(options: Options) -> Path:
    return find_config(CONFIGS / ("smoke" if options.smoke else "transfer"), options.protocol)


def _protocol(task: Task, options: Options, devices: Devices) -> Any:
    changed = task.load_protocol(_file(options), options.overrides)
    wishes = Wishes(options.precision, options.batch_size, options.accumulate)
    return fit(changed, devices, wishes)


def _departs(record: Record, task: Task, options: Options, devices: Devices) -> list[str]:
    """In what the protocol, planned with these options, is not the record's; a line each."""
    path = _file(options)
    protocol = _protocol(task, options, devices)
    lines = differences(number_changing(protocol), record.protocol.fields, what="record")
    departures = record.protocol.departures
    status, found = judge(
        task.load_protocol(path, ()),
        task.load_protocol(path, options.overrides),
        protocol,
        data_departures=tuple(line.removeprefix(_DATA) for line in departures if line.startswith(_DATA)),
        smoke_file=path.name if options.smoke else None,
    )
    if not lines and (status, found) != (record.protocol.status, departures):
        moved = sorted({*found} ^ {*departures}) or ["in another order"]
        lines.append(f"status {status} (record: {record.protocol.status}); departures: {'; '.join(moved)}")
    return lines


@dataclass(frozen=True)
class Fact:
    """One thing then and now; where it `stops`, the same result cannot come out."""

    what: str
    then: str
    now: str
    same: bool
    stops: bool = False


def then_and_now(record: Record, call: Call) -> list[Fact]:
    """What a person must know before the command is run again: versions, machine, protocol, weights, data.

    Reads the whole checkpoint; of the data, only whether it is there.
    """
    import torch  # noqa: F401  (loaded, so that the hardware has its GPUs)

    then, now = record.provenance, Stopwatch().provenance()
    facts = [_commits(then, now)]
    pairs = [("bench", then.bench_version, now.bench_version), ("python", then.python, now.python)]
    pairs.append(("platform", then.platform, now.platform))
    for kind, old, new in (("", then.packages, now.packages), ("hardware, ", then.hardware, now.hardware)):
        names = sorted(old.keys() | new.keys())
        pairs += [(f"{kind}{name}", old.get(name, "none"), new.get(name, "none")) for name in names]
    facts += [Fact(what, old, new, old == new) for what, old, new in pairs]
    version, was = call.task.spec.version, record.task_version
    facts.append(Fact("task version", str(was), str(version), was == version, stops=was != version))
    facts.append(_protocol_fact(record, call))
    if record.weights.tensors_sha256 is not None:
        facts.append(_weights_fact(record.weights, call.options))
    is_there = call.options.data.exists()
    where = f"{call.options.data} is {'there' if is_there else 'not there'}"
    where = f"{call.options.data}, generated if it is not there" if call.is_embedded else where
    data = f"{record.data.name}, fingerprint {record.data.fingerprint[:12]}"
    facts.append(Fact("data", data, where, is_there or call.is_embedded))
    return facts


def _commits(then: Provenance, now: Provenance) -> Fact:
    texts = [
        f"{(of.git_commit or 'unknown')[:12]}{' with changes' if of.git_dirty else ''}" for of in (then, now)
    ]
    # Equal commits with changes may have other changes.
    same = then.git_commit == now.git_commit and not (then.git_dirty or now.git_dirty)
    return Fact("git commit", texts[0], texts[1], same)


def _protocol_fact(record: Record, call: Call) -> Fact:
    then = f"{record.protocol.slug}, identity {record.protocol.identity[:12]}"
    try:
        here = Devices.here(call.options.num_devices)
        lines = _departs(record, call.task, call.options, here)
    except BenchError as error:  # running it says the same, with an exit code of its own
        return Fact("protocol", then, str(error), same=False)
    return Fact("protocol", then, "; ".join(lines) or then, not lines, stops=bool(lines))


def _weights_fact(then: Card, options: Options) -> Fact:
    def text(card: Card) -> str:
        file, tensors = (str(sha256)[:12] for sha256 in (card.source_sha256, card.tensors_sha256))
        return f"file {file}, tensors {tensors}, as they are fed {card.key[:12]}"

    try:
        card = load_weights(
            options.checkpoint, name=options.name, encoder=options.encoder, input_spec=options.input_spec
        )[1]
    except BenchError as error:
        return Fact("checkpoint", text(then), str(error), same=False)
    other = card.key != then.key
    return Fact("checkpoint", text(then), text(card), text(card) == text(then), stops=other)


def check_plan(record: Record, plan: Plan) -> None:
    """Refuse to train what will be another record, once weights and data have been read.

    Raises:
        StoreError: with what is another one.
    """
    stamp = plan.task.stamp_data(plan.data)
    pairs = {
        "weights as they are fed": (record.weights.key, plan.card.key),
        "data fingerprint": (record.data.fingerprint, stamp.fingerprint),
        "protocol identity": (record.protocol.identity, plan.identity),
    }
    other = [f"{what} {then[:12]} then, {now[:12]} now" for what, (then, now) in pairs.items() if then != now]
    if other:
        raise StoreError(f"record {record.id}: cannot come out again: {'; '.join(other)}. Nothing was run")


@dataclass(frozen=True)
class Comparison:
    """A record and what came out now.

    Attributes:
        metrics: Name, then, now; None where there is no value. In percent.
        others: A line for each other field of `Record.result` that differs.
    """

    metrics: tuple[tuple[str, float | None, float | None], ...]
    others: tuple[str, ...]

    def first_difference(self, tolerance: float | None = None) -> str | None:
        """The first metric, else the first field, that is another one; None where it reproduces.

        Args:
            tolerance: In points of percent: metrics may differ by so much, and other fields at all. None
                asks for equality of everything, bit for bit.
        """
        for name, then, now in self.metrics:
            if then is None or now is None:
                return f"{name} is {then} in the record, {now} now"
            if abs(now - then) > (tolerance or 0.0):
                return f"{name} is {then!r} in the record, {now!r} now, a difference of {now - then:+.3g}"
        return self.others[0] if self.others and tolerance is None else None


def compare(record: Record, now: Record) -> Comparison:
    """Hold a result against a record of the same trial.

    Names of files and folders are no part of it where the hashes of their content are equal.
    """
    weights, data, protocol = now.weights, now.data, now.protocol
    if (weights.key, weights.source_sha256) == (record.weights.key, record.weights.source_sha256):
        weights = weights.model_copy(update={"source_file": record.weights.source_file})
    if data.fingerprint == record.data.fingerprint:
        ours, theirs = f"{_DATA}{data.name}", f"{_DATA}{record.data.name}"
        lines = tuple(
            theirs + line.removeprefix(ours) if line.startswith(ours) else line
            for line in protocol.departures
        )
        protocol = protocol.model_copy(update={"departures": lines})
        data = data.model_copy(update={"name": record.data.name})
    named = now.model_copy(update={"weights": weights, "data": data, "protocol": protocol})
    then_result, now_result = record.result(), named.result()
    old, new = then_result.pop("metrics"), now_result.pop("metrics")
    names = dict.fromkeys((*old, *new))
    return Comparison(
        metrics=tuple(
            (name, *(each[name]["value"] if name in each else None for each in (old, new))) for name in names
        ),
        others=tuple(differences(now_result, then_result, what="record")),
    )
