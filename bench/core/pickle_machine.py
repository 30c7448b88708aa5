"""The stack machine that `bench.core.safe_pickle` reads with: the bytes, the stack, one method an opcode.

Source: the opcodes of CPython's `Lib/pickletools.py`, protocols 0 to 5.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from bench.core.file_source import AGAIN
from bench.core.pickle_inert import TupleClass
from bench.core.pickle_names import call, known_name, new_object
from bench.core.pickle_tensors import NumpyDtype, fill_array
from bench.core.pickle_values import MAX_STEPS, Budget, Global, Inert, add_elements, add_items, shown
from bench.core.tensor_ref import Refused, Storage, TensorRef

# Protocol 2 writes the bytes of an array as text: BYOL's projector of 2,048 x 4,096 takes 50 MB.
MAX_TEXT_BYTES = 64 * 1024**2
MAX_LINE_BYTES = 32 * 1024**2  # texts of protocol 0, of which several copies are made
MAX_NUMBER = 128  # bytes of a number, and digits where it is text

# What Python 2's repr of a str writes behind a backslash; codecs.escape_decode warns of anything else.
_QUOTED = re.compile(rb"(?:[^\\]++|\\[\\'\"nrtx])*+", re.DOTALL)

# Characters beyond Latin-1, in UTF-8 and decoded.
_WIDE_BYTES = re.compile(rb"[\xc4-\xff]")
_WIDE = re.compile("[^\0-\xff]")

_ABSENT = object()


class Stream:
    """Bytes of a file from where it stands, `size` of them, never more than there are.

    Attributes:
        budget: What the pickles in it may spend together.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0
        self.budget = Budget(size)

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises Refused where the file has fewer: nothing is reserved before."""
        left = self.size - self.position
        if count > left:
            raise Refused(
                f"ends early: {count:,} bytes expected, {left:,} left; it was cut off or is damaged. {AGAIN}"
            )
        data = self._file.read(count)
        if len(data) != count:
            raise Refused(f"ends early: it was cut off while it was read. {AGAIN}")
        self.position += count
        return data

    def line(self) -> str:
        """The next line, without its end: names, numbers and, in protocol 0, texts."""
        data = self._file.readline(min(MAX_LINE_BYTES, self.size - self.position))
        self.position += len(data)
        if len(data) == MAX_LINE_BYTES:
            raise Refused(f"a line of {MAX_LINE_BYTES:,} bytes or more; refused")
        if not data.endswith(b"\n"):
            raise Refused(f"ends early in a line; it was cut off or is damaged. {AGAIN}")
        return data[:-1].decode("latin-1")


def run(stream: Stream, persistent: Callable[[Any], Storage] | None) -> Any:
    """The value of the pickle in the stream, its depth not checked; `load_pickle` is what readers call.

    Raises:
        Refused: it asks for what it may not have. Damage also shows as IndexError, KeyError and their like.
    """
    return _Machine(stream, persistent).run()


class _Machine:
    """The machine of one pickle; `_OPCODES` says which method an opcode is."""

    def __init__(self, stream: Stream, persistent: Callable[[Any], Storage] | None) -> None:
        self.stream = stream
        self.persistent = persistent
        self.budget = stream.budget
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        # A list: a dict's keys could be chosen such that each looks at all before it.
        self.memo: list[Any] = []
        self.memo_count = 0

    def run(self) -> Any:
        while True:
            opcode = self.stream.take(1)
            if opcode == b".":
                return self.stack.pop()
            self.budget.spend_steps(1)
            action = _OPCODES.get(opcode)
            if action is None:
                at = self.stream.position - 1
                raise Refused(f"opcode {opcode!r} at byte {at:,} has no place in weights; refused")
            action(self)

    # What stands behind an opcode.

    def integer(self, count: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.stream.take(count), "little", signed=signed)

    def long(self, width: int) -> int:
        count = self.integer(width)
        if count > MAX_NUMBER:
            raise Refused(f"a number of {count:,} bytes; refused")
        return self.integer(count, signed=True)

    def number(self) -> int | bool:
        line = self.stream.line()
        if line in ("00", "01"):
            return line == "01"
        if len(line) > MAX_NUMBER:
            raise Refused("a number of too many digits; refused")
        return int(line.removesuffix("L"))

    def text(self, width: int, encoding: str = "utf-8") -> str:
        count = self.integer(width)
        if count > MAX_TEXT_BYTES:
            raise Refused(f"a text of {count:,} bytes; at most {MAX_TEXT_BYTES:,} are read; refused")
        data = self.stream.take(count)
        if encoding == "utf-8" and _WIDE_BYTES.search(data):
            self.budget.spend_wide_text(count)
        return str(data, encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def escaped(self) -> str:
        text = self.stream.line().encode("latin-1").decode("raw-unicode-escape")
        if _WIDE.search(text):
            self.budget.spend_wide_text(len(text))
        return text

    def quoted(self) -> str:
        line = self.stream.line().encode("latin-1")
        if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"" or not _QUOTED.fullmatch(line):
            raise Refused(f"a text that is not as Python 2 writes it; the file is damaged. {AGAIN}")
        return codecs.escape_decode(line[1:-1])[0].decode("latin-1")

    def real(self) -> float:
        line = self.stream.line()
        if len(line) > MAX_NUMBER:
            raise Refused("a number of too many digits; refused")
        return float(line)

    def protocol(self) -> None:
        version = self.integer(1)
        if version > 5:
            raise Refused(f"pickle protocol {version}; 0 to 5 are known; refused")

    def skip_frame(self) -> None:
        # A frame is a hint for buffering; the stream knows what is left without it.
        self.integer(8)

    # The stack.

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def pop(self) -> None:
        self.stack.pop()

    def put(self, index: int) -> None:
        # Python counts from 0 or 1, without gaps but where a file was made smaller; one step a place.
        if not 0 <= index < MAX_STEPS:
            raise Refused(f"keeps a value under the number {index:,}; refused")
        self.memo += [_ABSENT] * (index + 1 - len(self.memo))
        self.memo_count += self.memo[index] is _ABSENT
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> Any:
        if index < 0 or self.memo[index] is _ABSENT:
            raise IndexError(index)
        return self.memo[index]

    def pack(self, count: int) -> tuple[Any, ...]:
        return tuple([self.stack.pop() for _ in range(count)][::-1])

    def dict_since_mark(self) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        items = self.since_mark()
        add_items(self.budget, result, zip(items[::2], items[1::2], strict=True))
        return result

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused(f"stores items in a {type(target).__name__}; refused")
        add_items(self.budget, target, zip(items[::2], items[1::2], strict=True))

    def append(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise Refused(f"appends to a {type(target).__name__}; refused")
        target.extend(items)

    def add(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set):
            raise Refused(f"adds to a {type(target).__name__}; refused")
        add_elements(self.budget, target, items)

    # Calls.

    def call(self, make: Callable[[Budget, str, tuple[Any, ...]], Any] = call) -> Any:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global | TupleClass):
            raise Refused(f"calls a {type(function).__name__}; refused")
        if not isinstance(args, tuple):
            raise Refused(f"calls {shown(function.name)} without arguments; refused")
        if isinstance(function, TupleClass):
            return function.make(self.budget, args)
        return make(self.budget, function.name, args)

    def new(self) -> Any:
        return self.call(new_object)

    def new_with_names(self) -> Any:
        if self.stack.pop() != {}:
            raise Refused("makes an object from named arguments; refused")
        return self.new()

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, TensorRef):
            fill_array(self.budget, target, state)
        elif isinstance(target, NumpyDtype):
            target.big = state[1] == ">"
        elif not isinstance(target, dict):
            # A dict's state is the `_metadata` that torch hangs on state dicts: module versions, not needed.
            raise Refused(f"sets attributes of a {type(target).__name__}; refused")

    def storage(self) -> Storage:
        if self.persistent is None:
            raise Refused("a torch storage outside a torch file; refused")
        return self.persistent(self.stack.pop())


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    """An opcode that pushes one value."""

    def push(machine: _Machine) -> None:
        # Made first: what makes it may take from the stack, and exchange the stack for the one below a mark.
        made = value(machine)
        machine.stack.append(made)

    return push


_OPCODES: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": _Machine.protocol,
    b"\x95": _Machine.skip_frame,
    b"(": _Machine.mark,
    b"0": _Machine.pop,
    b"1": _Machine.since_mark,
    b"2": _push(lambda m: m.stack[-1]),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"I": _push(_Machine.number),
    b"L": _push(_Machine.number),
    b"J": _push(lambda m: m.integer(4, signed=True)),
    b"K": _push(lambda m: m.integer(1)),
    b"M": _push(lambda m: m.integer(2)),
    b"\x8a": _push(lambda m: m.long(1)),
    b"\x8b": _push(lambda m: m.long(4)),
    b"F": _push(_Machine.real),
    b"G": _push(lambda m: struct.unpack(">d", m.stream.take(8))[0]),
    b"S": _push(_Machine.quoted),
    b"T": _push(lambda m: m.text(4, "latin-1")),  # Python 2's str: bytes, or text in Latin-1
    b"U": _push(lambda m: m.text(1, "latin-1")),
    b"V": _push(_Machine.escaped),
    b"X": _push(lambda m: m.text(4)),
    b"\x8c": _push(lambda m: m.text(1)),
    b"\x8d": _push(lambda m: m.text(8)),
    b"B": _push(lambda m: m.stream.take(m.integer(4))),
    b"C": _push(lambda m: m.stream.take(m.integer(1))),
    b"\x8e": _push(lambda m: m.stream.take(m.integer(8))),
    b"\x96": _push(lambda m: m.stream.take(m.integer(8))),  # a bytearray; nobody will write to it
    b")": _push(lambda m: ()),
    b"]": _push(lambda m: []),
    b"}": _push(lambda m: {}),
    b"\x8f": _push(lambda m: set()),
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"\x85": _push(lambda m: m.pack(1)),
    b"\x86": _push(lambda m: m.pack(2)),
    b"\x87": _push(lambda m: m.pack(3)),
    b"l": _push(_Machine.since_mark),
    b"d": _push(_Machine.dict_since_mark),
    b"\x91": _push(lambda m: frozenset(add_elements(m.budget, set(), m.since_mark()))),
    b"a": lambda m: m.append([m.stack.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b"s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"\x90": lambda m: m.add(m.since_mark()),
    b"g": _push(lambda m: m.get(int(m.number()))),
    b"h": _push(lambda m: m.get(m.integer(1))),
    b"j": _push(lambda m: m.get(m.integer(4))),
    b"p": lambda m: m.put(int(m.number())),
    b"q": lambda m: m.put(m.integer(1)),
    b"r": lambda m: m.put(m.integer(4)),
    b"\x94": lambda m: m.put(m.memo_count),
    b"c": _push(lambda m: known_name(m.stream.line(), m.stream.line())),
    b"\x93": _push(lambda m: known_name(*m.pack(2))),
    b"R": _push(_Machine.call),
    b"\x81": _push(_Machine.new),  # NEWOBJ: a class and its arguments
    b"\x92": _push(_Machine.new_with_names),
    b"b": _Machine.build,
    b"Q": _push(_Machine.storage),
}
