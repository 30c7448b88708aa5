"""Every image of a source decoded once, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

from bench.core.errors import DataError
from bench.core.log import progress
from bench.core.signals import leave_stopping_to_the_parent, leave_with_the_parent
from bench.images.source import ImageSource

_CHUNK = 64
"""Images a task: small enough for a bar that moves, large enough that sending one does not count."""

_source: ImageSource | None = None


def check_images(source: ImageSource, *, num_workers: int) -> list[str]:
    """Decode every image once.

    Args:
        source: Of any kind.
        num_workers: Processes beside this one; 0 or 1 decodes here.

    Returns:
        One line for each image that cannot be used, in the order of the images.
    """
    problems: list[str] = []
    starts = range(0, len(source), _CHUNK)
    with progress("Checking images", len(source)) as bar:
        for start, found in zip(starts, _results(source, starts, num_workers), strict=True):
            problems += found
            bar.update(min(start + _CHUNK, len(source)))
    return problems


def _results(source: ImageSource, starts: range, num_workers: int) -> Iterator[list[str]]:
    if min(num_workers, len(starts)) <= 1:
        for start in starts:
            yield _problems(source, start)
        return
    # Spawned, not forked: the caller may have threads, and a fork of them may hang.
    pool = ProcessPoolExecutor(
        min(num_workers, len(starts)), get_context("spawn"), initializer=_start_worker, initargs=(source,)
    )
    with pool:
        try:
            # A few tasks ahead, so that a stop does not wait for a million of them to be cancelled.
            left = iter(starts)
            waiting: list[Future[list[str]]] = [
                pool.submit(_do, start) for start in islice(left, 4 * num_workers)
            ]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(_do, start) for start in islice(left, 1)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker(source: ImageSource) -> None:
    global _source
    _source = source
    leave_stopping_to_the_parent()
    leave_with_the_parent()


def _do(start: int) -> list[str]:
    if _source is None:
        raise RuntimeError("the worker was not started by _start_worker")
    return _problems(_source, start)


def _problems(source: ImageSource, start: int) -> list[str]:
    found: list[str] = []
    for index in range(start, min(start + _CHUNK, len(source))):
        try:
            source.read(index)
        except DataError as error:
            found += error.problems
    return found
