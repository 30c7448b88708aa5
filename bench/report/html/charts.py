"""Charts of points: the main metric against epochs of pretraining, and one task against another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.report.across import FEW_WEIGHTS, TaskPair
from bench.report.grid import Table, axis_words, number, p_value
from bench.report.html import svg
from bench.report.html.labels import labels
from bench.report.html.origin import origin_of
from bench.report.html.svg import Svg
from bench.report.leaderboard import Leaderboard, Row
from bench.report.published import Quoted
from bench.report.published_tables import PublishedTable
from bench.report.render import plain

_TICK_ROOM_PX: Final = 32.0
_FAR: Final = 0.6
"""A baseline farther from all points than this share of their range would squeeze them, so it is told."""


@dataclass(frozen=True)
class Key:
    """A line of a legend: a small drawing and what it stands for; `published` ones go with those rows."""

    icon: Svg
    text: str
    published: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing with what stands around it; `caption` may be empty."""

    title: str
    svg: Svg
    keys: tuple[Key, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class _Kind:
    """How points of one sort look."""

    shape: str
    class_: str
    text: str


_OURS: Final = _Kind("circle", "c0 full", "measured here, with its 95 % interval")
_SELF_SUPERVISED: Final = _Kind("diamond", "c1 hollow pub", "published, ImageNet-1K without labels")
_SUPERVISED: Final = _Kind("triangle", "c4 hollow pub", "published, with ImageNet's labels")
_OTHER_DATA: Final = _Kind("square", "c2 hollow pub", "published, other data")
_UNCONFIRMED: Final = _Kind("cross", "c6 hollow pub", "published, UNCONFIRMED: no source was read")


def short(label: str) -> str:
    """A label without what nearly all of them begin with."""
    return plain(label).removeprefix("resnet50.")


def icon(shape: str, class_: str) -> Svg:
    """A marker for a legend."""
    return svg.tag(
        "svg",
        svg.marker(shape, 0.0, 0.0, class_=class_),
        viewBox="-8 -8 16 16",
        class_="key",
        aria_hidden="true",
    )


def epochs_chart(table: Table) -> Chart | None:
    """The main metric against epochs of pretraining, ours and published, with the baselines as lines.

    None where fewer than two rows say their epochs.
    """
    metric = table.metrics[0]
    rows = table.rows if isinstance(table, Leaderboard) else ()
    ours = [(row, at) for row in rows if (at := origin_of(row.name).epochs)]
    told = [
        (entry, entry.pretrain_epochs, entry.values[metric].value)
        for entry in (table.rows if isinstance(table, PublishedTable) else table.published or ())
        if entry.pretrain_epochs and metric in entry.values
    ]
    quoted = [one for one in told if one[0].arch == "ResNet-50"]
    epochs = [*(epochs for _, epochs in ours), *(epochs for _, epochs, _ in quoted)]
    if len(epochs) < 2:
        return None
    values = [*(row.cells[metric].mean for row, _ in ours), *(value for *_, value in quoted)]
    near, far = _baselines(rows, metric, values)
    x = svg.across(epochs, log=True)
    # Of two trials the interval is many times their spread: in the picture all points would be one line.
    known = [row.cells[metric] for row, _ in ours]
    ends = [end for cell in known if cell.interval and len(cell.values) > 2 for end in cell.interval]
    y = svg.upright([*values, *ends, *(value for _, value in near)])
    parts = [svg.axes(x, y, "epochs of pretraining", f"{plain(metric)} (%)", _epoch_ticks(epochs, x))]
    parts += [
        svg.line(x.start, y.at(value), x.end, y.at(value), class_="baseline", dash=svg.DASHES[1 + place % 6])
        for place, (_, value) in enumerate(near)
    ]
    parts += [_quoted_point(entry, x.at(at), y.at(value), value) for entry, at, value in quoted]
    parts += [_our_point(row, metric, x.at(at), y) for row, at in ours]
    parts.append(
        labels(
            [(x.at(at), y.at(row.cells[metric].mean), short(row.label)) for row, at in ours],
            [(x.at(at), y.at(value)) for _, at, value in quoted],
        )
    )
    kinds = [*([_OURS] if ours else []), *dict.fromkeys(_kind(entry) for entry, *_ in quoted)]
    captions = []
    if far:
        captions.append(f"Outside of the picture: {'; '.join(far)}.")
    if any(
        cell.interval and not (y.low <= cell.interval[0] and cell.interval[1] <= y.high) for cell in known
    ):
        captions.append("A bar that reaches the edge of the picture goes on beyond it.")
    if num_others := len(told) - len(quoted):
        captions.append(f"{num_others} published rows of other networks are in the table alone.")
    if quoted and isinstance(table, Leaderboard) and table.status == "substituted":
        captions.append("Published rows ran the protocol as written, ours a substitution: near, not equal.")
    about = (
        f"{plain(metric)} against epochs of pretraining on {plain(table.task)}, {plain(table.protocol)}: "
        f"{len(ours)} measured rows, {len(quoted)} published. The table above has the numbers."
    )
    return Chart(
        title=f"{plain(metric)} against epochs of pretraining",
        svg=svg.figure(about, *parts),
        keys=(
            *(Key(icon(kind.shape, kind.class_), kind.text, published=kind is not _OURS) for kind in kinds),
            *(Key(_line_icon(place), f"{name}: {number(value)}") for place, (name, value) in enumerate(near)),
        ),
        caption=" ".join(captions),
    )


def _baselines(
    rows: Sequence[Row], metric: str, values: Sequence[float]
) -> tuple[list[tuple[str, float]], list[str]]:
    """Baselines that are drawn, and the words for those that lie too far off."""
    near, far = [], []
    for row in rows:
        if row.baseline:
            mean = row.cells[metric].mean
            if _is_near(mean, values):
                near.append((short(row.label), mean))
            else:
                far.append(f"{short(row.label)}, {number(mean)}")
    return near, far


def _is_near(value: float, others: Sequence[float]) -> bool:
    room = _FAR * (max(others) - min(others)) or 1.0
    return min(others) - room <= value <= max(others) + room


def _line_icon(place: int) -> Svg:
    drawn = svg.line(-8.0, 0.0, 8.0, 0.0, class_="baseline", dash=svg.DASHES[1 + place % 6])
    return svg.tag("svg", drawn, viewBox="-8 -8 16 16", class_="key", aria_hidden="true")


def _epoch_ticks(epochs: Sequence[int], x: svg.Scale) -> list[float]:
    """The epochs that occur, those of most rows first, as far as their numbers have room."""
    kept: list[float] = []
    for value, _ in sorted(Counter(epochs).items(), key=lambda item: (-item[1], item[0])):
        if all(abs(x.at(value) - x.at(other)) >= _TICK_ROOM_PX for other in kept):
            kept.append(value)
    return sorted(kept)


def _kind(entry: Quoted) -> _Kind:
    if not entry.confirmed:
        return _UNCONFIRMED
    if entry.pretrain_data != "ImageNet-1K":
        return _OTHER_DATA
    return _SUPERVISED if entry.labels_used != "none" else _SELF_SUPERVISED


def _quoted_point(entry: Quoted, x: float, y: float, value: float) -> Svg:
    kind = _kind(entry)
    doubt = "" if entry.confirmed else " UNCONFIRMED."
    told = (
        f"{plain(entry.method)}, {entry.pretrain_epochs} epochs of {plain(entry.pretrain_data)}: "
        f"{number(value)}. Published:{doubt} {plain(entry.source)}"
    )
    return svg.marker(kind.shape, x, y, class_=kind.class_, title=told)


def _our_point(row: Row, metric: str, x: float, y: svg.Scale) -> Svg:
    cell = row.cells[metric]
    parts: list[Svg] = []
    told = f"{plain(row.label)}: {number(cell.mean)}, {len(cell.values)} trials"
    if cell.interval:
        low, high = cell.interval
        told += f", 95 % interval {number(low)} to {number(high)}"
        low, high = max(low, y.low), min(high, y.high)
        parts.append(svg.line(x, y.at(low), x, y.at(high), class_="bar c0"))
    parts.append(svg.marker("circle", x, y.at(cell.mean), class_="c0 full", title=told))
    return Svg("".join(parts))


def scatter(pair: TaskPair) -> Chart:
    """One task against another, a point for each set of weights that both have.

    Args:
        pair: From `bench.report.across`; a table that is not exact is named so.
    """
    first, second = (f"{plain(axis.task)} {plain(axis.metric)} (%)" for axis in (pair.first, pair.second))
    drawn, far = _near_points(pair)
    x, y = svg.across([here for _, here, _ in drawn]), svg.upright([there for *_, there in drawn])
    parts = [svg.axes(x, y, first, second)]
    points = []
    for label, here, there in drawn:
        told = f"{plain(label)}: {number(here)} and {number(there)}"
        shape, class_ = ("triangle", "c1 full") if label in pair.baselines else ("circle", "c0 full")
        parts.append(svg.marker(shape, x.at(here), y.at(there), class_=class_, title=told))
        points.append((x.at(here), y.at(there), short(label)))
    parts.append(labels(points))
    baselines = any(label in pair.baselines for label, *_ in drawn)
    names = [plain(axis_words(axis, (pair.first, pair.second))) for axis in (pair.first, pair.second)]
    protocols = "Across: {}. Up: {}.".format(*names)
    outside = f" Outside of the picture: {'; '.join(far)}." if far else ""
    return Chart(
        title=f"{plain(pair.second.task)} against {plain(pair.first.task)}",
        svg=svg.figure(f"{second} against {first}. {agreement_words(pair)}", *parts),
        keys=(
            Key(icon("circle", "c0 full"), "weights"),
            *([Key(icon("triangle", "c1 full"), "baseline")] if baselines else []),
        ),
        caption=f"{agreement_words(pair)} {protocols}{outside}",
    )


def _near_points(pair: TaskPair) -> tuple[list[tuple[str, float, float]], list[str]]:
    """Weights that are drawn, and the words for baselines that lie too far off: random ones would."""
    points = list(zip(pair.labels, pair.first_means, pair.second_means, strict=True))
    others = [point for point in points if point[0] not in pair.baselines]
    if len(others) < 2:
        return points, []
    near, far = [], []
    for label, here, there in points:
        is_near = _is_near(here, [x for _, x, _ in others]) and _is_near(there, [y for *_, y in others])
        if is_near or label not in pair.baselines:
            near.append((label, here, there))
        else:
            far.append(f"{short(label)}, {number(here)} and {number(there)}")
    return near, far


def agreement_words(pair: TaskPair) -> str:
    """Whether both tasks put the weights into one order, in a sentence."""
    num = len(pair.labels)
    if pair.tau is None or pair.p_value is None:
        return f"{num} weights on both: too few, or all equal, to say whether the tasks agree."
    few = f" Fewer than {FEW_WEIGHTS} weights: chance alone may do that." if num < FEW_WEIGHTS else ""
    return f"Kendall's tau {pair.tau:+.2f} over {num} weights (p {p_value(pair.p_value)}).{few}"
