"""LaTeX: which numbers are marked, what stands where, and that nothing from a record acts on the document."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.records import Metric, Record
from bench.report.latex import PREAMBLE, as_latex, escape
from bench.report.leaderboard import Leaderboard
from bench.report.published import read_published
from bench.report.published_tables import published_tables
from bench.report.tables import leaderboards
from tests.helpers.records import make_record, make_trials

HOSTILE = r"a_b & 50% \input{x} $y$ #1 ~z^2 <t>|u [v]* ``w'' --q " + '"é"'

Rows = list[list[str]]


def sample() -> list[Record]:
    return [
        *make_trials("resnet50.random", [33.51, 33.93, 33.77, 34.02, 33.61]),
        *make_trials("resnet50.supervised_torchvision", [54.0, 54.3, 54.2, 54.1, 54.4]),
        *make_trials("resnet50.pirl_ep200", [54.1, 54.2, 54.35, 54.0, 54.3]),
        *make_trials("resnet50.moco_v2_ep200", [56.9, 57.1, 57.0]),
        *make_trials("resnet50.infomin_ep200", [57.6]),
    ]


def tables(
    records: Sequence[Record], *, beside: bool = False, unconfirmed: bool = False
) -> list[Leaderboard]:
    return leaderboards(records, published=read_published() if beside else None, unconfirmed=unconfirmed)


def groups(text: str) -> list[Rows]:
    """The cells of the first table, header first, in the groups that rules make."""
    table = text.partition("\\toprule\n")[2]
    header, _, body = table.partition("\\midrule\n")
    if "\\endfoot\n" in text:
        body = table.partition("\\endfoot\n")[2].partition("\\end{longtable}")[0]
    body = body.partition("\\bottomrule")[0]
    return [
        [line.removesuffix(r" \\").split(" & ") for line in group.splitlines()]
        for group in (header, *body.split("\\midrule\n"))
    ]


def column(rows: Sequence[Sequence[str]], place: int) -> dict[str, str]:
    return {row[0].replace(r"\_", "_"): row[place] for row in rows}


def notes(text: str) -> list[str]:
    return re.findall(r"^\\item(?:\[\w+\])? (.*)$", text, re.MULTILINE)


def test_baselines_first_then_from_best_to_worst() -> None:
    header, baselines, others = groups(as_latex(tables(sample())))
    assert [row[0] for row in baselines] == ["random", r"supervised\_torchvision"]
    assert [row[0] for row in others] == [r"infomin\_ep200", r"moco\_v2\_ep200", r"pirl\_ep200"]
    (names,) = header
    assert names[:6] == ["weights (resnet50.{*})", "AP", "AP50", "AP75", "trials", "rank"]
    assert [re.findall(r"\w+", name)[-1] for name in names[6:]] == ["tabular", "tabular"]
    assert r"vs\\random" in names[6] and r"vs\\supervised\_\\torchvision" in names[7]


def test_cells() -> None:
    _, baselines, others = groups(as_latex(tables(sample())))
    infomin, moco, pirl = others
    assert infomin[1:] == [
        r"\textbf{57.6}", r"\textbf{82.6}", r"\textbf{63.6}", "1{*}", "--", "$+$23.8", "$+$3.4",
    ]  # fmt: skip
    assert moco[1] == r"\underline{57.0} $\pm$ 0.1" and moco[4:6] == ["3{*}", "1"]
    # 54.19 - 54.2; sample variances 0.0205 and 0.025 of five: far less than the error, so the mark
    assert pirl[1] == r"54.2 $\pm$ 0.1" and pirl[7] == r"$-$0.01 (0.10)$\sim$"
    assert pirl[4:6] == ["5", "2--3"]
    assert baselines[0][6:] == ["--", "$-$20.4 (0.1)"]


def test_the_best_and_the_second_of_each_metric_wherever_they_stand() -> None:
    made = [
        make_record("resnet50.supervised_msra", metrics={"AP": 60.0, "AP50": 70.0, "AP75": 10.0}),
        make_record("resnet50.a", metrics={"AP": 59.0, "AP50": 80.0, "AP75": 30.0}),
        make_record("resnet50.b", metrics={"AP": 58.0, "AP50": 75.0, "AP75": 20.0}),
    ]
    _, baselines, others = groups(as_latex(tables(made)))
    rows = [*baselines, *others]
    assert [row[1:4] for row in rows] == [
        [r"\textbf{60.0}", "70.0", "10.0"],
        [r"\underline{59.0}", r"\textbf{80.0}", r"\textbf{30.0}"],
        ["58.0", r"\underline{75.0}", r"\underline{20.0}"],
    ]


def test_means_that_tie_as_printed_are_marked_alike() -> None:
    aps = {"a": 57.04, "b": 56.96, "c": 56.94, "d": 56.86, "e": 56.84}
    made = [make_record(f"resnet50.{name}", ap=ap) for name, ap in aps.items()]
    rows = groups(as_latex(tables(made)))[1]
    assert column(rows, 1) == {
        "a": r"\textbf{57.0}", "b": r"\textbf{57.0}",
        "c": r"\underline{56.9}", "d": r"\underline{56.9}", "e": "56.8",
    }  # fmt: skip


def test_where_less_is_better_the_least_is_best() -> None:
    made = [
        make_record(name, ap=ap).model_copy(
            update={"metrics": {"AP": Metric(value=ap, higher_is_better=False)}}
        )
        for name, ap in (("resnet50.a", 3.0), ("resnet50.b", 1.5), ("resnet50.c", 2.0))
    ]
    rows = groups(as_latex(tables(made)))[1]
    assert column(rows, 1) == {"b": r"\textbf{1.5}", "c": r"\underline{2.0}", "a": "3.0"}


def test_a_metric_that_a_row_lacks_is_no_best() -> None:
    made = [
        make_record("resnet50.a", metrics={"AP": 50.0}),
        make_record("resnet50.b", metrics={"AP": 40.0, "AP50": 60.0}),
    ]
    assert [row[1:3] for row in groups(as_latex(tables(made)))[1]] == [
        [r"\textbf{50.0}", "--"], [r"\underline{40.0}", r"\textbf{60.0}"],
    ]  # fmt: skip


def test_published_rows_stand_apart_and_are_not_marked() -> None:
    made = [*make_trials("resnet50.random", [1.0, 1.2]), *make_trials("resnet50.infomin_ep200", [2.0, 2.2])]
    text = as_latex(tables(made, beside=True))
    _, baselines, others, published = groups(text)
    assert (baselines[0][0], others[0][0]) == ("random", r"infomin\_ep200")
    assert r"\textbf{2.1}" in others[0][1]
    heading, *rows = published
    assert heading == [r"\multicolumn{7}{l}{\emph{published:}}"]
    assert len(rows) == 52 and not any(r"\textbf" in cell for row in rows for cell in row)
    assert not any(r"\underline" in cell for row in rows for cell in row)
    assert column(rows, 1)["InfoMin Aug, 200 ep"] == "57.6"
    # differences are of our rows only, in a table of their own
    assert text.count(r"\begin{tabular}{lr}") == 1 and text.count(r"\label{") == 2
    (label,) = re.findall(r"\\label\{(\S+)-differences\}", text)
    assert rf"\label{{{label}}}" in text and rf"\ref{{{label}}}" in text


def test_footnotes_say_what_was_run() -> None:
    departures = ("norm: plain BN for SyncBN", "solver.lr: 0.0025 for 0.02")
    made = make_trials("resnet50.random", [33.5, 34.0], status="substituted", departures=departures)
    (table,) = tables(made)
    text = as_latex([table])
    told = " ".join(notes(text))
    assert r"\caption{voc-det (task version 2), voc0712-r50c4-24k: substituted}" in text
    assert table.identity[:12] in told and r"AP rule: voc07\_11point" in told
    assert all(departure in told for departure in departures)
    assert "{*} few trials" in told


def test_footnotes_name_sources_remarks_and_verdicts() -> None:
    made = make_trials("resnet50.supervised_msra", [53.4, 53.6])
    text = as_latex(tables(made, beside=True))
    assert (
        r"S4: DetCo paper v1 (arXiv 2102.04803) Table 6, picture xieenze/DetCo imgs/other\_res2.png" in text
    )
    assert "N2: mean of 5 trials" in text
    assert r"resnet50.supervised\_msra reproduces Supervised, 90 ep within tolerance: AP 53.5" in text
    assert re.search(r"^MoCo v1, 200 ep & 55.9 & 81.5 & 62.6 & 5 & -- & S\d+ N\d+ ", text, re.MULTILINE)


def test_unconfirmed_rows_are_marked() -> None:
    record = make_record(
        task="coco-instseg",
        slug="coco-r50fpn4conv-1x",
        metrics={"box_ap": 38.0, "mask_ap": 34.0},
        main_metric="box_ap",
        classes=[str(index) for index in range(80)],
    )
    without, with_them = (
        as_latex(tables([record], beside=True, unconfirmed=wanted)) for wanted in (False, True)
    )
    assert "unconfirmed" not in without.lower()
    assert "(unconfirmed) & " in with_them and "UNCONFIRMED: no source was read" in with_them


def test_long_tables_break_over_pages_and_short_ones_float() -> None:
    short = as_latex(published_tables(read_published(), protocol="coco-r50fpn4conv-6x"))
    long = as_latex(published_tables(read_published(), protocol="voc0712-r50c4-24k"))
    assert r"\begin{table}" in short and "longtable}{" not in short
    assert r"\begin{longtable}{" in long and r"\begin{table}" not in long
    for text in (short, long):
        assert text.startswith(PREAMBLE) and text.endswith("\n")
        open_ones: list[str] = []
        for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            if what == "begin":
                open_ones.append(name)
            else:
                assert open_ones.pop() == name
        assert not open_ones


def test_all_rows_of_a_table_have_all_cells() -> None:
    for text in (as_latex(tables(sample())), as_latex(tables(sample(), beside=True))):
        header, *body = groups(text)
        wide = {len(row) for group in body for row in group if not row[0].startswith(r"\multicolumn")}
        assert wide == {len(header[0])}
        (columns,) = set(
            re.findall(r"\\begin\{(?:tabular|longtable)\}\{(l\w+)\}", text.partition("-diff")[0])
        )
        assert {len(columns)} == wide


def test_equal_input_gives_equal_bytes() -> None:
    records = sample()
    text = as_latex(tables(records, beside=True))
    for seed in range(2):
        again = random.Random(seed).sample(records, len(records))
        assert as_latex(tables(again, beside=True)).encode() == text.encode()
    assert "\r" not in text and "\x1b" not in text


def test_nothing_gives_nothing() -> None:
    assert as_latex([]) == ""


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_no_text_acts(text: str) -> None:
    shown = escape(text)
    # without the commands that stand for a character, nothing is left that LaTeX would act on
    rest = re.sub(r"\\text(backslash|asciicircum|less|greater|bar)\{\}|\$\\(sim|pm)\$", "", shown)
    rest = re.sub(r"\\[&%$#_{}]|\{[\[\]*]\}|\{\}", "", rest)
    assert not re.search(r"[\\&%$#_{}~^<>|\[\]*\"]", rest)
    assert "--" not in rest.replace("-{}", "-") or "--" not in shown
    assert shown.isprintable()


def test_letters_stay_letters() -> None:
    assert escape("SoCo é ü, 200 ep (x; y/z): +1.5 @a=b!?") == "SoCo é ü, 200 ep (x; y/z): +1.5 @a=b!?"
    assert escape("a\\b~c^d") == r"a\textbackslash{}b$\sim$c\textasciicircum{}d"
    assert escape("[x]*--y---z") == "{[}x{]}{*}-{}-y-{}-{}-z"
    assert escape("57.0 ± 0.1\n\x1b[2J") == r"57.0 $\pm$ 0.1??{[}2J"


def hostile() -> list[Leaderboard]:
    """The text in every field that a record may fill, at the beginnings of rows and notes, too."""
    made = [
        make_record(
            name, seed, metrics={HOSTILE: 50.0 + seed}, main_metric=HOSTILE, task=HOSTILE, slug=HOSTILE,
            status="custom", departures=(HOSTILE, f"[2cm]{HOSTILE}"), data=HOSTILE,
            fields={"metric": {"ap_rule": HOSTILE}},
        )
        for seed in range(2)
        for name in (f"[2cm]{HOSTILE}", f"* {HOSTILE}", "resnet50.random")
    ]  # fmt: skip
    return tables(made)


def test_every_field_of_a_record_is_escaped() -> None:
    text = as_latex(hostile())
    assert text.count(escape(HOSTILE)) >= 10
    assert r"\input" not in text and "$y$" not in text and r"\caption{a\_b" in text


def test_rows_and_notes_cannot_begin_with_an_option() -> None:
    text = as_latex(hostile())
    assert not re.search(r"^(\[|\*)|(\\\\|rule|\\item) *[\[*]", text, re.MULTILINE)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_takes_it(tmp_path: Path) -> None:
    all_tables = [
        *tables(sample(), beside=True),
        *hostile(),
        *published_tables(read_published(), protocol="coco-r50fpn4conv-6x"),
    ]
    document = [
        r"\documentclass{article}",
        r"\usepackage[margin=1in]{geometry}",
        r"\usepackage{booktabs,threeparttable,longtable}",
        r"\begin{document}",
        as_latex(all_tables),
        r"\end{document}",
    ]
    (tmp_path / "report.tex").write_text("\n".join(document), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    if shutil.which("pdftotext"):
        text = subprocess.run(
            ["pdftotext", "-layout", "report.pdf", "-"], cwd=tmp_path, capture_output=True, check=True
        ).stdout.decode()
        assert r"50% \input{x} $y$ #1" in text and "[v]*" in text and "--q" in text
        assert "InfoMin Aug, 200 ep" in text and "57.6" in text
