"""Cases that every test run sees, among many that only a slow one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def often(cases: Iterable[Any], chosen: Iterable[Any] | Callable[[Any], bool]) -> list[Any]:
    """Parameters for all cases, those that are not chosen marked as slow."""
    is_chosen = chosen if callable(chosen) else set(chosen).__contains__
    marked = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marked.append(pytest.param(*values, marks=() if is_chosen(case) else pytest.mark.slow))
    return marked
