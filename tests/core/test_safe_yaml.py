"""The strict YAML reader: plain values alone, and nothing that grows beyond its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core import safe_yaml
from bench.core.errors import ConfigError
from bench.core.safe_yaml import read_yaml

LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
REFUSED = {
    "python tuple": ("a: !!python/tuple [1]", "python/tuple"),
    "python call": ("a: !!python/object/apply:os.system ['x']", "python/object"),
    "binary": ("a: !!binary aGk=", "kind bytes"),
    "a set": ("a: !!set {x, y}", "kind set"),
    "a date": ("a: 2026-01-02", "kind date"),
    "nan": ("a: .nan", "no number"),
    "infinity": ("a: -.inf", "no number"),
    "half a pair": ('a: "\\ud800"', "surrogate"),
    "half a pair as key": ('"\\ud800": 1', "no text"),
    "equal keys": ("a: 1\nb: 2\na: 3", "twice"),
    "equal keys below": ("a:\n  b: 1\n  b: 2", "twice"),
    "merge": ("a: &a {x: 1}\nb:\n  <<: *a", "<<"),
    "numbers as keys": ("1: a", "no text"),
    "not YAML": ("a: [1", "not plain YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not plain YAML"),
    "not UTF-8": (b"a: \xff", "UTF-8"),
    "aliases to aliases": (LAUGHS, "more than"),
    "an alias to itself": ("a: &a [*a]", "more than"),
    "deep": ("a: " + "[" * 100 + "]" * 100, "deeper"),
    "very deep": ("a: " + "[" * 50_000, "not plain YAML"),
    "large": ("a: " + "x" * (1 << 20), "at most"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    text, words = REFUSED[case]
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_yaml(path, error=ConfigError)
    assert str(path) in str(caught.value) and words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("A:\n  B: &id001\n  - 1.0\n  - -1\n  C: *id001\nD: null\nE: ''\nF: true\nG: 1.0e-05\n")
    assert read_yaml(path) == {
        "A": {"B": [1.0, -1], "C": [1.0, -1]}, "D": None, "E": "", "F": True, "G": 1e-05,
    }  # fmt: skip
    with pytest.raises(ConfigError):
        read_yaml(tmp_path / "none", error=ConfigError)
    assert safe_yaml.MAX_BYTES == 1 << 20
