"""What a run counts as: the protocol as this machine can run it, and its distance from the published one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from bench.core.cpu import has_bf16
from bench.core.errors import EngineError, UsageError
from bench.core.protocol import differences, number_changing
from bench.core.records import Status
from transfer.protocols.transfer import TrainedProtocol, TransferProtocol

P = TypeVar("P", bound=TransferProtocol)
T = TypeVar("T", bound=TrainedProtocol)


@dataclass(frozen=True)
class Devices:
    """What there is to run on; `has_bf16` speaks of a CPU."""

    num_devices: int
    num_gpus: int
    has_bf16: bool = True

    @classmethod
    def here(cls, num_devices: int) -> Devices:
        """As PyTorch sees this machine."""
        import torch

        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return cls(num_devices, num_gpus, has_bf16())


@dataclass(frozen=True)
class Wishes:
    """Documented stand-ins that a user asks for.

    Attributes:
        precision: Instead of the protocol's.
        images_per_batch: Instead of the protocol's; the schedule follows, see `scaled`.
        accumulation_steps: Instead of the protocol's.
    """

    precision: str | None = None
    images_per_batch: int | None = None
    accumulation_steps: int | None = None


def fit(protocol: P, devices: Devices, wishes: Wishes = Wishes()) -> P:
    """The protocol with its documented stand-ins for these devices.

    On one device plain BN sees the whole batch, as SyncBN does over several; processes without a GPU
    synchronise by naiveSyncBN, Detectron2's or our own for MMSegmentation. A CPU on which bf16 takes many
    times as long as fp32 computes in fp32, unless bf16 is asked for.

    Raises:
        UsageError: these devices and this protocol give other statistics than the protocol means.
        EngineError: what was asked for is not on this machine.
    """
    precision = wishes.precision
    if precision is None and protocol.precision == "bf16" and not (devices.num_gpus or devices.has_bf16):
        precision = "fp32"
    if precision:
        section = "solver" if isinstance(protocol, TrainedProtocol) else "features"
        protocol = _replace(protocol, section, precision=precision)
    _check_devices(protocol, devices)
    if isinstance(protocol, TrainedProtocol):
        return _fit_training(protocol, devices, wishes)
    if wishes.images_per_batch or wishes.accumulation_steps:
        raise UsageError(f"{protocol.slug} trains on no batches: leave out --batch-size and --accumulate")
    return protocol


def _fit_training(protocol: T, devices: Devices, wishes: Wishes) -> T:
    if wishes.images_per_batch:
        protocol = scaled(protocol, wishes.images_per_batch)
    if wishes.accumulation_steps:
        protocol = _replace(protocol, "solver", accumulation_steps=wishes.accumulation_steps)
    norm, several = protocol.model.norm, devices.num_devices > 1
    if norm in ("SyncBN", "naiveSyncBN") and not several:
        protocol = _replace(protocol, "model", norm="BN")
    elif norm == "SyncBN" and not devices.num_gpus:
        protocol = _replace(protocol, "model", norm="naiveSyncBN")
    _check_batch(protocol, devices)
    return protocol


def scaled(protocol: T, images_per_batch: int) -> T:
    """The protocol for another batch: the rate in proportion to it, all iterations against it.

    As many images are seen, and the rate falls at the same ones.

    Raises:
        UsageError: rounded to whole iterations, the schedule is none.

    Source:
        Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.1; facebookresearch/detectron2
        `detectron2/engine/defaults.py`, `DefaultTrainer.auto_scale_workers`, has the same rule, the warm-up
        included. facebookresearch/moco issue 11 gives it for VOC detection: 8 images, 0.01, twice the
        iterations.
    """
    try:
        return _replace(protocol, "solver", **protocol.solver.schedule_for(images_per_batch))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "schedule"
        raise UsageError(
            f"--batch-size {images_per_batch}: {protocol.slug} does not scale to it: {field}: {first['msg']}"
        ) from None


def _check_devices(protocol: TransferProtocol, devices: Devices) -> None:
    if devices.num_gpus and devices.num_devices > devices.num_gpus:
        raise EngineError(f"--devices {devices.num_devices}: PyTorch sees {devices.num_gpus} GPUs here")
    if protocol.precision == "fp16" and not devices.num_gpus:
        raise EngineError("precision fp16 needs a GPU; on a CPU use bf16 or fp32")


def _check_batch(protocol: TrainedProtocol, devices: Devices) -> None:
    images, count = protocol.solver.images_per_batch, devices.num_devices
    parts = protocol.solver.accumulation_steps
    if images % (count * parts):
        also = f" times --accumulate {parts}" if parts > 1 else ""
        raise UsageError(f"--devices {count}{also}: the batch of {images} images does not divide by it")
    norm = protocol.model.norm
    if norm != "FrozenBN" and images // parts < 2:
        raise UsageError(
            f"--batch-size {images}, --accumulate {parts}: batch norm takes its statistics from one image "
            "at a time; expected at least two"
        )
    if norm == "BN" and count > 1:
        raise UsageError(
            f"--devices {count}: norm BN would take its statistics from {images // count} images a device, "
            f"not from {images}; SyncBN and naiveSyncBN do not"
        )
    if norm == "naiveSyncBN" and protocol.solver.precision != "fp32":
        # Its variance is a difference of means in the precision of its input, which bf16 cancels.
        raise UsageError(
            f"--devices {count}: naiveSyncBN loses its variance in {protocol.solver.precision}; "
            "give --precision fp32"
        )


def judge(
    base: TransferProtocol,
    changed: TransferProtocol,
    fitted: TransferProtocol,
    *,
    data_departures: tuple[str, ...],
    smoke_file: str | None,
) -> tuple[Status, tuple[str, ...]]:
    """The status of a record and every departure from the protocol, a line each.

    Args:
        base: The protocol's file as it is.
        changed: With the user's `--set`.
        fitted: From `fit`.
        data_departures: In what the data set that is used is not the one of `base`.
        smoke_file: The smoke twin's file name, if `base` is one.
    """
    lines = [f"smoke: the toy sizes of configs/smoke/{smoke_file}"] if smoke_file else []
    lines += [f"data: {line}" for line in data_departures]
    custom = bool(lines or _differences(changed, base))
    lines += _differences(fitted, base)
    # What was set by hand and then undone by a stand-in (--set precision, --precision) departs from nothing.
    status: Status = "exact" if not lines else "custom" if custom else "substituted"
    return status, tuple(lines)


def _differences(now: TransferProtocol, then: TransferProtocol) -> list[str]:
    # What was tested on is no field of the identity, the fingerprint is; here it must not be changed unseen.
    data = differences(number_changing(now.data), number_changing(then.data), "data.")
    return differences(number_changing(now), number_changing(then)) + data


def _replace(protocol: P, section: str, **changes: Any) -> P:
    inner = getattr(protocol, section)
    values = {**inner.model_dump(), **changes}
    return protocol.model_copy(update={section: type(inner).model_validate(values)})
