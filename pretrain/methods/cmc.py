"""CMC: lightness must find colour and colour lightness, in two networks of half the width with a bank each.

Its output is no ResNet-50 on RGB: `bench transfer` refuses it.

Source:
    Tian et al. 2020, Contrastive Multiview Coding; the preset "CMC" of HobbitLong/PyContrast
    `pycontrast/options/base_options.py`, augmentation C of `datasets/util.py`, on Y and DbDr.
    Differs: see `Contrast` in `pretrain/contrast.py`, `MemoryBank` and `draw_negatives` in
    `pretrain/bank.py`.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "cmc",
    "Lightness and colour find each other in memory banks (Tian et al. 2020).",
    Preset(modality="y_dbdr", jigsaw=False, memory="bank", augmentation="C", head="linear", temperature=0.07),
    source="PyContrast, preset CMC",
    published_as=("CMC",),
    default_config="cmc_ep200",
)
