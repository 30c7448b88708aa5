"""Batches: the same for any number of workers and from any step on; a worker's error arrives as it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench.core import rng
from bench.core.errors import ConfigError, DataError, EngineError
from bench.images.source import ImageSource, open_source
from bench.images.view_config import ViewConfig
from pretrain.data.batch import Batch
from pretrain.data.buffers import Shapes
from pretrain.data.device_feed import DeviceFeed
from pretrain.data.loader import Sample, TrainLoader, train_batches
from pretrain.data.order import Order
from pretrain.samples import Views
from tests.images.test_source import png, tar, write

NUM_IMAGES, BATCH_SIZE = 26, 8


class MakeSample:
    """Two views of different sizes: one holds the image's value, one a number of (epoch, index)."""

    def __init__(self, *, patches: bool = False) -> None:
        self._patches = patches
        self.shapes = Shapes(((5, 6), (2, 2)), (9, 2, 2) if patches else None)

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        first = np.full((5, 6, 3), image[0, 0, 0], np.uint8)
        first[0, 1] = (1, 2, 3)
        draw = rng.generator(0, "view", epoch, index).integers(0, 256, (2, 2, 3)).astype(np.uint8)
        patches = np.stack([draw + np.uint8(number) for number in range(9)]) if self._patches else None
        return Sample((first, draw), patches)


class Makes:
    """What a function makes, of so many views of a size each."""

    def __init__(self, function: Callable[..., Sample], *views: tuple[int, int]) -> None:
        self._function, self.shapes = function, Shapes(views)

    def __call__(self, image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
        return self._function(image, index, epoch)


def runtime_error(image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
    raise RuntimeError(index)


def broken(image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
    raise ZeroDivisionError(index)


def killed(image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def threads_and_signals(image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
    threads = np.full((1, 1, 3), torch.get_num_threads(), np.uint8)
    ignored = [signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGTERM, signal.SIGINT)]
    return Sample((threads, np.full((1, 1, 3), all(ignored), np.uint8)), None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    root = tmp_path_factory.mktemp("set")
    for shard in range(2):
        tar(root / f"{shard}.tar", [(f"{n % 2}/{n:02}.png", png(n)) for n in range(shard, NUM_IMAGES, 2)])
    return open_source(root)


def loader(source: ImageSource, make: Any = None, **values: Any) -> TrainLoader:
    wanted: dict[str, Any] = {"start_step": 0, "end_step": 7, "rank": 0, "world_size": 1, "accumulation": 1}
    wanted |= {"num_workers": 0, "feed": DeviceFeed(torch.device("cpu"))} | values
    order = wanted.pop("order", None) or Order(len(source), BATCH_SIZE, seed=5)
    return train_batches(source, make or MakeSample(), order, **wanted)


def tensors(batch: Batch) -> list[torch.Tensor]:
    return [*batch.views, batch.index, *(t for t in (batch.patches, batch.labels) if t is not None)]


def equal(first: list[list[Batch]], second: list[list[Batch]]) -> None:
    assert [len(step) for step in first] == [len(step) for step in second]
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            assert len(tensors(a)) == len(tensors(b))
            for x, y in zip(tensors(a), tensors(b), strict=True):
                assert x.dtype == y.dtype and x.stride() == y.stride() and torch.equal(x, y)


def test_what_a_batch_holds(source: ImageSource) -> None:
    order = Order(NUM_IMAGES, BATCH_SIZE, seed=5)
    assert source.labels is not None
    steps = list(loader(source, MakeSample(patches=True), with_labels=True))
    assert len(steps) == 7  # two epochs of three steps, and one
    for step, (batch,) in enumerate(steps):
        epoch, indices = order.batch(step)
        assert batch.index.tolist() == indices.tolist() and batch.index.dtype == torch.int64
        assert batch.labels is not None and batch.labels.dtype == torch.int64
        assert batch.labels.tolist() == source.labels[indices].tolist()
        first, draw = batch.views
        assert first.shape == (8, 3, 5, 6) and first.dtype == torch.uint8
        assert first.is_contiguous(memory_format=torch.channels_last)
        assert first[:, 0, 4, 5].tolist() == [source.read(index)[0, 0, 0] for index in indices.tolist()]
        assert first[0, :, 0, 1].tolist() == [1, 2, 3]
        assert batch.patches is not None and batch.patches.shape == (8, 9, 3, 2, 2)
        for row, index in enumerate(indices.tolist()):
            sample = MakeSample(patches=True)(source.read(index), index, epoch)
            assert np.array_equal(draw[row].permute(1, 2, 0).numpy(), sample.views[1])
            assert sample.patches is not None
            assert np.array_equal(batch.patches[row].permute(0, 2, 3, 1).numpy(), sample.patches)


def test_without_labels_and_patches(source: ImageSource) -> None:
    ((batch,),) = list(loader(source, end_step=1))
    assert (batch.labels, batch.patches) == (None, None)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_changes_nothing(source: ImageSource, num_workers: int) -> None:
    values: dict[str, Any] = {"with_labels": True, "accumulation": 2, "make": MakeSample(patches=True)}
    equal(list(loader(source, **values)), list(loader(source, num_workers=num_workers, **values)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_from_any_step_it_goes_on_as_the_whole_run(source: ImageSource, num_workers: int) -> None:
    whole = list(loader(source))
    for start in (1, 2, 3, 5) if num_workers == 0 else (4,):
        equal(whole[start:], list(loader(source, start_step=start, num_workers=num_workers)))
    assert list(loader(source, start_step=7)) == []


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (1, 2), (2, 2), (4, 2), (1, 8)])
def test_processes_and_parts_add_up_to_the_batch(
    source: ImageSource, world_size: int, accumulation: int
) -> None:
    whole = list(loader(source))
    ranks = [
        list(loader(source, rank=rank, world_size=world_size, accumulation=accumulation))
        for rank in range(world_size)
    ]
    for step, (batch,) in enumerate(whole):
        parts = [part for rank in ranks for part in rank[step]]
        assert {len(part.index) for part in parts} == {BATCH_SIZE // world_size // accumulation}
        assert len(parts) == world_size * accumulation
        for joined, one in zip(zip(*map(tensors, parts), strict=True), tensors(batch), strict=True):
            assert torch.equal(torch.cat(joined), one)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_global_random_generator_is_moved(source: ImageSource, num_workers: int) -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    before = states()
    first = list(loader(source, num_workers=num_workers, end_step=2))
    assert states() == before
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    equal(first, list(loader(source, num_workers=num_workers, end_step=2)))


def test_workers_have_one_thread_and_leave_signals_alone(source: ImageSource) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    torch.set_num_threads(2)
    try:
        for (batch,) in loader(source, Makes(threads_and_signals, (1, 1), (1, 1)), num_workers=2):
            assert [view.unique().tolist() for view in batch.views] == [[1], [1]]
    finally:
        torch.set_num_threads(1)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_bad_image_is_a_data_error_with_its_name(tmp_path: Path, num_workers: int) -> None:
    root = write(tmp_path, {f"{n:02}.png": png(n) if n != 11 else b"<html>" for n in range(NUM_IMAGES)})
    source = open_source(root)
    order = Order(len(source), BATCH_SIZE, seed=5)
    step = next(step for step in range(9) if 11 in order.batch(step)[1])
    batches = loader(source, num_workers=num_workers)
    for _ in range(step):
        assert len(next(batches)) == 1
    with pytest.raises(DataError) as caught:
        next(batches)
    with pytest.raises(DataError) as direct:
        source.read(11)
    assert str(caught.value) == str(direct.value)
    assert caught.value.problems == direct.value.problems
    with pytest.raises(StopIteration):
        next(batches)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_fault_of_ours_is_not_a_data_error(source: ImageSource, num_workers: int) -> None:
    with pytest.raises(ZeroDivisionError):
        next(loader(source, Makes(broken), num_workers=num_workers))
    with pytest.raises(RuntimeError):
        next(loader(source, Makes(runtime_error), num_workers=num_workers))


def test_a_worker_that_was_killed_is_named_as_such(source: ImageSource) -> None:
    with pytest.raises(EngineError, match="a process that reads images is gone"):
        next(loader(source, Makes(killed), num_workers=1))


def test_what_does_not_fit_is_refused_at_once(source: ImageSource, tmp_path: Path) -> None:
    flat = open_source(write(tmp_path, {f"{n}.png": png() for n in range(8)}))
    with pytest.raises(DataError, match=f"{tmp_path}: its images have no class"):
        loader(flat, with_labels=True)
    with pytest.raises(ConfigError, match="8 images does not divide by 3 processes times 1"):
        loader(source, world_size=3)
    with pytest.raises(ConfigError, match="8 images does not divide by 2 processes times 3"):
        loader(source, world_size=2, accumulation=3)
    with pytest.raises(ValueError, match="an order of 9 images for a source of 26"):
        loader(source, order=Order(9, 8, seed=0))


def test_a_batch_stays_what_it_was_while_later_ones_are_made(source: ImageSource) -> None:
    """Workers write into the same few buffers again and again."""
    batches = loader(source, num_workers=2)
    first = [next(batches) for _ in range(2)]
    kept = [[tensor.clone() for batch in step for tensor in tensors(batch)] for step in first]
    assert len(list(batches)) == 5
    for step, before in zip(first, kept, strict=True):
        now = [tensor for batch in step for tensor in tensors(batch)]
        assert all(torch.equal(one, two) for one, two in zip(now, before, strict=True))


def another_size(image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
    return Sample((image[:1],), None)


def test_a_sample_of_another_size_than_was_said_is_a_fault(source: ImageSource) -> None:
    with pytest.raises(ValueError, match="where"):
        next(loader(source, Makes(another_size, (3, 4))))


def test_what_is_left_to_do_is_done_on_the_way_to_the_device(source: ImageSource) -> None:
    view = ViewConfig(
        order=("crop", "flip", "gray"),
        crop_px=8,
        crop_area=(0.5, 1.0),
        flip_probability=0.5,
        gray_probability=0.5,
    )
    feed = DeviceFeed(torch.device("cpu"), (view, view))
    crops = loader(source, Views((view, view), None, 3, "crops"), feed=feed, num_workers=1)
    equal(list(crops), list(loader(source, Views((view, view), None, 3, "pillow"))))


def slow(image: npt.NDArray[np.uint8], index: int, epoch: int) -> Sample:
    time.sleep(0.02)
    return Sample((image,), None)


def test_time_spent_waiting_is_counted(source: ImageSource) -> None:
    batches = loader(source, Makes(slow, (3, 4)), end_step=2)
    assert batches.waited_seconds == 0.0
    next(batches)
    waited = batches.waited_seconds
    assert 0.16 <= waited < 2.0  # eight images
    time.sleep(0.1)
    assert batches.waited_seconds == waited
    next(batches)
    assert batches.waited_seconds >= waited + 0.16


def workers_of(process: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == process and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def test_close_ends_the_workers(source: ImageSource) -> None:
    before = set(workers_of(os.getpid()))
    batches = loader(source, num_workers=2)
    next(batches)
    assert len(set(workers_of(os.getpid())) - before) == 2
    batches.close()
    assert set(workers_of(os.getpid())) <= before
    assert list(batches) == []


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from bench.images.source import open_source
from pretrain.data.order import Order
from pretrain.samples import Views
from tests.pretrain.data.test_loader import Makes, loader, slow, workers_of
if __name__ == "__main__":
    batches = loader(open_source(Path(sys.argv[1])), Makes(slow, (3, 4)), num_workers=2, end_step=10_000)
    next(batches)
    print(*workers_of(os.getpid()), flush=True)
    if sys.argv[2] == "killed":
        time.sleep(0.7)  # until the workers are idle; a busy one looks for its parent after its batch
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "error":
        raise SystemExit(3)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("killed", -signal.SIGKILL), ("error", 3)])
def test_workers_end_with_their_parent(source: ImageSource, how: str, code: int) -> None:
    command = [sys.executable, "-c", SCRIPT, str(source.root), how]
    root = Path(__file__).parents[3]
    # Not to the end of its output, which the workers hold open.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        assert process.wait(timeout=60) == code
        # torch's own watchdog lets an idle worker wait for up to five seconds.
        deadline = time.monotonic() + 2.5
        assert len(workers) == 2
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.02)
