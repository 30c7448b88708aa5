"""The tables of the InfoMin era, row by row: VOC with C4, COCO with C4 and with both families of FPN."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.report.published import read_published
from bench.report.published_tables import PublishedTable, published_tables

# VOC and COCO are a second transcription, written down apart from results.csv.

VOC = {  # AP, AP50, AP75: READMEs of MoCo and PixPro
    ("Random init", 0): (33.8, 60.2, 33.1),
    ("Supervised", 90): (53.5, 81.3, 58.8),
    ("MoCo v1", 200): (55.9, 81.5, 62.6),
    ("MoCo v2", 200): (57.0, 82.4, 63.6),
    ("MoCo v2", 800): (57.4, 82.5, 64.0),
    ("MoCo v2 [per PixPro README]", 800): (57.6, 82.7, 64.4),
    ("SimCLR", 1000): (56.3, 81.9, 62.5),
    ("InfoMin Aug", 200): (57.6, 82.7, 64.6),
    ("InfoMin Aug", 800): (57.5, 82.5, 64.0),
    ("PixPro", 400): (60.2, 83.8, 67.7),
}

# Box and mask AP: PyContrast's detection/README.md; random init of C4 1x, SimCLR and 800 epochs: PixPro's;
# random init of C4 2x: OpenSelfSup's model zoo; the family of the two-layer head: DetCo's tables.
COCO = {
    "coco-r50c4-1x": {
        ("Random init", 0): (26.4, 29.3),
        ("Supervised", 90): (38.2, 33.3),
        ("MoCo v1", 200): (38.5, 33.6),
        ("MoCo v2 [per PixPro README]", 800): (39.5, 34.5),
        ("SimCLR", 1000): (38.4, 33.6),
        ("InfoMin Aug", 200): (39.0, 34.1),
        ("InfoMin Aug", 800): (38.8, 33.8),
    },
    "coco-r50c4-2x": {
        ("Random init (OpenSelfSup)", 0): (35.6, 31.4),
        ("Supervised", 90): (40.0, 34.7),
        ("MoCo v1 [per PyContrast detection/README]", 200): (None, 35.6),
        ("InfoMin Aug", 200): (41.3, 36.0),
    },
    "coco-r50fpn4conv-1x": {
        ("Random init", 0): (32.8, 29.9),
        ("Supervised", 90): (39.7, 35.9),
        ("InstDis", 200): (38.8, 35.2),
        ("PIRL", 200): (38.6, 35.1),
        ("MoCo v1", 200): (39.4, 35.6),
        ("MoCo v2", 800): (40.4, 36.4),
        ("InfoMin Aug", 200): (40.6, 36.7),
        ("InfoMin Aug", 800): (40.4, 36.6),
    },
    "coco-r50fpn4conv-2x": {
        ("Random init", 0): (38.4, 34.7),
        ("Supervised", 90): (41.6, 37.6),
        ("InstDis", 200): (41.3, 37.3),
        ("PIRL", 200): (41.2, 37.4),
        ("MoCo v1", 200): (41.7, 37.5),
        ("MoCo v2", 200): (41.7, 37.6),
        ("InfoMin Aug", 200): (42.5, 38.4),
    },
    "coco-r50fpn4conv-6x": {
        ("Random init", 0): (42.7, 38.6),
        ("Supervised", 90): (42.6, 38.5),
        ("InfoMin Aug", 200): (43.6, 39.2),
    },
    "coco-r50fpn-1x": {
        ("Random init", 0): (31.0, 28.5),
        ("Supervised", 90): (38.9, 35.4),
        ("MoCo v1", 200): (38.5, 35.1),
    },
    "coco-r50fpn-2x": {
        ("Random init", 0): (36.7, 33.7),
        ("Supervised", 90): (40.6, 36.8),
    },
}

# Box AP, AP50, AP75, mask AP, AP50, AP75. The baselines of the 1x tables with C4 and with the two-layer head
# are those of SoCo's README; all others are pinned as results.csv has them, against a slip there.
SIX = {
    "coco-r50c4-1x": {
        ("Random init", 0): (26.4, 44.0, 27.8, 29.3, 46.9, 30.8),
        ("Supervised", 90): (38.2, 58.2, 41.2, 33.3, 54.7, 35.2),
        ("InstDis", 200): (37.7, 57.0, 40.9, 33.0, 54.1, 35.2),
        ("PIRL", 200): (37.4, 56.5, 40.2, 32.7, 53.4, 34.7),
        ("MoCo v1", 200): (38.5, 58.3, 41.6, 33.6, 54.8, 35.6),
        ("MoCo v2", 200): (38.9, 58.4, 42.0, 34.2, 55.2, 36.5),
    },
    "coco-r50c4-2x": {
        ("Random init", 0): (35.6, 54.6, 38.2, 31.4, 51.5, 33.5),
        ("Supervised", 90): (40.0, 59.9, 43.1, 34.7, 56.5, 36.9),
        ("MoCo v1", 200): (40.7, 60.5, 44.1, 35.4, 57.3, 37.6),
        ("MoCo v2", 200): (41.0, 60.6, 44.5, 35.6, 57.2, 38.0),
    },
    "coco-r50fpn-1x": {
        ("Random init", 0): (31.0, 49.5, 33.2, 28.5, 46.8, 30.4),
        ("Supervised", 90): (38.9, 59.6, 42.7, 35.4, 56.5, 38.1),
        ("InstDis", 200): (37.4, 57.6, 40.6, 34.1, 54.6, 36.4),
        ("PIRL", 200): (37.5, 57.6, 41.0, 34.0, 54.6, 36.2),
        ("MoCo v1", 200): (38.5, 58.9, 42.0, 35.1, 55.9, 37.7),
        ("MoCo v2", 200): (38.9, 59.4, 42.4, 35.5, 56.5, 38.1),
    },
    "coco-r50fpn-2x": {
        ("Random init", 0): (36.7, 56.7, 40.0, 33.7, 53.8, 35.9),
        ("Supervised", 90): (40.6, 61.3, 44.4, 36.8, 58.1, 39.5),
        ("MoCo v1", 200): (40.8, 61.6, 44.7, 36.9, 58.4, 39.7),
        ("MoCo v2", 200): (40.9, 61.5, 44.7, 37.0, 58.7, 39.8),
    },
    "coco-r50fpn4conv-1x": {
        ("Random init", 0): (32.8, 50.9, 35.3, 29.9, 47.9, 32.0),
        ("Supervised", 90): (39.7, 59.5, 43.3, 35.9, 56.6, 38.6),
        ("InfoMin Aug", 200): (40.6, 60.6, 44.6, 36.7, 57.7, 39.4),
    },
    "coco-r50fpn4conv-2x": {
        ("Random init", 0): (38.4, 57.5, 42.0, 34.7, 54.8, 37.2),
        ("Supervised", 90): (41.6, 61.7, 45.3, 37.6, 58.7, 40.4),
        ("InstDis", 200): (41.3, 61.0, 45.3, 37.3, 58.3, 39.9),
        ("PIRL", 200): (41.2, 61.2, 45.2, 37.4, 58.5, 40.3),
        ("MoCo v1", 200): (41.7, 61.4, 45.7, 37.5, 58.6, 40.5),
        ("MoCo v2", 200): (41.7, 61.6, 45.6, 37.6, 58.7, 40.5),
        ("InfoMin Aug", 200): (42.5, 62.7, 46.8, 38.4, 59.7, 41.4),
    },
}
COLUMNS = ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75")


@pytest.fixture(scope="module")
def tables() -> list[PublishedTable]:
    return published_tables(read_published())


def of(tables: Sequence[PublishedTable], protocol: str) -> PublishedTable:
    (found,) = (table for table in tables if table.protocol == protocol)
    return found


def values(table: PublishedTable, method: str, epochs: int) -> dict[str, float]:
    """All metrics of one model of ImageNet or of no pretraining, whichever of its rows has them."""
    found: dict[str, float] = {}
    for row in table.rows:
        if (row.method, row.pretrain_epochs) == (method, epochs) and row.pretrain_data in (
            "none", "ImageNet-1K",
        ):  # fmt: skip
            assert row.confirmed and row.source and not row.source.startswith("unconfirmed")
            assert not found.keys() & row.values.keys()
            found |= {metric: value.value for metric, value in row.values.items()}
    return found


def test_voc_is_the_table_of_the_infomin_era(tables: list[PublishedTable]) -> None:
    table = of(tables, "voc0712-r50c4-24k")
    assert (table.task, table.metrics) == ("voc-det", ("AP", "AP50", "AP75"))
    for (method, epochs), expected in VOC.items():
        assert values(table, method, epochs) == dict(zip(table.metrics, expected, strict=True)), method
    # pinned as results.csv has them
    assert values(table, "InstDis", 200) == {"AP": 55.2, "AP50": 80.9, "AP75": 61.2}
    assert values(table, "PIRL", 200) == {"AP": 55.5, "AP50": 81.0, "AP75": 61.3}


@pytest.mark.parametrize("protocol", COCO)
def test_coco_is_the_table_of_the_infomin_era(tables: list[PublishedTable], protocol: str) -> None:
    table = of(tables, protocol)
    assert table.task == "coco-instseg"
    for (method, epochs), (box, mask) in COCO[protocol].items():
        found = values(table, method, epochs)
        assert (found.get("box_ap"), found.get("mask_ap")) == (box, mask), method
    for (method, epochs), expected in SIX.get(protocol, {}).items():
        assert values(table, method, epochs) == dict(zip(COLUMNS, expected, strict=True)), method
