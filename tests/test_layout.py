"""The floor plan, held by reading every file: who may import whom, who may write, what no file may contain.

Each rule is a function from a file's path and text to its faults, and is itself tested on a small bad text.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("bench", "pretrain", "transfer")
FOLDERS = {*PRODUCT, "configs", "results", "tests", "docs", ".ci"}
FILES = {"pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"}
FILES |= {"LICENSE", ".pre-commit-config.yaml", ".gitignore"}
MAX_LINES = 400
ENGINES = {
    "detectron2": "transfer.engines.detectron2",
    "fvcore": "transfer.engines.detectron2",
    "mmseg": "transfer.engines.mmseg",
    "mmengine": "transfer.engines.mmseg",
    "mmcv": "transfer.engines.mmseg",
}
TORCH = {"torch", "torchvision", "lightning_fabric", "lightly", "safetensors.torch"}
WRITERS = {
    "bench/core/atomic.py": "the one writer",
    "bench/core/lock.py": "a lock is held on an open file, which is never replaced; its text is a courtesy",
    "bench/sweep/redirect.py": "what a process prints goes to a log as it comes; nothing reads it back",
    "bench/core/download.py": "adds to what has arrived; atomic takes over when the file is whole",
}
PRINTERS = {"bench/cli.py", "bench/core/log.py"}


def project_files() -> list[str]:
    """Every file that is or would be under version control."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    if not listed:  # an unpacked archive
        hidden = re.compile(r"(^|/)(\.(?!ci/|git|pre)|__pycache__|uv\.lock|runs/|build/|dist/)")
        every = (str(path.relative_to(ROOT)) for path in ROOT.rglob("*"))
        listed = [name for name in every if not hidden.search(name)]
    return sorted(name for name in listed if (ROOT / name).is_file())


ALL = project_files()
PYTHON = [name for name in ALL if name.endswith(".py")]
CODE = [name for name in PYTHON if name.startswith(tuple(f"{folder}/" for folder in PRODUCT))]


def module_of(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@dataclass(frozen=True)
class Import:
    """`lazy`: inside a function or under TYPE_CHECKING."""

    name: str
    lazy: bool
    line: int


def imports(path: str, text: str) -> list[Import]:
    found: list[Import] = []
    package = module_of(path).split(".") if path.endswith("__init__.py") else module_of(path).split(".")[:-1]

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, lazy, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found.extend(Import(f"{start}.{alias.name}", lazy, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append(Import(first.value, lazy, node.lineno))
        checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or checking
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(text), False)
    return found


def called(node: ast.Call) -> str:
    """ "os.open" of `os.open(...)`; "?.open" where what is called on is no plain name."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        owner = ast.unparse(function.value)
        return f"{owner if owner.replace('.', '_').isidentifier() else '?'}.{function.attr}"
    return "?"


ROOMS: list[tuple[str, tuple[str, ...]]] = [
    # The first line that fits a module is its rule: what it may import of the project.
    ("bench.core", ("bench.core", "bench.__version__")),
    ("bench.report", ("bench.core", "bench.report", "bench.__version__")),
    ("bench.results", ("bench.core", "bench.results")),
    ("bench.synth", ("bench.core", "bench.synth")),
    ("bench.images", ("bench.core", "bench.images")),
    ("bench.features", ("bench.core", "bench.images", "bench.features")),
    ("bench.sweep", ("bench.core", "bench.sweep", "transfer")),
    ("bench", ("bench", *PRODUCT)),
    ("pretrain.methods", ("bench.core", "bench.images", "bench.features", "pretrain")),
    ("pretrain.analysis", ("bench.core", "bench.images", "bench.features", "bench.synth", "pretrain")),
    ("pretrain", ("bench.core", "bench.images", "bench.features", "pretrain")),
    ("transfer.protocols", ("bench.core", "bench.images.view_config", "transfer.protocols")),
    ("transfer", ("bench.core", "bench.images", "bench.features", "transfer")),
]
CLOSED: list[tuple[str, tuple[str, ...]]] = [
    # And what it may not, although the room above may.
    ("transfer.tasks", ("transfer.engines", "transfer.run", "transfer.tasks")),
    ("transfer.adapters", ("transfer.engines", "transfer.run", "transfer.tasks")),
    ("transfer.data", ("transfer.engines", "transfer.run", "transfer.tasks")),
    ("transfer.metrics", ("transfer.engines", "transfer.run", "transfer.tasks")),
    ("transfer.imports", ("transfer.engines", "transfer.run", "transfer.tasks")),
    ("pretrain.methods", ("pretrain.methods",)),
]


SYNTH_READERS = ("bench.synth", "bench.commands", "pretrain.analysis")
"""Who may know how generated pictures come about: a study of views must know their factors."""


def check_rooms(path: str, text: str) -> Iterator[str]:
    module = module_of(path)
    allowed = next((names for room, names in ROOMS if under(module, room)), ())
    closed = [name for room, names in CLOSED if under(module, room) for name in names]
    for item in imports(path, text):
        if not under(item.name, *PRODUCT) or under(item.name, module) or item.name == "bench":
            continue
        if not under(item.name, *allowed) or under(item.name, *closed):
            yield f"{path}:{item.line}: may not import {item.name}"
        if under(item.name, "bench.synth") and not under(module, *SYNTH_READERS):
            yield f"{path}:{item.line}: bench.synth is for commands and studies alone"


def check_engines(path: str, text: str) -> Iterator[str]:
    for item in imports(path, text):
        room = ENGINES.get(item.name.partition(".")[0])
        if room and not under(module_of(path), room):
            yield f"{path}:{item.line}: {item.name} may be imported in {room} alone"


def check_light(path: str, text: str) -> Iterator[str]:
    """Commands load nothing heavy before they run; the ground floor never loads torch by itself."""
    module = module_of(path)
    light = ("click", "bench.core.errors", "bench.__version__", "bench.commands._common")
    for item in imports(path, text):
        top = item.name.partition(".")[0]
        front = under(module, "bench.cli", "bench.commands") and not item.lazy
        if front and top not in sys.stdlib_module_names and not under(item.name, *light):
            yield f"{path}:{item.line}: {item.name} belongs inside a function"
        floor = under(module, "bench.core") and (not item.lazy or module == "bench.core.safe_image")
        if floor and under(item.name, *TORCH):
            yield f"{path}:{item.line}: no {item.name} here"


OPENING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)")
WRITING_CALLS = {
    *(f"os.{name}" for name in ("replace", "rename", "renames", "link", "symlink", "truncate", "mkfifo")),
    *(f"shutil.{name}" for name in ("move", "copy", "copy2", "copyfile", "copytree", "make_archive")),
    *("torch.save", "np.save", "np.savez", "np.savez_compressed", "np.savetxt", "numpy.save", "cv2.imwrite"),
    *("json.dump", "pickle.dump", "yaml.dump", "save_file"),
}
WRITING_METHODS = ("write_text", "write_bytes", "symlink_to", "hardlink_to", "touch", "tofile", "save_file")


def check_writing(path: str, text: str) -> Iterator[str]:
    if path in WRITERS:
        return
    tree = ast.parse(text)
    buffers = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and re.fullmatch(r"(io\.)?BytesIO\(.*\)", ast.unparse(node.value))
        for target in node.targets
    }
    pictures = any(under(item.name, "PIL", "matplotlib") for item in imports(path, text))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, first = called(node), ast.unparse(node.args[0]) if node.args else ""
        owner, _, method = name.rpartition(".")
        if name == "os.open":
            bad = bool(OPENING.search(ast.unparse(node))) and first != "os.devnull"
        elif method == "open":
            bad = any(_is_writing_mode(value) for value in _modes(node, plain=not owner))
        elif method in ("save", "savefig"):
            to_path = pictures and first not in buffers and not owner.endswith("checkpoints")
            bad = to_path or name in WRITING_CALLS
        else:
            bad = name in WRITING_CALLS or (method in WRITING_METHODS and owner not in ("", "atomic"))
        if bad:
            yield f"{path}:{node.lineno}: {name} writes; bench.core.atomic does that"


def _modes(node: ast.Call, *, plain: bool) -> Iterator[ast.expr]:
    yield from (keyword.value for keyword in node.keywords if keyword.arg == "mode")
    # open(path, mode) and gzip.open(path, mode); Path(...).open(mode).
    yield from node.args[1:2] if plain else node.args[:2]


def _is_writing_mode(value: ast.expr) -> bool:
    if not isinstance(value, ast.Constant):
        return False
    return isinstance(value.value, str) and bool(re.fullmatch(r"(?=.*[wax+])[rwxabt+]{1,4}", value.value))


def check_manners(path: str, text: str) -> Iterator[str]:
    tree = ast.parse(text)
    if not PurePosixPath(path).stem.startswith("_") and not ast.get_docstring(tree):
        yield f"{path}: no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{path}:{node.lineno}: assert"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{path}:{node.lineno}: bare except"
        if isinstance(node, ast.Call) and called(node) == "print":
            to_stderr = "file=sys.stderr" in (ast.unparse(keyword) for keyword in node.keywords)
            if path not in PRINTERS or not to_stderr:
                yield f"{path}:{node.lineno}: print"


def check_length(path: str, text: str) -> Iterator[str]:
    if len(text.splitlines()) > MAX_LINES:
        yield f"{path}: {len(text.splitlines())} lines, at most {MAX_LINES}"


# In two parts each, so that this file does not contain them.
MACHINE = re.compile("|".join(["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/"]))
HOSTS = re.compile(r"py" + r"pi\.|python" + r"hosted|test\.py" + r"pi|/sim" + r"ple/")


def check_traces(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE.search(line) or HOSTS.search(line):
            yield f"{path}:{number}: a path of a machine or a host of packages: {line.strip()[:80]}"


def check_place(path: str, _text: str = "") -> Iterator[str]:
    top = PurePosixPath(path).parts[0]
    if (top not in FOLDERS) if "/" in path else (path not in FILES):
        yield f"{path}: no place for it at the top"


Check = Callable[[str, str], Iterator[str]]
CHECKS: dict[Check, list[str]] = {
    check_rooms: CODE,
    check_engines: CODE,
    check_light: CODE,
    check_writing: CODE,
    check_manners: CODE,
    check_length: PYTHON,
    check_traces: ALL,
    check_place: ALL,
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_tree_keeps_it(check: Check) -> None:
    files = CHECKS[check]
    assert len(files) > 20
    faults = []
    for name in files:
        data = (ROOT / name).read_bytes()
        if b"\x00" not in data[:8000]:
            faults += check(name, data.decode("utf-8"))
    assert faults == []


TASK = "transfer/tasks/x.py"
BAD: list[tuple[Check, str, str]] = [
    (check_rooms, "bench/core/x.py", "from bench.report import tables"),
    (check_rooms, "bench/core/x.py", "def f():\n    from transfer import api"),
    (check_rooms, "bench/core/x.py", "from ..report import tables"),
    (check_rooms, "bench/report/x.py", "from bench import synth"),
    (check_rooms, "bench/images/x.py", "import bench.features.knn"),
    (check_rooms, "pretrain/x.py", "import importlib\nimportlib.import_module('transfer.api')"),
    (check_rooms, "pretrain/x.py", "from bench.commands.demo import command"),
    (check_rooms, "pretrain/methods/a.py", "from pretrain.methods import b"),
    (check_rooms, "transfer/x.py", "import pretrain"),
    (check_rooms, "transfer/x.py", "if TYPE_CHECKING:\n    from bench.report.stats import mean"),
    (check_rooms, "transfer/x.py", "from bench.synth import generate"),
    (check_rooms, "bench/x.py", "from bench.synth import generate"),
    (check_rooms, "transfer/protocols/x.py", "from transfer.data.voc import read_voc"),
    (check_rooms, TASK, "from transfer.tasks.voc_det import ENTRY"),
    (check_rooms, TASK, "def f():\n    from transfer.engines import load_engine"),
    (check_engines, TASK, "def f():\n    import detectron2.config"),
    (check_engines, "transfer/engines/__init__.py", "from fvcore.nn import x"),
    (check_engines, "transfer/engines/detectron2/x.py", "import mmseg"),
    (check_engines, "bench/commands/x.py", "__import__('mmcv')"),
    (check_light, "bench/cli.py", "from bench.core.config import Section"),
    (check_light, "bench/commands/x.py", "import numpy as np"),
    (check_light, "bench/commands/x.py", "if True:\n    import pydantic"),
    (check_light, "bench/core/x.py", "import torch"),
    (
        check_light,
        "bench/core/x.py",
        "try:\n    from safetensors.torch import save\nfinally:\n    pass",
    ),
    (check_light, "bench/core/safe_image.py", "def f():\n    import torch"),
    *(
        (check_writing, "pretrain/x.py", text)
        for text in (
            "open(p, 'w')",
            "open(p, mode='ab')",
            "open(p, 'r+')",
            "p.open('wb')",
            "gzip.open(p, 'wt')",
            "Path(a).write_text(b)",
            "(a / b).write_bytes(c)",
            "os.open(p, os.O_WRONLY)",
            "os.replace(a, b)",
            "shutil.move(a, b)",
            "torch.save(a, p)",
            "np.save(p, a)",
            "p.touch()",
            "from PIL import Image\nImage.fromarray(a).save(p)",
            "import matplotlib\nfigure.savefig(p)",
            "safetensors.torch.save_file(a, p)",
        )
    ),
    (check_manners, "bench/x.py", "x = 1"),
    (check_manners, "bench/x.py", '"""D."""\nassert x'),
    (check_manners, "bench/x.py", '"""D."""\ntry:\n    pass\nexcept:\n    pass'),
    (check_manners, "bench/x.py", '"""D."""\nprint(1, file=sys.stderr)'),
    (check_manners, "bench/cli.py", '"""D."""\nprint(1)'),
    (check_length, "bench/x.py", "\n" * 401),
    (check_traces, "docs/x.md", "see /wo" + "rk/x"),
    (check_traces, "docs/x.md", "https://py" + "pi.org/x"),
    (check_place, "scripts/x.py", ""),
    (check_place, "setup.py", ""),
]
GOOD: list[tuple[Check, str, str]] = [
    (check_rooms, "bench/commands/x.py", "def f():\n    import transfer.run\n    import bench.synth.x"),
    (check_rooms, TASK, "from transfer.api import Task\nfrom transfer.data.voc import x\nimport bench"),
    (check_engines, "transfer/engines/detectron2/x.py", "import detectron2"),
    (check_engines, "transfer/adapters/x.py", "from transfer.adapters.detectron2 import x"),
    (check_light, "bench/commands/x.py", "import click\nif TYPE_CHECKING:\n    import torch"),
    (check_light, "bench/core/x.py", "def f():\n    import torch"),
    (check_writing, "pretrain/x.py", "open(p)\nopen(p, 'rb')\np.open('r')\nImage.open(p)\nopen('w')"),
    (check_writing, "pretrain/x.py", "atomic.write_text(p, a)\nwrite_bytes(p, a)\na.replace('b', 'c')"),
    (check_writing, "pretrain/x.py", "from PIL import Image\nb = io.BytesIO()\nImage.new(a).save(b, 'PNG')"),
    (check_writing, "pretrain/x.py", "os.open(folder, os.O_RDONLY)"),
    (check_manners, "bench/cli.py", '"""D."""\nprint(1, file=sys.stderr)'),
    (check_place, "bench/core/x.py", ""),
    (check_place, "README.md", ""),
]


@pytest.mark.parametrize(("check", "path", "text"), BAD)
def test_each_rule_sees_what_breaks_it(check: Check, path: str, text: str) -> None:
    assert list(check(path, text))


@pytest.mark.parametrize(("check", "path", "text"), GOOD)
def test_each_rule_lets_through_what_keeps_it(check: Check, path: str, text: str) -> None:
    assert list(check(path, text)) == []


def test_exceptions_are_still_needed() -> None:
    for path in WRITERS:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert list(check_writing("bench/core/other.py", text)), path
