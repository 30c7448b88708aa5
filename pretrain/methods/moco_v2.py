"""MoCo v2: MoCo with an MLP projector, blur, a cosine and a higher temperature.

Source:
    Chen et al. 2020, Improved Baselines with Momentum Contrastive Learning; the preset "MoCov2" of
    HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation B of `datasets/util.py`.
    Differs: see `pretrain/contrast.py`. From facebookresearch/moco: the order of the augmentations, shuffling
    within a node, the momentum update after the optimiser's, and a cosine by epochs that ends at a
    thousandth.
"""

from __future__ import annotations

from pretrain.api import Method, Preset
from pretrain.contrast import ContrastParts, build_contrast, contrast_problems

ENTRY = Method(
    name="moco-v2",
    version=1,
    summary="Momentum contrast with an MLP projector and blur (Chen et al. 2020).",
    num_views=2,
    with_labels=False,
    parts=ContrastParts,
    build=build_contrast,
    problems=contrast_problems,
    default_config="moco_v2_ep200",
    preset=Preset(
        modality="RGB", jigsaw=False, memory="queue", augmentation="B", head="mlp", temperature=0.2
    ),
    source="PyContrast, preset MoCov2",
)
