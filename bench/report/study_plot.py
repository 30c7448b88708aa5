"""The pictures of a study: a score against I_NCE, or bars of several scores; PNG and SVG of one drawing.

Equal groups give byte-equal files with one version of Matplotlib, whatever the user's own style is.
"""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from bench.core import atomic
from bench.core.errors import UsageError
from bench.report import stats
from bench.report.render import plain
from bench.report.reverse_u import Point, ReverseU, reverse_u
from bench.report.study_table import SettingRow, StudyGroup, facts, nats, points, title, verdict_text

DPI: Final = 150
WIDTH_IN: Final = 8.0
_POINT: Final = 72.0 / DPI  # of a pixel
_AXES_IN: Final = 4.2
_LINE_IN: Final = 0.165
"""A line of the caption, at 9 pt."""
_LINE_LETTERS: Final = 112
_FIT, _SPOT, _INTERVAL, _NO_PEAK = "quadratic fit", "sweet spot", "95 % interval", "fit, peak not supported"

_COLOURS: Final = tuple(matplotlib.color_sequences["okabe_ito"][index] for index in (5, 6, 3, 7, 1, 2, 0))
"""Told apart also with a colour vision deficiency; its yellow is left out, which is too light on white.

Source:
    Matplotlib 3.11, the colour sequence "okabe_ito".
"""
_MARKERS: Final = "osD^vPX*"
_GREY: Final = "#777777"
_STYLE: Final[Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#e8e8e8",
    "font.size": 10.0,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "study",  # ids in the file would be random without it
    "text.parse_math": False,  # a "$" in a name is a "$"
}
_NO_WORDS: Final[Mapping[str, str]] = MappingProxyType({})

_PLACES: Final = (
    (6, 4, 0.0, 0.0), (-6, 4, 1.0, 0.0), (6, -4, 0.0, 1.0), (-6, -4, 1.0, 1.0), (0, 9, 0.5, 0.0),
    (0, -9, 0.5, 1.0), (12, 0, 0.0, 0.5), (-12, 0, 1.0, 0.5), (14, 20, 0.0, 0.0), (-14, 20, 1.0, 0.0),
    (14, -20, 0.0, 1.0), (-14, -20, 1.0, 1.0), (0, 24, 0.5, 0.0), (0, -24, 0.5, 1.0), (24, 12, 0.0, 0.0),
    (-24, 12, 1.0, 0.0), (24, -12, 0.0, 1.0), (-24, -12, 1.0, 1.0),
)  # fmt: skip
"""Where a label may stand, best first: points right of and above its own, and which part of it is there."""


def draw(
    group: StudyGroup, score: str, path_png: Path, path_svg: Path, *, words: Mapping[str, str] = _NO_WORDS
) -> ReverseU:
    """Draw a score against I_NCE: a point for each setting, the fitted quadratic, what the tests say of it.

    One curve for all series. The sweet spot and its interval are drawn only where an interior maximum is
    supported; else the curve is grey and dashed.

    Args:
        group: What to draw.
        score: One of `group.scores`.
        path_png: Where the PNG goes, 1,200 px wide; what is there is replaced.
        path_svg: Where the SVG goes.
        words: What a score is called, for those that have more than a name.

    Returns:
        The tests that the caption gives.

    Raises:
        UsageError: no record of the group has that score.
        DiskError: a place cannot be written.
    """
    chosen = points(group, score)
    found = reverse_u(chosen)
    drawn = [row for row in group.rows if score in row.scores]
    caption = [
        verdict_text(found),
        f"{_bars_text('Bars in both directions', drawn)}"
        f"{f' Numbers at points: {group.knob_name}.' if group.knob_name else ''}",
        *facts(group)[:-1],
    ]
    with _style():
        figure, axes = _figure(group, caption, [*group.series, _FIT, _SPOT, _INTERVAL])
        for index, name in enumerate(group.series):
            own = [point for row, point in zip(drawn, chosen, strict=True) if row.series == name]
            if own:
                _draw_series(axes, own, index, name)
        _draw_fit(axes, found)
        axes.set_xlabel(r"$I_\mathrm{NCE}$ (nats)", parse_math=True)
        axes.set_ylabel(textwrap.fill(plain(words.get(score, f"{score} (%)")), 52))
        axes.margins(0.1)
        _legend(axes)
        _label(
            figure, axes, [(_short(group, row), _label_colour(group, row)) for row in drawn], chosen, found
        )
        _write(figure, path_png, path_svg)
    return found


def draw_bars(
    group: StudyGroup,
    scores: Sequence[str],
    path_png: Path,
    path_svg: Path,
    *,
    words: Mapping[str, str] = _NO_WORDS,
) -> None:
    """Draw a cluster of bars for each setting, one bar for each score, with I_NCE below.

    For studies whose scores are of several tasks, and whose settings are no row of more and less.

    Args:
        group: What to draw.
        scores: Of `group.scores`, from left to right.
        path_png: As in `draw`.
        path_svg: As in `draw`.
        words: As in `draw`.

    Raises:
        UsageError: no scores, or no record of the group has one of them.
        DiskError: a place cannot be written.
    """
    if not scores:
        raise UsageError(f"{group.study}: no scores to draw; there are: {', '.join(group.scores) or 'none'}")
    for score in scores:
        points(group, score)
    caption = [
        f"{_bars_text('Bars on top', group.rows)} Below each setting: its I_NCE in nats.",
        *facts(group)[:-1],
    ]
    names = [plain(words.get(score, score)) for score in scores]
    width = 0.8 / len(scores)
    letters = max(8, int(90 / len(group.rows)))
    ticks = [[*_broken(row.setting, letters), nats(row.i_nce)] for row in group.rows]
    with _style():
        figure, axes = _figure(group, caption, names, tick_lines=max(map(len, ticks)))
        for index, (score, name) in enumerate(zip(scores, names, strict=True)):
            here = [(place, row.scores[score]) for place, row in enumerate(group.rows) if score in row.scores]
            axes.bar(
                [place + (index - (len(scores) - 1) / 2.0) * width for place, _ in here],
                [value.mean for _, value in here],
                width,
                yerr=[_length(value.std) for _, value in here],
                color=_COLOURS[index % len(_COLOURS)],
                edgecolor="black",
                linewidth=0.6,
                hatch=("", "//", "..", "\\\\", "xx")[index % 5],
                capsize=3.0,
                label=name,
            )
        axes.set_xticks(range(len(group.rows)), ["\n".join(lines) for lines in ticks])
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("score (%)")
        axes.set_ylim(bottom=0.0)
        _legend(axes)
        _write(figure, path_png, path_svg)


def _broken(setting: str, letters: int) -> list[str]:
    """A name in lines of so many letters; "digit+background" breaks behind its "+"."""
    return [line.replace("+ ", "+") for line in textwrap.wrap(plain(setting).replace("+", "+ "), letters)]


@contextlib.contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _figure(
    group: StudyGroup, caption: Sequence[str], legend: Sequence[str], *, tick_lines: int = 2
) -> tuple[Figure, Axes]:
    """A figure as high as what is written in it needs, with its title; the axes are of one size always."""
    lines = [line for text in caption for line in textwrap.wrap(plain(text), _LINE_LETTERS)]
    below = 0.4 + 0.18 * tick_lines + _LINE_IN * len(lines)
    above = 0.5 + 0.2 * math.ceil(len(legend) / _columns(legend))
    height = below + _AXES_IN + above
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI)
    axes = figure.add_axes((0.09, below / height, 0.89, _AXES_IN / height))
    top, bottom = 1.0 - 0.12 / height, 0.08 / height
    figure.text(0.02, top, plain(title(group)), fontsize=12.0, va="top", weight="bold")
    figure.text(0.02, bottom, "\n".join(lines), fontsize=9.0, va="bottom", color="#333333", linespacing=1.3)
    return figure, axes


def _draw_series(axes: Axes, chosen: Sequence[Point], index: int, name: str) -> None:
    axes.errorbar(
        [stats.mean(point.i_nce) for point in chosen],
        [stats.mean(point.scores) for point in chosen],
        xerr=[_length(stats.sample_std(point.i_nce)) for point in chosen],
        yerr=[_length(stats.sample_std(point.scores)) for point in chosen],
        fmt=_MARKERS[index % len(_MARKERS)],
        color=_COLOURS[index % len(_COLOURS)],
        markersize=7.0,
        elinewidth=1.2,
        capsize=3.0,
        label=plain(name),
        zorder=3.0,
    )


def _draw_fit(axes: Axes, found: ReverseU) -> None:
    if found.fit is None:
        return
    x = np.linspace(*found.x_range, 200)
    if not found.supported or found.interval is None or found.sweet_spot is None:
        axes.plot(x, found.fit.at(x), color=_GREY, linestyle="--", linewidth=1.2, label=_NO_PEAK)
        return
    axes.axvspan(*found.interval, color="#cfe3f2", linewidth=0.0, label=_INTERVAL)
    axes.axvline(found.sweet_spot, color=_COLOURS[0], linewidth=1.0, linestyle=":", label=_SPOT)
    axes.plot(x, found.fit.at(x), color="black", linewidth=1.4, label=_FIT)


def _legend(axes: Axes) -> None:
    """Between title and axes, where it hides nothing; series come first."""
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda index: not isinstance(handles[index], ErrorbarContainer))
    axes.legend(
        [handles[index] for index in order], [names[index] for index in order], loc="lower left",
        bbox_to_anchor=(-0.02, 1.0), ncols=_columns(names), frameon=False, fontsize=9.0, columnspacing=1.2,
        handletextpad=0.5,
    )  # fmt: skip


def _columns(names: Sequence[str]) -> int:
    """How many columns of a legend have room: all names in one row, or as many as the longest allows."""
    widths = [len(name) + 7 for name in names]  # in letters, with what stands before a name
    return len(widths) if sum(widths) <= _LINE_LETTERS else max(1, _LINE_LETTERS // max(widths))


def _label(
    figure: Figure, axes: Axes, names: Sequence[tuple[str, Any]], chosen: Sequence[Point], found: ReverseU
) -> None:
    """Put each name, in its colour, beside its point where it hides least of what is there already."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    at = [(stats.mean(point.i_nce), stats.mean(point.scores)) for point in chosen]
    taken = [box for place, point in zip(at, chosen, strict=True) for box in _boxes(axes, place, point)]
    if found.fit:
        x = np.linspace(*found.x_range, 200)
        line = axes.transData.transform(np.stack([x, found.fit.at(x)], axis=1))
        taken += list(np.concatenate([line - 2.0, line + 2.0], axis=1))
    for (name, colour), place in zip(names, at, strict=True):
        text = axes.annotate(name, place, (0.0, 0.0), textcoords="offset points", fontsize=9.0, color=colour)
        size = np.array(text.get_window_extent(renderer).size)
        corners = [np.array(place[:2]) / _POINT - np.array(place[2:]) * size for place in _PLACES]
        spot = axes.transData.transform(place)
        boxes = [np.concatenate([spot + corner, spot + corner + size]) for corner in corners]
        costs = [
            _overlap(box, taken) + 10.0 * (size.prod() - _overlap(box, [axes.bbox.extents])) + far
            for box, far in zip(boxes, (0.4 * (x**2 + y**2) for x, y, *_ in _PLACES), strict=True)
        ]  # in pixels hidden, pixels outside of the axes, and a little for the distance
        best = costs.index(min(costs))
        taken.append(boxes[best] + [-4.0, 0.0, 4.0, 0.0])
        text.set_position(corners[best] * _POINT)


def _boxes(axes: Axes, place: tuple[float, float], point: Point) -> list[Any]:
    """Left, bottom, right, top, in pixels, of the marker of a point and of its two bars."""
    across, up = (stats.sample_std(values) or 0.0 for values in (point.i_nce, point.scores))
    spots = ((0.0, 0.0), (across, 0.0), (0.0, up))
    low, high = (axes.transData.transform(np.add(place, np.multiply(sign, spots))) for sign in (-1, 1))
    half = np.array([[5.0 / _POINT], [2.0], [2.0]])
    return list(np.concatenate([low - half, high + half], axis=1))


def _overlap(box: Any, others: Sequence[Any]) -> float:
    """Square pixels that a box shares with each of the others, summed."""
    stack = np.array(others)
    sides = np.minimum(box[2:], stack[:, 2:]) - np.maximum(box[:2], stack[:, :2])
    return float(np.maximum(sides, 0.0).prod(axis=1).sum())


def _short(group: StudyGroup, row: SettingRow) -> str:
    """The knob's value, or the setting without the name of its series where the legend has that."""
    if group.knob_name:
        return f"{row.knob:g}"
    short = row.setting.removesuffix(row.series).strip() if len(group.series) > 1 else row.setting
    return plain(short or row.setting)


def _label_colour(group: StudyGroup, row: SettingRow) -> Any:
    return _COLOURS[group.series.index(row.series) % len(_COLOURS)] if len(group.series) > 1 else "black"


def _bars_text(what: str, rows: Sequence[SettingRow]) -> str:
    fewest, most = (pick(len(row.seeds) for row in rows) for pick in (min, max))
    if most == 1:
        return "One seed a setting, so without bars for its spread."
    seeds = f"{fewest} seeds" if fewest == most else f"{fewest} to {most} seeds"
    return f"{what}: one sample standard deviation over {seeds} a setting."


def _length(std: float | None) -> float:
    return float("nan") if std is None else std


def _write(figure: Figure, path_png: Path, path_svg: Path) -> None:
    png = BytesIO()
    svg = BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    atomic.write_bytes(path_png, png.getvalue())
    atomic.write_bytes(path_svg, svg.getvalue())
