"""CMC v2: CMC with queues and a momentum encoder, an MLP projector, and stronger views.

Its output is no ResNet-50 on RGB: `bench transfer` refuses it.

Source:
    The preset "CMCv2" of HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation E of
    `datasets/util.py`, on Y and DbDr; after Tian et al. 2020, Contrastive Multiview Coding.
    Differs: see `Contrast` and `QueueContrast` in `pretrain/contrast.py`. No result and no schedule of it are
    published; the config takes the cosine that goes with the other presets of its time, MoCov2 and InfoMin.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "cmc-v2",
    "Lightness and colour find each other in queues of keys (after Tian et al. 2020).",
    Preset(modality="y_dbdr", jigsaw=False, memory="queue", augmentation="E", head="mlp", temperature=0.2),
    source="PyContrast, preset CMCv2",
    published_as=(),
    default_config="cmc_v2_ep200",
)
