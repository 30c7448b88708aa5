"""InstDis: a memory bank of every image, a linear projector, light augmentation.

Source:
    Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination; the preset
    "InsDis" of HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation A of
    `datasets/util.py`.
    Differs: see `Contrast` in `pretrain/contrast.py`, `MemoryBank` and `draw_negatives` in
    `pretrain/bank.py`. From the paper: a softmax over the negatives that are drawn, where it estimates the
    whole one by NCE, with 4,096 of them.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "instdis",
    "A memory bank of every image (Wu et al. 2018).",
    Preset(modality="rgb", jigsaw=False, memory="bank", augmentation="A", head="linear", temperature=0.07),
    source="PyContrast, preset InsDis",
    published_as=("InstDis", "InstDis (mmselfsup)"),
    default_config="instdis_ep200",
)
