"""The parts of a trial in MMSegmentation: the network, what it sees, how it is tested, what it will take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import DataError, WeightsError
from bench.core.weights import Weights
from tests.helpers.engine import options, semseg
from tests.helpers.often import often
from tests.helpers.segmentation_pins import PINNED as SLUGS
from tests.transfer.engines.test_segmentors import FCN, SEMFPN, STEPS, make_job, run
from transfer.engines import load_engine
from transfer.engines.mmseg.engine import _config
from transfer.engines.mmseg.estimate import score_bytes, training_bytes
from transfer.engines.mmseg.loader import build_transforms, load_image, train_loader
from transfer.engines.mmseg.model import build_segmentor
from transfer.run import make_plan


@pytest.mark.parametrize(
    ("slug", "strides"),
    often(
        [("voc12aug-fcn-d8", (4, 8, 8, 8)), (FCN, (4, 8, 16, 16)), (SEMFPN, (4, 8, 16, 32))],
        lambda case: case[0] == "voc12aug-fcn-d8",
    ),
)
def test_features_are_the_source_networks(
    tmp_path: Path, voc: Path, checkpoint: Path, slug: str, strides: tuple[int, ...]
) -> None:
    job = make_job(tmp_path, voc, slug=slug, checkpoint=str(checkpoint))
    model, verified = build_segmentor(_config(job), job.protocol.model, job.weights, seed=0)  # type: ignore[arg-type]
    assert verified["largest_feature_difference"] <= 1e-5
    model.eval()
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, 64, 64))  # type: ignore[operator]
    assert tuple(64 // feature.shape[-1] for feature in features) == strides


@pytest.mark.parametrize(
    "change",
    often(
        [
            {"dilations": (1, 1, 1, 1)},
            {"dilations": (1, 1, 1, 4)},
            {"strides": (1, 2, 2, 2)},
            {"strides": (1, 1, 2, 2), "dilations": (1, 2, 1, 1)},
            {"contract_dilation": False},
        ],
        lambda change: "contract_dilation" in change,
    ),
)
def test_another_dilation_is_caught_by_the_features(
    tmp_path: Path, voc: Path, checkpoint: Path, change: dict[str, Any]
) -> None:
    """An engine's config that says another thing than the protocol: all shapes load, the features differ."""
    job = make_job(tmp_path, voc, slug=FCN, checkpoint=str(checkpoint))
    config = _config(job)
    config["model"]["backbone"] |= change
    with pytest.raises(WeightsError, match=r"C\d (differs|has shape)"):
        build_segmentor(config, job.protocol.model, job.weights, seed=0)  # type: ignore[arg-type]


def test_a_deep_stem_is_caught(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    job = make_job(tmp_path, voc, checkpoint=str(checkpoint))
    config = _config(job)
    config["model"]["backbone"]["type"] = "ResNetV1c"
    with pytest.raises(WeightsError, match="no place for"):
        build_segmentor(config, job.protocol.model, job.weights, seed=0)  # type: ignore[arg-type]


def test_a_tensor_that_is_missing_is_caught(tmp_path: Path, voc: Path, checkpoint: Path) -> None:
    job = make_job(tmp_path, voc, checkpoint=str(checkpoint))
    assert job.weights is not None
    tensors = {name: value for name, value in job.weights.tensors.items() if name != "layer4.2.conv3.weight"}
    part = Weights(job.weights.card, tensors)
    with pytest.raises(
        WeightsError, match="1 backbone tensors of the model in MMSegmentation got no weights"
    ):
        build_segmentor(_config(job), job.protocol.model, part, seed=0)  # type: ignore[arg-type]


def test_pixels_of_another_scale_are_refused(
    tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SlotCon's files give 0.485 for pixels of 0 to 255."""
    job = make_job(tmp_path, voc)

    def scaled(*arguments: Any, **values: Any) -> dict[str, Any]:
        from transfer.adapters.mmseg_config import mmseg_config

        config = mmseg_config(*arguments, **values)
        config["model"]["data_preprocessor"]["mean"] = [0.485, 0.456, 0.406]
        return config

    monkeypatch.setattr("transfer.engines.mmseg.engine.mmseg_config", scaled)
    with pytest.raises(WeightsError, match=r"data_preprocessor\.mean is \[0\.485"):
        run(job)


def test_what_the_network_sees_is_the_picture_normalised(tmp_path: Path, voc: Path) -> None:
    """RGB, on the scale of the card, the label map in its own values, ignored where it is filled up."""
    from bench.core.safe_image import read_image

    job = make_job(
        tmp_path,
        voc,
        "input.train_scale_px=[96, 96]",
        "input.train_scale_factors=[1.0, 1.0]",
        "input.crop_px=128",
        "input.horizontal_flip=false",
    )
    image = job.data.train[0]
    config = _config(job)
    model, _ = build_segmentor(config, job.protocol.model, None, seed=0)  # type: ignore[arg-type]
    pipeline = config["train_dataloader"]["dataset"]["pipeline"]
    sample = load_image(image, transforms=build_transforms(pipeline), zero_is_ignored=False)
    network: Any = model
    batch = network.data_preprocessor(
        {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}, True
    )
    pixels = torch.from_numpy(read_image(image.path).astype(np.float32)).permute(2, 0, 1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (job.card.input.mean, job.card.input.std))
    height, width = pixels.shape[1:]
    assert torch.allclose(batch["inputs"][0, :, :height, :width], (pixels - mean) / std, atol=1e-5)
    labels = batch["data_samples"][0].gt_sem_seg.data[0]
    assert labels.shape == (128, 128)
    assert set(labels[:height, :width].unique().tolist()) <= image.values
    assert set(labels[height:].unique().tolist()) == {255}


def test_zero_may_be_ignored(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc)
    pipeline = _config(job)["test_dataloader"]["dataset"]["pipeline"]
    plain, reduced = (
        load_image(job.data.test[0], transforms=build_transforms(pipeline), zero_is_ignored=flag)[
            "data_samples"
        ]
        .gt_sem_seg.data[0]
        .numpy()
        for flag in (False, True)
    )
    expected = np.where((plain == 0) | (plain == 255), 255, plain.astype(np.int64) - 1)
    assert np.array_equal(reduced, expected)


def test_the_order_is_a_function_of_the_place(tmp_path: Path, voc: Path) -> None:
    """Any start and any number of workers give the same crops."""
    job = make_job(tmp_path, voc)
    pipeline = _config(job)["train_dataloader"]["dataset"]["pipeline"]

    def crops(start: int, num_workers: int, count: int) -> list[torch.Tensor]:
        loader: Iterator[list[Any]] = train_loader(
            job.data,
            pipeline,
            images_per_batch=2,
            seed=1,
            start=start,
            rank=0,
            num_processes=1,
            num_workers=num_workers,
        )
        return [sample["inputs"] for _ in range(count) for sample in next(loader)]

    straight = crops(0, 0, 5)
    assert len({crop.numpy().tobytes() for crop in straight}) == len(straight)
    resumed = crops(2, 2, 3)
    assert all(torch.equal(one, other) for one, other in zip(straight[4:], resumed, strict=True))


def test_an_image_that_is_gone_is_named(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc)
    image = job.data.test[0]
    transforms = build_transforms(_config(job)["test_dataloader"]["dataset"]["pipeline"])
    gone = replace(image, path=tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg"):
        load_image(gone, transforms=transforms, zero_is_ignored=False)
    with pytest.raises(DataError, match="when the data were checked"):
        load_image(replace(image, width=7), transforms=transforms, zero_is_ignored=False)


def test_sliding_averages_the_scores_of_squares(tmp_path: Path, voc: Path) -> None:
    """48 px squares, 32 px apart, over 64 px: two a side, the second pushed back to the border."""
    from transfer.engines.mmseg.evaluate import predict

    job = make_job(
        tmp_path, voc, *STEPS, "inference.crop_px=48", "inference.stride_px=32", slug="cityscapes-fcn-moco",
    )  # fmt: skip
    config = _config(job)
    model, _ = build_segmentor(config, job.protocol.model, None, seed=0)  # type: ignore[arg-type]
    model.eval()
    network: Any = model
    # Scores near each other at a random start: spread, so that squares and the whole disagree.
    torch.nn.init.normal_(network.decode_head.conv_seg.weight, std=5.0)
    transforms = build_transforms(config["test_dataloader"]["dataset"]["pipeline"])
    sample = load_image(job.data.test[0], transforms=transforms, zero_is_ignored=False)
    with torch.no_grad():
        found = predict(model, sample)
        batch = network.data_preprocessor({key: [value] for key, value in sample.items()}, False)
        images = batch["inputs"]
        assert images.shape[2:] == (64, 64)
        total, counts = torch.zeros(1, len(job.data.classes), 64, 64), torch.zeros(64, 64)
        for top in (0, 16):
            for left in (0, 16):
                rows, columns = slice(top, top + 48), slice(left, left + 48)
                scores = network.decode_head(network.extract_feat(images[:, :, rows, columns]))
                total[:, :, rows, columns] += torch.nn.functional.interpolate(
                    scores, size=(48, 48), mode="bilinear", align_corners=True
                )
                counts[rows, columns] += 1
        side = tuple(batch["data_samples"][0].ori_shape)
        expected = torch.nn.functional.interpolate(
            total / counts, size=side, mode="bilinear", align_corners=True
        ).argmax(1)[0]
        network.test_cfg.mode = "whole"
        whole = predict(model, sample)
    assert found is not None and whole is not None
    assert (found == expected.numpy()).mean() > 0.999
    assert (found == whole).mean() < 0.999


def test_the_estimate_is_counted_and_timed(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc, "solver.images_per_batch=8")
    found = load_engine("mmseg").estimate_job(job)
    assert found.train_seconds > 0
    assert found.test_seconds > 0
    assert found.device_bytes is None or found.device_bytes > 0
    assert set(found.memory_by_accumulation) == {1, 2, 4}
    memory = [found.memory_by_accumulation[parts] for parts in (1, 2, 4)]
    assert memory == sorted(memory, reverse=True)
    assert not job.run_dir.exists(), "nothing is written"


@pytest.mark.parametrize("slug", often(SLUGS, ["voc12aug-fcn-d8"]))
@pytest.mark.parametrize("num_devices", often([2, 4], [2]))
def test_memory_is_counted_for_every_protocol(tmp_path: Path, voc: Path, slug: str, num_devices: int) -> None:
    """Four images on four devices are one each, which batch norm behind a pooling to 1x1 does not take."""
    job = make_plan(semseg(), options(tmp_path, voc, protocol=slug, smoke=False)).job(0)
    model, _ = build_segmentor(_config(job), job.protocol.model, None, seed=0)  # type: ignore[arg-type]
    images = [4 // num_devices, job.protocol.solver.images_per_batch]
    few, many = (training_bytes(model, job.protocol, num_images=count) for count in images)  # type: ignore[arg-type]
    assert 0 < few < many
    half = job.protocol.model_copy(
        update={"solver": job.protocol.solver.model_copy(update={"precision": "bf16"})}
    )
    assert 0.5 < training_bytes(model, half, num_images=images[1]) / many < 0.85  # type: ignore[arg-type]


def test_scores_of_large_images_are_counted(tmp_path: Path, voc: Path) -> None:
    job = make_job(tmp_path, voc)
    image = job.data.test[0]
    large = replace(job.data, test=(replace(image, width=5000, height=4000), *job.data.test[1:]))
    num_classes, small = len(job.data.classes), score_bytes(job.protocol, job.data)  # type: ignore[arg-type]
    assert score_bytes(job.protocol, large) > 4 * num_classes * 20_000_000 > small  # type: ignore[arg-type]
