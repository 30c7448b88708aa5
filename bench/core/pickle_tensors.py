"""What a pickle of weights may call to make a tensor of torch or an array of numpy, jax or dill."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.core.pickle_values import ALLOWED_HINT, Budget, Global, encode_latin, shown
from bench.core.tensor_ref import DTYPES, Refused, Storage, TensorRef, contiguous_strides, element_size

Args = tuple[Any, ...]

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


# Tensors of torch.


def _tensor(budget: Budget, args: Args) -> TensorRef:
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage; refused")
    tensor = TensorRef(storage, shape, strides, offset=offset)
    budget.spend_steps(len(tensor.shape))
    return tensor


def _tensor_v2(budget: Budget, args: Args) -> TensorRef:
    _check_metadata(args[6:7])
    return _tensor(budget, args)


def _tensor_v3(budget: Budget, args: Args) -> TensorRef:
    # An untyped storage with the dtype beside it: kinds younger than the typed storages.
    _check_metadata(args[7:8])
    storage, dtype = args[0], args[6]
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else ""
    if not isinstance(storage, Storage) or storage.dtype != "uint8" or name not in DTYPES:
        raise Refused("a tensor without an untyped storage and a dtype; refused")
    typed = replace(storage, dtype=name, num_elements=storage.num_elements // element_size(name))
    return _tensor(budget, (typed, *args[1:4]))


def _check_metadata(metadata: Args) -> None:
    # Bits that change what the stored numbers mean. Source: torch/_utils.py, set_tensor_metadata.
    if any(metadata):
        raise Refused("a tensor stored negated or conjugated, to be turned when it is read; refused")


def _parameter(budget: Budget, args: Args) -> TensorRef:
    if not isinstance(args[0], TensorRef):
        raise Refused("a parameter without a tensor; refused")
    return args[0]


_REBUILDS: dict[str, Callable[[Budget, Args], TensorRef]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
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


_SCALAR_STEPS = 10  # a number is read as an array at once, which takes as long as ten opcodes


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
    target.become(_array_of(budget, _array_bytes(budget, raw), dtype, shape, fortran=bool(fortran)))


def _from_buffer(budget: Budget, args: Args) -> TensorRef:
    raw, dtype, shape, order = args
    return _array_of(budget, raw, dtype, shape, fortran=order == "F")


def _scalar(budget: Budget, args: Args) -> Any:
    dtype, raw = args
    budget.spend_steps(_SCALAR_STEPS)
    return _array_of(budget, _array_bytes(budget, raw), dtype, (), fortran=False).read().item()


def _array_bytes(budget: Budget, raw: Any) -> Any:
    # Python 2 pickled bytes as text.
    return encode_latin(budget, raw) if isinstance(raw, str) else raw


def _array_of(budget: Budget, raw: Any, dtype: Any, shape: Any, *, fortran: bool) -> TensorRef:
    if not isinstance(dtype, NumpyDtype) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
        raise Refused("a numpy array without dtype, shape and bytes; refused")
    count, rest = divmod(len(raw), element_size(dtype.name))
    storage = Storage(dtype.name, count, lambda start, size: raw[start : start + size], dtype.big)
    array = TensorRef(storage, shape, contiguous_strides(shape, fortran=fortran))
    budget.spend_steps(len(shape))
    if rest or math.prod(shape) != count:
        raise Refused(f"a numpy array of shape {shape} with {len(raw):,} bytes; refused")
    return array


_NEW_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")


def _wrapped_array(budget: Budget, args: Args) -> TensorRef:
    # numpy's own function, its arguments and the state for BUILD, all in one call.
    function, _, state = args[:3]
    if not isinstance(function, Global) or function.name not in _NEW_ARRAYS:
        raise Refused("an array that is not made by numpy; refused")
    array = _new_array(budget, ())
    fill_array(budget, array, state)
    return array


TENSORS: dict[str, Callable[[Budget, Args], Any]] = {
    **_REBUILDS,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "numpy.dtype": _dtype,
    **dict.fromkeys(_NEW_ARRAYS, _new_array),
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    # Source: jax/_src/device_array.py (before 0.4), jax/_src/array.py (since); dill/_dill.py (0.3.8).
    "jax._src.device_array.reconstruct_device_array": _wrapped_array,
    "jax._src.array._reconstruct_array": _wrapped_array,
    "dill._dill._create_array": _wrapped_array,
}
"""Name to what is made when the file calls it."""
