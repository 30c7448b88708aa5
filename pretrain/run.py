"""A pretraining from end to end: a run for each seed, its weights with a card at the end."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn
from torchvision.models import ResNet

from bench.core import atomic, lock, rng
from bench.core.card import Card, hash_tensors
from bench.core.checkpoint import newest_step
from bench.core.errors import CheckpointError, UsageError
from bench.core.log import quiet_fabric, say, silence
from bench.core.processes import launch, lost_peer, out_of_memory
from bench.core.provenance import Stopwatch, git_state, hardware
from bench.core.safe_json import read_json
from bench.core.signals import StopRequest, watch
from bench.core.weights import Weights, read_card, write_weights
from bench.images.source import ImageSource
from pretrain.api import Method, MethodModel, Sizes
from pretrain.backbones.resnet import backbone_tensors
from pretrain.config import PretrainConfig
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.loader import train_batches
from pretrain.data.order import Order
from pretrain.devices import Devices, make_fabric
from pretrain.distributed import World
from pretrain.logs import RunLog
from pretrain.loop import train
from pretrain.monitor import KnnMonitor
from pretrain.optim import build_optimizer
from pretrain.plan import Plan, parse_config
from pretrain.samples import make_views
from pretrain.training import Progress, Training, load

_RUN_FILE, _RESULT_FILE = "run.json", "result.json"


@dataclass(frozen=True)
class Job:
    """One run, as it is sent to its processes; the config travels as plain values."""

    values: dict[str, Any]
    departures: tuple[str, ...]
    train: ImageSource
    val: ImageSource | None
    devices: Devices
    identity: str
    conditions: dict[str, Any]
    seed: int
    name: str
    run_dir: Path
    weights_path: Path
    resume: bool


@dataclass(frozen=True)
class Result:
    """What came out of a run: `monitor` is the last of its k-NN numbers, in percent, or empty."""

    seed: int
    path: Path
    card: Card
    monitor: dict[str, float]


def pending(plan: Plan) -> list[int]:
    """The seeds whose weights are not written yet.

    Raises:
        UsageError: a run folder of one holds an unfinished run and `resume` was not asked for, or a finished
            one that was made otherwise.
    """
    todo = [seed for seed in plan.options.seeds if not plan.weights_path(seed).exists()]
    for seed in sorted(set(plan.options.seeds) - set(todo)):
        _hold_conditions(plan, plan.run_dir(seed))
    started = [plan.run_dir(seed) for seed in todo if newest_step(plan.run_dir(seed) / "checkpoints")]
    if started and not plan.options.resume:
        raise UsageError(f"{started[0]}: holds a run. --resume goes on with it; another --out starts anew.")
    return todo


def execute(plan: Plan) -> list[Result]:
    """Run every seed whose weights are not written yet; the first process gets what all came to.

    Raises:
        UsageError: see `pending`.
        Stopped: a signal came; what was trained is saved.
        BenchError: of the room where something went wrong.
    """
    todo, results = pending(plan), []
    try:
        for seed in plan.options.seeds:
            if seed in todo:
                _run_job(job_of(plan, seed))
            else:
                say(f"Seed {seed}: pretrained already")
            if plan.devices.rank == 0:
                results.append(_result(seed, plan.weights_path(seed)))
    finally:
        # Not after each seed: processes that torchrun started would meet again at the addresses of before.
        if dist.is_initialized():
            dist.destroy_process_group()
    return results


def _hold_conditions(plan: Plan, run_dir: Path) -> None:
    before = read_json(run_dir / _RUN_FILE, error=CheckpointError).get("conditions", {})
    for key, value in plan.conditions.items():
        if before.get(key) != value:
            raise UsageError(
                f"{run_dir}: was pretrained with other {key} ({before.get(key)} there, {value} here). "
                "Give another --out."
            )


def _result(seed: int, path: Path) -> Result:
    """What a finished run has left."""
    card = read_card(path)
    if card is None:
        raise UsageError(f"{path}: is no file of ours; move it away")
    rows = read_json(path.parent / _RESULT_FILE, error=CheckpointError)["monitor"]
    return Result(seed, path, card, rows[-1] if rows else {})


def job_of(plan: Plan, seed: int) -> Job:
    """The run of one seed."""
    return Job(
        values=plan.config.model_dump(mode="json"),
        departures=plan.departures,
        train=plan.train,
        val=plan.val,
        devices=plan.devices,
        identity=plan.identity,
        conditions=plan.conditions,
        seed=seed,
        name=plan.weights_name(seed),
        run_dir=plan.run_dir(seed),
        weights_path=plan.weights_path(seed),
        resume=plan.options.resume,
    )


def _run_job(job: Job) -> None:
    quiet_fabric()
    _, config = parse_config(job.values, "config")
    fabric = make_fabric(config, job.devices)
    # Processes that others started all come here; the first alone holds the folder.
    with lock.hold(job.run_dir) if job.devices.rank == 0 else nullcontext():
        try:
            if job.devices.total > 1 and job.devices.started_by == "us":
                launch(fabric, _run, job)
                return
            fabric.launch()
            if not fabric.is_global_zero:
                silence()
            _run(fabric, job)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(str(error)) from error
        except RuntimeError as error:
            lost = lost_peer(f"{type(error).__name__}: {error}") if job.devices.total > 1 else None
            if lost is None:
                raise
            raise lost from error


def _run(fabric: Fabric, job: Job) -> None:
    """One run in one of its processes."""
    with watch() as stop:  # from here on, a signal is answered after a step, the first one at the earliest
        _watched(fabric, job, stop)


def _watched(fabric: Fabric, job: Job, stop: StopRequest) -> None:
    stopwatch = Stopwatch()
    method, config = parse_config(job.values, "config")
    order = Order(len(job.train), config.batch_size, job.seed)
    training = prepare(fabric, job, method, config, order)
    state = load(training) if job.resume else Progress()
    earlier_seconds = state.seconds
    _note_where(state, job)
    if fabric.is_global_zero:
        _write_run_file(job, config)
    num_workers = job.devices.num_workers(config)
    loader = train_batches(
        job.train,
        make_views(config, job.seed, fabric.device),
        order,
        start_step=state.step,
        end_step=training.num_steps,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        accumulation=config.loop.accumulation_steps,
        num_workers=num_workers,
        feed=DeviceFeed(fabric.device, config.views),
        with_labels=method.with_labels,
    )
    monitor = KnnMonitor(training, job.train, job.val, num_workers, stop)
    columns = training.model.columns
    with RunLog(job.run_dir, columns, start_step=state.step, active=fabric.is_global_zero) as log:
        try:
            train(training, loader, state, stop, log, monitor)
        finally:
            loader.close()
    if fabric.is_global_zero:
        _write_results(job, training, state, stopwatch, earlier_seconds)
    fabric.barrier()


@dataclass(frozen=True)
class Wrapped:
    """A method and its optimiser, and what Fabric made of them."""

    fabric: Fabric
    model: MethodModel
    optimizer: torch.optim.Optimizer
    step_model: Any
    step_optimizer: Any


def wrap(fabric: Fabric, model: MethodModel, config: PretrainConfig[Any]) -> Wrapped:
    """Bring a method to its device, with its optimiser, as the config says it is computed."""
    if config.loop.channels_last:
        model.to(memory_format=torch.channels_last)
        model.memory_format = torch.channels_last
    # A fused optimiser scales gradients back by itself, and could not shorten them before.
    optimizer = build_optimizer(
        config.optimizer,
        model,
        fixed_rate=model.fixed_rate,
        trained_later=model.trained_later,
        fused=config.loop.precision != "fp16",
    )
    step_model, step_optimizer = fabric.setup(model, optimizer)
    if config.loop.compile:
        _compile(model)
    return Wrapped(fabric, model, optimizer, step_model, step_optimizer)


def prepare(fabric: Fabric, job: Job, method: Method, config: PretrainConfig[Any], order: Order) -> Training:
    """Networks and optimiser, initialised from the seed, equal in every process."""
    torch.manual_seed(rng.derive(job.seed, "init"))
    sizes = Sizes(num_images=len(job.train), num_classes=len(job.train.classes or ()))
    model = method.build(config, sizes)
    model.world = World.of(fabric, job.devices.nodes)
    wrapped = wrap(fabric, model, config)
    return Training(
        fabric=fabric,
        config=config,
        order=order,
        model=model,
        optimizer=wrapped.optimizer,
        step_model=wrapped.step_model,
        step_optimizer=wrapped.step_optimizer,
        run_dir=job.run_dir,
        identity=job.identity,
        conditions=job.conditions,
        seed=job.seed,
    )


def _compile(model: MethodModel) -> None:
    for module in model.modules():
        if isinstance(module, ResNet):
            nn.Module.compile(module)


def _note_where(state: Progress, job: Job) -> None:
    """Put down commit and machine, and say where a run goes on."""
    commit, facts = git_state()[0], hardware()
    if commit and commit not in state.commits:
        state.commits.append(commit)
    devices = ", ".join(facts[key] for key in ("gpu", "cpu") if key in facts)
    machine = f"{devices}, {facts['threads']} threads"
    if job.resume and not state.step:
        # Another config, data set or version is another run: it must not pass for the one gone on with.
        others = [path.name for path in job.run_dir.parent.parent.glob(f"{job.run_dir.parent.name[:-8]}*")]
        others.remove(job.run_dir.parent.name)
        beside = f"; other runs of this name: {', '.join(sorted(others))}" if others else ""
        say(f"No checkpoint in {job.run_dir}: starts at the beginning{beside}.")
    if state.step:
        say(f"Going on after step {state.step:,}.")
        if machine not in state.machines:
            say(
                f"Note      so far on {state.machines[-1]}, now on {machine}: sums may come out otherwise, "
                "so that the end is near that of a run in one piece, not equal to it"
            )
    if machine not in state.machines:
        state.machines.append(machine)


def _write_run_file(job: Job, config: PretrainConfig[Any]) -> None:
    facts = {
        "config": config.model_dump(mode="json"),
        "departures": job.departures,
        "identity": job.identity,
        "conditions": job.conditions,
        "seed": job.seed,
        "data": {
            "images": len(job.train),
            "classes": list(job.train.classes or ()),
            "fingerprint": job.train.fingerprint,
            "pack": job.train.pack.model_dump() if job.train.pack else None,
        },
    }
    atomic.write_text(job.run_dir / _RUN_FILE, atomic.json_text(facts))


def _write_results(
    job: Job, training: Training, state: Progress, stopwatch: Stopwatch, earlier_seconds: float
) -> None:
    provenance = stopwatch.provenance(earlier_seconds=earlier_seconds).model_dump(mode="json")
    facts = {
        "steps": state.step,
        "monitor": state.monitor,
        "skipped_updates": state.skipped,
        "commits": state.commits,
        "machines": state.machines,
        "provenance": provenance,
    }
    atomic.write_text(job.run_dir / _RESULT_FILE, atomic.json_text(facts))
    # Last: where the weights are, the run is done.
    write_weights(job.weights_path, _weights(job, training, state))


def _weights(job: Job, training: Training, state: Progress) -> Weights:
    config = training.config
    tensors = {name: value.numpy() for name, value in backbone_tensors(training.model.backbone).items()}
    classes = f"{len(job.train.classes)} classes" if job.train.classes else "no classes"
    notes = [
        f"{config.method}: {config.epochs:,} epochs of {len(job.train):,} images ({classes}, fingerprint "
        f"{job.train.fingerprint[:12]}) at {config.view.crop_px} px, batch {config.batch_size:,} of "
        f"{job.devices.per_node} processes on each of {job.devices.nodes} nodes, seed {job.seed}, identity "
        f"{job.identity[:12]}"
    ]
    if job.train.pack:
        notes.append(f"trained on {job.train.pack.text()}")
    if training.model.modality != "rgb":
        notes.append(
            f"two networks of half the width, fed {training.model.modality}: encoder1 sees the first "
            "channel, encoder2 the other two; their features side by side are the feature"
        )
    if job.departures:
        notes.append(f"departs from its config file: {'; '.join(job.departures)}"[:2000])
    if state.monitor:
        asked = ", ".join(f"{key} {value}" for key, value in job.conditions["knn"].items())
        packed = f", {job.val.pack.text()}" if job.val and job.val.pack else ""
        notes.append(f"k-NN {state.monitor[-1]['knn']:.1f} % on held-out images{packed} ({asked})")
    card = Card(
        name=job.name,
        arch=config.backbone.arch,
        layout="transfer-bench",
        tensors_sha256=hash_tensors(tensors),
        dropped=("projectors, predictors, classifiers, copies, queues, banks",),
        notes=tuple(notes),
    )
    return Weights(card=card, tensors=tensors)
