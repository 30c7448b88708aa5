"""What cells share on one machine: its GPUs, or places for processes on a CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Pool:
    """Devices that are free and those that are taken.

    Attributes:
        names: Of all: as CUDA_VISIBLE_DEVICES has them, or numbers of places on a CPU.
        gpus: Whether they are GPUs.
    """

    names: tuple[str, ...]
    gpus: bool
    free: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.free = list(self.names)

    def take(self, num_devices: int) -> list[str] | None:
        """So many devices, or None while there are fewer; on a CPU at most all places."""
        wanted = num_devices if self.gpus else min(num_devices, len(self.names))
        if wanted > len(self.free):
            return None
        taken, self.free = self.free[:wanted], self.free[wanted:]
        return taken

    def give_back(self, taken: list[str]) -> None:
        """Free them again."""
        self.free = sorted([*self.free, *taken], key=self.names.index)

    def environment(self, taken: list[str]) -> tuple[tuple[str, str], ...]:
        """The variables of a process that has these devices.

        Processes that each take every core slow each other down many times over; what the user has set
        stays.
        """
        found = [("CUDA_VISIBLE_DEVICES", ",".join(taken))] if self.gpus else []
        if len(self.names) > 1:
            threads = max(1, num_cores() * (len(taken) if self.gpus else 1) // len(self.names))
            found += [(name, str(threads)) for name in _THREADS if name not in os.environ]
        return tuple(found)


def num_cores() -> int:
    """Cores this process may use, which are fewer than the machine's inside a job of a cluster."""
    return len(os.sched_getaffinity(0))


def devices_here(jobs: int | None) -> Pool:
    """The GPUs of this machine, or `jobs` places on its CPU.

    Args:
        jobs: Cells at once; all GPUs, or one process on a CPU, if left out. Of GPUs the first so many.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        return Pool(tuple(map(str, range(jobs or 1))), gpus=False)
    given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = given[:count] if len(given) >= count else [str(index) for index in range(count)]
    return Pool(tuple(names[:jobs]), gpus=True)
