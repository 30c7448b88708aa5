"""What a process prints, and all that it starts, goes to a file from now on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.core.atomic import disk_errors, make_folder


def redirect_output(path: Path) -> None:
    """Send stdout and stderr to the end of a file.

    Raises:
        DiskError: it cannot be written.
    """
    make_folder(path.parent)
    with disk_errors(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
