"""Charts of what a record keeps beside its metrics: a score for each class, and the loss of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.core.records import Record
from bench.report import stats
from bench.report.grid import number
from bench.report.html import svg
from bench.report.html.charts import Chart, Key, icon, short
from bench.report.html.curves import Curve
from bench.report.html.svg import Svg
from bench.report.leaderboard import Leaderboard, Row
from bench.report.render import plain

PER_CLASS: Final = "per_class"
"""The key of `details` under which stands a score of each class; see `transfer.metrics`."""

OF_CLASS: Final = {"mIoU": "IoU"}
"""What a mean over classes is called for one of them, where that is another name."""

MAX_CLASSES: Final = 24
MAX_CURVES: Final = len(svg.SHAPES)

_ROW_PX: Final = 17.0
_NAMES_PX: Final = 124.0
_MAX_LETTERS: Final = 16
_STEEP: Final = 30.0
"""A loss that falls by more than this factor is drawn on a logarithmic axis: else its end is a flat line."""


def class_scores(record: Record, metric: str) -> dict[str, float]:
    """The score of each class that goes with a metric; empty where the record has none.

    Args:
        record: Of any task.
        metric: Its main metric, or another one.
    """
    kept = record.details.get(PER_CLASS)
    if not isinstance(kept, dict):
        return {}
    key = OF_CLASS.get(metric, metric)
    found: dict[str, Any] = {name: of[key] for name, of in kept.items() if isinstance(of, dict) and key in of}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def classes_chart(board: Leaderboard, records: Mapping[str, Record]) -> Chart | None:
    """Bars of the first row's score on each class, with a mark for each baseline; None without such scores.

    Args:
        board: Of which the first row is the best.
        records: By id.
    """
    metric = board.metrics[0]
    row = next((row for row in board.rows if _means(row, records, metric)), None)
    if row is None:
        return None
    best = _means(row, records, metric)
    baselines = {one.label: _means(one, records, metric) for one in board.rows if one.baseline}
    others = [label for label in board.baselines if label != row.label and baselines[label]][:2]
    names = sorted(best, key=lambda name: (-best[name], name))
    left_out = len(names) - MAX_CLASSES
    if left_out > 0:
        names = names[: MAX_CLASSES // 2] + names[-MAX_CLASSES // 2 :]
    height = svg.TOP + _ROW_PX * len(names) + svg.BOTTOM
    top = max(value for of in (best, *(baselines[label] for label in others)) for value in of.values())
    x = svg.Scale(0.0, max(top, 1.0) * 1.02, _NAMES_PX, svg.WIDTH - svg.RIGHT)
    key = OF_CLASS.get(metric, metric)
    parts = [_class_axis(x, height, f"{plain(key)} (%)")]
    marks = [("diamond", "c1 full"), ("triangle", "c2 full")]
    for place, name in enumerate(names):
        middle = svg.TOP + _ROW_PX * (place + 0.5)
        parts += _class_row(name, middle, best[name], x, short(row.label))
        parts += [
            svg.marker(shape, x.at(baselines[other][name]), middle, class_=class_, radius=4.0,
                       title=f"{plain(name)}, {short(other)}: {number(baselines[other][name])}")
            for other, (shape, class_) in zip(others, marks, strict=False) if name in baselines[other]
        ]  # fmt: skip
    keys = [Key(_bar_icon(), short(row.label))]
    keys += [Key(icon(*mark), short(other)) for other, mark in zip(others, marks, strict=False)]
    half = MAX_CLASSES // 2
    gap = (
        f" The {half} best and the {half} worst; {left_out} in between are left out." if left_out > 0 else ""
    )
    about = (
        f"{plain(key)} of each class for {short(row.label)}, from {number(best[names[0]])} "
        f"({plain(names[0])}) to {number(best[names[-1]])} ({plain(names[-1])}).{gap}"
    )
    return Chart(
        title=f"{plain(key)} per class: {short(row.label)}",
        svg=svg.figure(about, *parts, height=height, class_="chart tall"),
        keys=tuple(keys),
        caption=f"Mean over trials.{gap}",
    )


def _means(row: Row, records: Mapping[str, Record], metric: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for trial in row.trials:
        for name, value in class_scores(records[trial.record], metric).items():
            values.setdefault(name, []).append(value)
    return {name: stats.mean(of) for name, of in values.items()}


def _class_axis(x: svg.Scale, height: float, name: str) -> Svg:
    bottom = height - svg.BOTTOM
    parts: list[Svg] = []
    for value in x.ticks():
        at = x.at(value)
        parts.append(svg.line(at, svg.TOP, at, bottom, class_="grid"))
        parts.append(svg.label(svg.tick_text(value), at, bottom + 18, class_="tick", anchor="middle"))
    parts.append(svg.label(name, (x.start + x.end) / 2, bottom + 39, class_="name", anchor="middle"))
    return Svg("".join(parts))


def _class_row(name: str, middle: float, value: float, x: svg.Scale, of: str) -> Iterator[Svg]:
    shown = plain(name)
    cut = shown if len(shown) <= _MAX_LETTERS else f"{shown[: _MAX_LETTERS - 1]}…"
    yield svg.label(cut, x.start - 6, middle + 4, class_="tick", anchor="end")
    title = svg.tag("title", svg.words(f"{shown}, {of}: {number(value)}"))
    width = max(x.at(value) - x.start, 0.5)
    yield svg.tag("rect", title, x=x.start, y=middle - 5.5, width=width, height=11.0, class_="c0 block")


def _bar_icon() -> Svg:
    block = svg.tag("rect", x=-7.0, y=-4.0, width=14.0, height=8.0, class_="c0 block")
    return svg.tag("svg", block, viewBox="-8 -8 16 16", class_="key", aria_hidden="true")


@dataclass(frozen=True)
class _Named:
    name: str
    seed: int
    curve: Curve


def curves_chart(board: Leaderboard, curves: Mapping[str, Curve]) -> Chart | None:
    """The loss over iterations: one trial of each row, the best rows first; None where no curve is known.

    Args:
        board: Whose rows.
        curves: By record id; see `bench.report.html.curves`.
    """
    known = [
        _Named(short(row.label), trial.seed, curves[trial.record])
        for row in board.rows
        if (trial := next((trial for trial in row.trials if trial.record in curves), None))
    ]
    if not known:
        return None
    drawn = known[:MAX_CURVES]
    losses = [loss for one in drawn for loss in one.curve.losses]
    steep = min(losses) > 0.0 and max(losses) / min(losses) > _STEEP
    iterations = [iteration for one in drawn for iteration in one.curve.iterations]
    x = svg.Scale(0.0, max(iterations) * 1.03, svg.LEFT, svg.WIDTH - svg.RIGHT)
    y = svg.upright(losses, log=steep)
    parts = [svg.axes(x, y, "iteration", "training loss (sum of all parts)")]
    keys = []
    for place, one in enumerate(drawn):
        class_, shape, dash = f"c{place}", svg.SHAPES[place], svg.DASHES[place]
        parts += _curve(one, x, y, class_, shape, dash)
        keys.append(Key(icon(shape, f"{class_} full"), f"{one.name}, seed {one.seed}"))
    more = f" {len(known) - len(drawn)} further rows are left out." if len(known) > len(drawn) else ""
    return Chart(
        title="Training curves",
        svg=svg.figure(
            f"Training loss over iterations for {', '.join(one.name for one in drawn)}: from "
            f"{_ends(drawn, 0)} to {_ends(drawn, -1)}.",
            *parts,
        ),
        keys=tuple(keys),
        caption=f"One trial of each row, from the log in its run folder.{more}",
    )


def _curve(one: _Named, x: svg.Scale, y: svg.Scale, class_: str, shape: str, dash: str) -> Sequence[Svg]:
    places = [(x.at(at), y.at(loss)) for at, loss in zip(one.curve.iterations, one.curve.losses, strict=True)]
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
    dashed = {"stroke_dasharray": dash} if dash else {}
    told = f"{one.name}, seed {one.seed}: {one.curve.losses[-1]:.3g} at the end"
    end = svg.marker(shape, *places[-1], class_=f"{class_} full", title=told)
    return svg.tag("polyline", points=path, class_=f"curve {class_}", **dashed), end


def _ends(drawn: Sequence[_Named], place: int) -> str:
    return ", ".join(f"{one.curve.losses[place]:.3g}" for one in drawn)
