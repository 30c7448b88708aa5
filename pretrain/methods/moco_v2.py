"""MoCo v2: MoCo with an MLP projector, blur, a cosine and a higher temperature.

Source:
    Chen et al. 2020, Improved Baselines with Momentum Contrastive Learning; the preset "MoCov2" of
    HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation B of `datasets/util.py`.
    Differs: see `Contrast` and `QueueContrast` in `pretrain/contrast.py`. From facebookresearch/moco: the
    order of the augmentations, shuffling within a node, and a cosine by epochs that ends at a thousandth.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "moco-v2",
    "Momentum contrast with an MLP projector and blur (Chen et al. 2020).",
    Preset(modality="rgb", jigsaw=False, memory="queue", augmentation="B", head="mlp", temperature=0.2),
    source="PyContrast, preset MoCov2",
    published_as=("MoCo v2", "MoCo v2 (mmselfsup)"),
    default_config="moco_v2_ep200",
)
