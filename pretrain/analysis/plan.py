"""What a study would do, checked before anything is trained: its cells, and which of them are missing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.core.checkpoint import newest_step
from bench.core.config import find_config, load_config
from bench.core.errors import ConfigError, UsageError
from bench.core.paths import ROOT
from bench.core.protocol import differences, digest, number_changing
from bench.core.study import StudyRecord, StudyStore, study_id
from pretrain.analysis.api import STUDIES, Cell, Setting, Stamped, Study
from pretrain.analysis.config import StudyConfig
from pretrain.analysis.pictures import Sources

CONFIGS = ROOT / "configs" / "views"


@dataclass(frozen=True)
class Options:
    """What was asked for; see `bench views --help`."""

    study: str
    size: str
    data: Path | None
    probe_data: Path | None
    out: Path
    results: Path
    seeds: tuple[int, ...] | None
    overrides: tuple[str, ...]
    resume: bool
    dry_run: bool


@dataclass(frozen=True)
class Plan:
    """A study that can be run.

    Attributes:
        study: Which one.
        config: As its file says, and --set.
        departures: Fields that differ from the file.
        data: What cells are given.
        identity: Hash of what moves numbers, but setting and seed.
        settings: All of them.
        seeds: Trials of each.
        device: Where it is computed.
        options: What was asked for.
    """

    study: Study
    config: StudyConfig[Any]
    departures: tuple[str, ...]
    data: Stamped
    identity: str
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    device: torch.device
    options: Options

    @property
    def store(self) -> StudyStore:
        """Where records are."""
        return StudyStore(self.options.results)

    def cell(self, setting: Setting, seed: int) -> Cell:
        """What its trainer is given."""
        return Cell(self.config, setting, seed, self.data, self.device)

    def folder(self, setting: Setting, seed: int) -> Path:
        """Where a cell keeps its checkpoints, and what else is worth keeping."""
        name = f"{self.study.name}-{self.config.size}-{self.identity[:8]}"
        slug = re.sub(r"[^a-z0-9]+", "-", setting.name.lower()).strip("-")
        return self.options.out / name / slug / f"seed-{seed}"

    def record(self, setting: Setting, seed: int) -> StudyRecord | None:
        """The record of a cell, if it is done."""
        id_ = study_id(self.study.name, self.study.version, self.identity, setting.name, seed)
        return self.store.find(self.study.name, id_)

    def missing(self) -> list[tuple[Setting, int]]:
        """Cells without a record, all settings of one seed before the next seed.

        Raises:
            UsageError: one was begun, and `resume` was not asked for.
        """
        cells = [(setting, seed) for seed in self.seeds for setting in self.settings]
        todo = [cell for cell in cells if self.record(*cell) is None]
        begun = [self.folder(*cell) for cell in todo if newest_step(self.folder(*cell) / "checkpoints")]
        if begun and not self.options.resume:
            raise UsageError(f"{begun[0]}: was begun. --resume goes on with it; another --out starts anew.")
        return todo

    def lines(self) -> list[str]:
        """What will be done, for a person."""
        config, training = self.config, self.config.training
        counts = ", ".join(f"{count:,} {part}" for part, count in self.data.stamp.counts.items())
        lines = [
            f"Study     {self.study.name}: {self.study.summary}",
            f"Data      {self.data.stamp.name}, {config.images.size_px} px: {counts}",
            f"Networks  {config.network.arch}; {training.epochs} epochs, batch {training.batch_size}, "
            f"temperature {training.temperature:g}",
            f"I_NCE     among K = {training.num_candidates} candidates, at most "
            f"{math.log(training.num_candidates):.2f} nats",
            f"Cells     {len(self.settings)} settings x {len(self.seeds)} seeds on {self.device.type}",
        ]
        return lines + [f"Changed   {departure}" for departure in self.departures]


def make_plan(options: Options) -> Plan:
    """Read and check everything.

    Raises:
        ConfigError: the config, or settings that do not fit together.
        DataError: the data.
        UsageError: --data is given to a study that draws its own.
    """
    study = STUDIES.get(options.study)
    path = find_config(CONFIGS, f"{study.name}-{options.size}")
    model = StudyConfig[study.views]  # type: ignore[name-defined]
    published = load_config(model, path)
    config = load_config(model, path, options.overrides)
    if config.study != study.name or config.size != options.size:
        raise ConfigError(f"{path}: study and size are {config.study!r} and {config.size!r}, not its name's")
    if not study.takes_data and (options.data is not None or options.probe_data is not None):
        raise UsageError(f"{study.name} draws its own data; --data and --probe-data mean nothing to it")
    fields = number_changing(config)
    departures = tuple(differences(fields, number_changing(published), what=path.name))
    settings = study.settings(config)
    data = study.data(
        config, Sources(options.data, options.probe_data, None if options.dry_run else options.out / "index")
    )
    seeds = options.seeds if options.seeds is not None else tuple(range(config.seeds))
    return Plan(
        study=study,
        config=config,
        departures=departures,
        data=data,
        identity=digest(
            {"study": study.name, "version": study.version, "fields": fields, "data": data.stamp.fingerprint}
        ),
        settings=settings,
        seeds=seeds,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        options=options,
    )
