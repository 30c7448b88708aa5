"""How fast is a pretraining here, and what holds it up: input, steps, both; no weights are kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torchvision.models import ResNet

from bench.core.errors import UsageError
from bench.core.log import Bar, progress, quiet_fabric
from bench.core.processes import out_of_memory, threads_of_a_process
from pretrain.data.batch import Batch
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.loader import AHEAD, TrainLoader, train_batches
from pretrain.data.order import Order
from pretrain.devices import make_fabric
from pretrain.estimate import wait_for
from pretrain.guard import is_finite
from pretrain.plan import Plan
from pretrain.run import job_of, prepare
from pretrain.samples import make_views
from pretrain.step import gradients, update
from pretrain.training import Progress, Training

STEPS, FIRST_STEPS = 10, 2
"""Steps that are timed, and those before them, in which memory is found and kernels are chosen."""


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Steps that are timed and those before them.

    Workers run ahead, all of them from the first moment: input counts only once what they were ahead is used
    up, and over some rounds of them.

    Attributes:
        first: Not timed, of steps alone.
        timed: Of steps alone.
        first_fed: Not timed, where workers feed.
        timed_fed: Where workers feed.
    """

    first: int
    timed: int
    first_fed: int
    timed_fed: int

    @staticmethod
    def of(plan: Plan) -> Lengths:
        """For as many workers as a run of this plan has."""
        ahead = -(-AHEAD * plan.devices.num_workers(plan.config) // plan.config.loop.accumulation_steps)
        return Lengths(FIRST_STEPS, STEPS, FIRST_STEPS + ahead, max(STEPS, 2 * ahead))

    @property
    def rounds(self) -> int:
        """All steps: of input alone, twice of steps alone, of both."""
        return 2 * (self.first + self.timed + self.first_fed + self.timed_fed)


@dataclasses.dataclass(frozen=True)
class Figures:
    """What one device does here, timed in one go.

    Attributes:
        images: In a step of one device.
        input_rate: Images a second of the workers alone.
        step_rate: Images a second of the steps alone, on a batch that lies on the device.
        run_rate: Images a second of both, as in a run.
        waiting_percent: Of the time of both, what the steps waited for images.
        network_seconds: Of a step alone, in the networks forwards and in the whole pass backwards.
        step_seconds: Of a step alone, with a device that is waited for around each part.
    """

    images: int
    input_rate: float
    step_rate: float
    run_rate: float
    waiting_percent: float
    network_seconds: float
    step_seconds: float

    @property
    def run_ratio(self) -> float:
        """The rate of a run, of that of its steps alone: 1 where it never waits."""
        return self.run_rate / self.step_rate

    @property
    def outside_percent(self) -> float:
        """Of a step, what is not the networks: losses, copies, memory, guard, optimiser."""
        return 100.0 * (1.0 - self.network_seconds / self.step_seconds)

    def facts(self) -> dict[str, float]:
        """All of it by name."""
        return {
            **dataclasses.asdict(self),
            "run_ratio": self.run_ratio,
            "outside_percent": self.outside_percent,
        }

    def lines(self) -> list[tuple[str, str]]:
        """Name and text of each figure, for a person."""
        return [
            ("input alone", f"{self.input_rate:,.1f} images/s"),
            ("steps alone", f"{self.step_rate:,.1f} images/s, {self.images:,} a step, on the device already"),
            ("both", f"{self.run_rate:,.1f} images/s, {self.waiting_percent:.1f} % of it waiting for images"),
            ("ratio", f"{self.run_ratio:.3f} of steps alone"),
            (
                "outside networks",
                f"{self.outside_percent:.1f} % of {self.step_seconds:.3g} s a step, each part waited for",
            ),
        ]


def benchmark(plan: Plan) -> Figures:
    """Time a few steps on one of the plan's devices.

    Raises:
        EngineError: the device has too little memory.
        DataError: an image cannot be read.
        UsageError: others have started several processes.
    """
    if plan.devices.started_by != "us":
        raise UsageError(f"--benchmark is for one process; this one was started by {plan.devices.started_by}")
    quiet_fabric()
    config, alone = plan.config, plan.devices.alone()
    fabric = make_fabric(config, alone)
    order = Order(len(plan.train), config.batch_size // plan.devices.total, 0)
    with torch.random.fork_rng(), threads_of_a_process(fabric, plan.devices.per_node):
        try:
            job = dataclasses.replace(job_of(plan, 0), devices=alone)
            return _figures(plan, prepare(fabric, job, plan.method, config, order))
        except torch.OutOfMemoryError as error:
            raise out_of_memory(str(error)) from error


def _figures(plan: Plan, training: Training) -> Figures:
    images, lengths = training.order.batch_size, Lengths.of(plan)
    with progress("Timing", lengths.rounds) as bar:
        timer = _Timer(training.fabric.device, bar)

        def fed(do: Callable[[TrainLoader, list[Batch]], None]) -> float:
            loader = _loader(plan, training, lengths.first_fed + lengths.timed_fed)
            try:
                return timer.seconds(loader, partial(do, loader), lengths.first_fed, lengths.timed_fed)
            finally:
                loader.close()

        loader = _loader(plan, training, 1)
        parts = next(loader)
        loader.close()
        again = [parts] * (lengths.first + lengths.timed)
        input_seconds = fed(lambda _loader, _parts: None)
        step_seconds = timer.seconds(again, _Step(training), lengths.first, lengths.timed)
        waited: list[float] = []
        step = _Step(training)

        def run(loader: TrainLoader, parts: list[Batch]) -> None:
            waited.append(loader.waited_seconds)
            step(parts, loader)

        run_seconds = fed(run)
        with _timed_networks(training) as network:
            apart_seconds = timer.seconds(
                again, _Step(training), lengths.first, lengths.timed, network.restart
            )
    return Figures(
        images=images,
        input_rate=images / input_seconds,
        step_rate=images / step_seconds,
        run_rate=images / run_seconds,
        waiting_percent=100.0
        * (waited[-1] - waited[lengths.first_fed - 1])
        / (run_seconds * lengths.timed_fed),
        network_seconds=network.seconds / lengths.timed,
        step_seconds=apart_seconds,
    )


def _loader(plan: Plan, training: Training, num_steps: int) -> TrainLoader:
    """As that of a run with one device."""
    device, config = training.fabric.device, plan.config
    return train_batches(
        plan.train,
        make_views(config, 0, device),
        training.order,
        start_step=0,
        end_step=num_steps,
        rank=0,
        world_size=1,
        accumulation=config.loop.accumulation_steps,
        num_workers=plan.devices.num_workers(config),
        feed=DeviceFeed(device, config.views),
        with_labels=plan.method.with_labels,
    )


class _Step:
    """A step as `pretrain.loop` makes it, without what it writes."""

    def __init__(self, training: Training) -> None:
        self._training, self._state = training, Progress()

    def __call__(self, parts: list[Batch], loader: TrainLoader | None = None) -> None:
        _, scalars, norm = gradients(self._training, parts, self._state.step)
        if loader:
            loader.prefetch()
        is_finite(self._training, scalars["loss"], norm)
        update(self._training, self._state, norm)
        self._state.step += 1


class _Timer:
    """Times steps, and counts them on a bar."""

    def __init__(self, device: torch.device, bar: Bar) -> None:
        self._device, self._bar, self._done = device, bar, 0

    def seconds(
        self,
        steps: Iterable[list[Batch]],
        do: Callable[[list[Batch]], None],
        first: int,
        timed: int,
        before_timing: Callable[[], None] = lambda: None,
    ) -> float:
        """Seconds of one of the `timed` steps that come after the `first`, on average."""
        started = 0.0
        for number, one in enumerate(steps):
            do(one)
            self._done += 1
            self._bar.update(self._done)
            if number + 1 == first:
                wait_for(self._device)
                before_timing()
                started = time.monotonic()
        wait_for(self._device)
        return (time.monotonic() - started) / timed


class _Clock:
    """Seconds between the outermost `enter` and `leave`."""

    def __init__(self, device: torch.device) -> None:
        self.seconds, self._device, self._depth, self._entered = 0.0, device, 0, 0.0

    def restart(self) -> None:
        self.seconds = 0.0

    def enter(self, *_arguments: Any) -> None:
        if self._depth == 0:
            wait_for(self._device)
            self._entered = time.monotonic()
        self._depth += 1

    def leave(self, *_arguments: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            wait_for(self._device)
            self.seconds += time.monotonic() - self._entered


@contextmanager
def _timed_networks(training: Training) -> Iterator[_Clock]:
    """A clock that runs while a module with weights is called, and while gradients are found."""
    clock, backward = _Clock(training.fabric.device), training.fabric.backward
    # Not inside of a backbone, which may have been compiled as a whole.
    inner = {part for one in training.model.modules() if isinstance(one, ResNet) for part in one.modules()}
    inner -= {one for one in inner if isinstance(one, ResNet)}
    hooks = []
    for module in set(training.model.modules()) - inner - {training.model}:
        if any(True for _ in module.parameters()):
            hooks += [
                module.register_forward_pre_hook(clock.enter),
                module.register_forward_hook(clock.leave),
            ]

    def timed_backward(*arguments: Any, **values: Any) -> None:
        clock.enter()
        backward(*arguments, **values)
        clock.leave()

    training.fabric.backward = timed_backward  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        training.fabric.backward = backward  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
