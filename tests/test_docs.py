"""Tables of the docs that say what the registries say."""

from __future__ import annotations

from bench.core.config import read_toml
from bench.core.paths import CONFIGS, ROOT
from pretrain.api import METHODS, Method


def row_of(method: Method) -> str:
    """A method's row in `docs/pretraining.md`."""
    slug, preset = method.name.replace("-", "_"), method.preset
    files = sorted((CONFIGS / "pretrain").glob("*.toml"))
    configs = [path.stem for path in files if read_toml(path)["method"] == slug]
    parts = [preset.modality, preset.memory, preset.augmentation, "yes" if preset.jigsaw else "", preset.head]
    temperature = "" if preset.temperature is None else f"{preset.temperature:g}"
    cells = [f"`{slug}`", *parts, temperature, ", ".join(f"`{name}`" for name in configs), method.source]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def test_every_method_has_its_row() -> None:
    lines = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith("| `") and line.count("|") == 10]
    assert found == [row_of(method) for _, method in METHODS]
