"""What a pickle is made of while it is read: labels, placeholders, checked keys, and a budget for it all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.core.tensor_ref import Refused

# A checkpoint of a ResNet-50 with its optimiser takes about 30,000 steps; these take 2 s and, at the worst
# opcode (EMPTY_SET, 216 bytes), 330 MB.
MAX_STEPS = 1_500_000
_MAX_NAME = 200


class Global:
    """A name that a pickle asked for, and that we know. It is a label: there is nothing behind it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Inert:
    """An object of a harmless class, as its name and what the file said of it; it has no behaviour."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None


class Budget:
    """What one pickle may spend, so that one short loop of memo reads cannot copy a long list for ever."""

    def __init__(self, size: int) -> None:
        """A budget for a pickle of at most `size` bytes."""
        self._steps = MAX_STEPS
        self._bytes = size

    def spend_steps(self, count: int) -> None:
        """Take `count` steps: opcodes, and items copied. Raises Refused when there are none left."""
        self._steps -= count
        if self._steps < 0:
            raise Refused(f"asks for more than {MAX_STEPS:,} steps; refused")

    def spend_bytes(self, count: int) -> None:
        """Take bytes copied out of values: together never more than the file has. Raises Refused."""
        self._bytes -= count
        if self._bytes < 0:
            raise Refused("asks for more bytes than the file has; refused")


def shown(name: str) -> str:
    """A text from a file as a message may print it: no control characters, at most 200 characters."""
    text = name if name.isascii() and name.isprintable() else ascii(name)
    return text if len(text) <= _MAX_NAME else text[:_MAX_NAME] + "..."


def checked_key(value: Any) -> Any:
    """`value`, if it may be a key of a dict or an element of a set.

    Only kinds whose hashes a file cannot make collide by the million: ints below Python's hash modulus, and
    str and bytes, whose hashes are salted. No tuples, no big numbers.

    Raises:
        Refused: any other kind.
    """
    if type(value) in (str, bytes, bool, float, type(None)) or (type(value) is int and abs(value) < 2**60):
        return value
    raise Refused(f"a key or set element of kind {type(value).__name__}; refused")


def add_items(target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put pairs into a dict. Raises Refused for a key that is there, or may not be one."""
    for key, value in pairs:
        if checked_key(key) in target:
            raise Refused(f"the key {shown(str(key))!r} is there twice in one dict; refused")
        target[key] = value
