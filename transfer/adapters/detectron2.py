"""A backbone for Detectron2: its names, and the file its checkpointer reads.

Source: detectron2 tools/convert-torchvision-to-d2.py (the renaming; re-derived, not copied).
Differs: `fc` and the counters are left out by the audit; theirs keeps `stem.fc.*`, which nothing uses.
"""

from __future__ import annotations

import pickle

import numpy as np

from bench.core.card_file import CARD_KEY
from bench.core.weights import Weights
from transfer.adapters.keymap import DETECTRON2_NAMES, SHAPES, DetectorVariant, engine_name

AUTHOR = "transfer-bench"

# Source: numpy/numpy numpy/core/multiarray.py, the comment on old pickle files.
_NEW_NAME = b"cnumpy._core.multiarray\n_reconstruct\n"
_OLD_NAME = b"cnumpy.core.multiarray\n_reconstruct\n"


def to_detectron2(weights: Weights) -> dict[str, np.ndarray]:
    """The 265 tensors under Detectron2's plain names, in the order of the network; arrays are shared.

    Args:
        weights: As `load_backbone` gives them.
    """
    return {DETECTRON2_NAMES[name]: weights.tensors[name] for name in SHAPES}


def engine_names(variant: DetectorVariant) -> dict[str, str]:
    """Full name in a built detector of each of the 265, by torchvision name.

    Args:
        variant: `c4` (res5 in the RoI heads) or `fpn`.
    """
    return {name: engine_name(name, variant) for name in SHAPES}


def detectron2_pkl(weights: Weights) -> bytes:
    """The content of a `.pkl` that stock Detectron2 takes as MODEL.WEIGHTS; the caller writes it.

    With `__author__` its checkpointer does not take the file for Caffe2's; `matching_heuristics` makes it
    find the place of each name by its end (`res5.0.conv1.weight` in `roi_heads.res5.0.conv1.weight`). At
    the card it does not look.

    Source: detectron2/checkpoint/detection_checkpoint.py, `_load_file`.
    """
    content = {
        "model": to_detectron2(weights),
        "__author__": AUTHOR,
        "matching_heuristics": True,
        CARD_KEY: weights.card.model_dump_json(),
    }
    # Protocol 3: any Python 3 reads it, and no frame lengths are in the way of the change of name below.
    data = pickle.dumps(content, protocol=3)
    # NumPy 2 names its own new home, which NumPy before 1.26 does not have; old Detectron2 set-ups run with
    # such. The old name is kept for pickles by every NumPy. It comes once, before the first array's values.
    return data.replace(_NEW_NAME, _OLD_NAME, 1)
