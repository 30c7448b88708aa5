"""The names that a file may ask for, and the page that lists them for users."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from bench.core.card import InputSpec
from bench.core.config import load_config
from bench.core.pickle_inert import DICT_CLASSES
from bench.core.pickle_names import CALLS, DICTS, INERT, LABELS, MODULES, PYTHON_2_TYPES, known_name
from bench.core.pickle_tensors import STORAGES
from bench.core.pickle_values import ALLOWED_HINT
from bench.core.tensor_ref import DTYPES, Refused

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "weights.md"


def _names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_page_lists_exactly_the_names() -> None:
    listed = PAGE.read_text().split("<!-- names: begin -->")[1].split("<!-- names: end -->")[0]
    called, rest = listed.split("Placeholders,")
    placeholders, labels = rest.split("Labels,")
    assert sorted(_names(called + placeholders)) == sorted(CALLS)
    assert sorted(_names(placeholders)) == sorted(INERT)
    assert sorted(_names(labels)) == sorted(LABELS)
    dicts = next(part for part in called.split("\n- ") if part.startswith("dicts of other classes"))
    assert sorted(_names(dicts)) == sorted(name for names in DICT_CLASSES.values() for name in names)


def test_labels_are_never_called() -> None:
    assert not set(CALLS) & LABELS
    assert not set(INERT) & DICTS
    assert set(INERT) | DICTS <= set(CALLS)
    assert set(STORAGES) <= LABELS
    assert set(STORAGES.values()) <= set(DTYPES)
    known = {name.rsplit(".", 1)[0] for name in CALLS}
    assert set(MODULES.values()) <= known
    assert not set(MODULES) & known
    assert set(PYTHON_2_TYPES.values()) <= LABELS


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "OrderedDict"),
        ("collections.OrderedDict", "fromkeys"),
        ("__builtin__", "xrange"),
        ("numpy.core._multiarray_umath", "add"),
        ("torch", "_utils._rebuild_tensor_v2.__globals__"),
        ("", "os.system"),
        ("omegaconf.dictconfig.DictConfig", "__reduce__"),
        (b"os", "system"),
        ("os", None),
    ],
)
def test_other_names_are_refused(module: Any, name: Any) -> None:
    with pytest.raises(Refused, match="refused"):
        known_name(module, name)


@pytest.mark.parametrize(
    ("module", "name", "full"),
    [
        ("__builtin__", "long", "builtins.int"),
        ("__builtin__", "unicode", "builtins.str"),
        ("copy_reg", "_reconstructor", "copyreg._reconstructor"),
        ("numpy.core._multiarray_umath", "_reconstruct", "numpy.core.multiarray._reconstruct"),
        ("collections", "OrderedDict", "collections.OrderedDict"),
    ],
)
def test_old_names_are_translated(module: str, name: str, full: str) -> None:
    assert known_name(module, name).name == full


# Libraries that are not installed, or not in that version; the tables name the file each name is from.
ELSEWHERE = (
    "dill.",
    "easydict.",
    "haiku.",
    "jax.",
    "lightning.",
    "mmcv.utils.",
    "pytorch_lightning.",
    "vissl.",
)


@pytest.mark.parametrize("name", sorted(name for name in {*CALLS, *LABELS} if not name.startswith(ELSEWHERE)))
def test_names_are_real(name: str) -> None:
    # A slip of the pen would refuse honest files.
    if name.startswith("numpy.core."):
        name = name.replace("numpy.core.", "numpy._core.")  # its name before numpy 2
    if name.startswith("pathlib._local.") and sys.version_info[:2] != (3, 13):
        name = name.replace("._local", "")
    module, _, attribute = name.rpartition(".")
    if module.endswith(".HistoryBuffer"):
        module, attribute = module.rsplit(".", 1)[0], f"HistoryBuffer.{attribute}"
    assert attrgetter(attribute)(import_module(module))


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
