"""Scales and ticks by hand-made numbers; that no text can leave its tag."""

from __future__ import annotations

import pytest
from defusedxml import ElementTree

from bench.report.html import svg

HOSTILE = '</title><script>alert(1)</script>" onload="alert(1)'


def test_a_scale_is_linear_or_logarithmic() -> None:
    assert svg.Scale(0.0, 10.0, 100.0, 200.0).at(2.5) == pytest.approx(125.0)
    # y goes down on a screen
    assert svg.Scale(0.0, 10.0, 300.0, 100.0).at(10.0) == pytest.approx(100.0)
    # 1, 10, 100: the middle of the decades is the middle of the axis
    assert svg.Scale(1.0, 100.0, 0.0, 80.0, log=True).at(10.0) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (51.3, 58.2, [52, 54, 56, 58]),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 3.0, [-2, 0, 2]),
        (0.0, 24_000.0, [0, 5000, 10_000, 15_000, 20_000]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert svg.ticks(low, high) == pytest.approx(expected)


def test_ticks_of_a_logarithm() -> None:
    assert svg.Scale(0.5, 30.0, 0.0, 1.0, log=True).ticks() == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert svg.Scale(0.9, 2e6, 0.0, 1.0, log=True).ticks() == pytest.approx([10.0**n for n in range(7)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (0.30000000000000004, "0.3"), (5000, "5000"), (24_000, "24k"), (1_500_000, "1.5M")],
)
def test_tick_text(value: float, text: str) -> None:
    assert svg.tick_text(value) == text


def test_all_equal_values_still_have_an_axis() -> None:
    for scale in (svg.upright([57.0, 57.0]), svg.across([200, 200], log=True), svg.upright([0.0])):
        assert scale.low < scale.high
        assert len(scale.ticks()) >= 1


def test_values_lie_inside_of_the_axes() -> None:
    values = [33.0, 41.0, 58.0]
    x, y = svg.across(values), svg.upright(values)
    assert all(svg.LEFT < x.at(value) < svg.WIDTH - svg.RIGHT for value in values)
    assert all(svg.TOP < y.at(value) < svg.HEIGHT - svg.BOTTOM for value in values)
    assert y.at(58.0) < y.at(33.0)


def test_hostile_text_stays_text() -> None:
    drawn = svg.figure(
        HOSTILE,
        svg.label(HOSTILE, 0, 0),
        svg.marker("circle", 0, 0, class_=HOSTILE, title=HOSTILE),
    )
    root = ElementTree.fromstring(drawn)
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert tags == ["svg", "text", "circle", "title"]
    assert [element.text for element in root.iter() if element.text] == [HOSTILE, HOSTILE]
    assert root.get("aria-label") == HOSTILE and root.get("role") == "img"
    assert "onload" not in root.attrib


@pytest.mark.parametrize("shape", svg.SHAPES)
def test_every_shape_surrounds_its_place(shape: str) -> None:
    element = ElementTree.fromstring(svg.marker(shape, 100, 50, class_="c0", radius=5))
    if shape == "circle":
        assert (element.get("cx"), element.get("cy"), element.get("r")) == ("100", "50", "5")
        return
    corners = [tuple(map(float, corner.split(","))) for corner in element.get("points").split()]
    for middle, axis in ((100, 0), (50, 1)):
        places = [corner[axis] for corner in corners]
        assert min(places) < middle - 3 and max(places) > middle + 3
        assert max(abs(place - middle) for place in places) < 7


def test_shapes_and_dashes_differ_as_colours_do() -> None:
    assert len(set(svg.SHAPES)) == len(svg.SHAPES) == len(set(svg.DASHES)) == len(svg.DASHES)
