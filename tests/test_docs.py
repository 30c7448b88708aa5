"""Tables of the docs that say what the registries say."""

from __future__ import annotations

from bench.core.config import read_toml
from bench.core.paths import CONFIGS, ROOT
from bench.report.published import num_published, read_published
from pretrain.api import METHODS, Method
from transfer.api import TASKS


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


def test_the_readme_names_every_method() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = text.partition("\nMethods: ")[2].partition("\n\n")[0]
    assert [name for name in METHODS.names() if f"`{name.replace('-', '_')}`" not in listed] == []


def test_the_readme_counts_published_numbers() -> None:
    """Of each slug in its table of tasks, "-2x" being that of the one before."""
    published = read_published()
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    shown: dict[str, str] = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].strip("`") in TASKS.names():
            slugs = [part.split("`")[1] for part in cells[2].split(", ") if part.startswith("`")]
            first = slugs[0].rpartition("-")[0]
            counts = cells[3].split(", ")
            assert len(counts) in (1, len(slugs)), line
            for index, slug in enumerate(slugs):
                whole = f"{first}{slug}" if slug.startswith("-") else slug
                number = num_published(published, cells[0].strip("`"), whole)
                shown[whole] = counts[min(index, len(counts) - 1)]
                assert shown[whole] == (str(number) if number else "none"), whole
    assert shown.keys() == {path.stem for path in (CONFIGS / "transfer").glob("*.toml")}
