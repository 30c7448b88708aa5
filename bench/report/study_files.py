"""The files of a study: plots of every score, a table in Markdown, and what the tests say of a peak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core import atomic
from bench.core.records import Record
from bench.core.study import StudyRecord
from bench.report.reverse_u import ReverseU
from bench.report.study_plot import draw, draw_bars
from bench.report.study_table import StudyGroup, table_markdown, verdict_text

WEIGHTS = "weights"
"""The key of a study record's `details` under which the key of the card of its weights stands."""


@dataclass(frozen=True)
class Written:
    """What was written of a group: the common start of the files' names, and a test for each score."""

    stem: Path
    verdicts: dict[str, ReverseU]
    sentences: tuple[str, ...]


def write_files(group: StudyGroup, out: Path, words: Mapping[str, str]) -> Written:
    """A PNG and an SVG for each score against I_NCE, bars of all scores where there are several, a table.

    Args:
        group: What to draw.
        out: Folder; files of the same group are replaced.
        words: What scores are called on an axis.

    Raises:
        DiskError: a place cannot be written.
    """
    stem = f"{group.study}-{group.size}-{group.identity[:8]}"
    verdicts = {}
    for score in group.scores:
        png, svg = (out / f"{stem}-{score}.{kind}" for kind in ("png", "svg"))
        verdicts[score] = draw(group, score, png, svg, words=words)
    if len(group.scores) > 1:
        png, svg = (out / f"{stem}-bars.{kind}" for kind in ("png", "svg"))
        draw_bars(group, list(group.scores), png, svg, words=words)
    sentences = tuple(
        f"{words.get(score, score)}: {verdict_text(found)}" for score, found in verdicts.items()
    )
    text = table_markdown(group) + "".join(f"\n{sentence}\n" for sentence in sentences)
    atomic.write_text(out / f"{stem}.md", text)
    return Written(out / stem, verdicts, sentences)


def with_transfers(records: Iterable[StudyRecord], transfers: Iterable[Record]) -> list[StudyRecord]:
    """Study records with what their own weights came to in `bench transfer` as further scores.

    Weights are the same if the hash of their tensors is. Of several records of one protocol, trials are
    averaged: the seed of a study is that of its encoders.

    Args:
        records: Of studies.
        transfers: Of the results store.

    Returns:
        The same records; a score is named after task and protocol.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for transfer in transfers:
        name = f"{transfer.task} {transfer.protocol.slug} {transfer.main_metric}"
        if transfer.protocol.status == "custom":
            name += " (custom)"
        own = values.setdefault(transfer.weights.key, {})
        own.setdefault(f"{name} {transfer.protocol.identity[:8]}", []).append(
            transfer.metrics[transfer.main_metric].value
        )
    found = []
    for record in records:
        trials = values.get(str(record.details.get(WEIGHTS)), {})
        means = {name: sum(numbers) / len(numbers) for name, numbers in trials.items()}
        found.append(record.model_copy(update={"scores": {**record.scores, **means}}))
    return found
