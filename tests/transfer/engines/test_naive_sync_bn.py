"""SyncBN of processes without a GPU: two of them come to what one has with the whole batch."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes

from tests.transfer.engines.test_segmentors import final_tensors, make_job, run


def batch() -> Tensor:
    return torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 2 + 1


def one_step(norm: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """(output, gradient of the input) for a loss that treats each pixel differently."""
    images = images.clone().requires_grad_()
    found = norm(images)
    (found * torch.arange(found[0].numel()).reshape(found[0].shape)).square().mean().backward()
    assert images.grad is not None
    return found.detach(), images.grad


def work(rank: int, port: int, folder: str) -> None:
    from transfer.engines.naive_sync_bn import NaiveSyncBatchNorm2d

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    norm = NaiveSyncBatchNorm2d(3)
    found, gradient = one_step(norm, batch()[rank * 2 : rank * 2 + 2])
    state = norm.state_dict()
    torch.save((found, gradient, state), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_halves_are_normalised_as_the_whole(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(work, args=(port, str(tmp_path)), nprocs=2, start_method="spawn")
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    whole = nn.BatchNorm2d(3)
    found, gradient = one_step(whole, batch())
    assert torch.allclose(torch.cat([half[0] for half in halves]), found, atol=1e-5)
    # A mean over half of the batch weighs each pixel twice.
    assert torch.allclose(torch.cat([half[1] for half in halves]), 2 * gradient, rtol=1e-4, atol=1e-3)
    for half in halves:
        for name, value in whole.state_dict().items():
            assert torch.allclose(half[2][name].float(), value.float(), rtol=1e-5), name


def test_alone_it_is_batch_norm() -> None:
    from transfer.engines.naive_sync_bn import NaiveSyncBatchNorm2d

    naive, plain = NaiveSyncBatchNorm2d(3), nn.BatchNorm2d(3)
    assert torch.equal(naive(batch()), plain(batch()))
    assert torch.equal(naive.eval()(batch()), plain.eval()(batch()))


@pytest.mark.slow
def test_two_processes_come_to_what_one_does(tmp_path: Path, voc: Path) -> None:
    job = replace(make_job(tmp_path, voc, "solver.precision='fp32'"), num_devices=2)
    model = job.protocol.model.model_copy(update={"norm": "naiveSyncBN"})
    job = replace(job, protocol=job.protocol.model_copy(update={"model": model}))
    output = run(job)
    assert output.details["num_devices"] == 2
    one = make_job(tmp_path / "one", voc, "solver.precision='fp32'")
    alone = run(one)
    ours, theirs = final_tensors(job), final_tensors(one)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        # The sums of two processes are rounded otherwise, and four steps make more of it.
        assert torch.allclose(ours[name].float(), value.float(), rtol=1e-2, atol=2e-3), name
    assert output.metrics["mIoU"] == pytest.approx(alone.metrics["mIoU"], abs=2.0)
