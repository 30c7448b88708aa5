"""The file of a sweep: which weights, which transfers, which seeds, and how a cluster is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bench.core.config import Section, load_config
from bench.core.seeds import parse_seeds

MAX_CELLS = 10_000
"""Of one file; more is a slip of the keyboard."""


def _as_tuple(value: Any) -> Any:
    # A single slug may stand without brackets.
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _seeds(value: str) -> str:
    parse_seeds(value)
    return value


Text = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]
Slugs = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Seeds = Annotated[str, AfterValidator(_seeds)]
Devices = Annotated[int, Field(ge=1, le=1024)]
Images = Annotated[int, Field(ge=1, le=4096)]


class WeightsEntry(Section):
    """One row of the tables, by the words of `bench transfer`: `checkpoint` is a file or "random"."""

    checkpoint: Text
    name: Text | None = None
    encoder: Text | None = None
    input_spec: Text | None = None

    @property
    def label(self) -> str:
        """For a person."""
        return self.name or Path(self.checkpoint).name


class TransferEntry(Section):
    """One task and its protocols, by the words of `bench transfer`; without `data` the embedded set.

    `seeds` are those of the file if left out.
    """

    task: Text
    protocols: Slugs
    data: Text | None = None
    smoke: bool = False
    overrides: tuple[Text, ...] = ()
    devices: Devices = 1
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    batch_size: Images | None = None
    accumulate: Images | None = None
    seeds: Seeds | None = None


class SlurmTable(Section):
    """What `--launcher slurm` asks for; a job runs one cell on one node.

    `max_timeouts` is how often a cell may run into the time limit and go on in the queue. `setup` are lines
    of shell before the job. `devices = "cpu"` is for a cluster without GPUs.
    """

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    exclude: Text | None = None
    devices: Literal["gpu", "cpu"] = "gpu"
    time_limit_minutes: Annotated[int, Field(ge=5, le=100_000)] = 24 * 60
    max_timeouts: Annotated[int, Field(ge=0, le=1000)] = 20
    cpus_per_device: Annotated[int, Field(ge=1, le=256)] = 8
    memory_gib_per_device: Annotated[int, Field(ge=1, le=4096)] = 48
    max_parallel: Annotated[int, Field(ge=1, le=10_000)] = 64
    setup: tuple[Text, ...] = ()


class SweepFile(Section):
    """A file of `configs/sweeps`."""

    name: Name
    seeds: Seeds = "0"
    weights: tuple[WeightsEntry, ...] = Field(min_length=1)
    transfer: tuple[TransferEntry, ...] = Field(min_length=1)
    slurm: SlurmTable = SlurmTable()


def load_sweep(path: Path) -> SweepFile:
    """The checked file. Raises ConfigError with every fault."""
    return load_config(SweepFile, path)
