"""Studies of views in the page: the plots of `bench.report.study_plot`, what the tests say, the table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.report.html.pictures import Picture, Shown, as_uri, small
from bench.report.render import plain
from bench.report.study_plot import DPI, WIDTH_IN, draw, draw_bars
from bench.report.study_table import StudyGroup, facts, header, rows, title, verdict_text

MAX_SVG_BYTES: Final = 160_000
"""A plot of seven settings has 87 kB, its bars 155 kB, both as PNG 95 kB."""

Words = Mapping[str, str]
"""What a score is called on an axis, by its name."""


@dataclass(frozen=True)
class Study:
    """One group of study records."""

    title: str
    facts: tuple[str, ...]
    sentences: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    plots: tuple[Shown, ...]


def study(group: StudyGroup, words: Words) -> Study:
    """Draw a group: each score against I_NCE, and bars of all where there are several.

    Args:
        group: From `bench.report.study_table.groups`.
        words: What its scores are called.

    Raises:
        DiskError: the system's folder of temporary files cannot be written.
    """
    plots, sentences = [], []
    with tempfile.TemporaryDirectory() as folder:
        png, svg = Path(folder, "plot.png"), Path(folder, "plot.svg")
        for score in group.scores:
            said = (
                f"{plain(words.get(score, score))}: {verdict_text(draw(group, score, png, svg, words=words))}"
            )
            sentences.append(said)
            plots.append(_plot(f"{plain(group.study)}: {plain(score)} against I_NCE", said, png, svg))
        if len(group.scores) > 1:
            draw_bars(group, list(group.scores), png, svg, words=words)
            names = ", ".join(map(plain, group.scores))
            about = f"Bars of {names} for each setting; the table below has the numbers."
            plots.append(_plot(f"{plain(group.study)}: all scores", about, png, svg))
    return Study(
        title=plain(title(group)),
        facts=tuple(map(plain, facts(group))),
        sentences=tuple(sentences),
        header=tuple(map(plain, header(group))),
        rows=tuple(tuple(map(plain, cells)) for cells in rows(group)),
        plots=tuple(plots),
    )


def _plot(title: str, about: str, png: Path, svg: Path) -> Shown:
    """The SVG, sharp at every size, unless it is large: it takes a kilobyte or two for each point."""
    data = svg.read_bytes()
    as_png = small(Picture(title, png.read_bytes(), about))
    if len(data) > MAX_SVG_BYTES:
        return as_png
    width = round(WIDTH_IN * DPI)
    height = round(as_png.height * width / as_png.width)
    return Shown(title, about, as_uri(data, "image/svg+xml"), width, height)


def all_plots(studies: Sequence[Study]) -> list[Shown]:
    """The plots of all studies, in order."""
    return [plot for one in studies for plot in one.plots]
