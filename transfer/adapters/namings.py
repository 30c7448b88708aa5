"""The table of namings: what public checkpoints call the tensors of a ResNet, rule by rule."""

from __future__ import annotations

import re
from types import MappingProxyType

from transfer.adapters import haiku
from transfer.adapters.keymap import detectron2_name
from transfer.adapters.naming import Naming

# Caffe2: "layer2.0.bn1" is "res3_0_branch2a_bn".
_BRANCHES = {
    "conv1": "branch2a",
    "bn1": "branch2a_bn",
    "conv2": "branch2b",
    "bn2": "branch2b_bn",
    "conv3": "branch2c",
    "bn3": "branch2c_bn",
    "downsample.0": "branch1",
    "downsample.1": "branch1_bn",
}


def _torchvision(name: str) -> str:
    return name


def _caffe2(name: str, norm_parts: dict[str, str]) -> str:
    module, part = name.rsplit(".", 1)
    block = re.fullmatch(r"layer(\d+)\.(\d+)\.(.+)", module)
    if block:
        stage, index, inside = block.groups()
        module = f"res{int(stage) + 1}_{index}_{_BRANCHES[inside]}"
    elif module == "bn1":
        module = "res_conv1_bn"  # only the stem's norm has a stage's name in front
    return f"{module}_{norm_parts.get(part, part)}" if module.endswith("_bn") else f"{module}_w"


def _caffe2_msra(name: str) -> str:
    return _caffe2(name, {"weight": "gamma", "bias": "beta"})


def _caffe2_blobs(name: str) -> str:
    return _caffe2(name, {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"})


def _obow(name: str) -> str:
    """By position: 0 is a Sequential with children Conv and bn, 1 to 4 are torchvision's stages."""
    module, part = name.rsplit(".", 1)
    stem = {"conv1": "0.Conv", "bn1": "0.bn"}.get(module)
    return f"{stem}.{part}" if stem else name.removeprefix("layer")


def _parts(name: str) -> tuple[int, int, str, str]:
    """(stage 1 to 4, or 0 for the stem; block; module such as conv1, bn3 or downsample.0; parameter)."""
    *at, module, part = name.split(".")
    if not at:
        return 0, 0, module, part
    if at[-1] == "downsample":
        module = f"downsample.{module}"
    return int(at[0].removeprefix("layer")), int(at[1]), module, part


def _huggingface(name: str) -> str:
    """`embedder.embedder.convolution.weight`, `encoder.stages.0.layers.0.layer.1.convolution.weight`."""
    stage, block, module, part = _parts(name)
    kind = "convolution" if module.startswith("conv") or module == "downsample.0" else "normalization"
    if not stage:
        return f"embedder.embedder.{kind}.{part}"
    inside = "shortcut" if module.startswith("downsample") else f"layer.{int(module[-1]) - 1}"
    return f"encoder.stages.{stage - 1}.layers.{block}.{inside}.{kind}.{part}"


def _simclr2(name: str) -> str:
    """`net.1.blocks.0.net.2.weight`: convolutions and norms in turn, each norm the first of a Sequential."""
    stage, block, module, part = _parts(name)
    if not stage:
        return f"net.0.0.{part}" if module == "conv1" else f"net.0.1.0.{part}"
    at = f"net.{stage}.blocks.{block}"
    if module.startswith("downsample"):
        return f"{at}.projection.{'shortcut' if module.endswith('0') else 'bn.0'}.{part}"
    place = 2 * (int(module[-1]) - 1)
    return f"{at}.net.{place}.{part}" if module.startswith("conv") else f"{at}.net.{place + 1}.0.{part}"


def _mmdet_c4(name: str) -> str:
    """The last stage is the head's, as in every C4 detector."""
    return f"roi_head.shared_head.{name}" if name.startswith("layer4.") else f"backbone.{name}"


def _mmdet_c4_key(name: str) -> str:
    return f"roi_head_k.shared_head.{name}" if name.startswith("layer4.") else f"backbone_k.{name}"


NAMINGS: MappingProxyType[str, Naming] = MappingProxyType(
    {
        naming.name: naming
        for naming in (
            Naming("torchvision", "pytorch/vision torchvision/models/resnet.py", _torchvision),
            Naming("detectron2", "facebookresearch/detectron2 modeling/backbone/resnet.py", detectron2_name),
            Naming("caffe2", "facebookresearch/detectron2 checkpoint/c2_model_loading.py", _caffe2_msra),
            Naming("caffe2-blobs", "valeoai/obow utils/convert_pytorch_to_caffe2.py", _caffe2_blobs),
            Naming("obow", "valeoai/obow obow/feature_extractor.py", _obow),
            Naming("huggingface", "huggingface/transformers models/resnet/modeling_resnet.py", _huggingface),
            Naming("simclr2", "Separius/SimCLRv2-Pytorch resnet.py", _simclr2),
            Naming("haiku", haiku.SOURCE, haiku.rename, haiku.arrange),
            Naming("mmdet-c4", "limbo0000/InstanceLoc transfer/detection/convert_pretrained.py", _mmdet_c4),
            Naming("mmdet-c4-key", "limbo0000/InstanceLoc models/detectors/insloc_fpn.py", _mmdet_c4_key),
        )
    }
)
"""Name to naming."""
