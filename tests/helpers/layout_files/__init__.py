"""One builder for each published kind of checkpoint: what `transfer.adapters.layouts` is held against.

Names begin with a number of the publisher, so that kinds of one stand together. The builders rename tensors
and write keys by rules of their own, never with the help of the table.
"""

from __future__ import annotations

from tests.helpers.layout_files import dense_methods, formats, frameworks, image_methods
from tests.helpers.layout_files.pieces import Builder
from tests.helpers.layout_files.refused import NOT_TOLD_APART, REFUSED

_MODULES = (formats, image_methods, dense_methods, frameworks)

ROWS: dict[str, Builder] = {
    name.removeprefix("row_"): getattr(module, name)
    for module in _MODULES
    for name in vars(module)
    if name.startswith("row_") and getattr(module, name).__module__ == module.__name__
}
"""Name to the builder of a file that loads."""

__all__ = ["NOT_TOLD_APART", "REFUSED", "ROWS"]
