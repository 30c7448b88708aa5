"""The pictures: what is drawn where, equal bytes for equal records, and labels that can be read."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from bench.core.errors import UsageError
from bench.core.study import StudyRecord
from bench.report import study_plot
from bench.report.study_plot import draw, draw_bars
from bench.report.study_table import StudyGroup, groups
from tests.helpers.studies import make_study_record, make_sweep

PLACES = [4.1, 3.6, 3.2, 2.9, 2.3, 1.9, 1.4, 1.0]


def only(records: list[StudyRecord]) -> StudyGroup:
    (group,) = groups(records)
    return group


def peaked(**more: Any) -> StudyGroup:
    return only(make_sweep(lambda x: 70.0 - 4.0 * (x - 2.4) ** 2, PLACES, **more))


def rising(**more: Any) -> StudyGroup:
    return only(make_sweep(lambda x: 60.0 + 3.0 * x, PLACES, **more))


def digits() -> StudyGroup:
    scores = {"digit": (90.0, 20.0), "background": (25.0, 80.0)}
    return only(
        [
            make_study_record(
                name, seed, 1.0 + place, {score: means[place] + seed for score, means in scores.items()}
            )
            for place, name in enumerate(("shared digit", "shared digit, position and background"))
            for seed in range(3)
        ]
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures are kept here and not written."""
    kept: list[Figure] = []
    monkeypatch.setattr(study_plot, "_write", lambda figure, png, svg: kept.append(figure))
    return kept


def lines(figure: Figure) -> dict[str, Any]:
    return {str(line.get_label()): line for line in figure.axes[0].lines}


def caption(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def labels(figure: Figure) -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


def test_two_files_of_one_drawing(tmp_path: Path) -> None:
    png, svg = tmp_path / "new" / "a.png", tmp_path / "new" / "a.svg"
    found = draw(peaked(), "top1", png, svg)
    assert found.supported
    with Image.open(png) as image:
        assert image.size[0] == 1200
        assert np.asarray(image.convert("RGB"))[0, 0].tolist() == [255, 255, 255]
    text = svg.read_text()
    assert "<svg" in text and "dc:date" not in text
    draw_bars(digits(), ["digit", "background"], png, svg)
    assert svg.read_text() != text, "what was there is replaced"
    assert sorted(path.name for path in png.parent.iterdir()) == ["a.png", "a.svg"]


def test_equal_records_give_equal_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    made = make_sweep(lambda x: 70.0 - 4.0 * (x - 2.4) ** 2, PLACES)
    names = [tmp_path / name for name in ("a.png", "a.svg", "b.png", "b.svg")]
    draw(only(made), "top1", *names[:2])
    other: Any = {
        "axes.facecolor": "black",
        "font.size": 30.0,
        "svg.hashsalt": None,
        "savefig.dpi": 30,
        "lines.color": "r",
    }
    with matplotlib.rc_context(other):
        draw(only(made[::-1]), "top1", *names[2:])
        assert matplotlib.rcParams["font.size"] == 30.0, "the user's own is as it was"
    assert names[0].read_bytes() == names[2].read_bytes()
    assert names[1].read_bytes() == names[3].read_bytes()


def test_points_are_means_with_bars_of_one_deviation(drawn: list[Figure]) -> None:
    group = peaked()
    draw(group, "top1", Path("x"), Path("y"))
    (bars,) = drawn[0].axes[0].containers
    data, _, (across, up) = bars.lines  # type: ignore[attr-defined]
    assert data.get_xdata() == pytest.approx([row.i_nce.mean for row in group.rows])
    assert data.get_ydata() == pytest.approx([row.scores["top1"].mean for row in group.rows])
    for row, left_right, low_high in zip(group.rows, across.get_segments(), up.get_segments(), strict=True):
        assert np.ptp(left_right[:, 0]) == pytest.approx(2.0 * row.i_nce.std)  # type: ignore[operator]
        assert np.ptp(low_high[:, 1]) == pytest.approx(2.0 * row.scores["top1"].std)  # type: ignore[operator]


def test_a_supported_peak_has_its_place_and_interval(drawn: list[Figure]) -> None:
    found = draw(peaked(), "top1", Path("x"), Path("y"))
    axes = drawn[0].axes[0]
    fit, spot = lines(drawn[0])["quadratic fit"], lines(drawn[0])["sweet spot"]
    assert fit.get_linestyle() == "-"
    assert found.fit is not None and found.interval is not None
    assert fit.get_ydata() == pytest.approx(found.fit.at(np.asarray(fit.get_xdata())))
    assert spot.get_xdata() == pytest.approx([found.sweet_spot, found.sweet_spot])
    (band,) = axes.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(found.interval)  # type: ignore[attr-defined]
    assert "Interior maximum supported" in caption(drawn[0])


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (rising(), "not supported"),
        (peaked(num_seeds=1), "Too few seeds"),
        (rising(with_knob=False), "increasing"),
    ],
    ids=["rising", "one seed", "no knob"],
)
def test_else_the_curve_is_grey_and_dashed_with_no_place(
    drawn: list[Figure], group: StudyGroup, words: str
) -> None:
    draw(group, "top1", Path("x"), Path("y"))
    assert "sweet spot" not in lines(drawn[0])
    assert not drawn[0].axes[0].patches
    (fit,) = [line for name, line in lines(drawn[0]).items() if "fit" in name]
    assert fit.get_linestyle() == "--"
    red, green, blue = matplotlib.colors.to_rgb(fit.get_color())
    assert red == green == blue and 0.3 < red < 0.7
    assert words in caption(drawn[0])


def test_too_few_settings_have_no_curve(drawn: list[Figure]) -> None:
    draw(only(make_sweep(lambda x: x, PLACES[:4])), "top1", Path("x"), Path("y"))
    assert not [name for name in lines(drawn[0]) if "fit" in name]
    assert "Too few settings" in caption(drawn[0])


def test_the_caption_says_what_bars_and_numbers_are(drawn: list[Figure]) -> None:
    draw(peaked(), "top1", Path("x"), Path("y"), words={"top1": "linear probe (%)"})
    text = caption(drawn[0])
    for words in (
        "standard deviation over 3 seeds",
        "distance (px)",
        "K = 200",
        "cosine / 0.1",
        "log K - loss",
    ):
        assert words in text
    assert drawn[0].axes[0].get_ylabel() == "linear probe (%)"
    assert "nats" in drawn[0].axes[0].get_xlabel()
    draw(peaked(size="smoke", num_seeds=1, study_version=2), "top1", Path("x"), Path("y"))
    text = caption(drawn[1])
    assert "mean nothing" in text and "One seed" in text and "version 2" in text


def three_series() -> StudyGroup:
    wobble = np.random.default_rng(1)
    return only(
        [
            make_study_record(
                f"{space} {series}", seed, i_nce + 0.3 * number + 0.05 * wobble.normal(),
                {"top1": 62.0 - i_nce + 0.8 * number + 0.4 * wobble.normal()}, series=series,
            )
            for space, i_nce in {"RGB": 4.2, "HSV": 2.9, "Lab": 2.0, "YUV": 1.9, "YDbDr": 1.7}.items()
            for number, series in enumerate(("1|23", "2|13", "3|12"))
            for seed in range(3)
        ]
    )  # fmt: skip


def test_each_series_has_its_colour_and_marker_and_stands_first_in_the_legend(drawn: list[Figure]) -> None:
    draw(three_series(), "top1", Path("x"), Path("y"))
    axes = drawn[0].axes[0]
    looks = {(bars.lines[0].get_color(), bars.lines[0].get_marker()) for bars in axes.containers}  # type: ignore[attr-defined]
    assert len(axes.containers) == 3
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 3
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][:3] == ["1|23", "2|13", "3|12"]


@pytest.mark.parametrize("group", [peaked(), rising(), three_series(), peaked(with_knob=False)], ids="abcd")
def test_labels_are_at_their_points_inside_and_apart(drawn: list[Figure], group: StudyGroup) -> None:
    draw(group, "top1", Path("x"), Path("y"))
    figure, axes = drawn[0], drawn[0].axes[0]
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in labels(figure)]
    assert len(boxes) == len(group.rows)
    for row, label, box in zip(group.rows, labels(figure), boxes, strict=True):
        short = row.setting.partition(" ")[0] if len(group.series) > 1 else row.setting
        assert label.get_text() == (f"{row.knob:g}" if group.knob_name else short)
        point = axes.transData.transform((row.i_nce.mean, row.scores["top1"].mean))
        nearest = np.clip(point, box.min, box.max)
        assert np.hypot(*(nearest - point)) < 60.0, "pixels"
        assert axes.bbox.x0 - 1 <= box.x0 and box.x1 <= axes.bbox.x1 + 1
        assert axes.bbox.y0 - 1 <= box.y0 and box.y1 <= axes.bbox.y1 + 1
    for one, other in itertools.combinations(boxes, 2):
        shared = matplotlib.transforms.Bbox.intersection(one, other)
        hidden = shared.width * shared.height if shared else 0.0
        assert hidden < 0.25 * min(one.width * one.height, other.width * other.height)


def test_nothing_that_is_written_runs_out_of_the_figure(drawn: list[Figure]) -> None:
    draw(three_series(), "top1", Path("x"), Path("y"))
    factors = ("digit", "position", "background", "digit and position", "digit, position and background")
    many = [make_study_record(f"shared {name}", i_nce=1.0 + len(name)) for name in factors]
    draw_bars(only(many), ["top1"], Path("x"), Path("y"))
    long = {
        f"voc-det voc0712-r50c4-24k AP{number} 0123abcd (custom), a long name": 50.0 for number in range(4)
    }
    longer = [make_study_record(seed=seed, scores=long, series="a series " * 6) for seed in range(2)]
    draw_bars(only(longer), list(long), Path("x"), Path("y"))
    draw(only(longer), next(iter(long)), Path("x"), Path("y"))
    for figure in drawn:
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        title, below = (text.get_window_extent() for text in figure.texts)
        legend = axes.get_legend()
        assert legend is not None
        assert below.x1 <= figure.bbox.x1 and below.y0 >= 0.0
        assert legend.get_window_extent().x1 <= figure.bbox.x1
        assert axes.yaxis.label.get_window_extent().x0 >= 0.0
        assert axes.yaxis.label.get_window_extent().height < figure.bbox.height
        ticks = [tick.get_window_extent() for tick in axes.get_xticklabels()]
        assert below.y1 <= min(box.y0 for box in ticks)
        assert not title.overlaps(legend.get_window_extent())
        assert axes.bbox.y1 <= legend.get_window_extent().y0 + 2.0
        assert title.y1 <= figure.bbox.y1


def test_bars_have_a_cluster_a_setting_and_begin_at_0(drawn: list[Figure]) -> None:
    group = digits()
    draw_bars(group, ["digit", "background"], Path("x"), Path("y"), words={"digit": "which digit"})
    axes = drawn[0].axes[0]
    clusters = [part for part in axes.containers if isinstance(part, BarContainer)]
    heights = {str(part.get_label()): [bar.get_height() for bar in part.patches] for part in clusters}
    assert heights == {"which digit": [91.0, 21.0], "background": [26.0, 81.0]}
    assert axes.get_ylim()[0] == 0.0
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for part in clusters for bar in part.patches]
    for (left, right), (next_left, _) in itertools.pairwise(sorted(spans)):
        assert right <= next_left + 1e-9 and left < right
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks[0].split("\n") == ["shared digit", "1.00 ± 0.00"]
    assert " ".join(ticks[1].split("\n")[:-1]) == "shared digit, position and background"


def test_names_are_plain_text(tmp_path: Path) -> None:
    records = [
        make_study_record(f"$x^{number}$ \x1b[31m $", i_nce=1.0 + number, series="$a", critic="$\\frac{$")
        for number in range(2)
    ]
    draw(only(records), "top1", tmp_path / "a.png", tmp_path / "a.svg")
    draw_bars(only(records), ["top1"], tmp_path / "a.png", tmp_path / "a.svg")


def test_unknown_scores_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    with pytest.raises(UsageError, match="top1"):
        draw(peaked(), "top", png, svg)
    with pytest.raises(UsageError, match="digit"):
        draw_bars(digits(), ["digit", "size"], png, svg)
    with pytest.raises(UsageError):
        draw_bars(digits(), [], png, svg)
    assert list(tmp_path.iterdir()) == []


def test_tables_and_statistics_do_without_matplotlib() -> None:
    for name in ("study_table.py", "reverse_u.py"):
        text = Path(study_plot.__file__).with_name(name).read_text()
        assert "matplotlib" not in text and "study_plot" not in text
