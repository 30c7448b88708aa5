"""The rooms that import an engine; nobody else does."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from bench.core.errors import EngineError
from transfer.api import Job, Output

Engine = Callable[[Job], Output]
"""Trains and evaluates one job."""


def load_engine(name: str) -> Engine:
    """The `run_job` of `transfer.engines.<name>`.

    Raises:
        EngineError: no such engine here, or it cannot be imported.
    """
    try:
        module = importlib.import_module(f"transfer.engines.{name}.engine")
    except ImportError as error:
        raise EngineError(f"the engine {name!r} cannot be imported: {error}") from error
    run_job: Engine = module.run_job
    return run_job
