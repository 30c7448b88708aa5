"""A study of real photographs in folders of classes, and of photographs without any."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pretrain.analysis.plan import make_plan
from pretrain.analysis.run import execute
from tests.contracts.test_studies import options


@pytest.mark.parametrize("part", ["", "unlabeled"], ids=["classes", "no classes"])
def test_views_of_photographs_are_probed_for_their_classes(
    part: str, real_data: Path, tmp_path: Path
) -> None:
    root = real_data / "caltech101_96"
    probe = None if part == "" else root
    plan = make_plan(options(tmp_path, "colour", 'views.spaces=["lab"]', data=root / part, probe_data=probe))
    (record,) = execute(plan)
    assert len(record.data.classes) == 101
    assert math.isfinite(record.i_nce) and record.i_nce < math.log(record.num_candidates)
    # nothing is known of single pixels of photographs
    assert set(record.scores) == {"top1"}
    assert 0.0 <= record.scores["top1"] <= 100.0
