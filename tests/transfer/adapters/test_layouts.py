"""docs/weights.md shows the table of layouts.

Write the section anew with `UPDATE_GOLDEN=1 uv run pytest -n 0 tests/transfer/adapters/test_layouts.py`. What
the layouts do is tested in `tests/contracts/test_layouts.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bench.core.card import InputSpec
from transfer.adapters.layout import STANDARD_INPUT, Layout, Place
from transfer.adapters.layouts import LAYOUTS

PAGE = Path(__file__).parents[3] / "docs" / "weights.md"
BEGIN, END = "<!-- layouts: begin -->\n", "<!-- layouts: end -->\n"
HEAD = "| layout | also | taken | other encoders | input | source |\n|---|---|---|---|---|---|\n"


def _lines(values: Iterable[str]) -> str:
    return "<br>".join(values)


def _place(label: str, place: Place) -> str:
    shown = f"`{place}`" if str(place) != "(no prefix)" else str(place)
    return shown if label == "backbone" else f"{label}: {shown}"


def _input(spec: InputSpec | None) -> str:
    if spec is None:
        return "`--input-spec`"
    standard = STANDARD_INPUT.model_dump(mode="json")
    values = spec.model_dump(mode="json")
    return _lines(f"{key}: {value}" for key, value in values.items() if value != standard[key])


def _row(layout: Layout) -> str:
    cells = (
        layout.name,
        _lines(layout.also),
        _lines(_place(layout.label, place) for place in layout.places),
        _lines(_place(label, place) for label, place in layout.others),
        _input(layout.input),
        _lines(layout.source.replace("*", r"\*").split("; ")),
    )
    return f"| {' | '.join(cells)} |\n"


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    shown, after = rest.split(END)
    table = HEAD + "".join(map(_row, LAYOUTS))
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(before + BEGIN + table + END + after, encoding="utf-8")
    else:
        assert shown == table


def test_no_cell_breaks_the_table() -> None:
    assert {_row(layout).count("|") for layout in LAYOUTS} == {7}
    assert not any("\n" in _row(layout)[:-1] for layout in LAYOUTS)
