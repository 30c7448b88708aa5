"""What a run counts as: the protocol as this machine can run it, and its distance from the published one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.core.errors import EngineError, UsageError
from bench.core.protocol import differences, number_changing
from bench.core.records import Status
from transfer.protocols.detection import DetectionProtocol


@dataclass(frozen=True)
class Devices:
    """What there is to run on."""

    num_devices: int
    num_gpus: int

    @classmethod
    def here(cls, num_devices: int) -> Devices:
        """As PyTorch sees this machine."""
        import torch

        return cls(num_devices, torch.cuda.device_count() if torch.cuda.is_available() else 0)


def fit(protocol: DetectionProtocol, devices: Devices, precision: str | None) -> DetectionProtocol:
    """The protocol with its documented stand-ins for these devices.

    On one device plain BN sees the whole batch, as SyncBN does over several; processes without a GPU
    synchronise by Detectron2's naiveSyncBN. `precision` is the user's wish.

    Raises:
        UsageError: these devices and this protocol give other statistics than the protocol means.
        EngineError: what was asked for is not on this machine.
    """
    if precision:
        protocol = _replace(protocol, "solver", precision=precision)
    norm, several = protocol.model.norm, devices.num_devices > 1
    if norm in ("SyncBN", "naiveSyncBN") and not several:
        protocol = _replace(protocol, "model", norm="BN")
    elif norm == "SyncBN" and not devices.num_gpus:
        protocol = _replace(protocol, "model", norm="naiveSyncBN")
    _check(protocol, devices)
    return protocol


def _check(protocol: DetectionProtocol, devices: Devices) -> None:
    images, count = protocol.solver.images_per_batch, devices.num_devices
    if images % count:
        raise UsageError(f"--devices {count}: the batch of {images} images does not divide by it")
    if devices.num_gpus and count > devices.num_gpus:
        raise EngineError(f"--devices {count}: PyTorch sees {devices.num_gpus} GPUs here")
    if protocol.solver.precision == "fp16" and not devices.num_gpus:
        raise EngineError("precision fp16 needs a GPU; on a CPU use bf16 or fp32")
    norm = protocol.model.norm
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
    base: DetectionProtocol,
    changed: DetectionProtocol,
    fitted: DetectionProtocol,
    *,
    data_name: str,
    is_published_data: bool,
    smoke_file: str | None,
) -> tuple[Status, tuple[str, ...]]:
    """The status of a record and every departure from the protocol, a line each.

    Args:
        base: The protocol's file as it is.
        changed: With the user's `--set`.
        fitted: From `fit`.
        data_name: Of the data set that is used.
        is_published_data: Whether it is the one of `base`.
        smoke_file: The smoke twin's file name, if `base` is one.
    """
    custom = _differences(changed, base)
    if not is_published_data:
        custom.append(f"data: {data_name} (protocol: {base.data.name})")
    if smoke_file:
        custom.insert(0, f"smoke: the toy sizes of configs/smoke/{smoke_file}")
    stand_ins = _differences(fitted, changed)
    status: Status = "custom" if custom else "substituted" if stand_ins else "exact"
    return status, (*custom, *stand_ins)


def _differences(now: DetectionProtocol, then: DetectionProtocol) -> list[str]:
    # What was tested on is no field of the identity, the fingerprint is; here it must not be changed unseen.
    data = differences(number_changing(now.data), number_changing(then.data), "data.")
    return differences(number_changing(now), number_changing(then)) + data


def _replace(protocol: DetectionProtocol, section: str, **changes: Any) -> DetectionProtocol:
    inner = getattr(protocol, section)
    values = {**inner.model_dump(), **changes}
    return protocol.model_copy(update={section: type(inner).model_validate(values)})
