"""A config that MMEngine has dumped as Python text, read as data: it is parsed and never run."""

from __future__ import annotations

import ast
import math
from typing import Any

from bench.core.errors import ConfigError

MAX_BYTES = 1 << 20
_MAX_INTEGER = 2**63 - 1


def parse_config(text: str, where: str) -> dict[str, Any]:
    """The values of `name = value` lines of plain values: dicts, lists, text, numbers, True, False, None.

    Tuples become lists. What else Python can say (calls of anything but `dict`, names, arithmetic, imports,
    definitions) is refused: a dumped config has none of it.

    Args:
        text: The file.
        where: Its name, for messages.

    Raises:
        ConfigError: not Python, or more than plain values; with the line.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: not a config of MMEngine: {str(error)[:80]}") from None
    config: dict[str, Any] = {}
    try:
        for node in tree.body:
            name = _target(node, where)
            if name in config:
                raise _refused(node, where, f"{name} is set twice")
            config[name] = _value(node.value, where)  # type: ignore[attr-defined]
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply; this is no config") from None
    return config


def _refused(node: ast.AST, where: str, what: str) -> ConfigError:
    line = getattr(node, "lineno", 0)
    return ConfigError(f"{where}: line {line}: {what}; expected plain values, as in a config that was dumped")


def _target(node: ast.stmt, where: str) -> str:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    raise _refused(node, where, f"a statement of the kind {type(node).__name__}")


def _value(node: ast.expr, where: str) -> Any:
    if isinstance(node, ast.Constant):
        return _constant(node, where)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(inner, where) for inner in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand, where)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key, where) for key in node.keys]
        return _pairs(node, keys, node.values, where)
    is_dict = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict"
    if isinstance(node, ast.Call) and is_dict and not node.args:
        return _pairs(
            node, [item.arg for item in node.keywords], [item.value for item in node.keywords], where
        )
    raise _refused(node, where, f"an expression of the kind {type(node).__name__}")


def _constant(node: ast.Constant, where: str) -> Any:
    value = node.value
    is_text = isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if value is None or isinstance(value, bool) or is_text:
        return value
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _refused(node, where, f"a value of the kind {type(value).__name__}")


def _pairs(node: ast.expr, keys: list[Any], values: list[ast.expr], where: str) -> dict[str, Any]:
    """Numbers as keys become text, as JSON has them."""
    if not all(type(key) in (str, int) for key in keys):
        raise _refused(node, where, "a key that is no text")
    names = [str(key) for key in keys]
    if len(set(names)) != len(names):
        raise _refused(node, where, "a key that is there twice")
    return {name: _value(value, where) for name, value in zip(names, values, strict=True)}
