"""Our files and configs in whole networks of stock software, as a user would build them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmseg
import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.weights import Weights
from tests.helpers.converted import MSRA, RGB, fed_as, write
from transfer.adapters.convert import config_text
from transfer.adapters.detectron2 import engine_names
from transfer.adapters.keymap import SHAPES
from transfer.adapters.mmseg import BASE
from transfer.engines.detectron2.repairs import load_detectron2
from transfer.engines.source import source_features, source_network
from transfer.engines.verify import verify_tensors

SIDE_PX = 64
SPECS = {"rgb": RGB, "msra": MSRA}

FPN = {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 64,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
}
DETECTORS: dict[Any, dict[str, Any]] = {"c4": {}, "fpn": FPN}


def picture() -> np.ndarray:
    """[side, side, 3] of 0 to 255, RGB."""
    return np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


def as_the_weights_expect(weights: Weights) -> torch.Tensor:
    """The picture as the card says, worked out without any engine."""
    spec = weights.card.input
    pixels = picture().astype(np.float64)
    if spec.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    pixels = (pixels - np.array(spec.mean)) / np.array(spec.std)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))[None]


@pytest.mark.parametrize("norm", ["FrozenBN", "SyncBN"])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("variant", DETECTORS)
def test_a_stock_detectron2_takes_the_file_and_the_yaml(
    tmp_path: Path, source: Weights, variant: Any, spec: str, norm: str
) -> None:
    load_detectron2()
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.data.detection_utils import convert_PIL_to_numpy
    from detectron2.modeling import build_model

    weights = fed_as(source, SPECS[spec])
    config = config_text(weights.card, "detectron2", str(write(tmp_path, weights, "detectron2")))
    assert config is not None
    (tmp_path / "net.yaml").write_text(config[1])
    cfg = get_cfg()
    cfg.merge_from_list([part for pair in DETECTORS[variant].items() for part in pair])
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", norm])
    cfg.merge_from_file(str(tmp_path / "net.yaml"))
    model = build_model(cfg).eval()
    seen: list[Any] = []
    checkpointer = DetectionCheckpointer(model)
    checkpointer._log_incompatible_keys = seen.append  # type: ignore[method-assign]
    checkpointer.load(cfg.MODEL.WEIGHTS)

    names = engine_names(variant)
    assert verify_tensors(weights, model.state_dict(), names) == 265
    (incompatible,) = seen
    assert not incompatible.unexpected_keys and not incompatible.incorrect_shapes
    new = ("proposal_generator.", "roi_heads.box", "backbone.fpn_")
    assert [key for key in incompatible.missing_keys if not key.startswith(new)] == []
    rest = {key for key in model.state_dict() if not key.startswith(new)} - {"pixel_mean", "pixel_std"}
    assert {key for key in rest if not key.endswith("num_batches_tracked")} == set(names.values())

    image = convert_PIL_to_numpy(Image.fromarray(picture()), cfg.INPUT.FORMAT)
    tensor = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
    pixels = model.preprocess_image([{"image": tensor}]).tensor
    assert torch.allclose(pixels, as_the_weights_expect(weights), rtol=0, atol=1e-4)
    with torch.no_grad():
        expected = source_features(source_network(weights), pixels)
        found = model.backbone(pixels)["res4"] if variant == "c4" else None
        if variant == "fpn":
            found = model.backbone.bottom_up(pixels)["res5"]
    assert torch.equal(found, expected[2] if variant == "c4" else expected[3])


FCN = "fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py"


@pytest.mark.filterwarnings("ignore:Fail to import ``MultiScale", "ignore:Default ``avg_non_ignore")
@pytest.mark.parametrize("spec", SPECS)
def test_a_stock_segmentor_takes_the_file_and_the_python(tmp_path: Path, source: Weights, spec: str) -> None:
    """The stock FCN names ResNetV1c and weights of its own: our lines have to win over both."""
    from mmengine import Config
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    weights = fed_as(source, SPECS[spec])
    config = config_text(weights.card, "mmseg", str(write(tmp_path, weights, "mmseg")))
    assert config is not None
    base = Path(mmseg.__file__).parent / ".mim" / "configs" / FCN
    assert config[1].count(repr(BASE)) == 1
    (tmp_path / "mine.py").write_text(config[1].replace(repr(BASE), repr(str(base))))
    cfg = Config.fromfile(tmp_path / "mine.py")
    assert cfg.model.backbone.dilations == (1, 1, 2, 4) and cfg.model.data_preprocessor.size == (512, 512)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
    model.eval()

    names = {name: f"backbone.{name}" for name in SHAPES}
    assert verify_tensors(weights, model.state_dict(), names) == 265
    backbone = {key for key in model.state_dict() if key.startswith("backbone.")}
    assert {key for key in backbone if not key.endswith("num_batches_tracked")} == set(names.values())

    bgr = torch.from_numpy(np.ascontiguousarray(picture()[..., ::-1].transpose(2, 0, 1)))
    pixels = model.data_preprocessor({"inputs": [bgr]})["inputs"]
    assert torch.allclose(pixels, as_the_weights_expect(weights), rtol=0, atol=1e-4)
    network = source_network(weights, (False, True, True))
    with torch.no_grad():
        found = model.backbone(pixels)
        assert all(map(torch.equal, found, source_features(network, pixels)))
        assert model(pixels, mode="tensor").shape[1] == 21


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("target", ["torchvision", "timm"])
def test_timm_takes_either_file(tmp_path: Path, source: Weights, target: str, suffix: str) -> None:
    import timm

    path = write(tmp_path, source, target, suffix)
    model = timm.create_model("resnet50", checkpoint_path=str(path), num_classes=0).eval()
    assert verify_tensors(source, model.state_dict(), {name: name for name in SHAPES}) == 265
    pixels = as_the_weights_expect(source)
    with torch.no_grad():
        expected = source_features(source_network(source), pixels)
        assert torch.equal(model.forward_features(pixels), expected[3])
        stages = timm.create_model("resnet50", features_only=True, out_indices=(1, 2, 3, 4)).eval()
        stages.load_state_dict(model.state_dict(), strict=True)
        assert all(map(torch.equal, stages(pixels), expected))
