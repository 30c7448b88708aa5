"""Registries filled by scanning a folder: one file is one entry, and nothing else has to be told of it.

`voc_det.py` is the entry `voc-det`; the file must define `ENTRY`. Names are known without importing any
file; an entry is imported when it is asked for.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from bench.core.errors import BenchError, UsageError, did_you_mean

T = TypeVar("T")


class RegistryError(BenchError):
    """An entry's file breaks the manners of its folder."""


class Registry(Generic[T]):
    """The entries of one kind.

    Args:
        kind: What an entry is, for messages: "task", "method".
        package: The package whose folder is scanned, e.g. "transfer.tasks".
        entry_type: What `ENTRY` must be.
        extra_folders: Folders outside the package, scanned too.
    """

    def __init__(
        self, kind: str, package: str, entry_type: type[T], *, extra_folders: tuple[Path, ...] = ()
    ) -> None:
        self.kind = kind
        self._package = package
        self._entry_type = entry_type
        self._extra_folders = extra_folders
        self._loaded: dict[str, T] = {}

    def files(self) -> dict[str, Path]:
        """Name to file, sorted by name.

        Raises:
            RegistryError: two files claim one name; the message names both.
        """
        found: dict[str, Path] = {}
        for folder in (self._package_folder(), *self._extra_folders):
            for path in sorted(folder.glob("*.py")):
                if path.stem.startswith("_"):
                    continue
                name = path.stem.replace("_", "-")
                if name in found:
                    raise RegistryError(f"{self.kind} {name}: defined twice, in {found[name]} and {path}")
                found[name] = path
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """All names, sorted; no file is imported."""
        return list(self.files())

    def get(self, name: str) -> T:
        """The entry called `name`, imported on first use.

        Raises:
            UsageError: there is none; the nearest name is suggested.
            RegistryError: its file has no `ENTRY` of the right type.
        """
        if name not in self._loaded:
            files = self.files()
            if name not in files:
                known = ", ".join(files) or "none"
                near = did_you_mean(name, list(files))
                raise UsageError(f"unknown {self.kind} {name!r}.{near} Known: {known}")
            self._loaded[name] = self._load(name, files[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[tuple[str, T]]:
        """Every (name, entry), imported."""
        return ((name, self.get(name)) for name in self.names())

    def _package_folder(self) -> Path:
        spec = importlib.util.find_spec(self._package)
        if spec is None or not spec.submodule_search_locations:
            raise RegistryError(f"{self._package}: no such package")
        return Path(next(iter(spec.submodule_search_locations)))

    def _load(self, name: str, path: Path) -> T:
        module_name = f"{self._package}.{path.stem}"
        module = sys.modules.get(module_name)
        # Another folder's file of the same name may have been loaded before.
        if module is None or Path(module.__file__ or "") != path:
            spec = importlib.util.spec_from_file_location(module_name, path)
            if spec is None or spec.loader is None:
                raise RegistryError(f"{path}: cannot be imported")
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[module_name]
                raise
        entry = getattr(module, "ENTRY", None)
        if not isinstance(entry, self._entry_type):
            expected = self._entry_type.__name__
            raise RegistryError(f"{path}: expected ENTRY to be a {expected}, found {type(entry).__name__}")
        return entry
