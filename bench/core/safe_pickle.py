"""A pickle reader that cannot run anything: our own machine, which knows plain values and tensors.

A pickle is a program: it names classes and functions and calls them. Here a name is only ever a key of the
table `_CALLS` below; whatever is not in it is refused by name, and what is in it is a function of this file
that builds plain values. Nothing is imported, nothing gets an attribute set.

It does not stand on `pickle.Unpickler` with its `find_class` overridden, because that still lets a file of
twenty bytes take 16 GB (LONG_BINPUT with a high index, BINBYTES8 with a high count), set attributes on what
`find_class` returned (BUILD), and recurse. This machine takes from the file only what the file has, counts
its steps, and never recurses.

Source: the opcodes of CPython's `Lib/pickletools.py`, protocols 0 to 5.
"""

from __future__ import annotations

import codecs
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from bench.core.errors import WeightsError

# A checkpoint of a ResNet-50 with its optimiser takes about 30,000 steps; these take 2 s and, at the worst
# opcode (EMPTY_SET, 216 bytes), 330 MB.
MAX_STEPS = 1_500_000
MAX_DEPTH = 64
MAX_TEXT_BYTES = 64 * 1024**2  # a str may take four bytes a character in memory
MAX_INT_BYTES = 128
MAX_NAME = 200
MAX_DIMS = 32
# A tensor expanded over a smaller storage (stride 0) may be this large; anything else is within its storage.
MAX_EXPANDED = 1024**2

ALLOWED_HINT = "Weights may hold tensors and the plain classes listed in the docs."
_PY2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


# Our name of an element type, as torch writes it -> numpy's code without byte order. numpy has no bfloat16.
DTYPES = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint64": "u8",
    "uint32": "u4",
    "uint16": "u2",
    "uint8": "u1",
    "bool": "u1",
    "complex128": "c16",
    "complex64": "c8",
}


class BadPickle(Exception):
    """What is wrong with a pickle or a tensor in it, without file and place."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements in the file; tensors are views of it.

    Attributes:
        dtype: A key of `DTYPES`.
        num_elements: How many there are, as checked against the file.
        fetch: Gives `count` bytes from byte `start` of the storage; raises WeightsError where it cannot.
        big_endian: The byte order of the elements.
    """

    dtype: str
    num_elements: int
    fetch: Callable[[int, int], bytes]
    big_endian: bool = False


class TensorRef:
    """A tensor that lies in the file: its shape and dtype are known, its values are read on demand."""

    __slots__ = ("_offset", "_storage", "_strides", "dtype", "shape")

    def __init__(
        self, storage: Storage, shape: Sequence[int], strides: Sequence[int], *, offset: int = 0
    ) -> None:
        """A view of `storage`; shape, strides and offset count elements.

        Raises:
            BadPickle: a number is negative or no int, or an element would lie outside the storage.
        """
        self.dtype = storage.dtype
        self._set(storage, shape, strides, offset)

    def _set(self, storage: Storage, shape: Sequence[int], strides: Sequence[int], offset: int) -> None:
        if len(shape) > MAX_DIMS or len(shape) != len(strides):
            raise BadPickle(f"a tensor of {len(shape)} dimensions and {len(strides)} strides; refused")
        if any(type(value) is not int or value < 0 or value >= 2**62 for value in (*shape, *strides, offset)):
            raise BadPickle("a tensor whose shape, strides or offset are no counts; refused")
        size = math.prod(shape)
        span = self._span(shape, strides)
        if offset + span > storage.num_elements:
            raise BadPickle(
                f"a tensor of shape {tuple(shape)} needs elements {offset:,} to {offset + span:,} "
                f"of a storage of {storage.num_elements:,}; refused"
            )
        if size > max(storage.num_elements, MAX_EXPANDED):
            raise BadPickle(
                f"a tensor of shape {tuple(shape)} over a storage of {storage.num_elements:,}; refused"
            )
        self.shape = tuple(shape)
        self.dtype = storage.dtype
        self._storage, self._strides, self._offset = storage, tuple(strides), offset

    @staticmethod
    def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
        if 0 in shape:
            return 0
        return 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))

    def __repr__(self) -> str:
        return f"TensorRef({self.dtype}, {self.shape})"

    def read(self) -> np.ndarray:
        """The values: a C-contiguous array of our own, in native byte order; bfloat16 as equal float32.

        Raises:
            WeightsError: the file changed, ends early, or its checksum does not fit.
        """
        code = np.dtype(DTYPES[self.dtype]).newbyteorder(">" if self._storage.big_endian else "<")
        width = code.itemsize
        raw = self._storage.fetch(self._offset * width, self._span(self.shape, self._strides) * width)
        flat = np.frombuffer(raw, dtype=code)
        if 0 in self.shape:
            flat = np.zeros(1, dtype=code)  # as_strided wants something to stand on
        steps = tuple(stride * width for stride in self._strides)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        values = np.array(view, dtype=code.newbyteorder("="), order="C")
        if self.dtype == "bfloat16":
            # The upper half of a float32, so the conversion is exact.
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values != 0 if self.dtype == "bool" else values


def contiguous_strides(shape: Sequence[int], *, fortran: bool = False) -> tuple[int, ...]:
    """Strides, in elements, of an array without gaps: last axis fastest, or the first for `fortran`."""
    strides: list[int] = []
    step = 1
    for length in shape if fortran else reversed(shape):
        strides.append(step)
        step *= length if type(length) is int else 1
    return tuple(strides if fortran else reversed(strides))


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


class _Dtype:
    """A numpy dtype in the making: BUILD brings its byte order."""

    __slots__ = ("big", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.big = False


class Stream:
    """Bytes of a file from where it stands, `size` of them, never more than there are."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises BadPickle where the file has fewer: nothing is reserved before."""
        if count > self.size - self.position:
            left = self.size - self.position
            raise BadPickle(
                f"ends early: {count:,} bytes expected, {left:,} left; it was cut off or is damaged"
            )
        data = self._file.read(count)
        if len(data) != count:
            raise BadPickle("ends early")
        self.position += count
        return data

    def line(self) -> str:
        """The next line, without its end: names, numbers and, in protocol 0, texts."""
        data = self._file.readline(min(MAX_TEXT_BYTES, self.size - self.position))
        self.position += len(data)
        if not data.endswith(b"\n"):
            raise BadPickle("ends early in a line")
        return data[:-1].decode("latin-1")


def load_pickle(stream: Stream, where: str, persistent: Callable[[Any], Storage] | None = None) -> Any:
    """The value of one pickle, read to its STOP; the stream stands behind it then.

    Args:
        stream: Where the pickle begins.
        where: The file, for messages.
        persistent: Gives the storage for a persistent id of torch; without it such ids are refused.

    Returns:
        None, bool, int, float, complex, str, bytes, list, tuple, dict, set, and `TensorRef`, `Inert`,
        `Global`, nested at most 64 deep. Lists and dicts may be shared inside: walk them by identity.

    Raises:
        WeightsError: anything else is asked for, or the pickle is damaged or larger than the limits.
    """
    machine = _Machine(stream, persistent)
    try:
        value = machine.run()
        _check_depth(value)
    except BadPickle as mistake:
        raise WeightsError(f"{where}: {mistake}") from None
    except (
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        struct.error,
    ) as cause:
        # The machine leans on these for a pickle that takes from an empty stack or adds to a number.
        reason = f"damaged pickle at byte {stream.position:,} ({type(cause).__name__})"
        raise WeightsError(f"{where}: {reason}. The file is damaged or was not written by torch.") from None
    return value


def _check_depth(root: Any) -> None:
    # Breadth first, each container once: linear also where a list holds itself or the same list twice.
    level: list[Any] = [root]
    seen: set[int] = set()
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if not isinstance(value, list | tuple | dict | Inert) or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Inert):
                below += [value.args, value.state]
            else:
                below += value.values() if isinstance(value, dict) else value
        if not below:
            return
        level = below
    raise BadPickle(f"nested deeper than {MAX_DEPTH}; refused")


class _Machine:
    """The stack machine of one pickle."""

    def __init__(self, stream: Stream, persistent: Callable[[Any], Storage] | None) -> None:
        self.stream = stream
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0
        self.copied = 0

    def run(self) -> Any:
        while True:
            opcode = self.stream.take(1)
            if opcode == b".":
                return self.stack.pop()
            self.charge(1)
            action = _OPCODES.get(opcode)
            if action is None:
                at = self.stream.position - 1
                raise BadPickle(f"opcode {opcode!r} at byte {at:,} has no place in weights; refused")
            action(self)

    def charge(self, steps: int) -> None:
        """Count work, so that one short loop of memo reads cannot copy a long list for ever."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise BadPickle(f"asks for more than {MAX_STEPS:,} steps; refused")

    def charge_bytes(self, count: int) -> None:
        """Count bytes copied out of values: together never more than the file has."""
        self.copied += count
        if self.copied > self.stream.size:
            raise BadPickle("asks for more bytes than the file has; refused")

    def integer(self, count: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.stream.take(count), "little", signed=signed)

    def long(self, width: int) -> int:
        count = self.integer(width)
        if count > MAX_INT_BYTES:
            raise BadPickle(f"a number of {count:,} bytes; refused")
        return self.integer(count, signed=True)

    def text(self, width: int, encoding: str = "utf-8") -> str:
        count = self.integer(width)
        if count > MAX_TEXT_BYTES:
            raise BadPickle(f"a text of {count:,} bytes; at most {MAX_TEXT_BYTES:,} are read")
        return str(self.stream.take(count), encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def number(self) -> int | bool:
        line = self.stream.line()
        if line in ("00", "01"):
            return line == "01"
        if len(line) > MAX_INT_BYTES:
            raise BadPickle("a number of too many digits; refused")
        return int(line.removesuffix("L"))

    def since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def drop_to_mark(self) -> None:
        self.since_mark()

    def skip_frame(self) -> None:
        # A frame is a hint for buffering; the stream knows what is left without it.
        self.integer(8)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def push_global(self, module: str, name: str) -> None:
        full = f"{_PY2_MODULES.get(module, module)}.{name}"
        if full not in _CALLS and full not in _LABELS:
            raise BadPickle(f"asks for {_shown(full)}; refused. {ALLOWED_HINT}")
        self.stack.append(Global(full))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise BadPickle("a class name that is not text; refused")
        self.push_global(module, name)

    def call(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global):
            raise BadPickle(f"calls a {type(function).__name__}; refused")
        if not isinstance(args, tuple):
            raise BadPickle(f"calls {function.name} without arguments; refused")
        make = _CALLS.get(function.name)
        if make is None:
            raise BadPickle(f"calls {_shown(function.name)}; refused. {ALLOWED_HINT}")
        self.stack.append(make(self, args))

    def call_with_names(self) -> None:
        if self.stack.pop() != {}:
            raise BadPickle("makes an object from named arguments; refused")
        self.call()

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise BadPickle("a torch storage outside a torch file; refused")
        self.stack.append(self.persistent(self.stack.pop()))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, TensorRef):
            _fill_array(self, target, state)
        elif isinstance(target, _Dtype):
            target.big = state[1] == ">"
        elif not isinstance(target, dict):
            # A dict's state is the `_metadata` that torch hangs on state dicts: module versions, not needed.
            raise BadPickle(f"sets attributes of a {type(target).__name__}; refused")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise BadPickle(f"stores items in a {type(target).__name__}; refused")
        _update(target, zip(items[::2], items[1::2], strict=True))

    def append(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise BadPickle(f"appends to a {type(target).__name__}; refused")
        target.extend(items)

    def add(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set):
            raise BadPickle(f"adds to a {type(target).__name__}; refused")
        target.update(map(_key, items))


def _shown(name: str) -> str:
    text = name if name.isascii() and name.isprintable() else ascii(name)
    return text if len(text) <= MAX_NAME else text[:MAX_NAME] + "..."


def _key(value: Any) -> Any:
    # Only kinds whose hashes a file cannot make collide by the million: ints below Python's hash modulus,
    # and str and bytes, whose hashes are salted. No tuples, no big numbers.
    if type(value) in (str, bytes, bool, float, type(None)) or (type(value) is int and abs(value) < 2**60):
        return value
    raise BadPickle(f"a key or set element of kind {type(value).__name__}; refused")


def _update(target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    for key, value in pairs:
        if _key(key) in target:
            raise BadPickle(f"the key {_shown(str(key))!r} is there twice in one dict; refused")
        target[key] = value


def _simple(action: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    """An opcode that only pushes a value."""

    def push(machine: _Machine) -> None:
        machine.stack.append(action(machine))

    return push


def _mark(machine: _Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _tuple(count: int) -> Callable[[_Machine], None]:
    def pack(machine: _Machine) -> None:
        items = tuple(machine.stack[-count:])
        if len(items) != count:
            raise IndexError
        machine.stack[-count:] = [items]

    return pack


def _push_since_mark(make: Callable[[list[Any]], Any]) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        items = machine.since_mark()
        machine.stack.append(make(items))

    return push


def _dict_of(items: list[Any]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    _update(result, zip(items[::2], items[1::2], strict=True))
    return result


def _pop(machine: _Machine) -> None:
    machine.stack.pop()


def _protocol(machine: _Machine) -> None:
    version = machine.integer(1)
    if version > 5:
        raise BadPickle(f"pickle protocol {version}; 0 to 5 are known")


def _escaped(machine: _Machine) -> str:
    line = machine.stream.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise BadPickle("a text without quotes")
    return codecs.escape_decode(line[1:-1].encode("latin-1"))[0].decode("latin-1")


_OPCODES: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: m.skip_frame(),
    b"(": _mark,
    b"0": _pop,
    b"1": lambda m: m.drop_to_mark(),
    b"2": _simple(lambda m: m.stack[-1]),
    b"N": _simple(lambda m: None),
    b"\x88": _simple(lambda m: True),
    b"\x89": _simple(lambda m: False),
    b"I": _simple(lambda m: m.number()),
    b"L": _simple(lambda m: m.number()),
    b"J": _simple(lambda m: m.integer(4, signed=True)),
    b"K": _simple(lambda m: m.integer(1)),
    b"M": _simple(lambda m: m.integer(2)),
    b"\x8a": _simple(lambda m: m.long(1)),
    b"\x8b": _simple(lambda m: m.long(4)),
    b"F": _simple(lambda m: float(m.stream.line())),
    b"G": _simple(lambda m: struct.unpack(">d", m.stream.take(8))[0]),
    b"S": _simple(_escaped),
    b"T": _simple(lambda m: m.text(4, "latin-1")),  # Python 2's str: bytes, or text in Latin-1
    b"U": _simple(lambda m: m.text(1, "latin-1")),
    b"V": _simple(lambda m: m.stream.line().encode("latin-1").decode("raw-unicode-escape")),
    b"X": _simple(lambda m: m.text(4)),
    b"\x8c": _simple(lambda m: m.text(1)),
    b"\x8d": _simple(lambda m: m.text(8)),
    b"B": _simple(lambda m: m.stream.take(m.integer(4))),
    b"C": _simple(lambda m: m.stream.take(m.integer(1))),
    b"\x8e": _simple(lambda m: m.stream.take(m.integer(8))),
    b"\x96": _simple(lambda m: m.stream.take(m.integer(8))),  # a bytearray; nobody will write to it
    b")": _simple(lambda m: ()),
    b"]": _simple(lambda m: []),
    b"}": _simple(lambda m: {}),
    b"\x8f": _simple(lambda m: set()),
    b"t": _push_since_mark(tuple),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"l": _push_since_mark(list),
    b"d": _push_since_mark(_dict_of),
    b"\x91": _push_since_mark(lambda items: frozenset(map(_key, items))),
    b"a": lambda m: m.append([m.stack.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b"s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"\x90": lambda m: m.add(m.since_mark()),
    b"g": _simple(lambda m: m.memo[int(m.number())]),
    b"h": _simple(lambda m: m.memo[m.integer(1)]),
    b"j": _simple(lambda m: m.memo[m.integer(4)]),
    b"p": lambda m: m.put(int(m.number())),
    b"q": lambda m: m.put(m.integer(1)),
    b"r": lambda m: m.put(m.integer(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"c": lambda m: m.push_global(m.stream.line(), m.stream.line()),
    b"\x93": lambda m: m.stack_global(),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.call(),  # NEWOBJ: a class and its arguments
    b"\x92": lambda m: m.call_with_names(),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.persistent_id(),
}


def _tensor(machine: _Machine, args: tuple[Any, ...]) -> TensorRef:
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, Storage):
        raise BadPickle("a tensor without a storage; refused")
    return TensorRef(storage, shape, strides, offset=offset)


def _tensor_v3(machine: _Machine, args: tuple[Any, ...]) -> TensorRef:
    # An untyped storage with the dtype beside it: kinds younger than the typed storages.
    storage, dtype = args[0], args[6]
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else ""
    if not isinstance(storage, Storage) or storage.dtype != "uint8" or name not in DTYPES:
        raise BadPickle("a tensor without an untyped storage and a dtype; refused")
    count = storage.num_elements // np.dtype(DTYPES[name]).itemsize
    typed = Storage(name, count, storage.fetch, storage.big_endian)
    return _tensor(machine, (typed, *args[1:4]))


def _parameter(machine: _Machine, args: tuple[Any, ...]) -> TensorRef:
    if not isinstance(args[0], TensorRef):
        raise BadPickle("a parameter without a tensor; refused")
    return args[0]


def _from_type(machine: _Machine, args: tuple[Any, ...]) -> TensorRef:
    function, _, inner = args[:3]
    rebuild = {f"torch._utils.{name}": make for name, make in _REBUILDS.items()}
    if not isinstance(function, Global) or function.name not in rebuild or not isinstance(inner, tuple):
        raise BadPickle("a tensor of another class; refused")
    return rebuild[function.name](machine, inner)


_REBUILDS: dict[str, Callable[[_Machine, tuple[Any, ...]], TensorRef]] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
}


def _new_array(machine: _Machine, args: tuple[Any, ...]) -> TensorRef:
    # numpy makes an empty array and fills it by BUILD.
    return TensorRef(Storage("uint8", 0, lambda start, count: b""), (0,), (1,))


def _fill_array(machine: _Machine, target: TensorRef, state: Any) -> None:
    _, shape, dtype, fortran, raw = state
    if isinstance(raw, str):  # pickled by Python 2
        raw = _encode(machine, (raw, "latin-1"))
    filled = _array_of(raw, dtype, shape, fortran=bool(fortran))
    target._set(filled._storage, filled.shape, filled._strides, 0)


def _from_buffer(machine: _Machine, args: tuple[Any, ...]) -> TensorRef:
    raw, dtype, shape, order = args
    return _array_of(raw, dtype, shape, fortran=order == "F")


def _array_of(raw: Any, dtype: Any, shape: Any, *, fortran: bool) -> TensorRef:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
        raise BadPickle("a numpy array without dtype, shape and bytes; refused")
    count, rest = divmod(len(raw), np.dtype(DTYPES[dtype.name]).itemsize)
    storage = Storage(dtype.name, count, lambda start, size: raw[start : start + size], dtype.big)
    array = TensorRef(storage, shape, contiguous_strides(shape, fortran=fortran))
    if rest or math.prod(shape) != count:
        raise BadPickle(f"a numpy array of shape {shape} with {len(raw):,} bytes; refused")
    return array


def _dtype(machine: _Machine, args: tuple[Any, ...]) -> _Dtype:
    code = str(args[0]) if isinstance(args[0], str) else ""
    if code.lstrip("<>|=").startswith("O"):
        raise BadPickle("asks for a numpy array of objects; refused. " + ALLOWED_HINT)
    if code == "b1":
        return _Dtype("bool")
    known = {value: name for name, value in DTYPES.items() if name not in ("bool", "bfloat16")}
    if code not in known:
        raise BadPickle(f"asks for the numpy dtype {_shown(code)!r}; refused. {ALLOWED_HINT}")
    return _Dtype(known[code])


def _scalar(machine: _Machine, args: tuple[Any, ...]) -> Any:
    dtype, raw = args
    if isinstance(raw, str):
        raw = _encode(machine, (raw, "latin-1"))
    return _array_of(raw, dtype, (), fortran=False).read().item()


def _encode(machine: _Machine, args: tuple[Any, ...]) -> bytes:
    # How protocol 2 writes bytes: as text, with the name of a codec.
    text, codec = args
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise BadPickle("bytes from another codec than latin-1; refused")
    machine.charge_bytes(len(text))
    return text.encode("latin-1")


def _items(machine: _Machine, args: tuple[Any, ...]) -> list[Any]:
    if not args:
        return []
    if len(args) != 1 or not isinstance(args[0], list | tuple | set | frozenset):
        raise BadPickle("a container made of something else; refused")
    machine.charge(len(args[0]))
    return list(args[0])


def _mapping(machine: _Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    if args and isinstance(args[0], dict):
        machine.charge(len(args[0]))
        return dict(args[0])
    result: dict[Any, Any] = {}
    pairs = _items(machine, args)
    if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise BadPickle("a dict that is not made of pairs; refused")
    _update(result, ((pair[0], pair[1]) for pair in pairs))
    return result


def _default_dict(machine: _Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    return {}


def _bytes(machine: _Machine, args: tuple[Any, ...]) -> bytes:
    if not args:
        return b""
    if isinstance(args[0], bytes):
        return args[0]
    return _encode(machine, args)


def _complex(machine: _Machine, args: tuple[Any, ...]) -> complex:
    real, imaginary = args
    return complex(float(real), float(imaginary))


def _inert(name: str) -> Callable[[_Machine, tuple[Any, ...]], Inert]:
    return lambda machine, args: Inert(name, args)


def _reconstructor(machine: _Machine, args: tuple[Any, ...]) -> Inert:
    # How protocols 0 and 1 make an object of a plain class.
    if not isinstance(args[0], Global) or args[0].name not in _INERT:
        raise BadPickle("makes an object of another class; refused. " + ALLOWED_HINT)
    return Inert(args[0].name)


_INERT = ("argparse.Namespace", "torch.device")

_CALLS: dict[str, Callable[[_Machine, tuple[Any, ...]], Any]] = {
    **{f"torch._utils.{name}": make for name, make in _REBUILDS.items()},
    **{name: _inert(name) for name in _INERT},
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": lambda machine, args: tuple(_items(machine, args)),
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_dict,
    "builtins.dict": _mapping,
    "builtins.list": _items,
    "builtins.tuple": lambda machine, args: tuple(_items(machine, args)),
    "builtins.set": lambda machine, args: set(map(_key, _items(machine, args))),
    "builtins.frozenset": lambda machine, args: frozenset(map(_key, _items(machine, args))),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": _complex,
    "copyreg._reconstructor": _reconstructor,
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _new_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}

# Source: torch/storage.py, _dtype_to_storage_type_map; the quantised kinds are left out.
STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexDoubleStorage": "complex128",
    "torch.ComplexFloatStorage": "complex64",
    "torch.storage.UntypedStorage": "uint8",
}

# Names that may stand in a file as values and are never called.
_LABELS = frozenset(
    (
        *STORAGES,
        *(f"torch.{name}" for name in DTYPES),
        *("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"),
        *(f"builtins.{name}" for name in ("object", "int", "float", "str", "bool")),
    )
)
