"""semseg on a real GPU: every precision trains and is estimated, a resumed run goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.transfer.engines.test_segmentors import HEADS, make_job, run
from transfer.engines import load_engine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


@pytest.mark.parametrize("slug", HEADS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_and_goes_on(
    tmp_path: Path, voc: Path, checkpoint: Path, slug: str, precision: str
) -> None:
    job = make_job(tmp_path, voc, f"solver.precision='{precision}'", slug=slug, checkpoint=str(checkpoint))
    output = run(job)
    assert output.details["verified"]["largest_feature_difference"] <= 1e-5
    assert all(0.0 <= value <= 100.0 for value in output.metrics.values())
    again = run(replace(job, resume=True))
    assert again.metrics == output.metrics


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_is_estimated(tmp_path: Path, voc: Path, precision: str) -> None:
    job = make_job(tmp_path, voc, f"solver.precision='{precision}'")
    found = load_engine("mmseg").estimate_job(job)
    assert found.train_seconds > 0
    assert found.device_bytes is not None
