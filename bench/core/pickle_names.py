"""The names that a pickle of weights may ask for, and what we make for each: plain values and tensors.

A name is only ever a key of `CALLS` or an element of `LABELS`; nothing is imported for it. `docs/weights.md`
lists them for users, and a test holds the page to this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.core.pickle_values import Budget, Global, Inert, add_items, checked_key, shown
from bench.core.tensor_ref import DTYPES, Refused, Storage, TensorRef, contiguous_strides, element_size

ALLOWED_HINT = "Weights may hold tensors and the plain classes listed in docs/weights.md."

Args = tuple[Any, ...]
Constructor = Callable[[Budget, Args], Any]

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
LABELS = frozenset(
    (
        *STORAGES,
        *(f"torch.{name}" for name in DTYPES),
        *("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"),
        *(f"builtins.{name}" for name in ("object", "int", "float", "str", "bool")),
    )
)

# Classes whose objects become placeholders.
INERT = ("argparse.Namespace", "torch.device")


# Tensors of torch.


def _tensor(budget: Budget, args: Args) -> TensorRef:
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage; refused")
    return TensorRef(storage, shape, strides, offset=offset)


def _tensor_v3(budget: Budget, args: Args) -> TensorRef:
    # An untyped storage with the dtype beside it: kinds younger than the typed storages.
    storage, dtype = args[0], args[6]
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else ""
    if not isinstance(storage, Storage) or storage.dtype != "uint8" or name not in DTYPES:
        raise Refused("a tensor without an untyped storage and a dtype; refused")
    typed = replace(storage, dtype=name, num_elements=storage.num_elements // element_size(name))
    return _tensor(budget, (typed, *args[1:4]))


def _parameter(budget: Budget, args: Args) -> TensorRef:
    if not isinstance(args[0], TensorRef):
        raise Refused("a parameter without a tensor; refused")
    return args[0]


_REBUILDS: dict[str, Callable[[Budget, Args], TensorRef]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}


def _from_type(budget: Budget, args: Args) -> TensorRef:
    function, _, inner = args[:3]
    make = _REBUILDS.get(function.name) if isinstance(function, Global) else None
    if make is None or not isinstance(inner, tuple):
        raise Refused("a tensor of another class; refused")
    return make(budget, inner)


# Arrays of numpy.


class NumpyDtype:
    """A numpy dtype in the making: BUILD brings its byte order."""

    __slots__ = ("big", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.big = False


def _dtype(budget: Budget, args: Args) -> NumpyDtype:
    code = str(args[0]) if isinstance(args[0], str) else ""
    if code.lstrip("<>|=").startswith("O"):
        raise Refused(f"asks for a numpy array of objects; refused. {ALLOWED_HINT}")
    if code == "b1":
        return NumpyDtype("bool")
    known = {value: name for name, value in DTYPES.items() if name not in ("bool", "bfloat16")}
    if code not in known:
        raise Refused(f"asks for the numpy dtype {shown(code)!r}; refused. {ALLOWED_HINT}")
    return NumpyDtype(known[code])


def _new_array(budget: Budget, args: Args) -> TensorRef:
    # numpy makes an empty array and fills it by BUILD.
    return TensorRef(Storage("uint8", 0, lambda start, count: b""), (0,), (1,))


def fill_array(budget: Budget, target: TensorRef, state: Any) -> None:
    """What BUILD does to a new numpy array. Raises Refused for a state that is none."""
    _, shape, dtype, fortran, raw = state
    target.become(_array_of(_array_bytes(budget, raw), dtype, shape, fortran=bool(fortran)))


def _from_buffer(budget: Budget, args: Args) -> TensorRef:
    raw, dtype, shape, order = args
    return _array_of(raw, dtype, shape, fortran=order == "F")


def _scalar(budget: Budget, args: Args) -> Any:
    dtype, raw = args
    return _array_of(_array_bytes(budget, raw), dtype, (), fortran=False).read().item()


def _array_bytes(budget: Budget, raw: Any) -> Any:
    # Python 2 pickled bytes as text.
    return _encode(budget, (raw, "latin-1")) if isinstance(raw, str) else raw


def _array_of(raw: Any, dtype: Any, shape: Any, *, fortran: bool) -> TensorRef:
    if not isinstance(dtype, NumpyDtype) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
        raise Refused("a numpy array without dtype, shape and bytes; refused")
    count, rest = divmod(len(raw), element_size(dtype.name))
    storage = Storage(dtype.name, count, lambda start, size: raw[start : start + size], dtype.big)
    array = TensorRef(storage, shape, contiguous_strides(shape, fortran=fortran))
    if rest or math.prod(shape) != count:
        raise Refused(f"a numpy array of shape {shape} with {len(raw):,} bytes; refused")
    return array


# Plain values.


def _encode(budget: Budget, args: Args) -> bytes:
    # How protocol 2 writes bytes: as text, with the name of a codec.
    text, codec = args
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise Refused("bytes from another codec than latin-1; refused")
    budget.spend_bytes(len(text))
    return text.encode("latin-1")


def _bytes(budget: Budget, args: Args) -> bytes:
    if not args:
        return b""
    return args[0] if isinstance(args[0], bytes) else _encode(budget, args)


def _complex(budget: Budget, args: Args) -> complex:
    real, imaginary = args
    return complex(float(real), float(imaginary))


def _items(budget: Budget, args: Args) -> list[Any]:
    if not args:
        return []
    if len(args) != 1 or not isinstance(args[0], list | tuple | set | frozenset):
        raise Refused("a container made of something else; refused")
    budget.spend_steps(len(args[0]))
    return list(args[0])


def _mapping(budget: Budget, args: Args) -> dict[Any, Any]:
    if args and isinstance(args[0], dict):
        budget.spend_steps(len(args[0]))
        return dict(args[0])
    pairs = _items(budget, args)
    if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise Refused("a dict that is not made of pairs; refused")
    result: dict[Any, Any] = {}
    add_items(result, ((pair[0], pair[1]) for pair in pairs))
    return result


def _inert(name: str) -> Constructor:
    return lambda budget, args: Inert(name, args)


def _reconstructor(budget: Budget, args: Args) -> Inert:
    # How protocols 0 and 1 make an object of a plain class.
    if not isinstance(args[0], Global) or args[0].name not in INERT:
        raise Refused(f"makes an object of another class; refused. {ALLOWED_HINT}")
    return Inert(args[0].name)


CALLS: dict[str, Constructor] = {
    **_REBUILDS,
    **{name: _inert(name) for name in INERT},
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": lambda budget, args: tuple(_items(budget, args)),
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": lambda budget, args: {},
    "builtins.dict": _mapping,
    "builtins.list": _items,
    "builtins.tuple": lambda budget, args: tuple(_items(budget, args)),
    "builtins.set": lambda budget, args: set(map(checked_key, _items(budget, args))),
    "builtins.frozenset": lambda budget, args: frozenset(map(checked_key, _items(budget, args))),
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
"""Name to what is made when the file calls it."""
