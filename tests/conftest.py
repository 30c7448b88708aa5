"""Pins threads before anything imports NumPy or torch, and shares what is slow to make."""

import os

# Two processes of two threads on two cores can be 20 times slower than two of one.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real sets, named by BENCH_REAL_DATA; the test skips without it."""
    folder = os.environ.get("BENCH_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("BENCH_REAL_DATA names no folder")
    return Path(folder)
