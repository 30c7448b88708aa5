"""A pickle reader that cannot run anything: our own machine, which knows plain values and tensors.

A pickle is a program: it names classes and functions and calls them. Here a name is only ever a key of the
tables in `bench.core.pickle_names`; whatever is not in them is refused by name, and what is in them is a
function of ours that builds plain values. Nothing is imported, nothing gets an attribute set.

It does not stand on `pickle.Unpickler` with its `find_class` overridden, because that still lets a file of
twenty bytes take 16 GB (LONG_BINPUT with a high index, BINBYTES8 with a high count), set attributes on what
`find_class` returned (BUILD), and recurse. `bench.core.pickle_machine` takes from the file only what the file
has, counts its steps, and never recurses.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from bench.core.errors import WeightsError
from bench.core.file_source import AGAIN, NOT_READ
from bench.core.pickle_machine import Stream, run
from bench.core.pickle_values import Global, Inert
from bench.core.tensor_ref import Refused, Storage, TensorRef

MAX_DEPTH = 64

_CONTAINERS = (list, tuple, dict, Inert)
_LEAVES = (type(None), bool, int, float, complex, str, bytes, set, frozenset, TensorRef, Global)

# What the machine leans on for a pickle that takes from an empty stack or adds to a number.
_DAMAGE = (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error)


def load_pickle(stream: Stream, where: str, persistent: Callable[[Any], Storage] | None = None) -> Any:
    """The value of one pickle, read to its STOP; the stream stands behind it then.

    Args:
        stream: Where the pickle begins.
        where: The file, for messages.
        persistent: Gives the storage for a persistent id of torch; without it such ids are refused.

    Returns:
        None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, and `TensorRef`,
        `Inert`, `Global`, nested at most 64 deep. Lists and dicts may be shared inside: walk them by
        identity.

    Raises:
        WeightsError: anything else is asked for, or the pickle is damaged or larger than the limits.
    """
    try:
        value = run(stream, persistent)
        _check_value(value)
    except Refused as reason:
        advice = f". {NOT_READ}" if str(reason).endswith("refused") else ""
        raise WeightsError(f"{where}: {reason}{advice}") from None
    except _DAMAGE as cause:
        place = f"byte {stream.position:,} ({type(cause).__name__})"
        raise WeightsError(f"{where}: damaged pickle at {place}. {AGAIN}") from None
    return value


def _check_value(root: Any) -> None:
    # Breadth first, each container once: linear also where a list holds itself or the same list twice.
    level: list[Any] = [root]
    seen: set[int] = set()
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if not isinstance(value, _CONTAINERS):
                if not isinstance(value, _LEAVES):  # a dtype, a storage or a class that nothing was made of
                    raise Refused(f"holds a {type(value).__name__} by itself; refused")
                continue
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Inert):
                below += [value.args, value.state]
            else:
                below += value.values() if isinstance(value, dict) else value
        if not below:
            return
        level = below
    raise Refused(f"nested deeper than {MAX_DEPTH}; refused")
