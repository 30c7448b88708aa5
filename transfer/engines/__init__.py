"""The rooms that import an engine; nobody else does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from bench.core.errors import EngineError
from transfer.api import Estimate, Job, Output

Engine = Callable[[Job], Output]
"""Trains and evaluates one job."""


@dataclass(frozen=True)
class Room:
    """What the file `engine.py` of an engine's room offers.

    Attributes:
        run_job: Trains and evaluates one job.
        estimate_job: Says what one will take, from a short trial on this machine.
    """

    run_job: Engine
    estimate_job: Callable[[Job], Estimate]


def load_engine(name: str) -> Room:
    """The room `transfer.engines.<name>`.

    Raises:
        EngineError: no such engine here, or it cannot be imported.
    """
    try:
        module = importlib.import_module(f"transfer.engines.{name}.engine")
    except ImportError as error:
        raise EngineError(f"the engine {name!r} cannot be imported: {error}") from error
    return Room(module.run_job, module.estimate_job)
