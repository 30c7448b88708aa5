"""Two processes come to what one does: losses, gradients, momentum copies, queues, shuffled batch norm.

The product itself runs, from its config to its weights, in float64 on a tiny network; see
`tests/helpers/two_processes.py`. What they should come to with batch norm is written out in one process, in
`tests/helpers/two_halves.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.core import rng
from tests.helpers.often import often
from tests.helpers.shuffling import PLACES, SHUFFLES, Found, image_numbers, tiny_keys, work_shuffle
from tests.helpers.two_halves import work_halves
from tests.helpers.two_processes import (
    NAMES,
    NUM_STEPS,
    Case,
    Kept,
    distance,
    largest,
    make_data,
    read_kept,
    run_in_processes,
    work_cases,
)
from tests.helpers.written_out import LOSSES

GROUP, BATCH = "backbone.norm=group", "backbone.norm=batch"
# Where a steep loss makes noise grow.
CALM = {"barlow_twins": ("optimizer.learning_rate=0.001",)}
WHOLE = {method: Case(f"{method}-group", method, (GROUP, *CALM.get(method, ()))) for method in NAMES}
# One for each kind of what processes must tell each other.
OFTEN = ("moco_v2", "pirl", "supervised")
OFF = Case("off-group", "moco_v2", (GROUP, "parts.shuffle_bn=none"))
SPOILED = Case("spoiled-group", "moco_v2", (GROUP, "parts.shuffle_bn=none"), spoiled=True)
# Whole batches fill this queue: where keys come in another order, it holds the same ones.
EVEN = "parts.queue_size=16"
PARTS = {
    method: [Case(f"{method}-{parts}-parts", method, (GROUP, *even), parts=parts) for parts in (2, 4)]
    for method, even in (("moco_v2", (EVEN,)), ("infomin", (EVEN,)), ("supervised", ()))
}
IN_PARTS = ("pirl", "swav", "dino")
HALVES = [
    *(Case(f"{method}-batch", method, (BATCH, *CALM.get(method, ()))) for method in LOSSES),
    Case("node-of-one", "moco_v2", (BATCH, "parts.shuffle_bn=node"), nodes=2),
    Case("global", "moco_v2", (BATCH, "parts.shuffle_bn=global"), nodes=2),
    Case("unshuffled", "moco_v2", (BATCH, "parts.shuffle_bn=none")),
    Case("moco_v2-parts", "moco_v2", (BATCH, EVEN), parts=2),
    # Batch norm of two images is touchy.
    Case("simclr-parts", "simclr", (BATCH, "optimizer.learning_rate=0.005"), parts=2),
    Case("supervised-parts", "supervised", (BATCH,), parts=2),
    *(
        Case(f"{method}-parts", method, (BATCH, "optimizer.learning_rate=0.002"), parts=2)
        for method in IN_PARTS
    ),
]
MONITORED = Case("monitored", "moco_v2", (BATCH, "monitor.every_epochs=1"))
KEYED = {case.key: case for case in HALVES}
HALVES_OFTEN = [
    KEYED[key]
    for key in ("moco_v2-batch", "pirl-batch", "node-of-one", "global", "unshuffled", "moco_v2-parts")
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every process of every run had."""
    out = tmp_path_factory.mktemp("distributed")
    data = make_data(out / "data")
    whole = [WHOLE[method] for method in OFTEN]
    two = [*whole, OFF, SPOILED, *(cases[0] for cases in PARTS.values()), *HALVES_OFTEN, MONITORED]
    run_in_processes(work_cases, 2, two, data, out)
    one = [*whole, OFF, *(cases[1] for cases in PARTS.values())]
    run_in_processes(work_cases, 1, one, data, out)
    run_in_processes(work_halves, 1, [*HALVES_OFTEN, MONITORED], data, out)
    return out


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the methods that are not run often."""
    out = tmp_path_factory.mktemp("others")
    data = make_data(out / "data")
    cases = [case for method, case in WHOLE.items() if method not in OFTEN]
    halves = [case for case in HALVES if case not in HALVES_OFTEN]
    run_in_processes(work_cases, 2, [*cases, *halves], data, out)
    run_in_processes(work_cases, 1, cases, data, out)
    run_in_processes(work_halves, 1, halves, data, out)
    return out


@pytest.mark.parametrize("method", often(NAMES, OFTEN))
def test_with_group_norm_two_processes_equal_one_on_the_whole_batch(
    request: pytest.FixtureRequest, method: str
) -> None:
    """Loss, gradients, weights, momentum copy, keys in their order, pointer; in both processes."""
    out: Path = request.getfixturevalue("out" if method in OFTEN else "others")
    one = read_kept(out, WHOLE[method], 1)
    assert len(one.gradients) == len(one.losses) == NUM_STEPS
    assert all(any(value.abs().max() > 1e-3 for value in step.values()) for step in one.gradients)
    for rank in (0, 1):
        assert largest(read_kept(out, WHOLE[method], 2, rank), one) < (1e-12,)


@pytest.mark.parametrize("method", PARTS)
def test_two_processes_of_two_parts_equal_one_of_four(out: Path, method: str) -> None:
    two, four = PARTS[method]
    theirs = read_kept(out, four, 1)
    for rank in (0, 1):
        ours = read_kept(out, two, 2, rank)
        # Keys come part by part, and the parts are of other images.
        assert largest(_sorted_queue(ours), _sorted_queue(theirs)) < (1e-12,)


def _sorted_queue(kept: Kept) -> Kept:
    if "queues.0.keys" not in kept.state:
        return kept
    keys = kept.state["queues.0.keys"]
    rows = keys[torch.argsort(keys[:, 0])]
    return Kept(kept.gradients, {**kept.state, "queues.0.keys": rows}, kept.losses, kept.monitor)


@pytest.mark.parametrize("key", often(KEYED, [case.key for case in HALVES_OFTEN]))
def test_with_batch_norm_two_processes_equal_two_halves(request: pytest.FixtureRequest, key: str) -> None:
    """Each process its own running statistics; keys from networks that see the shuffled half."""
    out: Path = request.getfixturevalue("out" if KEYED[key] in HALVES_OFTEN else "others")
    for rank in (0, 1):
        expected = read_kept(out, KEYED[key], "halves", rank)
        assert len(expected.losses) == NUM_STEPS
        assert largest(read_kept(out, KEYED[key], 2, rank), expected) < (1e-10,)


def test_batch_norm_makes_the_halves_differ(out: Path) -> None:
    """Else the tests above would hold for any division of the batch."""
    first, second = (read_kept(out, KEYED["moco_v2-batch"], 2, rank) for rank in (0, 1))
    for name in first.state:
        gap = distance(first.state[name], second.state[name])
        assert (gap > 1e-6) == ("running" in name), name


@pytest.mark.parametrize("other", ["unshuffled", "node-of-one", "global"])
def test_who_is_shuffled_with_whom_shows_in_the_keys(out: Path, other: str) -> None:
    """A run that shuffles otherwise, or not at all, is far from what is expected of the shuffle."""
    expected = read_kept(out, KEYED["moco_v2-batch"], "halves")
    found = read_kept(out, KEYED[other], 2)
    first = [kept.losses[0] for kept in (found, expected)]
    if other == "global":  # one node of two and two nodes of one: all are shuffled with all
        assert largest(found, expected) < (1e-10,)
    else:
        assert abs(first[0] - first[1]) > 1e-6


def test_with_group_norm_the_shuffle_changes_no_loss(out: Path) -> None:
    """Each image's key comes back to it; after two steps the queue has dropped other keys."""
    shuffled, unshuffled = (read_kept(out, case, 2) for case in (WHOLE["moco_v2"], OFF))
    assert shuffled.losses[:2] == pytest.approx(unshuffled.losses[:2], abs=1e-12, rel=0.0)
    same = distance(shuffled.state["queues.0.keys"], unshuffled.state["queues.0.keys"]) < 1e-3
    assert not same, "nothing was shuffled"


def test_the_queue_holds_the_keys_of_both_processes(out: Path) -> None:
    one = read_kept(out, OFF, 1)
    first, second = (read_kept(out, OFF, 2, rank).state for rank in (0, 1))
    assert torch.equal(first["queues.0.keys"], second["queues.0.keys"])
    assert distance(first["queues.0.keys"], one.state["queues.0.keys"]) < 1e-12
    assert int(first["queues.0.pointer"]) == NUM_STEPS * 8 % 18

    first, second = (read_kept(out, SPOILED, 2, rank).state for rank in (0, 1))
    assert distance(first["queues.0.keys"], second["queues.0.keys"]) > 1e-3
    assert distance(first["queues.0.keys"], one.state["queues.0.keys"]) > 1e-3
    assert int(first["queues.0.pointer"]) != NUM_STEPS * 8 % 18


def test_the_monitor_asks_the_network_whose_weights_are_written(out: Path) -> None:
    """Its share of the images each process looks at, but with the running statistics of the first."""
    first, second = (read_kept(out, MONITORED, 2, rank) for rank in (0, 1))
    expected = read_kept(out, MONITORED, "halves")
    assert (
        len(first.monitor) == 4
    )  # before the first step and at the end: held-out images, and those that vote
    for kept in (first, second):
        assert distance(kept.monitor[2], expected.monitor[0]) < 1e-6  # they are float32
        assert torch.equal(kept.monitor[3], first.monitor[3])
    assert largest(first, expected) < (1e-10,)


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str, int, int], list[Found]]:
    """(processes a node, shuffle, step, part) to what each of four processes found."""
    out = tmp_path_factory.mktemp("shuffled")
    run_in_processes(work_shuffle, 4, out)
    each = [torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(4)]
    return {key: [found[key] for found in each] for key in each[0]}


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("node_size", [1, 2, 4])
def test_keys_are_shuffled_within_a_node_or_among_all(
    shuffled: dict[tuple[int, str, int, int], list[Found]], node_size: int, shuffle: str
) -> None:
    """What each of four processes normalises together, its own keys in its own order, and all of them."""
    for step, part in PLACES:
        found = shuffled[node_size, shuffle, step, part]
        seen = _expected_images(node_size, shuffle, step, part)
        assert [one.seen.tolist() for one in found] == [images.tolist() for images in seen]
        keys = {
            int(image): key for images in seen for image, key in zip(images, tiny_keys(images), strict=True)
        }
        for rank, one in enumerate(found):
            own = torch.stack([keys[int(image)] for image in image_numbers(rank)])
            assert torch.equal(one.own, own)
            assert torch.equal(one.everyone, torch.cat([tiny_keys(images) for images in seen]))
            assert torch.equal(one.own_without_norm, image_numbers(rank)[:, None] * 2.0)


def _expected_images(node_size: int, shuffle: str, step: int, part: int) -> list[Tensor]:
    pool = {"none": 0, "node": node_size, "global": 4}[shuffle] * len(image_numbers(0))
    everyone = torch.cat([image_numbers(rank) for rank in range(4)])
    if pool:
        drawn = rng.generator(7, "shuffle", step, part).permutation(pool)
        everyone = everyone[np.concatenate([drawn + first for first in range(0, len(everyone), pool)])]
    return list(everyone.chunk(4))


def test_the_shuffles_are_told_apart_by_what_is_seen() -> None:
    """The test above would fail for another shuffle than the one that was asked for."""
    for step, part in PLACES:
        seen = {
            (size, name): torch.cat(_expected_images(size, name, step, part)).tolist()
            for size in (2, 4)
            for name in SHUFFLES
        }
        assert seen[2, "none"] != seen[2, "node"] != seen[2, "global"] != seen[2, "none"]
        assert seen[4, "node"] == seen[4, "global"]
        for rank, images in enumerate(_expected_images(2, "node", step, part)):
            assert {int(image) // 6 for image in images} == {rank // 2}
        assert any(
            {int(image) // 6 for image in images} == {0, 1}
            for images in _expected_images(2, "global", step, part)
        )
    assert len({tuple(torch.cat(_expected_images(4, "global", *place)).tolist()) for place in PLACES}) == 3
