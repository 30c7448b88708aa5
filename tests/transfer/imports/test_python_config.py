"""Python text as data: what a dumped config holds is read, everything else refused, nothing run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import ConfigError
from transfer.imports.python_config import parse_config

REFUSED = (
    "import os", "x = open('y')", "x = __import__('os').system('x')", "def f(): pass", "x = [i for i in y]",
    "x = 1 + 1", r"x = '\ud800'", "x = y", "x, y = 1, 2", "x = f'{1}'", "x = lambda: 1", "x += 1",
    "x = dict(a=1, **b)",
    "x = dict([1])", "x = {**a}", "x = {1.5: 2}", "x = {'a': 1, 'a': 2}", "x = 1\nx = 2", "x = 1e999",
    "x = 1j", "x = b'a'", "x = ...", "x = 10 ** 9", "x = (", "x = 'a\0'", "x = " + "9" * 5000, "x = -'a'",
    "x = -True", "x.y = 1", "x[0] = 1", "x: int = 1", "'text'", "exec('x = 1')", "x = dict(a=print(1))",
    "x = " + "(" * 5000, "x = " + "-" * 200_000 + "1", "x = " + "dict(a=" * 3000 + "1" + ")" * 3000,
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "config.py")
    assert str(caught.value).startswith("config.py: ") and len(str(caught.value)) < 300


def test_what_is_read() -> None:
    text = (
        "a = dict(\n    b=(\n        1,\n        -2.5,\n    ), c=[], d={'e': None, 1: True})\nf = 'g' 'h'\n"
    )
    assert parse_config(text, "x") == {"a": {"b": [1, -2.5], "c": [], "d": {"e": None, "1": True}}, "f": "gh"}
    assert parse_config("", "x") == {}


def test_every_stock_config_is_read_as_mmengine_reads_it() -> None:
    """Dumped by MMEngine itself, as its runner does."""
    import mmseg
    from mmengine import Config

    folder = Path(str(mmseg.__file__)).parent / ".mim" / "configs"
    paths = [*sorted((folder / "fcn").glob("*.py"))[:3], *sorted((folder / "upernet").glob("*.py"))[:2]]
    assert len(paths) == 5
    for path in paths:
        config = Config.fromfile(path)
        assert parse_config(config.pretty_text, str(path)) == _lists(config.to_dict())


def _lists(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, list | tuple) else value
