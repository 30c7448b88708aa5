"""InfoMin: momentum contrast on views that share less: strong jitter, RandAugment, and a jigsaw branch.

The projection of nine patches, taken apart and put together in random order, must find the same key as the
projection of the whole view does.

Source:
    Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, sections 4.2 and 5 ("InfoMin Aug");
    the preset "InfoMin" of HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation D and the
    jigsaw transform of `datasets/util.py`.
    Differs: see `Contrast` and `QueueContrast` in `pretrain/contrast.py`.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "infomin",
    "Momentum contrast on views that share less, with a jigsaw branch (Tian et al. 2020).",
    Preset(modality="rgb", jigsaw=True, memory="queue", augmentation="D", head="mlp", temperature=0.15),
    source="PyContrast, preset InfoMin",
    published_as=("InfoMin Aug",),
    default_config="infomin_ep200",
)
