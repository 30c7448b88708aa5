"""The names that a file may ask for, and the page that lists them for users."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.pickle_machine import PYTHON_2_MODULES
from bench.core.pickle_names import ALLOWED_HINT, CALLS, INERT, LABELS, STORAGES
from bench.core.tensor_ref import DTYPES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "weights.md"


def _names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_page_lists_exactly_the_names() -> None:
    listed = PAGE.read_text().split("<!-- names: begin -->")[1].split("<!-- names: end -->")[0]
    called, labels = listed.split("Labels,")
    assert sorted(_names(called)) == sorted(CALLS)
    assert sorted(_names(labels)) == sorted(LABELS)
    placeholders = called.split("placeholders,")[1].split(";")[0]
    assert sorted(_names(placeholders)) == sorted(INERT)


def test_labels_are_never_called() -> None:
    assert not set(CALLS) & LABELS
    assert set(STORAGES) <= LABELS
    assert set(STORAGES.values()) <= set(DTYPES)
    known = {name.rsplit(".", 1)[0] for name in CALLS}
    assert set(PYTHON_2_MODULES.values()) <= known
    assert not set(PYTHON_2_MODULES) & known


@pytest.mark.parametrize("name", sorted({*CALLS, *LABELS}))
def test_names_are_real(name: str) -> None:
    # A slip of the pen would refuse honest files.
    if name.startswith("numpy.core."):
        name = name.replace("numpy.core.", "numpy._core.")  # its name before numpy 2
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)


def test_messages_name_pages_that_exist() -> None:
    assert "docs/weights.md" in ALLOWED_HINT
    sources = [*(ROOT / "bench" / "core").glob("*.py"), *(ROOT / "transfer" / "adapters").glob("*.py")]
    named = {page for file in sources for page in re.findall(r"docs/[\w/.-]+\.md", file.read_text())}
    assert named
    assert all((ROOT / page).is_file() for page in named)


def test_the_input_spec_of_the_page(tmp_path: Path) -> None:
    text = PAGE.read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    (tmp_path / "msra.toml").write_text(example)
    spec = load_config(InputSpec, tmp_path / "msra.toml")
    assert (spec.channel_order, spec.std, spec.stride_in) == ("bgr", (1.0, 1.0, 1.0), "1x1")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    (tmp_path / "default.toml").write_text(
        "\n".join(f"{key} = {rows[key]}" for key in InputSpec.model_fields)
    )
    assert load_config(InputSpec, tmp_path / "default.toml") == InputSpec()
