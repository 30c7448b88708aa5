"""MoCo v1: a queue of keys from a momentum encoder, a linear projector, light augmentation.

Source:
    He et al. 2020, Momentum Contrast for Unsupervised Visual Representation Learning; the preset "MoCo" of
    HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation A of `datasets/util.py`.
    Differs: see `pretrain/contrast.py`. From facebookresearch/moco: the order of the augmentations, shuffling
    within a node, and the momentum update after the optimiser's.
"""

from __future__ import annotations

from pretrain.api import Method, Preset
from pretrain.contrast import ContrastParts, build_contrast, contrast_problems

ENTRY = Method(
    name="moco-v1",
    version=1,
    summary="Momentum contrast with a linear projector (He et al. 2020).",
    num_views=2,
    with_labels=False,
    parts=ContrastParts,
    build=build_contrast,
    problems=contrast_problems,
    default_config="moco_v1_ep200",
    preset=Preset(
        modality="RGB", jigsaw=False, memory="queue", augmentation="A", head="linear", temperature=0.07
    ),
    source="PyContrast, preset MoCo",
)
