"""The whole leaderboard as one static page: what it holds, how large it may be, and that it fetches nothing.

Equal input, equal bytes. Text of records and sources is escaped by the templates; what the page runs and how
it looks is its own alone, told to the browser by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jinja2

from bench import __version__
from bench.core.paths import DEFAULT_RESULTS
from bench.core.records import Record
from bench.report.across import TaskPair
from bench.report.grid import Table, axis_words
from bench.report.html.charts import Chart, agreement_words, scatter
from bench.report.html.curves import Curve
from bench.report.html.pictures import MAX_PICTURES, Picture, Shown, fit, small
from bench.report.html.record_data import as_data
from bench.report.html.sections import Section, section
from bench.report.html.studies import Study, Words, all_plots, study
from bench.report.render import plain
from bench.report.study_table import StudyGroup

MAX_BYTES: Final = 5_000_000
"""Of the page. Tables and records are never left out; pictures are, where they would make it larger."""

MAX_SCATTERS: Final = 12
"""Ten tables have 45 pairs: those that share most weights are drawn, the others told in a line each."""

_ROOM_BYTES: Final = 50_000
"""For what stands around the pictures."""

_MAX_TITLES: Final = 10

_HERE: Final = Path(__file__).parent
_NO_CURVES: Final[Mapping[str, Curve]] = MappingProxyType({})
_NO_WORDS: Final[Mapping[str, Words]] = MappingProxyType({})


def as_html(
    tables: Sequence[Table],
    records: Iterable[Record],
    *,
    results: Path = DEFAULT_RESULTS,
    pairs: Sequence[TaskPair] = (),
    studies: Sequence[StudyGroup] = (),
    study_words: Mapping[str, Words] = _NO_WORDS,
    pictures: Sequence[Picture] = (),
    curves: Mapping[str, Curve] = _NO_CURVES,
) -> str:
    """The page, to be written in UTF-8.

    Args:
        tables: From `bench.report.tables` and, of published rows alone, `bench.report.published_tables`.
        records: All that they were made of.
        results: The store that these lie in.
        pairs: From `bench.report.across`.
        studies: From `bench.report.study_table.groups`.
        study_words: What the scores of a study are called, by the study's name.
        pictures: Sheets of predictions, those that are wanted most first: as many as there is room for are
            shown, of the others the title.
        curves: By record id; see `find_curve`.

    Raises:
        DataError: a picture is none.
        DiskError: the system's folder of temporary files cannot be written, which the plots of studies need.
    """
    by_id = {record.id: record for record in records}
    sections = [section(place, table, by_id, curves) for place, table in enumerate(tables)]
    across, more = _across(tables, pairs)
    environment = _environment()
    body = environment.get_template("sections.html.j2").render(
        sections=sections, across=across, across_left_out=more
    )
    data = as_data(tables, by_id, results)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    drawn = [study(group, study_words.get(group.study, {})) for group in studies]
    sheets = [small(_plain(picture)) for picture in pictures[:MAX_PICTURES]]
    room = MAX_BYTES - _ROOM_BYTES - sum(len(text.encode()) for text in (body, data, style, script))
    fitted = fit([*all_plots(drawn), *sheets], room)
    return environment.get_template("page.html.j2").render(
        policy=_policy(style, script),
        version=__version__,
        style=style,
        script=script,
        data=data,
        body=body,
        summary=_summary(sections, by_id.values()),
        choices=_choices(sections),
        sections=sections,
        links=_links(across, drawn, sheets),
        studies=drawn,
        pictures=sheets,
        shown=set(fitted.shown),
        left_out=_shortened([*fitted.left_out, *(plain(one.title) for one in pictures[MAX_PICTURES:])]),
        megabytes=MAX_BYTES // 1_000_000,
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(style: str, script: str) -> str:
    """Nothing is loaded from anywhere; of styles and scripts only ours, told by hash, no attribute's."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _shortened(titles: Sequence[str]) -> list[str]:
    """The first titles, and how many others there are."""
    more = len(titles) - _MAX_TITLES
    return [*titles[:_MAX_TITLES], *([f"{more:,} more"] if more > 0 else [])]


def _plain(picture: Picture) -> Picture:
    return Picture(plain(picture.title), picture.png, plain(picture.about))


def _across(tables: Sequence[Table], pairs: Sequence[TaskPair]) -> tuple[list[Chart], list[str]]:
    """The pairs of most weights as charts, in the order of the report, and a line for each other."""
    by_weights = sorted(range(len(pairs)), key=lambda place: (-len(pairs[place].labels), place))
    drawn = set(by_weights[:MAX_SCATTERS])
    charts = [scatter(pair) for place, pair in enumerate(pairs) if place in drawn]
    lines = [
        " and ".join(plain(axis_words(axis, axes)) for axis in axes) + f": {agreement_words(pair)}"
        for place, pair in enumerate(pairs)
        if place not in drawn
        for axes in [(pair.first, pair.second)]
    ]
    return charts, lines


def _summary(sections: Sequence[Section], records: Iterable[Record]) -> str:
    dates = sorted(record.provenance.created[:10] for record in records)
    published = sum(len(part.published) for part in sections)
    counts = [
        _count(len(sections), "table"),
        *([_count(len(dates), "record")] if dates else []),
        *([_count(published, "published row")] if published else []),
        f"transfer-bench {__version__}",
        *([f"latest record of {plain(dates[-1])}"] if dates else []),
    ]
    return " · ".join(counts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _choices(sections: Sequence[Section]) -> list[tuple[str, str, list[Any]]]:
    """What each filter offers: its name in the page, its label, its values."""
    origins = [line.origin for part in sections for line in (*part.measured, *part.published)]
    return [
        ("task", "Task", sorted({part.task for part in sections})),
        ("protocol", "Protocol", sorted({part.protocol for part in sections})),
        ("data", "Pretraining data", sorted({origin.data for origin in origins if origin.data})),
        ("epochs", "Epochs", sorted({origin.epochs for origin in origins if origin.epochs is not None})),
        ("labels", "Labels used", sorted({origin.labels for origin in origins if origin.labels})),
    ]


def _links(
    across: Sequence[Chart], studies: Sequence[Study], pictures: Sequence[Shown]
) -> list[tuple[str, str]]:
    """The other parts of the page."""
    parts = [
        ("across", "task against task", across),
        ("studies", "studies of views", studies),
        ("pictures", "pictures of what was found", pictures),
    ]
    return [(place, text) for place, text, there in parts if there]
