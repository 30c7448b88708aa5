"""What `bench sweep` prints: lines for a person, JSON for a script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.sweep.cells import Cell
    from bench.sweep.child import Outcome
    from bench.sweep.estimate import Cost
    from bench.sweep.planning import PlannedCell
    from bench.sweep.status import SweepStatus

_MAX_LISTED = 200


def _of_cell(cell: Cell, weights: str) -> dict[str, Any]:
    column = cell.column
    return {"weights": weights, "task": column.task, "protocol": column.protocol, "seed": cell.seed}


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from bench.commands._text import printable

    shown = [[printable(word) for word in line] for line in (header, *lines)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for line in shown:
        words = [f"{word:<{width}}" for word, width in zip(line, widths, strict=True)]
        click.echo("  ".join(words).rstrip())


def print_status(status: SweepStatus, *, as_json: bool) -> None:
    """A line a cell, then how many are in each state."""
    from bench.commands._text import echo_json
    from bench.core.log import say

    if as_json:
        found = [
            {
                **_of_cell(entry.cell, entry.weights),
                "state": entry.state,
                "text": entry.text,
                "record": entry.record_id,
                "value": entry.metric,
            }
            for entry in status.cells
        ]
        echo_json({"cells": found, "counts": dict(status.counts()), "notes": status.notes})
        return
    _table(
        ("weights", "task", "protocol", "seed", "state", ""),
        [
            (
                entry.weights,
                entry.cell.column.task,
                entry.cell.column.protocol,
                str(entry.cell.seed),
                entry.state,
                entry.text,
            )
            for entry in status.cells
        ],
    )
    counts = ", ".join(f"{count:,} {state}" for state, count in status.counts().items() if count)
    click.echo(f"{len(status.cells):,} cells: {counts}")
    for note in status.notes:
        say(f"Note: {note}")


def print_cost(cost: Cost, *, as_json: bool) -> None:
    """What is to run, what each protocol takes, what all takes."""
    from bench.commands._text import bytes_text, duration_text, echo_json, printable

    if as_json:
        echo_json(_cost_json(cost))
        return
    for planned in cost.todo[:_MAX_LISTED]:
        click.echo(f"would run  {printable(planned.label)}")
    if len(cost.todo) > _MAX_LISTED:
        click.echo(f"... and {len(cost.todo) - _MAX_LISTED:,} more")
    rows = []
    for entry in cost.columns:
        found = entry.estimate
        memory, time, hours, disk = ("?",) * 4 if entry.why_not else ("-",) * 4
        if found is not None:
            memory, time = bytes_text(found.memory_bytes), duration_text(entry.cell_seconds)
            hours, disk = f"{entry.device_hours:.1f}", bytes_text(entry.disk_bytes)
            if found.device_bytes is not None and found.memory_bytes > found.device_bytes:
                memory += f", above the {bytes_text(found.device_bytes)} of a device here"
        rows.append((entry.column.label, str(entry.num_todo), memory, time, hours, disk))
    click.echo("")
    _table(("protocol", "cells", "memory a device", "time a cell", "device-hours", "disk"), rows)
    click.echo(
        f"{cost.num_todo:,} cells to run, {cost.num_done:,} recorded already: about "
        f"{cost.device_hours:.1f} device-hours as this machine's devices go, {bytes_text(cost.disk_bytes)} "
        f"of run folders, at most {bytes_text(cost.memory_bytes)} of memory a device. Nothing was written."
    )
    for basis in dict.fromkeys(entry.estimate.basis for entry in cost.columns if entry.estimate):
        click.echo(f"Times: if the input keeps up; {basis}")


def _cost_json(cost: Cost) -> dict[str, Any]:
    return {
        "cells": [_of_cell(entry.cell, entry.known.weights_name) for entry in cost.todo],
        "num_done": cost.num_done,
        "num_todo": cost.num_todo,
        "device_hours": cost.device_hours,
        "disk_bytes": cost.disk_bytes,
        "memory_bytes": cost.memory_bytes,
        "protocols": [
            {
                "task": entry.column.task,
                "protocol": entry.column.protocol,
                "num_cells": entry.num_todo,
                "cell_seconds": entry.cell_seconds if entry.estimate else None,
                "device_hours": entry.device_hours if entry.estimate else None,
                "memory_bytes": entry.estimate.memory_bytes if entry.estimate else None,
                "disk_bytes": entry.disk_bytes if entry.estimate else None,
                "problem": entry.why_not or None,
            }
            for entry in cost.columns
        ],
    }


def print_submitted(cells: list[PlannedCell], submitted: dict[str, str], *, as_json: bool) -> None:
    """The job of each cell that was submitted now."""
    from bench.commands._text import echo_json, printable

    if as_json:
        found = [
            {**_of_cell(planned.cell, planned.known.weights_name), "job": submitted[planned.id]}
            for planned in cells
            if planned.id in submitted
        ]
        echo_json(found)
        return
    for planned in cells:
        if planned.id in submitted:
            click.echo(f"job {submitted[planned.id]}  {printable(planned.label)}")
    rest = len(cells) - len(submitted)
    click.echo(f"{len(submitted):,} cells submitted; {rest:,} are done, run or in the queue already.")


def _metric(planned: PlannedCell, results: Path) -> tuple[str, float] | None:
    record = planned.record(results)
    return None if record is None else (record.main_metric, record.metrics[record.main_metric].value)


def print_end(planned: PlannedCell, outcome: Outcome, results: Path) -> None:
    """One line for a cell that is over."""
    from bench.commands._text import printable

    metric = _metric(planned, results) if outcome.end == "done" else None
    word = f"{metric[0]} {metric[1]:.2f}" if metric else f"{outcome.end}: {outcome.text}".splitlines()[0]
    click.echo(f"{printable(planned.label)}  {printable(word)}")


def print_ended(
    cells: list[PlannedCell], ended: dict[str, tuple[PlannedCell, Outcome]], results: Path
) -> None:
    """Every cell as JSON, those recorded before too."""
    from bench.commands._text import echo_json

    found = []
    for planned in cells:
        outcome = ended[planned.id][1] if planned.id in ended else None
        metric = _metric(planned, results)
        found.append(
            {
                **_of_cell(planned.cell, planned.known.weights_name),
                "end": outcome.end if outcome else "done",
                "text": outcome.text if outcome else "recorded already",
                "record": planned.id,
                "metric": metric[0] if metric else None,
                "value": metric[1] if metric else None,
            }
        )
    echo_json(found)
