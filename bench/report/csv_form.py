"""Tables as CSV: one line a number, full precision, for programs. Equal input, equal bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from bench.report.leaderboard import Cell, Ends, Leaderboard, Row
from bench.report.published import Quoted
from bench.report.published_tables import PublishedTable, plain_model, values_by_model

CSV_COLUMNS = (
    "task", "task_version", "protocol", "identity", "status", "departures", "engine", "data",
    "data_fingerprint", "num_classes",
    "metric_rule", "kind", "weights", "label", "tensors_sha256", "pretrain_data", "pretrain_epochs", "metric",
    "mean", "std", "interval_low", "interval_high", "rank_best", "rank_worst", "trials", "seeds", "records",
    "baseline", "difference", "standard_error", "beyond_noise", "source", "confirmed", "note",
    "contradicted_by",
)  # fmt: skip


def as_csv(tables: Sequence[Leaderboard | PublishedTable]) -> str:
    """One line a number, full precision: each metric of each row, then its difference to each baseline.

    `kind` is `measured`, `difference` (to `baseline`, the `label` of a row) or `published`. `trials` and
    `seeds` are those that have the metric, `records` the row's. `contradicted_by` are the values that other
    sources give of the same metric of the same model, with a space between.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    quoted: set[tuple[object, ...]] = set()
    for table in tables:
        if isinstance(table, Leaderboard):
            writer.writerows(_csv_leaderboard(table))
        # Published values have no identity of ours, and stand once though two tables may show them.
        where = {"task": table.task, "protocol": table.protocol}
        rows = table.published if isinstance(table, Leaderboard) else table.rows
        earlier = frozenset(quoted)
        for line in _csv_published(rows or ()):
            # A remark may be on metrics that only one of the tables has; within one it tells rows apart.
            told = (value for name, value in line.items() if name not in ("note", "contradicted_by"))
            key = (table.task, table.protocol, *told)
            quoted.add(key)
            if key not in earlier:
                writer.writerow({**where, **line})
    return buffer.getvalue()


def _csv_leaderboard(leaderboard: Leaderboard) -> Iterator[dict[str, object]]:
    table = {
        "task": leaderboard.task,
        "task_version": leaderboard.task_version,
        "protocol": leaderboard.protocol,
        "identity": leaderboard.identity,
        "status": leaderboard.status,
        "departures": "; ".join(leaderboard.departures),
        "engine": leaderboard.engine,
        "data": leaderboard.data,
        "data_fingerprint": leaderboard.data_fingerprint,
        "num_classes": leaderboard.num_classes,
        "metric_rule": leaderboard.metric_rule,
    }
    for row in leaderboard.rows:
        yield from ({**table, **line} for line in _csv_measured(leaderboard, row))


def _csv_measured(leaderboard: Leaderboard, row: Row) -> list[dict[str, object]]:
    who: dict[str, object] = {
        "weights": row.name,
        "label": row.label,
        "tensors_sha256": row.tensors_sha256,
        "records": " ".join(trial.record for trial in row.trials),
    }
    lines: list[dict[str, object]] = [
        {**who, **_csv_rank(row, metric == leaderboard.metrics[0]), "kind": "measured", "metric": metric}
        | {"mean": row.cells[metric].mean, "std": row.cells[metric].std}
        | _csv_trials(row.cells[metric])
        | _csv_interval(row.cells[metric].interval)
        for metric in leaderboard.metrics
        if metric in row.cells
    ]
    for baseline in leaderboard.baselines:
        for metric in leaderboard.metrics:
            gap = row.differences.get(baseline, {}).get(metric)
            if gap is not None:
                error = {"difference": gap.value, "standard_error": gap.standard_error}
                noise = {"beyond_noise": _YES_NO[gap.beyond_noise], **_csv_interval(gap.interval)}
                what = {"kind": "difference", "metric": metric, "baseline": baseline}
                lines.append({**who, **what, **error, **noise, **_csv_trials(row.cells[metric])})
    return lines


_YES_NO = {True: "yes", False: "no", None: ""}


def _csv_trials(cell: Cell) -> dict[str, object]:
    return {"trials": len(cell.values), "seeds": " ".join(map(str, cell.seeds))}


def _csv_interval(ends: Ends | None) -> dict[str, object]:
    return {} if ends is None else {"interval_low": ends[0], "interval_high": ends[1]}


def _csv_rank(row: Row, main: bool) -> dict[str, object]:
    """Ranks are by the main metric alone."""
    return {"rank_best": row.rank[0], "rank_worst": row.rank[1]} if row.rank and main else {}


def _csv_published(entries: Sequence[Quoted]) -> Iterator[dict[str, object]]:
    values = values_by_model(entries)
    for entry in entries:
        for metric, value in entry.values.items():
            others = sorted(values[plain_model(entry), metric] - {value.value})
            yield {
                "kind": "published",
                "weights": entry.method if entry.arch == "ResNet-50" else f"{entry.method} ({entry.arch})",
                "pretrain_data": entry.pretrain_data,
                "pretrain_epochs": entry.pretrain_epochs,
                "metric": metric,
                "mean": value.value,
                "std": value.std,
                "trials": entry.trials,
                "source": entry.source,
                "confirmed": "yes" if entry.confirmed else "no",
                "note": "; ".join(entry.notes),
                "contradicted_by": " ".join(map(str, others)),
            }
