"""The k-NN monitor: when it asks, what it finds, and that it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.images.views import center_view
from pretrain.monitor import KnnMonitor
from pretrain.run import Job
from pretrain.training import Progress
from tests.helpers.pretraining import STEPS, STEPS_PER_EPOCH, make_images, prepare, toy_job


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("monitor"))


def make(out: Path, images: Path, method: str, *more: str) -> tuple[KnnMonitor, Job]:
    job = toy_job(out, images, method, *more)
    return KnnMonitor(prepare(job), job.train, job.val, 0), job


def test_it_asks_before_the_first_epoch_after_every_so_many_and_at_the_end(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KnnMonitor, "measure", lambda self: {"knn": 50.0})

    def asked(every: int) -> list[int]:
        monitor, _ = make(tmp_path, images, "moco-v2", f"monitor.every_epochs={every}", "epochs=5")
        return [epoch for epoch in range(6) if monitor(Progress(step=epoch * STEPS_PER_EPOCH))]

    assert asked(1) == [0, 1, 2, 3, 4, 5]
    assert asked(2) == [0, 2, 4, 5]
    assert asked(0) == []


def test_without_held_out_images_there_is_nothing_to_ask(tmp_path: Path, images: Path) -> None:
    monitor, _ = make(tmp_path, images, "moco-v2")
    assert replace(monitor, val=None)(Progress(step=STEPS)) == {}


def test_it_finds_what_a_slow_count_finds_and_changes_nothing(tmp_path: Path, images: Path) -> None:
    monitor, job = make(tmp_path, images, "supervised", "monitor.max_train_images=41")
    model = monitor.training.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draws = torch.random.get_rng_state()
    found = monitor.measure()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(draws, torch.random.get_rng_state())

    model.eval()
    voters = KnnMonitor._voters(len(job.train), 41)
    assert len(set(voters.tolist())) == 41

    def features(source: object, indices: np.ndarray) -> np.ndarray:
        rows = []
        for index in indices:
            pixels = center_view(source.read(int(index)), resize_px=32, crop_px=32)  # type: ignore[attr-defined]
            with torch.no_grad():
                view = torch.from_numpy(pixels).permute(2, 0, 1)[None]
                rows.append(model.backbone(model.normalise(view))[0].double().numpy())
        return np.array(rows)

    assert job.val is not None and job.val.labels is not None and job.train.labels is not None
    bank, asked = features(job.train, voters), features(job.val, np.arange(len(job.val)))
    right = top1 = 0
    for row, label in zip(asked, job.val.labels, strict=True):
        cosines = [float(row @ other / np.linalg.norm(row) / np.linalg.norm(other)) for other in bank]
        votes = np.zeros(10)
        for place in np.argsort(cosines)[-5:]:
            votes[job.train.labels[voters[place]]] += np.exp(cosines[place] / 0.07)
        right += int(votes.argmax() == label)
        scores = model.classify(torch.from_numpy(row).float()[None])
        assert scores is not None
        top1 += int(scores.argmax() == label)
    assert found == {
        "knn": pytest.approx(100 * right / len(asked)),
        "val_top1": pytest.approx(100 * top1 / len(asked)),
    }


def test_the_voters_are_the_same_at_every_time(tmp_path: Path, images: Path) -> None:
    assert KnnMonitor._voters(100, 10).tolist() == KnnMonitor._voters(100, 10).tolist()
    assert KnnMonitor._voters(100, 1000).tolist() == list(range(100))
