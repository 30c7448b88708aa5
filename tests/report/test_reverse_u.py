"""A peak is found where there is one, and not where there is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench.report import reverse_u as module
from bench.report.reverse_u import Point, ReverseU, fit_quadratic, reverse_u

Curve = Callable[[float], float]


def peak(x: float) -> float:
    return 70.0 - 4.0 * (x - 2.4) ** 2


def weak_peak(x: float) -> float:
    return 70.0 - (x - 2.4) ** 2


def line(x: float) -> float:
    return 60.0 + 3.0 * x


def flat(x: float) -> float:
    return 65.0


def levelling(x: float) -> float:
    return 70.0 - 12.0 * math.exp(-2.5 * (x - 1.0))


def sample(
    curve: Curve,
    draw: np.random.Generator,
    *,
    num: int = 7,
    seeds: int = 3,
    noise: float = 0.5,
    lack: float = 0.0,
) -> list[Point]:
    """Settings between 1 and 4 nats; `lack` is how far a setting is off the curve with all its seeds."""
    points = []
    for index, x in enumerate(np.linspace(1.0, 4.0, num)):
        level = curve(float(x)) + lack * draw.normal()
        i_nce = x + 0.03 * draw.normal(size=seeds)
        points.append(Point(str(index), tuple(i_nce), tuple(level + noise * draw.normal(size=seeds))))
    return points


def exact(curve: Curve, places: Sequence[float] = (1.0, 1.5, 2.0, 3.0, 4.0), seeds: int = 3) -> list[Point]:
    return [Point(str(x), (x,) * seeds, (curve(x),) * seeds) for x in places]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples, for tests over many draws."""
    monkeypatch.setattr(module, "NUM_RESAMPLES", 300)


def many(curve: Curve, times: int, **more: float) -> list[ReverseU]:
    draw = np.random.default_rng(7)
    return [reverse_u(sample(curve, draw, **more)) for _ in range(times)]  # type: ignore[arg-type]


def share(found: Sequence[ReverseU], verdict: str) -> float:
    return sum(one.verdict == verdict for one in found) / len(found)


SUPPORTED = "interior maximum supported"


def test_a_parabola_is_recovered() -> None:
    # 3 + 2 x - x^2 / 2 has its top, 5, at x = 2
    fit = fit_quadratic([0.0, 1.0, 3.0, 7.0], [3.0, 4.5, 4.5, -7.5])
    assert (fit.a, fit.b, fit.c) == pytest.approx((3.0, 2.0, -0.5))
    assert fit.peak == pytest.approx(2.0)
    assert fit.at(np.array([2.0, 4.0])) == pytest.approx([5.0, 3.0])
    assert (fit.slope(2.0), fit.slope(0.0)) == pytest.approx((0.0, 2.0), abs=1e-12)


def test_it_is_the_least_squares_fit() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=9), draw.normal(size=9)
    fit = fit_quadratic(x, y)
    assert (fit.c, fit.b, fit.a) == pytest.approx(np.polyfit(x, y, 2))


def test_a_narrow_range_far_from_0_is_no_harder() -> None:
    x = 1000.0 + np.linspace(0.0, 0.5, 6)
    fit = fit_quadratic(x, 70.0 - 8.0 * (x - 1000.2) ** 2)
    assert fit.c == pytest.approx(-8.0, rel=1e-6)
    assert fit.peak == pytest.approx(1000.2, abs=1e-6)


@pytest.mark.parametrize(
    "y", [[1.0, 0.0, 1.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], ids=["valley", "line", "level"]
)
def test_no_peak_where_the_fit_does_not_bend_down(y: list[float]) -> None:
    assert fit_quadratic([0.0, 1.0, 2.0], y).peak is None


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 2.0 + 1e-9], [1.0, 2.0, 3.0]),
        ([0.1 + 0.2, 0.3, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([], []),
        ([1.0, 2.0, 3.0], [1.0, math.nan, 2.0]),
        ([1.0, 2.0, math.inf], [1.0, 3.0, 2.0]),
        ([1.0, 2.0, 3.0], [1.0, 2.0]),
    ],
)
def test_what_fixes_no_quadratic_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="quadratic"):
        fit_quadratic(x, y)


def test_slopes_by_hand() -> None:
    found = reverse_u(exact(peak))
    # the derivative of 70 - 4 (x - 2.4)^2 is -8 (x - 2.4), at 1 and at 4
    assert found.end_slopes == pytest.approx((11.2, -12.8))
    assert found.sweet_spot == pytest.approx(2.4)
    assert found.interval == pytest.approx((2.4, 2.4), abs=1e-6)
    assert found.x_range == (1.0, 4.0)
    assert found.verdict == SUPPORTED


@pytest.mark.usefixtures("quick")
def test_the_line_is_that_of_scipy() -> None:
    for points in (sample(line, np.random.default_rng(1)), sample(flat, np.random.default_rng(2))):
        found = reverse_u(points)
        expected = scipy_stats.linregress(
            [np.mean(point.i_nce) for point in points], [np.mean(point.scores) for point in points]
        )
        assert found.slope == pytest.approx(expected.slope)
        assert found.p_slope == pytest.approx(expected.pvalue)


@pytest.mark.usefixtures("quick")
def test_the_test_of_slopes_agrees_with_fiellers_interval_of_the_peak() -> None:
    # Lind and Mehlum 2010: it rejects at 5 % where the exact 90 % interval of -b / 2c is inside of the range
    draw, rejected = np.random.default_rng(3), 0
    for _ in range(60):
        points = sample(weak_peak, draw, num=6, lack=0.8)
        x, y = (np.array([np.mean(getattr(p, name)) for p in points]) for name in ("i_nce", "scores"))
        (c, b, _), cov = np.polyfit(x, y, 2, cov=True)  # divided by n - 3, as ours
        t = scipy_stats.t.ppf(0.95, 3)
        # (b + 2 c m)^2 <= t^2 var(b + 2 c m), a quadratic inequality in m
        square = 4.0 * c * c - t**2 * 4.0 * cov[0, 0]
        mixed = 4.0 * b * c - t**2 * 4.0 * cov[0, 1]
        roots = np.roots([square, mixed, b * b - t**2 * cov[1, 1]])
        inside = square > 0 and c < 0 and x.min() < roots.min() and roots.max() < x.max()
        found = reverse_u(points)
        assert found.p_left is not None and found.p_right is not None
        assert (max(found.p_left, found.p_right) < 0.05) == inside
        rejected += inside
    assert 10 < rejected < 50


def test_settings_are_compared_by_seeds_by_hand() -> None:
    # Scores m - 1, m, m + 1: a variance of 1 in each of 5 settings, 10 degrees of freedom.
    levels = {1.0: 50.0, 2.0: 54.0, 2.5: 55.0, 3.0: 54.5, 4.0: 52.0}
    points = [Point(str(x), (x,) * 3, (m + 1.0, m, m - 1.0)) for x, m in levels.items()]
    found = reverse_u(points)
    error = math.sqrt(1.0 * (1 / 3 + 1 / 3))
    assert found.p_ends == pytest.approx(2.0 * scipy_stats.t.sf(2.0 / error, 10))
    # The best in between is 5 above one end and 3 above the other; it is the best of three.
    assert found.p_between == pytest.approx(3.0 * scipy_stats.t.sf(3.0 / error, 10))


def test_unequal_numbers_of_seeds() -> None:
    rows = {
        1.0: (50.0, 52.0),
        2.0: (53.0, 54.0, 55.0),
        2.5: (55.0, 56.0),
        3.0: (54.0, 55.0),
        4.0: (51.0, 52.0, 53.0),
    }
    found = reverse_u([Point(str(x), (x,) * len(scores), scores) for x, scores in rows.items()])
    # sums of squares 2, 2, 0.5, 0.5, 2 over 12 - 5 degrees of freedom
    variance = 7.0 / 7.0
    assert found.p_ends == pytest.approx(
        2.0 * scipy_stats.t.sf(1.0 / math.sqrt(variance * (1 / 2 + 1 / 3)), 7)
    )
    assert found.p_between == pytest.approx(
        3.0 * scipy_stats.t.sf(3.5 / math.sqrt(variance * (1 / 2 + 1 / 3)), 7)
    )
    assert found.min_seeds == 2


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [{}, {"num": 5}, {"seeds": 2}, {"lack": 0.5}], ids=str)
def test_a_clear_peak_is_found(more: dict[str, float]) -> None:
    assert share(many(peak, 20, **more), SUPPORTED) >= 0.9


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [{}, {"num": 9}, {"lack": 0.5}], ids=str)
@pytest.mark.parametrize("curve", [line, math.log1p, levelling])
def test_what_only_rises_has_no_peak(curve: Curve, more: dict[str, float]) -> None:
    found = many(curve, 20, **more)
    assert share(found, SUPPORTED) <= 0.1
    assert share(found, "not supported (decreasing)") <= 0.1


@pytest.mark.usefixtures("quick")
def test_trends_have_their_direction() -> None:
    assert share(many(line, 10), "not supported (increasing)") == 1.0
    assert share(many(levelling, 10), "not supported (increasing)") == 1.0
    assert share(many(lambda x: -line(x), 10), "not supported (decreasing)") == 1.0


def test_without_a_peak_inside_the_fit_is_highest_at_an_end() -> None:
    assert reverse_u(exact(line)).interval == (4.0, 4.0)
    assert reverse_u(exact(lambda x: -line(x))).interval == (1.0, 1.0)
    # bends down, with its top outside
    assert reverse_u(exact(lambda x: -((x - 6.0) ** 2))).interval == (4.0, 4.0)
    assert reverse_u(exact(lambda x: -((x + 1.0) ** 2))).interval == (1.0, 1.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [{}, {"num": 5, "seeds": 2}, {"lack": 0.5}], ids=str)
def test_noise_has_neither_peak_nor_trend(more: dict[str, float]) -> None:
    found = many(flat, 60, **more)
    assert share(found, SUPPORTED) <= 0.1
    if "lack" not in more:  # else end settings do differ
        assert share(found, "not supported (flat)") >= 0.85


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [{}, {"num": 5, "lack": 0.5}], ids=str)
def test_the_interval_holds_the_true_peak(more: dict[str, float]) -> None:
    found = many(peak, 100, **more)
    inside = [one.interval[0] <= 2.4 <= one.interval[1] for one in found if one.interval]
    assert 0.88 <= np.mean(inside) <= 0.995
    # and is as wide as the peak's place scatters, or wider where 5 settings tell their error badly
    width = np.median([one.interval[1] - one.interval[0] for one in found if one.interval])
    scatter = np.std([one.sweet_spot or 0.0 for one in found])
    assert 0.8 < width / (2.0 * 1.96 * scatter) < (1.4 if not more else 2.5)


@pytest.mark.usefixtures("quick")
def test_each_of_three_tests_can_forbid_a_peak() -> None:
    found = many(weak_peak, 30, seeds=2)
    for top in (2.0, 3.2):
        found += many(lambda x, top=top: 70.0 - (x - top) ** 2, 60, noise=0.1, lack=0.8)  # type: ignore[misc]
    alone: set[str] = set()
    for one in found:
        assert one.p_left is not None and one.p_right is not None
        assert one.p_between is not None and one.share_inside is not None
        failed = {
            name
            for name, passed in {
                "left": one.p_left < 0.05,
                "right": one.p_right < 0.05,
                "between": one.p_between < 0.05,
                "share": one.share_inside >= 0.95,
            }.items()
            if not passed
        }
        assert one.supported == (not failed)
        if len(failed) == 1:
            alone |= failed
    assert alone == {"left", "right", "between", "share"}


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        (exact(peak, [2.0]), "too few settings"),
        (exact(peak, [1.0, 2.0, 3.0, 4.0]), "too few settings"),
        (exact(peak, [1.0, 2.0, 2.0, 3.0, 4.0]), "too few settings"),
        (exact(peak, [1.0, 0.1 + 0.2, 0.3, 3.0, 4.0]), "too few settings"),
        (exact(peak, [2.0] * 6), "too few settings"),
        (exact(peak, seeds=1), "too few seeds"),
        ([*exact(peak), *exact(peak, [2.7], seeds=1)], "too few seeds"),
        (exact(line), "not supported (increasing)"),
        (exact(lambda x: 90.0 - 3.0 * x), "not supported (decreasing)"),
        (exact(flat), "not supported (flat)"),
        (exact(lambda x: 0.0), "not supported (flat)"),
        (exact(lambda x: -peak(x), [0.8, 1.5, 2.0, 3.0, 4.0]), "not supported (flat)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_degenerate_and_exact_data(points: list[Point], verdict: str) -> None:
    found = reverse_u(points)
    assert found.verdict == verdict
    assert not found.supported
    assert (found.fit is None) == (verdict == "too few settings")
    assert found.num_settings == len(points)


def test_rounding_of_equal_scores_is_no_result() -> None:
    # the mean of equal scores differs in its last bit with their number
    places = np.linspace(1.0, 4.0, 7)
    points = [Point(str(x), (x,) * n, (0.1,) * n) for x, n in zip(places, (2, 3, 5, 7, 6, 3, 9), strict=True)]
    assert len({float(np.mean(point.scores)) for point in points}) > 1
    assert reverse_u(points).verdict == "not supported (flat)"


@pytest.mark.parametrize(
    "points",
    [
        [],
        [Point("a", (), ())],
        [Point("a", (1.0, 2.0), (1.0,))],
        [*exact(peak), Point("a", (2.2, math.nan), (1.0, 2.0))],
        [*exact(peak), Point("a", (2.2, 2.3), (1.0, math.inf))],
    ],
)
def test_what_is_no_data_is_refused(points: list[Point]) -> None:
    with pytest.raises(ValueError):
        reverse_u(points)


def test_equal_points_give_equal_results_and_another_seed_a_near_one() -> None:
    points = sample(peak, np.random.default_rng(4), lack=0.5)
    first, again, other = reverse_u(points), reverse_u(points), reverse_u(points, seed=1)
    assert first == again
    assert first.interval is not None and other.interval is not None
    assert first.interval != other.interval
    assert other.interval == pytest.approx(first.interval, abs=0.05)


@pytest.mark.usefixtures("quick")
def test_units_do_not_matter() -> None:
    points = sample(peak, np.random.default_rng(5), lack=0.5)
    scaled = [
        Point(p.setting, tuple(100.0 + 10.0 * x for x in p.i_nce), tuple(y / 7.0 - 3.0 for y in p.scores))
        for p in points
    ]
    one, two = reverse_u(points), reverse_u(scaled)
    assert one.interval is not None and two.interval is not None
    assert one.sweet_spot is not None
    assert two.sweet_spot == pytest.approx(100.0 + 10.0 * one.sweet_spot)
    assert two.interval == pytest.approx([100.0 + 10.0 * end for end in one.interval])
    names = ("p_left", "p_right", "p_between", "p_slope", "p_ends", "share_inside")
    for name in names:
        assert getattr(two, name) == pytest.approx(getattr(one, name), rel=1e-5), name
    mirrored = reverse_u([Point(p.setting, tuple(-x for x in p.i_nce), p.scores) for p in points])
    assert (mirrored.p_left, mirrored.p_right) == pytest.approx((one.p_right, one.p_left))


def test_the_spread_of_i_nce_widens_the_interval() -> None:
    def made(spread: float) -> list[Point]:
        places = np.linspace(1.0, 4.0, 7)
        wobble = np.array([0.3, -0.2, 0.25, -0.3, 0.1, 0.2, -0.35])
        return [
            Point(str(x), (x - spread, x, x + spread), (peak(x) + w,) * 3)
            for x, w in zip(places, wobble, strict=True)
        ]

    narrow, wide = reverse_u(made(0.01)).interval, reverse_u(made(0.4)).interval
    assert narrow is not None and wide is not None
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_it_takes_well_below_a_second() -> None:
    points = sample(peak, np.random.default_rng(6), num=24, seeds=5)
    begun = time.process_time()
    reverse_u(points)
    assert time.process_time() - begun < 1.0
