"""What `bench ls methods` says of a method beyond its entry: published numbers, and where it departs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.published import PublishedRow

SHOWN = {
    "linear-probe": ("top1", None),
    "voc-det": ("AP50", ("voc0712-r50c4-24k",)),
    "coco-instseg": ("AP", ("coco-r50c4-1x", "coco-r50fpn-1x")),
}
"""Task to the metric and protocols that a person is shown; a script gets every row."""


def published_lines(rows: list[PublishedRow]) -> list[str]:
    """The rows of `SHOWN`, a line for each task and protocol, in percent; how many others there are."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    order, shown = list(SHOWN), 0
    for row in rows:
        metric, protocols = SHOWN.get(row.task, (None, None))
        if row.metric != metric or (protocols is not None and row.protocol not in protocols):
            continue
        epochs = f"{row.pretrain_epochs} epochs" if row.pretrain_epochs else "epochs not said"
        data = "" if row.pretrain_data == "ImageNet-1K" else f" of {row.pretrain_data}"
        doubt = "" if row.confirmed == "yes" else ", not confirmed"
        place = lines.setdefault((row.task, row.protocol, row.metric), [])
        place.append(f"{row.value} ({row.method}, {epochs}{data}{doubt})")
        shown += 1
    found = [
        f"{task} {metric}, {protocol}: {'; '.join(values)}"
        for (task, protocol, metric), values in sorted(
            lines.items(), key=lambda line: order.index(line[0][0])
        )
    ]
    if len(rows) > shown:
        found.append(f"{len(rows) - shown} more with --json")
    return found or ["nothing"]


def departures(path: Path) -> list[str]:
    """What stands under "Differs:" in a method's file and in what it refers to there.

    Args:
        path: The file; it is read and not imported.

    Returns:
        The file's own, then those of the classes and functions that it names beside their files.
    """
    from bench.core.paths import ROOT

    (own,) = _differs(path) or [""]
    named = [ROOT / name for name in re.findall(r"`(pretrain/[a-z_]+\.py)`", own)]
    names = set(re.findall(r"`([A-Za-z_]+)`", own))
    own = re.sub(r"^see [^.]*(\.py`[^.]*)*\.\s*", "", own)
    found = [own, *(text for other in named for text in _differs(other, names))]
    return [text for text in found if text]


def _differs(path: Path, names: set[str] | None = None) -> list[str]:
    """Of the docstrings of classes and functions of those names; without names, of the file's own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[ast.Module | ast.ClassDef | ast.FunctionDef] = [tree]
    if names is not None:
        kinds = (ast.ClassDef, ast.FunctionDef)
        nodes = [node for node in ast.walk(tree) if isinstance(node, kinds) and node.name in names]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return [" ".join(text.partition("Differs:")[2].split()) for text in texts if "Differs:" in text]
