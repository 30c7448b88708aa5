"""Pins threads before anything imports NumPy or torch, and shares what is slow to make."""

import os
import sys
from collections import Counter

# Containers often forbid bytecode on disk: each of the many processes that tests start then compiles torch
# and the engines anew, for seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Two processes of two threads on two cores can be 20 times slower than two of one.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

# Minutes each: two processes share the tests by file, and one should not be left alone with these in the end.
FIRST = ("tests/test_demo.py", "tests/contracts/test_methods.py", "tests/contracts/test_layouts.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those of few tests, which are longer than those of many."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (not item.nodeid.startswith(FIRST), sizes[item.path]))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real sets, named by BENCH_REAL_DATA; the test skips without it."""
    folder = os.environ.get("BENCH_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("BENCH_REAL_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of 6 training and 3 test images at 96 px. Tests that change it take a copy."""
    from tests.helpers.voc_set import make_voc

    return make_voc(tmp_path_factory.mktemp("synth") / "data")


@pytest.fixture(scope="session")
def coco(voc: Path) -> Path:
    """The same images in COCO layout. Tests that change it take a copy."""
    return voc.parent / "coco"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision-layout checkpoint of a ResNet-50."""
    from tests.helpers.weights import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("weights") / "net.pth")
