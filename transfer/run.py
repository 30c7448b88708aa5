"""A transfer from end to end: plan it, check everything, hand each trial to the engine, record it."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.core import lock, provenance
from bench.core.card import RANDOM_NAME, Card, InputSpec, random_card
from bench.core.config import find_config, load_config
from bench.core.errors import BenchError, ConfigError, DiskError, Stopped, StoreError, UsageError
from bench.core.log import say
from bench.core.paths import CONFIGS, safe_name
from bench.core.protocol import identity, number_changing
from bench.core.records import Metric, ProtocolStamp, Record, Status, record_id
from bench.core.store import Store
from bench.core.weights import Weights
from transfer.adapters.load import load_backbone
from transfer.api import Job, Output, Task
from transfer.comparability import Devices, Wishes, fit, judge
from transfer.engines import Engine, load_engine
from transfer.metrics.result import Result
from transfer.protocols.transfer import TransferProtocol

RANDOM = "random"
"""`--checkpoint random`: no weights, the engine's own initialisation."""


@dataclass(frozen=True)
class Options:
    """What the command line says; see `bench transfer --help`."""

    checkpoint: str
    data: Path
    protocol: str
    out: Path
    results: Path
    seeds: tuple[int, ...]
    name: str | None = None
    encoder: str | None = None
    input_spec: Path | None = None
    smoke: bool = False
    num_devices: int = 1
    precision: str | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    overrides: tuple[str, ...] = ()
    resume: bool = False


@dataclass(frozen=True)
class Plan:
    """A transfer that has been checked and may start."""

    task: Task
    options: Options
    protocol: TransferProtocol
    status: Status
    departures: tuple[str, ...]
    data: Any
    weights: Weights | None
    card: Card
    identity: str

    def run_dir(self, seed: int) -> Path:
        """Where the trial with this seed keeps its files."""
        twin = "-smoke" if self.options.smoke else ""
        protocol = f"{self.protocol.slug}{twin}-{self.identity[:8]}"
        # Two files may share a name: the key tells them apart.
        weights = f"{self.card.name}-{self.card.key[:8]}"
        return self.options.out / self.task.spec.name / weights / protocol / f"seed-{seed}"

    def job(self, seed: int) -> Job:
        """The trial with this seed, for an engine."""
        return Job(
            protocol=self.protocol,
            data=self.data,
            measure=partial(_measure, self.task, self.data, self.protocol),
            weights=self.weights,
            card=self.card,
            seed=seed,
            identity=self.identity,
            run_dir=self.run_dir(seed),
            cache_dir=self.options.out / "features",
            num_devices=self.options.num_devices,
            resume=self.options.resume,
        )

    def lines(self) -> list[str]:
        """What will be done, for a person, before it is done."""
        stamp = self.task.stamp_data(self.data)
        counts = ", ".join(f"{count:,} {role}" for role, count in stamp.counts.items())
        spec = self.card.input
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
        lines = [
            f"Task      {self.task.spec.name} v{self.task.spec.version}, engine {self.task.spec.engine}",
            f"Weights   {self.card.name} (layout {self.card.layout}, tensors "
            f"{(self.card.tensors_sha256 or 'random')[:12]})",
            f"Input     {spec.channel_order.upper()}, mean {mean}, std {std}, stride in the {spec.stride_in}",
            f"Data      {stamp.name}: {counts} images, {len(stamp.classes)} classes, "
            f"fingerprint {stamp.fingerprint[:12]}",
            f"Protocol  {self.protocol.slug} [{self.status}], identity {self.identity[:12]}",
            f"Training  {self.protocol.does(stamp.counts['train'])}, {self.options.num_devices} device(s), "
            f"seeds {', '.join(map(str, self.options.seeds))}",
        ]
        lines += [f"Departs   {line}" for line in self.departures]
        lines += [f"Note      {line}" for line in (*stamp.notes, *self.card.notes)]
        return lines


def _measure(task: Task, data: Any, protocol: TransferProtocol, found: Any) -> Result:
    return task.measure(data, found, protocol)


def make_plan(task: Task, options: Options, *, devices: Devices | None = None) -> Plan:
    """Read protocol, weights and data, check all three, and say what the result will count as.

    Args:
        task: What to do.
        options: Of the command line.
        devices: Those of another machine, which will run it; this one's if left out.

    Raises:
        ConfigError, WeightsError, DataError: what is wrong, before anything is written.
    """
    folder = CONFIGS / ("smoke" if options.smoke else "transfer")
    path = find_config(folder, options.protocol)
    base = task.load_protocol(path, ())
    if base.task != task.spec.name:
        raise ConfigError(f"{path}: a protocol of {base.task}, not of {task.spec.name}")
    changed = task.load_protocol(path, options.overrides)
    # What --set makes of it is a wish as well: no stand-in undoes it.
    precision = changed.precision if changed.precision != base.precision else None
    wishes = Wishes(options.precision or precision, options.batch_size, options.accumulate)
    protocol = fit(changed, devices or Devices.here(options.num_devices), wishes)
    Store(options.results).check()
    weights, card = load_weights(
        options.checkpoint, name=options.name, encoder=options.encoder, input_spec=options.input_spec
    )
    task.check_input(card.input)
    data = task.load_data(options.data, protocol)
    stamp = task.stamp_data(data)
    status, departures = judge(
        base,
        changed,
        protocol,
        data_departures=task.data_departures(data, base),
        smoke_file=path.name if options.smoke else None,
    )
    return Plan(
        task=task,
        options=options,
        protocol=protocol,
        status=status,
        departures=departures,
        data=data,
        weights=weights,
        card=card,
        identity=identity(
            number_changing(protocol),
            task=task.spec.name,
            task_version=task.spec.version,
            data_fingerprint=stamp.fingerprint,
            split_counts=stamp.counts,
        ),
    )


def execute(plan: Plan, engine: Engine | None = None) -> list[Record]:
    """Run every trial that has no record yet; returns the records of all of them, in the order of seeds.

    A trial that fails does not keep the others from running; its error comes when they are done.

    Args:
        plan: From `make_plan`.
        engine: Stands in for the task's own, in tests.

    Raises:
        UsageError: a run folder holds an unfinished run and `resume` was not asked for.
        Stopped: a signal came; what was trained is saved.
        BenchError: of the first trial that failed, with a line for each other.
    """
    store = Store(plan.options.results)
    todo = pending(plan)
    failed: dict[int, Exception] = {}
    for seed in plan.options.seeds:
        if seed not in todo:
            say(f"Seed {seed}: recorded already")
            continue
        try:
            _trial(plan, seed, store, engine)
        except (Stopped, DiskError, StoreError):
            raise  # the next trial would meet the same
        except Exception as error:
            if len(todo) == 1:
                raise
            say(f"Seed {seed} failed: {error}")
            failed[seed] = _without_frames(error)
            gc.collect()
    records = [_recorded(plan, seed, store) for seed in plan.options.seeds]
    done = [record for record in records if record is not None]
    if failed:
        raise _failure(failed, num_done=len(done))
    return done


def pending(plan: Plan) -> list[int]:
    """The seeds that have no record yet.

    Raises:
        UsageError: a run folder of one holds an unfinished run and `resume` was not asked for.
    """
    store = Store(plan.options.results)
    todo = [seed for seed in plan.options.seeds if _recorded(plan, seed, store) is None]
    started = [plan.run_dir(seed) for seed in todo if (plan.run_dir(seed) / "checkpoints").exists()]
    if started and not plan.options.resume:
        raise UsageError(f"{started[0]}: holds a run. --resume goes on with it; another --out starts anew.")
    return todo


def _without_frames(error: Exception) -> Exception:
    """The error alone: its frames hold the model and the optimiser of a trial that is over."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _failure(failed: dict[int, Exception], *, num_done: int) -> Exception:
    """An error with the exit code of the first trial that failed, and what became of the others."""
    lines = [f"seed {seed}: {error or type(error).__name__}" for seed, error in failed.items()]
    lines.append(f"{len(failed)} failed, {num_done} recorded; --resume tries again")
    first = next(iter(failed.values()))
    return type(first).of(lines) if isinstance(first, BenchError) else RuntimeError("\n".join(lines))


def _recorded(plan: Plan, seed: int, store: Store) -> Record | None:
    spec = plan.task.spec
    id_ = record_id(plan.card.key, spec.name, spec.version, plan.identity, seed)
    return store.find(plan.card.name, spec.name, id_)


def _trial(plan: Plan, seed: int, store: Store, engine: Engine | None) -> Record:
    watch = provenance.Stopwatch()
    job = plan.job(seed)
    with lock.hold(job.run_dir):
        if (found := _recorded(plan, seed, store)) is not None:
            say(f"Seed {seed}: recorded meanwhile, by another process")
            return found
        output = (engine or load_engine(plan.task.spec.engine).run_job)(job)
        record = _record(plan, seed, output, watch)
        path = store.add(record, output.predictions)
    if output.stopped_by:
        raise Stopped(f"{output.stopped_by}: seed {seed} is recorded in {path}; the same command goes on")
    return record


def _record(plan: Plan, seed: int, output: Output, watch: provenance.Stopwatch) -> Record:
    spec = plan.task.spec
    known = {metric.name for metric in spec.metrics}
    needed = {metric.name for metric in spec.metrics if not metric.may_be_missing}
    if not needed <= output.metrics.keys() <= known:
        raise RuntimeError(
            f"{spec.engine} returned {sorted(output.metrics)}, {spec.name} needs {sorted(needed)}"
        )
    details = output.details
    if output.predictions is not None:
        # The file's name follows from the record's id and these two.
        kept = {"suffix": output.predictions.suffix, "sha256": output.predictions.sha256}
        details = {**details, "predictions": kept}
    return Record(
        task=spec.name,
        task_version=spec.version,
        engine=spec.engine,
        protocol=ProtocolStamp(
            slug=plan.protocol.slug,
            identity=plan.identity,
            status=plan.status,
            departures=plan.departures,
            fields=number_changing(plan.protocol),
        ),
        data=plan.task.stamp_data(plan.data),
        weights=plan.card,
        seed=seed,
        metrics={
            metric.name: Metric(value=output.metrics[metric.name], higher_is_better=metric.higher_is_better)
            for metric in spec.metrics
            if metric.name in output.metrics
        },
        main_metric=spec.main_metric,
        details=details,
        provenance=watch.provenance(earlier_seconds=output.earlier_seconds),
    )


def load_weights(
    checkpoint: str, *, name: str | None = None, encoder: str | None = None, input_spec: Path | None = None
) -> tuple[Weights | None, Card]:
    """Weights and their card, as the options of the same names say; no weights for `random`.

    Raises:
        BenchError: the file cannot be used, or an option does not go with it.
    """
    spec = load_config(InputSpec, input_spec) if input_spec else None
    if checkpoint == RANDOM:
        if name or encoder:
            raise UsageError("--name and --encoder do not go with --checkpoint random")
        card = random_card()
        return None, card.model_copy(update={"input": spec}) if spec else card
    if name:
        safe_name(name, "--name", error=UsageError)
    weights = load_backbone(Path(checkpoint), name=name, encoder=encoder, input_spec=spec)
    if weights.card.name == RANDOM_NAME:
        raise UsageError(f"{checkpoint}: {RANDOM_NAME} means no weights; give another --name")
    return weights, weights.card
