"""What a pickle is made of while it is read: labels, placeholders, checked keys, and a budget for it all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.core.tensor_ref import Refused

ALLOWED_HINT = "Weights may hold tensors and the plain classes listed in docs/weights.md."

# A checkpoint of a ResNet-50 with its optimiser takes about 30,000 steps, one with a config of 1,000 values
# 70,000 more. These take 0.7 s and, at the worst opcode (EMPTY_SET, 216 bytes), 110 MB.
MAX_STEPS = 500_000

# An optimiser's state is a dict by number, one for each of 161 parameters; ImageNet-21k has 21,841 classes.
# Python does not salt the hashes of numbers, so a file may choose a dict's keys such that each looks at all
# before it: 25,000 then take 0.6 s, and the time grows with the square of their count.
MAX_NUMBER_KEYS = 25_000

# Characters beyond Latin-1, which is what arrays are written in: with one of them, each takes up to 4 bytes.
MAX_WIDE_TEXT = 16 * 1024**2
_MAX_NAME = 200


class Global:
    """A name that a pickle asked for, and that we know. It is a label: there is nothing behind it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Inert:
    """An object of a harmless class, as its name and what the file said of it; it has no behaviour."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None


class Budget:
    """What the pickles of one stream may spend, so that a short loop of memo reads cannot work for ever."""

    def __init__(self, size: int) -> None:
        """A budget for a stream of `size` bytes."""
        self._steps = MAX_STEPS
        self._bytes = size
        self._number_keys = MAX_NUMBER_KEYS
        self._wide_text = MAX_WIDE_TEXT

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

    def spend_number_key(self) -> None:
        """Put a number into a dict or set as a key. Raises Refused after `MAX_NUMBER_KEYS` of them."""
        self._number_keys -= 1
        if self._number_keys < 0:
            raise Refused(f"has more than {MAX_NUMBER_KEYS:,} numbers as keys; refused")

    def spend_wide_text(self, count: int) -> None:
        """Take `count` bytes of text beyond Latin-1. Raises Refused after `MAX_WIDE_TEXT` of them."""
        self._wide_text -= count
        if self._wide_text < 0:
            raise Refused(f"has more than {MAX_WIDE_TEXT:,} bytes of text beyond Latin-1; refused")


def shown(name: str) -> str:
    """A text from a file as a message may print it: no control characters, at most 200 characters."""
    start = name[: _MAX_NAME + 1]  # cut first: ascii() of 60 MB may take 240
    text = start if start.isascii() and start.isprintable() else ascii(start)
    return text if len(text) <= _MAX_NAME else text[:_MAX_NAME] + "..."


_KEY_KINDS = (str, bytes, bool, type(None), Global)


def encode_latin(budget: Budget, text: str) -> bytes:
    """The bytes that protocol 2, and Python 2, wrote as text in Latin-1.

    Raises:
        Refused: more of them than the file has. ValueError: another character.
    """
    budget.spend_bytes(len(text))
    return text.encode("latin-1")


def _check_key(budget: Budget, value: Any) -> None:
    # Only kinds whose hashes a file cannot make collide by the million: str and bytes, whose hashes are
    # salted, names, which hash by identity, and a limited count of numbers below Python's hash modulus.
    # No tuples, no big numbers.
    if type(value) in _KEY_KINDS:
        return
    if type(value) is not float and (type(value) is not int or abs(value) >= 2**60):
        raise Refused(f"a key or set element of kind {type(value).__name__}; refused")
    budget.spend_number_key()


def add_items(budget: Budget, target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put pairs into a dict. Raises Refused for a key that is there, or may not be one."""
    for key, value in pairs:
        _check_key(budget, key)
        if key in target:
            raise _twice(key, "dict")
        target[key] = value


def add_elements(budget: Budget, target: set[Any], values: Iterable[Any]) -> set[Any]:
    """`target` with the values put into it. Raises Refused for one that is there, or may not be one."""
    for value in values:
        _check_key(budget, value)
        if value in target:
            raise _twice(value, "set")
        target.add(value)
    return target


def _twice(key: Any, container: str) -> Refused:
    text = str(key[:_MAX_NAME] if isinstance(key, bytes) else key)
    return Refused(f"the key {shown(text)!r} is there twice in one {container}; refused")
