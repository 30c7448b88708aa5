"""MoCo v1: a queue of keys from a momentum encoder, a linear projector, light augmentation.

Source:
    He et al. 2020, Momentum Contrast for Unsupervised Visual Representation Learning; the preset "MoCo" of
    HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation A of `datasets/util.py`.
    Differs: see `Contrast` and `QueueContrast` in `pretrain/contrast.py`. From facebookresearch/moco: the
    order of the augmentations, and shuffling within a node.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "moco-v1",
    "Momentum contrast with a linear projector (He et al. 2020).",
    Preset(modality="rgb", jigsaw=False, memory="queue", augmentation="A", head="linear", temperature=0.07),
    source="PyContrast, preset MoCo",
    published_as=("MoCo v1",),
    default_config="moco_v1_ep200",
)
