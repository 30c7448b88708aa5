"""InfoMin: momentum contrast on views that share less: strong jitter, RandAugment, and a jigsaw branch.

The projection of nine patches, taken apart and put together in random order, must find the same key as the
projection of the whole view does.

Source:
    Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, sections 4.2 and 5 ("InfoMin Aug");
    the preset "InfoMin" of HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation D and the
    jigsaw transform of `datasets/util.py`.
    Differs: see `pretrain/contrast.py`.
"""

from __future__ import annotations

from pretrain.api import Method, Preset
from pretrain.contrast import ContrastParts, build_contrast, contrast_problems

ENTRY = Method(
    name="infomin",
    version=1,
    summary="Momentum contrast on views that share less, with a jigsaw branch (Tian et al. 2020).",
    num_views=2,
    with_labels=False,
    parts=ContrastParts,
    build=build_contrast,
    problems=contrast_problems,
    default_config="infomin_ep200",
    preset=Preset(
        modality="RGB", jigsaw=True, memory="queue", augmentation="D", head="mlp", temperature=0.15
    ),
    source="PyContrast, preset InfoMin",
)
