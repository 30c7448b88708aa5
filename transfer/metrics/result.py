"""What a task makes of detections: numbers, details, and the file to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.core.store import Attachment


@dataclass(frozen=True)
class Result:
    """For the record.

    Attributes:
        metrics: In percent.
        details: What else is the same on every machine.
        predictions: Detections and truth, to be kept.
        machine: What may be another on another machine.
    """

    metrics: dict[str, float]
    details: dict[str, Any]
    predictions: Attachment
    machine: dict[str, Any] = field(default_factory=dict)
