"""The table of public checkpoint layouts.

A layout says where the backbone is (container and prefix, anchored at the start of the key), which other
encoders may stand beside it, and which keys are left out. To add one, add an entry with its source to the
file of its kind, and a row to `tests/helpers/layout_files`; `transfer.adapters.identify` says which layout a
checkpoint has.
"""

from __future__ import annotations

from transfer.adapters.layout import Layout
from transfer.adapters.layouts.dense_methods import DENSE_METHODS
from transfer.adapters.layouts.formats import FORMATS
from transfer.adapters.layouts.frameworks import FRAMEWORKS
from transfer.adapters.layouts.image_methods import IMAGE_METHODS

LAYOUTS: tuple[Layout, ...] = (*FORMATS, *IMAGE_METHODS, *DENSE_METHODS, *FRAMEWORKS)
