"""The page in a real browser: sort, filter, open a record, by mouse and by keyboard, wide and narrow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.core.records import SEAL, sealed
from bench.report.across import task_pairs
from bench.report.html.origin import origin_of
from bench.report.html.page import as_html
from bench.report.leaderboard import Leaderboard
from bench.report.tables import leaderboards
from tests.helpers.records import make_record
from tests.report.html.browser import Browser, Keys
from tests.report.html.sample import few_records, many_records, sample_boards

RECORDS = few_records()
BOARDS = sample_boards(RECORDS)
VOC = next(place for place, board in enumerate(BOARDS) if board.task == "voc-det")


def values(board: Leaderboard, metric: str) -> list[float]:
    return sorted((row.cells[metric].mean for row in board.rows if metric in row.cells), reverse=True)


def column(browser: Browser, board: int, name: str) -> list[str]:
    """The cells of the measured rows under a header, from top to bottom."""
    return browser.texts(f"#table-{board} .measured tr > :nth-child({place_of(browser, board, name)})")


def place_of(browser: Browser, board: int, name: str) -> int:
    """Of a header in its table, from 1."""
    heads = browser.texts(f"#table-{board} thead th")
    return next(place for place, head in enumerate(heads, 1) if head.startswith(name))


def test_sorting_by_a_header(browser: Browser) -> None:
    shown = [f"{value:.1f}" for value in values(BOARDS[VOC], "AP50")]
    place = place_of(browser, VOC, "AP50")
    head = f"#table-{VOC} thead th:nth-child({place})"
    for direction, expected in (("descending", shown), ("ascending", shown[::-1])):
        browser.click(f"{head} button")
        assert browser.find(head).get_attribute("aria-sort") == direction
        assert [cell.split()[0] for cell in column(browser, VOC, "AP50")] == expected
    sorted_by = browser.run(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.cellIndex)",
        f"#table-{VOC} thead [aria-sort]",
    )
    assert sorted_by == [place - 1]


def test_what_is_not_known_is_last_in_both_directions(browser: Browser) -> None:
    unranked = sum(row.rank is None for row in BOARDS[VOC].rows)
    assert unranked == 1
    for _ in range(2):
        browser.click(f"#table-{VOC} thead th:nth-child({place_of(browser, VOC, 'rank')}) button")
        ranks = column(browser, VOC, "rank")
        assert ranks[-1] == "-" and "-" not in ranks[:-1]


def test_sorting_by_name_and_with_the_keyboard(browser: Browser) -> None:
    browser.run("document.querySelector(arguments[0]).focus()", f"#table-{VOC} thead button")
    browser.press(Keys.ENTER)
    names = [name.partition("\n")[0] for name in column(browser, VOC, "weights")]
    assert names == sorted(names) and len(names) == 8
    browser.press(Keys.SPACE)
    assert [name.partition("\n")[0] for name in column(browser, VOC, "weights")] == names[::-1]


def visible(browser: Browser, kind: str) -> list[str]:
    return browser.texts(f".{kind} tr:not(.heading) > th")


def test_filter_by_task(browser: Browser) -> None:
    browser.choose("task", "voc-det")
    assert [head.split()[0] for head in browser.texts("section.board h2")] == ["voc-det"]
    assert len(visible(browser, "measured")) == len(BOARDS[VOC].rows)
    assert browser.texts(".overview tbody th") == ["voc-det"]


def test_filter_by_epochs_data_and_labels(browser: Browser) -> None:
    browser.choose("unsaid", "")
    browser.choose("epochs", "200")
    ours = [row for board in BOARDS for row in board.rows if origin_of(row.name).epochs == 200]
    quoted = [entry for board in BOARDS for entry in board.published or () if entry.pretrain_epochs == 200]
    assert (len(visible(browser, "measured")), len(visible(browser, "published"))) == (len(ours), len(quoted))
    browser.choose("data", "ImageNet-1K")
    browser.choose("labels", "none")
    left = [entry for entry in quoted if entry.pretrain_data == "ImageNet-1K" and entry.labels_used == "none"]
    assert 0 < len(left) < len(quoted)
    assert (len(visible(browser, "measured")), len(visible(browser, "published"))) == (0, len(left))
    # of our rows the record does not say the data, of some published ones the source not the epochs
    browser.choose("unsaid", "")
    unsaid = sum(
        entry.pretrain_epochs is None and (entry.pretrain_data, entry.labels_used) == ("ImageNet-1K", "none")
        for board in BOARDS
        for entry in board.published or ()
    )
    assert unsaid > 0
    assert len(visible(browser, "measured")) == len(ours)
    assert len(visible(browser, "published")) == len(left) + unsaid
    total = sum(len(board.rows) + len(board.published or ()) for board in BOARDS)
    assert browser.texts("#count")[0].startswith(f"{len(ours) + len(left) + unsaid} of {total} rows")


def test_search_published_rows_and_reset(browser: Browser) -> None:
    browser.choose("q", "moco v2")
    names = visible(browser, "published")
    assert names and all("moco v2" in name.lower() for name in names)
    browser.choose("published", "")
    assert visible(browser, "published") == [] == browser.texts(".pub")
    browser.choose("q", " nothing is called this")
    assert browser.texts("#nothing") and browser.texts("section.board") == []
    browser.click("#filters [type=reset]")
    browser.wait("document.querySelector('#nothing').hidden")
    assert len(browser.texts("section.board")) == len(BOARDS) and browser.texts(".pub")


def test_the_state_is_in_the_address(browser: Browser, path: Path) -> None:
    browser.choose("task", "voc-det")
    browser.choose("q", "ep200")
    browser.choose("published", "")
    browser.run("document.querySelector('#theme').click()")
    browser.run("document.querySelector(arguments[0]).click()", f"#table-{VOC} thead button")
    before = (visible(browser, "measured"), browser.run("return location.hash"))
    assert before[0] == sorted(before[0]) and len(before[0]) == 4
    browser.load(path, before[1])
    assert (visible(browser, "measured"), browser.run("return location.hash")) == before
    assert browser.texts("#theme") == ["Theme: light"]
    assert not browser.find("[name=published]").is_selected()


def opened(browser: Browser) -> str:
    browser.wait("document.querySelector('dialog').open")
    return str(browser.run("return document.querySelector('dialog').textContent"))


def test_a_record_by_mouse(browser: Browser) -> None:
    row = BOARDS[VOC].rows[0]
    browser.click(f"#table-{VOC} .measured tr:first-child td .cell")
    text = opened(browser)
    trials = [record for record in RECORDS if record.id in {trial.record for trial in row.trials}]
    assert len(trials) == 3
    for record in trials:
        assert record.id in text and sealed(record)[SEAL] in text
        assert f"bench reproduce {record.id}" in text
    first = trials[0]
    hashes = (first.weights.tensors_sha256, first.data.fingerprint, first.protocol.identity)
    environment = ("0" * 40, "bench transfer voc-det", "2.14.1", "voc07_11point")
    for told in (row.label, *hashes, *environment, "pottedplant"):
        assert str(told) in text
    browser.click("dialog .close")
    browser.wait("!document.querySelector('dialog').open")


def test_a_record_by_keyboard(browser: Browser) -> None:
    active = "document.activeElement"
    # from the last header, one Tab leads into the table; arrows lead on
    browser.run("[...document.querySelectorAll(arguments[0])].at(-1).focus()", f"#table-{VOC} thead button")
    browser.press(Keys.TAB)
    assert browser.run(f"return {active}.innerText") == "infomin_ep800"
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert browser.run(f"return {active}.closest('tr').cells[0].innerText") == "infomin_ep200"
    assert browser.run(f"return {active}.className") == "cell"
    assert browser.texts("#tip")[0].startswith("95 % interval 57."), "said on focus, too"
    browser.press(Keys.END, Keys.HOME, Keys.ARROW_RIGHT)
    assert browser.run(f"return getComputedStyle({active}).outlineStyle") == "solid"
    browser.run("document.documentElement.scrollTop += 40")
    assert browser.texts("#tip"), "a page that scrolls to what is focused does not hush it"
    browser.press(Keys.ENTER)
    assert "resnet50.infomin_ep200" in opened(browser)
    assert browser.run(f"return {active}.id") == "record-title"
    for _ in range(12):
        browser.press(Keys.TAB)
        inside = f"!{active}.closest('.board, #filters')"
        assert browser.run(f"return {inside}"), "Tab stays in the dialog"
    browser.press(Keys.ESCAPE)
    browser.wait("!document.querySelector('dialog').open")
    assert browser.run(f"return [{active}.className, {active}.closest('tr').cells[0].innerText]") == [
        "cell", "infomin_ep200",
    ]  # fmt: skip
    # one Tab leads out again
    browser.press(Keys.TAB)
    assert browser.run(f"return {active}.closest('table')") is None


def test_a_record_has_an_address(browser: Browser, path: Path) -> None:
    record = BOARDS[VOC].rows[1].trials[2].record
    browser.load(path, f"#record={record}")
    opened(browser)
    assert browser.texts("dialog .sheet > details[open] > summary")[0] == f"Seed 2: record {record}"
    browser.press(Keys.ESCAPE)
    browser.wait("!document.querySelector('dialog').open")
    assert browser.run("return location.hash") == ""
    browser.load(path, "#record=constructor")
    assert browser.run("return document.querySelector('dialog').open") is False


def test_a_source_leads_to_its_footnote(browser: Browser) -> None:
    browser.click(f"#table-{VOC} .published .mark")
    focused = browser.run("return document.activeElement.innerText")
    assert focused.startswith("S1 ") and len(focused) > 20
    assert browser.run("return document.activeElement.checkVisibility()")


def test_a_link_leads_to_its_table(browser: Browser) -> None:
    browser.click(f".overview [href='#table-{VOC}']")
    assert browser.run("return document.activeElement.innerText").startswith("voc-det")
    browser.wait("Math.abs(document.activeElement.getBoundingClientRect().top) < innerHeight")


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_window_never_scrolls_sideways(browser: Browser, width: int) -> None:
    browser.size(width, 740)
    wide = "return document.documentElement.scrollWidth <= innerWidth && innerWidth"
    assert browser.run(wide) == width
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert browser.run(wide) == width
    # a table cuts off what is too wide by itself, so that the page would not scroll to it
    assert (
        browser.run(
            "return [...document.querySelectorAll('body *:not(.wide *, svg *, .skip)')]"
            ".filter((each) => each.getBoundingClientRect().right > innerWidth).map((each) => each.outerHTML)"
        )
        == []
    )
    browser.run("document.querySelector(arguments[0]).click()", f"#table-{VOC} .open")
    opened(browser)
    browser.run("document.querySelectorAll('dialog details').forEach((each) => { each.open = true; })")
    assert browser.run(
        "const box = document.querySelector('dialog'); return box.scrollWidth <= box.clientWidth"
    )
    browser.press(Keys.ESCAPE)


def test_without_scripts_all_rows_are_there(browser: Browser, path: Path, tmp_path: Path) -> None:
    before, _, after = path.read_text(encoding="utf-8").rpartition("<script>")
    bare = tmp_path / "bare.html"
    bare.write_text(before + after.partition("</script>")[2], encoding="utf-8")
    browser.load(bare)
    assert len(visible(browser, "measured")) == sum(len(board.rows) for board in BOARDS)
    assert len(visible(browser, "published")) == sum(len(board.published or ()) for board in BOARDS)
    assert browser.texts("#filters") == [] == browser.texts("#theme")


def test_light_dark_and_phone_look_as_they_should(browser: Browser, tmp_path: Path) -> None:
    def shot(name: str) -> Any:
        picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("L")
        picture.save(tmp_path / f"{name}.png")
        return np.asarray(picture)

    light = shot("light")
    browser.scheme("dark")
    dark = shot("dark")
    assert light.mean() > 200 and dark.mean() < 60
    assert light.std() > 15 and dark.std() > 15  # there is something in it
    for expected in ("light", "dark"):  # the button is stronger than the system
        browser.click("#theme")
        assert (shot(f"forced-{expected}").mean() > 128) == (expected == "light")
    browser.scheme("light")
    assert shot("forced-dark").mean() < 60
    browser.size(360, 740)
    phone = shot("phone")
    assert phone.shape == (740, 360) and phone.std() > 15


def test_nobody_who_dislikes_motion_gets_any(browser: Browser) -> None:
    behaviour = "return getComputedStyle(document.documentElement).scrollBehavior"
    assert browser.run(behaviour) == "auto"
    browser.scheme("light", "no-preference")
    assert browser.run(behaviour) == "smooth"


def test_charts_are_drawn_in_the_colours_of_the_page(browser: Browser) -> None:
    fill = "return getComputedStyle(document.querySelector('svg.chart circle.c0')).fill"
    light = browser.run(fill)
    browser.scheme("dark")
    assert light == "rgb(0, 114, 178)" and browser.run(fill) == "rgb(86, 180, 233)"
    for size in browser.run(
        "return [...document.images].map((each) => [each.complete, each.naturalWidth, each.naturalHeight])"
    ):
        assert size[0] and min(size[1:]) > 100


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror='window.broken=1'><script>window.broken=2</script>"
    records = [
        make_record(f"resnet50.{hostile}{place}", 0, 50.0 + place, data=hostile, classes=(hostile,),
                    task=hostile if place % 2 else "voc-det", fields={hostile: hostile},
                    details={"per_class": {hostile: {"AP": 5.0}}, hostile: hostile})
        for place in range(4)
    ]  # fmt: skip
    boards = leaderboards(records)
    path = tmp_path / "hostile.html"
    path.write_text(as_html(boards, records, pairs=task_pairs(boards)), encoding="utf-8")
    browser.load(path)
    browser.run("document.querySelector('.open').click()")
    text = opened(browser)
    assert text.count(hostile) >= 4
    browser.run("document.querySelectorAll('dialog details').forEach((each) => { each.open = true; })")
    browser.press(Keys.ESCAPE)
    assert browser.run("return [window.broken ?? null, document.images.length]") == [None, 0]


def test_a_thousand_records_render_in_two_seconds(browser: Browser, tmp_path: Path) -> None:
    records = many_records(1000)
    boards = sample_boards(records)
    path = tmp_path / "large.html"
    path.write_text(as_html(boards, records, pairs=task_pairs(boards)), encoding="utf-8")
    browser.cdp("Performance.enable")

    def seconds() -> float:
        # Of the processor, of all threads of the page: the machine may be busy with others.
        metrics = browser.cdp("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "ProcessTime"))

    browser.load(path)
    before = seconds()
    browser.driver.refresh()
    drawn = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](1)))"
    browser.driver.execute_async_script(drawn)
    assert seconds() - before < 2.0
    assert len(browser.texts("section.board")) == 4
    browser.choose("q", "method001")
    assert len(visible(browser, "measured")) == 4
