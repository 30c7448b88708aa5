"""Process groups of commands that tests start."""

from __future__ import annotations

import os
import time


def all_gone(group: int) -> bool:
    """Whether nothing of a process group is left, soon after its leader ended."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
