"""Contrast: any combination of modality, memory, jigsaw branch, head, temperature and views.

For ablations and combinations that no other name stands for; its own config finds the other view, and a
jigsaw branch the view, in the batch.

Source:
    The option "Customize" of HobbitLong/PyContrast `pycontrast/options/base_options.py`.
    Differs: see `Contrast` in `pretrain/contrast.py`. Negatives out of the batch are no option there. No
    result is published.
"""

from __future__ import annotations

from pretrain.api import Method, Preset
from pretrain.contrast import build_contrast
from pretrain.contrast_parts import ContrastParts, contrast_problems

ENTRY = Method(
    name="contrast",
    version=1,
    summary="Any combination of contrastive parts: ablations of the methods beside it (Tian et al. 2020).",
    with_labels=False,
    parts=ContrastParts,
    build=build_contrast,
    default_config="contrast_ep200",
    preset=Preset(modality="any", jigsaw=True, memory="any", augmentation="any", head="mlp", temperature=0.2),
    source="PyContrast, option Customize",
    problems=contrast_problems,
    takes=frozenset({"second_view", "jigsaw"}),
    min_images=2,
)
