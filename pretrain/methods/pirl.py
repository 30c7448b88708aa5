"""PIRL: a memory bank, and a jigsaw branch that must find the same entry as the whole view does.

Source:
    Misra and van der Maaten 2020, Self-Supervised Learning of Pretext-Invariant Representations; the preset
    "PIRL" of HobbitLong/PyContrast `pycontrast/options/base_options.py`, augmentation A and the jigsaw
    transform of `datasets/util.py`.
    Differs: see `Contrast` in `pretrain/contrast.py`, `MemoryBank` and `draw_negatives` in
    `pretrain/bank.py`. From the paper and VISSL: 65,536 negatives, not 32,000; no change of colour in the
    patches; batch 256 at learning rate .03 with steps, not 1,024 at .12 with a cosine.
"""

from __future__ import annotations

from pretrain.api import Preset
from pretrain.contrast import contrast_method

ENTRY = contrast_method(
    "pirl",
    "A memory bank and a jigsaw branch (Misra and van der Maaten 2020).",
    Preset(modality="rgb", jigsaw=True, memory="bank", augmentation="A", head="linear", temperature=0.07),
    source="PyContrast, preset PIRL",
    published_as=("PIRL", "PIRL (VISSL)"),
    default_config="pirl_ep200",
)
