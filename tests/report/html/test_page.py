"""The page as text: what it holds, that nothing in it runs but ours, its size, equal bytes, contrast."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import bench.report.html
from bench.core.records import Record
from bench.report.across import Axis, TaskPair, task_pairs
from bench.report.html.page import MAX_BYTES, as_html
from bench.report.html.pictures import Picture
from bench.report.html.sections import section
from bench.report.published import read_published
from bench.report.published_tables import published_tables
from bench.report.tables import leaderboards
from tests.helpers.records import make_record, make_trials
from tests.report.html.sample import many_records, sample_boards, sample_page, sample_picture, sample_records

CSS = (Path(bench.report.html.__file__).parent / "page.css").read_text()
HOSTILE = "</script></style><img src=x onerror=alert(1)>\"'><script>alert(2)</script><!--"


class Parsed(HTMLParser):
    """Tags with their attributes, in order, and the text in each kind of tag."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        found = [attrs for name, attrs in self.tags if name == tag]
        return [attrs for attrs in found if all(attrs.get(key) == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def text() -> str:
    return sample_page()


@pytest.fixture(scope="module")
def page(text: str) -> Parsed:
    return Parsed(text)


def of(records: list[Record], **more: Any) -> Parsed:
    return Parsed(as_html(leaderboards(records), records, **more))


def test_it_holds_every_table_with_its_status(page: Parsed) -> None:
    places = [
        (each["data-task"], each["data-protocol"]) for each in page.all("section", **{"class": "board"})
    ]
    assert places == [
        ("coco-instseg", "coco-r50fpn4conv-1x"), ("linear-probe", "in1k-linear-100ep"),
        ("semseg", "voc12aug-fcn-moco"), ("voc-det", "voc0712-r50c4-24k"),
    ]  # fmt: skip
    headings = [" ".join(heading.split()) for heading in page.texts["h2"]]
    for words in (
        "≈ substituted",
        "✓ exact",
        "✎ custom",
        "Task against task",
        "good views",
        "What was found",
    ):
        assert any(words in heading for heading in headings), words
    assert "naiveSyncBN (protocol: SyncBN)" in page.texts["li"][0]


def test_it_says_what_numbers_are_worth(page: Parsed) -> None:
    tips = Counter(each.get("title") for each in page.all("button"))
    assert tips["few: the MoCo protocol takes the mean of 5"] > 5
    assert tips["a single trial has no interval, and so no rank"] > 5
    assert any(tip and re.fullmatch(r"95 % interval 5\d\.\d to 5\d\.\d, 5 trials", tip) for tip in tips)
    assert any(tip and "beyond noise" in tip for tip in tips)
    cells = [cell.strip() for cell in page.texts["td"]]
    assert any(re.fullmatch(r"5\d\.\d ± 0\.\d", cell) for cell in cells)
    assert any(re.fullmatch(r"\+2\d\.\d \(0\.\d\)", cell) for cell in cells)
    assert any("✓ reproduces S" in cell for cell in cells) and any("✗ does not" in cell for cell in cells)


@pytest.mark.parametrize(
    ("aps", "noise"), [((33.4, 34.2, 33.6), "~ not beyond noise"), ((40.0, 40.4), "beyond noise")]
)
def test_a_difference_says_whether_it_is_one(aps: tuple[float, ...], noise: str) -> None:
    page = of([*make_trials("resnet50.random", [33.0, 34.0]), *make_trials("resnet50.a", aps)])
    (tip,) = {str(each.get("title")) for each in page.all("button") if "noise" in str(each.get("title"))}
    assert tip.endswith(f": {noise}") and tip.startswith("95 % interval ")


def test_published_rows_have_their_source_and_their_doubt(page: Parsed) -> None:
    expected = [entry for board in sample_boards(sample_records()) for entry in board.published or ()]
    unconfirmed = [entry for entry in expected if not entry.confirmed]
    assert len(unconfirmed) > 2
    marks = [each for each in page.texts["span"] if each == "UNCONFIRMED"]
    assert len(marks) == len(unconfirmed)
    notes = {
        each["id"]: told for each, told in zip(page.all("li"), page.texts["li"], strict=True) if "id" in each
    }
    pointed = page.all("button", **{"class": "mark"})
    assert len(pointed) >= len(expected)
    for each in pointed:
        told = notes[each["data-note"] or ""]
        assert told.endswith(str(each["title"])), "the footnote is the source"
    for entry in expected:
        assert any(entry.source in told for told in notes.values())


def test_contradicting_sources_are_both_there() -> None:
    (board,) = leaderboards(
        make_trials("resnet50.moco_v2_ep200", [57.0]), published=read_published(), unconfirmed=True
    )
    assert board.published is not None
    first = next(entry for entry in board.published if entry.method == "MoCo v2")
    other = first.model_copy(update={"source": "another paper"})
    board = board.model_copy(update={"published": (*board.published, other)})
    page = Parsed(as_html([board], [make_record("resnet50.moco_v2_ep200", 0, 57.0)]))
    heads = [head.strip() for head in page.texts["th"]]
    assert heads.count("MoCo v2") >= 2
    assert sum("another paper" in told for told in page.texts["li"]) == 1


def test_ranges_of_places_sort_by_their_middle() -> None:
    page = of(
        [
            *make_trials("resnet50.a", [55.0, 56.0]),
            *make_trials("resnet50.b", [54.0, 55.0]),
            make_record("resnet50.single", 0, 50.0),
        ]
    )
    ranks = {told: each.get("data-v") for told, each in zip(page.texts["td"], page.all("td"), strict=True)}
    assert ranks["1-2"] == "1.5"


@pytest.mark.parametrize(
    ("aps", "best"),
    [((57.0, 57.0, 56.0), "a and 1 more, AP 57.0"), ((57.0, 56.0, 56.0), "a, AP 57.0")],
)
def test_of_equal_rows_none_is_called_the_best_alone(aps: tuple[float, ...], best: str) -> None:
    records = [make_record(f"resnet50.{name}", 0, ap) for name, ap in zip("abc", aps, strict=True)]
    (board,) = leaderboards(records)
    assert section(0, board, {record.id: record for record in records}, {}).best == best


def test_published_tables_alone() -> None:
    tables = published_tables(read_published(), task="voc-det")
    page = Parsed(as_html(tables, []))
    assert len(page.all("section", **{"class": "board"})) == len(tables) > 2
    assert json.loads(page.texts["script"][0])["rows"] == {}
    assert not page.all("tbody", **{"class": "measured"})
    assert len(page.all("svg", role="img")) >= 1  # AP against epochs needs no record
    contradicting = [table for table in tables if table.contradictions]
    unfolded = [each for each in page.all("details") if "open" in each]
    assert len(unfolded) == len(contradicting) > 0
    assert sum("contradict" in told for told in page.texts["li"]) >= len(contradicting)


def test_no_records_make_a_page_that_says_so() -> None:
    page = of([])
    assert any("No records" in told for told in page.texts["p"])
    assert page.texts["p"][0].startswith("0 tables") and "latest" not in page.texts["p"][0]


def test_the_filters_offer_what_there_is(page: Parsed) -> None:
    records = sample_records()
    boards = sample_boards(records)
    selects = [each["name"] for each in page.all("select")]
    assert selects == ["task", "protocol", "data", "epochs", "labels"]
    offered = dict(zip(selects, page.texts["select"], strict=True))
    for entry in (entry for board in boards for entry in board.published or ()):
        assert entry.pretrain_data in offered["data"] and entry.labels_used in offered["labels"]
        assert str(entry.pretrain_epochs or "") in offered["epochs"]
    options = page.texts["option"]
    epochs = [int(option) for option in options if option.isdigit()]
    assert epochs == sorted(set(epochs)) and {0, 200, 800} <= set(epochs)


def test_rows_say_what_filters_ask(page: Parsed) -> None:
    rows = {
        (each["data-d"], each["data-e"], each["data-l"])
        for each in page.all("th", scope="row") if "data-d" in each
    }  # fmt: skip
    assert ("none", "0", "none") in rows  # random
    assert ("", "200", "") in rows  # ours: only the name says the epochs
    assert ("ImageNet-1K", "", "imagenet") in rows  # torchvision's
    assert ("COCO", "800", "none") in rows  # published


def test_nothing_is_fetched_and_only_ours_runs(page: Parsed) -> None:
    (policy,) = (each["content"] for each in page.all("meta", **{"http-equiv": "Content-Security-Policy"}))
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert set(rules) == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}
    script, style = page.texts["script"][1], page.texts["style"][0]
    for rule, content in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert [each.get("type") for each in page.all("script")] == ["application/json", None]
    for tag, attrs in page.tags:
        assert "style" not in attrs, "the policy forbids it"
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "action", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/")), (tag, attrs)
    assert "url(" not in CSS and "@import" not in CSS
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|innerHTML|eval)\b", script
    )


def test_hostile_names_are_inert() -> None:
    hostile = [
        make_record(f"resnet50.{HOSTILE}{place}", 0, 57.0 + place, task=HOSTILE, slug=HOSTILE, data=HOSTILE,
                    metrics={HOSTILE: 57.0 + place}, main_metric=HOSTILE, status="custom",
                    departures=(HOSTILE,), classes=(HOSTILE,), fields={HOSTILE: HOSTILE},
                    details={HOSTILE: HOSTILE, "per_class": {HOSTILE: {HOSTILE: 5.0}}})
        for place in range(3)
    ]  # fmt: skip
    more = [record.model_copy(update={"task": "other"}) for record in hostile]
    boards = leaderboards([*hostile, *more])
    text = as_html(
        boards, [*hostile, *more], pairs=task_pairs(boards),
        pictures=[Picture(HOSTILE, sample_picture().png, HOSTILE)],
    )  # fmt: skip
    page = Parsed(text)
    assert len(page.all("script")) == 2 and len(page.all("style")) == 1
    assert [each["src"][:5] for each in page.all("img") if each["src"]] == ["data:"]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    data = json.loads(page.texts["script"][0])
    assert data["rows"]["0.0"]["title"] == f"resnet50.{HOSTILE}2"
    assert any(HOSTILE in heading for heading in page.texts["h2"])
    assert {"html", "head", "body", "main", "footer", "dialog"} <= {tag for tag, _ in page.tags}


def test_a_control_character_is_shown_as_a_question_mark() -> None:
    text = as_html(
        *(lambda records: (leaderboards(records), records))([make_record(data="a\x1b[31mb\u202ec")])
    )
    assert "a?[31mb?c" in text and "\x1b" not in text and "\u202e" not in text


def test_equal_records_give_equal_bytes() -> None:
    records = sample_records()
    boards = sample_boards(records)
    again = list(reversed([Record.model_validate(record.model_dump()) for record in sample_records()]))
    pairs = task_pairs(boards)
    assert as_html(boards, records, pairs=pairs) == as_html(sample_boards(again), again, pairs=pairs)


def test_every_drawing_has_words_in_its_place(page: Parsed) -> None:
    drawings = page.all("svg", role="img")
    assert len(drawings) > 10
    assert all(len(str(each["aria-label"])) > 30 for each in drawings)
    assert all(each.get("aria-hidden") == "true" for each in page.all("svg") if "role" not in each)
    assert all(len(str(each["alt"])) > 20 for each in page.all("img"))


def test_what_has_an_id_has_one_of_its_own(page: Parsed) -> None:
    ids = Counter(str(attrs["id"]) for _, attrs in page.tags if "id" in attrs)
    assert [name for name, count in ids.items() if count > 1] == []
    for link in page.all("a"):
        assert str(link["href"])[1:] in ids


def test_of_many_pairs_those_of_most_weights_are_drawn() -> None:
    def pair(place: int, num: int) -> TaskPair:
        axes = [
            Axis(task=f"{word}{place}", protocol="p", identity="i", status="exact", metric="AP")
            for word in ("a", "b")
        ]
        numbers = tuple(float(number) for number in range(num))
        return TaskPair(first=axes[0], second=axes[1], labels=tuple(f"w{number}" for number in range(num)),
                        baselines=(),
                        first_means=numbers, second_means=numbers, tau=1.0, p_value=0.01)  # fmt: skip

    page = of([make_record()], pairs=[pair(place, 7 if place == 14 else 3) for place in range(15)])
    titles = [title for title in page.texts["figcaption"] if "against a" in title]
    assert len(titles) == 12 and "b14 against a14" in titles
    (told,) = (told for told in page.texts["details"] if "further pairs" in told)
    assert told.count("Kendall's tau +1.00 over 3 weights") == 3


def test_pictures_are_capped_and_what_is_left_out_is_said() -> None:
    records = [make_record()]
    pictures = [sample_picture(f"sheet {place}") for place in range(30)]
    page = of(records, pictures=pictures)
    assert len(page.all("img")) == 16
    (told,) = (told for told in page.texts["p"] if told.startswith("Left out"))
    assert "sheet 16" in told and "sheet 15" not in told
    assert "sheet 25" in told and "sheet 26" not in told and "4 more" in told


def test_a_thousand_records_are_quick_and_small() -> None:
    records = many_records(1000)
    boards = sample_boards(records)
    pairs = task_pairs(boards)
    start = time.process_time()
    text = as_html(boards, records, pairs=pairs, pictures=[sample_picture()])
    seconds = time.process_time() - start  # of the processor: the machine may be busy with others
    assert seconds < 2.0
    assert len(text.encode()) < MAX_BYTES == 5_000_000
    data = json.loads(Parsed(text).texts["script"][0])
    assert sum(len(row["records"]) for row in data["rows"].values()) == 1000


# Colours


def palette(theme: int) -> dict[str, str]:
    """Name to colour, of the light (0) or the dark (1) theme."""
    found = re.findall(r"--(\w+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS)
    return {name: colours[theme] for name, *colours in found}


def contrast(first: str, second: str) -> float:
    """Of two colours, 1 to 21.

    Source: W3C, Web Content Accessibility Guidelines 2.2, "contrast ratio" and "relative luminance".
    """

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel", "raised"])
def test_text_can_be_read(theme: int, ground: str) -> None:
    colours = palette(theme)
    for name in ("ink", "dim", "accent", "good", "bad", "warn"):
        assert contrast(colours[name], colours[ground]) >= 4.5, name
    assert contrast(colours["ink"], colours[ground]) >= 7.0


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_what_is_drawn_can_be_seen(theme: int) -> None:
    colours = palette(theme)
    for name in ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "edge"):
        assert contrast(colours[name], colours["panel"]) >= 3.0, name
    assert len({colours[f"c{place}"] for place in range(7)}) == 7


def test_every_colour_of_the_style_is_of_the_palette() -> None:
    names = set(palette(0))
    used = set(re.findall(r"var\(--(\w+)\)", CSS)) - {"c", "paper"}
    assert used == names
    outside = re.sub(r"--\w+: [^;]+;", "", CSS)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?![\w-]*\s*[{,.:>])", outside)
