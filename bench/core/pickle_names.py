"""The names that a pickle of weights may ask for, and what we make for each: plain values and tensors.

A name is only ever a key of `CALLS` or an element of `LABELS`; nothing is imported for it. `docs/weights.md`
lists them for users, and a test holds the page to this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.core.pickle_inert import CLASSES, DICT_CLASSES, IMPORT_MODULE, inert_names, module_of, tuple_class
from bench.core.pickle_tensors import STORAGES, TENSORS
from bench.core.pickle_values import (
    ALLOWED_HINT,
    Budget,
    Global,
    Inert,
    add_elements,
    add_items,
    encode_latin,
    shown,
)
from bench.core.tensor_ref import DTYPES, Refused

# The longest of ours, module and name together, has 60 characters.
MAX_NAME_LENGTH = 1000

Args = tuple[Any, ...]
Constructor = Callable[[Budget, Args], Any]

# Other names of the same. Source: CPython's Lib/_compat_pickle.py; where dill finds the functions of numpy.
MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy.core._multiarray_umath": "numpy.core.multiarray",
    "numpy._core._multiarray_umath": "numpy._core.multiarray",
}
PYTHON_2_TYPES = {"__builtin__.long": "builtins.int", "__builtin__.unicode": "builtins.str"}

# Names that may stand in a file as values and are never called.
LABELS = frozenset(
    (
        *STORAGES,
        *(f"torch.{name}" for name in DTYPES),
        *("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"),
        *(f"builtins.{name}" for name in ("object", "int", "float", "str", "bool")),
        *(name for names in CLASSES.values() for name in names),
    )
)

# Classes whose objects become placeholders.
INERT = inert_names()

# Classes whose objects become dicts.
DICTS = frozenset(
    (
        *("builtins.dict", "collections.OrderedDict", "collections.Counter", "collections.defaultdict"),
        *(name for names in DICT_CLASSES.values() for name in names),
    )
)


def known_name(module: Any, name: Any) -> Global:
    """The label for a name that a file asks for; `name` may have dots.

    Raises:
        Refused: it is none of ours.
    """
    if not isinstance(name, str) or not isinstance(module, str):
        raise Refused("a class name that is not text; refused")
    for part in (module, name):
        if len(part) > MAX_NAME_LENGTH:  # before they are joined, which would make copies
            raise Refused(f"asks for {shown(part)}; refused. {ALLOWED_HINT}")
    asked = f"{module}.{name}"
    full = PYTHON_2_TYPES.get(asked, f"{MODULES.get(module, module)}.{name}")
    if full not in CALLS and full not in LABELS:
        if full.startswith("torch.nn.modules."):
            raise Refused(
                f"asks for {shown(full)}: a whole pickled model; refused. Save its state dict alone."
            )
        raise Refused(f"asks for {shown(full)}; refused. {ALLOWED_HINT}")
    return Global(full)


def new_object(budget: Budget, name: str, args: Args) -> Any:
    """What the class `name` makes for NEWOBJ, which calls its `__new__` alone.

    Raises:
        Refused: it is called with what it may not have, or is only a label.
    """
    if name in DICTS:
        return {}  # `dict.__new__` looks at no argument; the items follow
    return call(budget, name, args)


def call(budget: Budget, name: str, args: Args) -> Any:
    """What is made when the file calls `name`. Raises Refused as `new_object`."""
    make = CALLS.get(name)
    if make is None:
        raise Refused(f"calls {shown(name)}; refused. {ALLOWED_HINT}")
    return make(budget, args)


# Plain values.


def _encode(budget: Budget, args: Args) -> bytes:
    # How protocol 2 writes bytes: as text, with the name of a codec.
    text, codec = args
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise Refused("bytes from another codec than latin-1; refused")
    return encode_latin(budget, text)


def _bytes(budget: Budget, args: Args) -> bytes:
    if not args:
        return b""
    return args[0] if isinstance(args[0], bytes) else _encode(budget, args)


def _complex(budget: Budget, args: Args) -> complex:
    real, imaginary = args
    if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
        raise Refused("a complex number that is not made of two numbers; refused")  # float() reads long texts
    return complex(float(real), float(imaginary))


def _items(budget: Budget, args: Args) -> list[Any]:
    if not args:
        return []
    if len(args) != 1 or not isinstance(args[0], list | tuple | set | frozenset):
        raise Refused("a container made of something else; refused")
    budget.spend_steps(len(args[0]))
    return list(args[0])


def _mapping(budget: Budget, args: Args) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    if args and isinstance(args[0], dict):
        budget.spend_steps(len(args[0]))
        add_items(budget, result, args[0].items())  # not dict(): numbers are counted again
        return result
    pairs = _items(budget, args)
    if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise Refused("a dict that is not made of pairs; refused")
    add_items(budget, result, ((pair[0], pair[1]) for pair in pairs))
    return result


def _set(budget: Budget, args: Args) -> set[Any]:
    return add_elements(budget, set(), _items(budget, args))


# Objects and functions of others.


def _inert(name: str) -> Constructor:
    return lambda budget, args: Inert(name, args)


def _reconstructor(budget: Budget, args: Args) -> Any:
    # How protocols 0 and 1 make an object: a class, the plain type below it, and a value of that type.
    kind, _, value = args
    name = kind.name if isinstance(kind, Global) else ""
    if name in DICTS:
        return _mapping(budget, (value,))
    if name not in INERT:
        raise Refused(f"makes an object of another class; refused. {ALLOWED_HINT}")
    return Inert(name, () if value is None else (value,))


def _attribute(budget: Budget, args: Args) -> Global:
    # A function as class or module, and name: it is looked up in the tables here, and nowhere else.
    owner, name = args
    place = owner.name if isinstance(owner, Global) else module_of(owner)
    if place is None:
        raise Refused(f"asks for an attribute of a {type(owner).__name__}; refused. {ALLOWED_HINT}")
    return known_name(place, name)


CALLS: dict[str, Constructor] = {
    **TENSORS,
    **dict.fromkeys(DICTS, _mapping),
    **{name: _inert(name) for name in (*INERT, IMPORT_MODULE)},
    "torch.Size": lambda budget, args: tuple(_items(budget, args)),
    "collections.defaultdict": lambda budget, args: {},  # its argument makes values, and we make none
    "collections.deque": lambda budget, args: _items(budget, args[:1]),  # the second is its greatest length
    "builtins.list": _items,
    "builtins.tuple": lambda budget, args: tuple(_items(budget, args)),
    "builtins.set": _set,
    "builtins.frozenset": lambda budget, args: frozenset(_set(budget, args)),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": _complex,
    "builtins.getattr": _attribute,
    "copyreg._reconstructor": _reconstructor,
    "_codecs.encode": _encode,
    "dill._dill._create_namedtuple": tuple_class,
    "dill._dill._get_attr": _attribute,
}
"""Name to what is made when the file calls it."""
