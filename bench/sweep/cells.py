"""Cells: one set of weights under one protocol with one seed, as the file names them, before any planning."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import ConfigError
from bench.core.seeds import parse_seeds
from bench.sweep.config import MAX_CELLS, SweepFile, WeightsEntry

if TYPE_CHECKING:
    from transfer.run import Options


@dataclass(frozen=True)
class Places:
    """Where runs and results go, and where the embedded data set lies, if it is there."""

    out: Path
    results: Path
    embedded: Path | None = None


@dataclass(frozen=True)
class Column:
    """One protocol of one transfer entry: what all its cells share but weights and seed."""

    task: str
    protocol: str
    data: str | None
    smoke: bool
    overrides: tuple[str, ...]
    num_devices: int
    precision: str | None
    batch_size: int | None
    accumulate: int | None

    @property
    def label(self) -> str:
        """For a person: what differs from a plain run stands in brackets."""
        also = ["smoke"] if self.smoke else []
        also += [f"batch {self.batch_size}"] if self.batch_size else []
        also += [f"in {self.accumulate} parts"] if self.accumulate else []
        also += [word for word in (self.precision, *self.overrides) if word]
        brackets = f" ({', '.join(also)})" if also else ""
        return f"{self.task} {self.protocol}{brackets}"


@dataclass(frozen=True)
class Cell:
    """One trial that the file asks for."""

    weights: WeightsEntry
    column: Column
    seed: int

    @property
    def key(self) -> str:
        """What tells it from the others of any file, before its record's id is known."""
        value = [self.weights.model_dump(), asdict(self.column), self.seed]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.weights.label}, {self.column.label}, seed {self.seed}"

    def options(self, places: Places) -> Options:
        """Those of `bench transfer`, to go on with what is there."""
        from transfer.run import Options

        column, weights = self.column, self.weights
        return Options(
            checkpoint=weights.checkpoint,
            data=data_of(column, places),
            protocol=column.protocol,
            out=places.out,
            results=places.results,
            seeds=(self.seed,),
            name=weights.name,
            encoder=weights.encoder,
            input_spec=Path(weights.input_spec) if weights.input_spec else None,
            smoke=column.smoke,
            num_devices=column.num_devices,
            precision=column.precision,
            batch_size=column.batch_size,
            accumulate=column.accumulate,
            overrides=column.overrides,
            resume=True,
        )

    def command(self, places: Places) -> list[str]:
        """The `bench transfer` that does the same by hand."""
        column, weights = self.column, self.weights
        words = ["bench", "transfer", column.task, "--protocol", column.protocol]
        words += ["--checkpoint", weights.checkpoint, "--seeds", str(self.seed)]
        flags = {
            "--name": weights.name,
            "--encoder": weights.encoder,
            "--input-spec": weights.input_spec,
            "--data": column.data,
            "--devices": None if column.num_devices == 1 else column.num_devices,
            "--precision": column.precision,
            "--batch-size": column.batch_size,
            "--accumulate": column.accumulate,
            "--out": places.out,
            "--results": places.results,
        }
        for flag, value in flags.items():
            words += [] if value is None else [flag, str(value)]
        for override in column.overrides:
            words += ["--set", override]
        return [*words, *(["--smoke"] if column.smoke else []), "--resume"]

    def command_text(self, places: Places) -> str:
        """The same for a shell."""
        return shlex.join(self.command(places))


def data_of(column: Column, places: Places) -> Path:
    """Where the data of a column lies.

    Raises:
        ConfigError: it is the embedded set, which is not there.
    """
    from transfer.api import TASKS

    if column.data is not None:
        return Path(column.data)
    if places.embedded is None:
        raise ConfigError(f"{column.label}: no data given, and the embedded set is not generated yet")
    return TASKS.get(column.task).embedded_data(places.embedded)


def cells_of(file: SweepFile, where: str) -> list[Cell]:
    """Every cell: all of the first seed first, so that whole tables come early.

    Raises:
        ConfigError: a cell is there twice, or there are far too many.
    """
    columns: list[tuple[Column, tuple[int, ...]]] = []
    for entry in file.transfer:
        seeds = parse_seeds(entry.seeds or file.seeds)
        for slug in entry.protocols:
            column = Column(
                task=entry.task,
                protocol=slug,
                data=entry.data,
                smoke=entry.smoke,
                overrides=entry.overrides,
                num_devices=entry.devices,
                precision=entry.precision,
                batch_size=entry.batch_size,
                accumulate=entry.accumulate,
            )
            columns.append((column, seeds))
    num = len(file.weights) * sum(len(seeds) for _, seeds in columns)
    if num > MAX_CELLS:
        raise ConfigError(f"{where}: {num:,} cells; expected at most {MAX_CELLS:,} in one file")
    longest = max(len(seeds) for _, seeds in columns)
    found = [
        Cell(weights, column, seeds[place])
        for place in range(longest)
        for column, seeds in columns
        if place < len(seeds)
        for weights in file.weights
    ]
    twice = [cell for cell, count in Counter(found).items() if count > 1]
    if twice:
        raise ConfigError.of([f"{where}: {cell.label}: is there twice; expected once" for cell in twice])
    return found
