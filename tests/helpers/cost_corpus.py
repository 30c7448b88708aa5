"""Pickles that are quickly written and would take long to read, or much memory."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable

import numpy as np

from tests.helpers.forge import (
    LEGACY_MAGIC,
    PROTO,
    STOP,
    named,
    plain,
    state,
    storage,
    tensor,
    torch_legacy,
    torch_zip,
)

HASH_MODULUS = 2**61 - 1
WIDE = "\U0001f642".encode()
TUPLE = b"cdill._dill\n_create_namedtuple\n"
DTYPE = named("numpy", "dtype", ("f4", False, True))
FOUR = b"C\x04abcd"
MANY_DIMS = b"(" + b"K\x01" * 32 + b"t"


def _text(data: bytes) -> bytes:
    return b"X" + struct.pack("<L", len(data)) + data


def _number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def _path(key: int, bits: int, count: int) -> list[int]:
    """The first places at which Python looks for `key` in a dict's table of 2**bits places.

    Source: CPython's Objects/dictobject.c, lookdict. A number below 2**bits is put at its own place.
    """
    mask, rest, at = 2**bits - 1, key, key & (2**bits - 1)
    places = {at: None}
    while len(places) < count:
        rest >>= 5
        at = (at * 5 + 1 + rest) & mask
        places[at] = None
    return list(places)


def _walkers(arc: list[int], bits: int, wide: int) -> list[int]:
    """Numbers of `bits` to `wide` bits for which Python looks at many places of `arc`, all taken, in vain."""
    order = np.full(2**bits, len(arc))
    order[arc] = np.arange(len(arc))
    keys = np.arange(2**bits, 2**wide)
    at, rest = keys & (2**bits - 1), keys.copy()
    walks = order[at] < len(arc)
    while rest.any():
        rest >>= 5
        at = (at * 5 + 1 + rest) & (2**bits - 1)
        walks &= order[at] < len(arc)
    return keys[walks & (order[at] < len(arc) // 2)].tolist()


def _set_path(key: int, bits: int, count: int) -> list[int]:
    """The same for a set, which also looks at the nine places behind each. Source: Objects/setobject.c."""
    mask, rest, at = 2**bits - 1, key, key & (2**bits - 1)
    places: set[int] = set()
    while len(places) < count:
        places.update(range(at, at + 10) if at + 9 <= mask else (at,))
        rest >>= 5
        at = (at * 5 + 1 + rest) & mask
    return sorted(places)


def _set_of(numbers: Iterable[int], more: bytes) -> bytes:
    return PROTO + b"\x8f(" + b"".join(map(_number, numbers)) + b"\x90(" + more + b"\x90."


def _numbers() -> dict[str, tuple[bytes, str]]:
    arc = _path(0, 18, 120_000)
    keys = [*arc, *_walkers(arc, 18, 20)]
    evil = 5 + 2**59
    once = b"](K\x01K\x01e\x85R"
    return {
        "memo_collide": (
            b"(d" + b"".join(b"p%d\n" % (HASH_MODULUS * i) for i in range(40_000)) + STOP,
            "under the number",
        ),
        "dict_walk": (
            PROTO + b"}(" + b"".join(_number(key) + b"N" for key in keys) + b"u.",
            "numbers as keys",
        ),
        "dict_copies": (
            PROTO
            + b"ccollections\nCounter\nq\x000}("
            + b"".join(_number(key) + b"N" for key in range(9000))
            + b"uq\x010"
            + b"h\x00h\x01\x85R" * 3
            + STOP,
            "numbers as keys",
        ),
        "set_walk": (
            _set_of(_set_path(evil, 18, 156_500), _number(evil) + b"q\x00" + b"h\x00" * 20_000),
            "numbers as keys",
        ),
        "set_twice": (_set_of((), b"K\x01K\x01"), "there twice in one set"),
        "set_again": (_set_of((1,), b"K\x01"), "there twice in one set"),
        "set_float": (_set_of((1,), plain(1.0)), "there twice in one set"),
        "frozenset_twice": (PROTO + b"(K\x01K\x01\x91.", "there twice in one set"),
        "set_call_twice": (state(b"cbuiltins\nset\n" + once), "there twice in one set"),
        "frozenset_call_twice": (state(b"cbuiltins\nfrozenset\n" + once), "there twice in one set"),
        "complex_text": (
            PROTO
            + b"cbuiltins\ncomplex\nq\x000"
            + _text(b"1" * 2_000_000)
            + b"q\x01h\x01\x86q\x020"
            + b"h\x00h\x02R0" * 5000
            + STOP,
            "made of two numbers",
        ),
        "complex_bytes": (state(named("builtins", "complex", ("1", 2))), "made of two numbers"),
    }


def _texts() -> dict[str, tuple[bytes, str]]:
    wide = _text(b"a" * 40_000_000 + WIDE)
    short = _text(b"a" * 9_000_000 + WIDE)
    return {
        "long_field": (
            PROTO
            + (plain("T") + b"q\x640" + TUPLE + b"q\x650")
            + (_text(b"a" * 1_000_000) + b"q\x660(" + b"h\x66" * 190 + b"tq\x670")
            + b"h\x65h\x64h\x67h\x64\x87R0" * 20
            + STOP,
            "are no names",
        ),
        "many_fields": (
            PROTO + TUPLE + plain("T") + plain(tuple(f"f{i}" for i in range(201))) + b"N\x87R.",
            "201 fields",
        ),
        "wide_module": (PROTO + wide + plain("m") + b"\x93.", "beyond Latin-1"),
        "wide_attribute": (
            PROTO + b"cbuiltins\ngetattr\ncbuiltins\nobject\n" + wide + b"\x86R.",
            "beyond Latin-1",
        ),
        "wide_value": (state(_text(b"a" * 63_000_000 + WIDE)), "beyond Latin-1"),
        "wide_values": (PROTO + b"]" + (short + b"a") * 2 + STOP, "beyond Latin-1"),
        "wide_short_module": (PROTO + short + plain("m") + b"\x93.", "asks for aaa"),
        "latin_module": (PROTO + _text("é".encode() * 30_000_000) + plain("m") + b"\x93.", "asks for "),
        "latin_attribute": (
            PROTO + b"cbuiltins\ngetattr\ncbuiltins\nobject\n" + _text("é".encode() * 30_000_000) + b"\x86R.",
            "asks for ",
        ),
        "legacy_long_keys": (
            torch_legacy(
                state(tensor(legacy=True)),
                raw_keys=PROTO + b"](" + _text(b"a" * 10_000_000) + b"q\0" + b"h\0" * 20_000 + b"e.",
            ),
            "lists other storages",
        ),
        "storage_name": (torch_zip(state(tensor(stored=storage(key="0" * 101)))), "short name"),
    }


def _steps() -> dict[str, tuple[bytes, str]]:
    names = b"cbuiltins\nint\n0" * 240_000
    filled = b"(K\x01" + MANY_DIMS + DTYPE + b"\x89" + FOUR + b"tq\x640"
    array = b"cnumpy.core.multiarray\n_reconstruct\n)R"
    made = b"(" + storage() + b"K\x00" + MANY_DIMS * 2 + b"\x89ccollections\nOrderedDict\n)Rtq\x640"
    return {
        "array_fills": (PROTO + filled + array + b"h\x64b" * 240_000 + b"0}.", "steps"),
        "tensor_dims": (
            torch_zip(
                PROTO
                + made
                + b"ctorch._utils\n_rebuild_tensor_v2\nq\x650]("
                + b"h\x65h\x64R" * 160_000
                + b"e0}."
            ),
            "steps",
        ),
        "scalars": (
            PROTO
            + b"cnumpy.core.multiarray\nscalar\nq\x640("
            + (DTYPE + FOUR + b"tq\x650(")
            + b"h\x64h\x65R" * 160_000
            + b"t0}.",
            "steps",
        ),
        "legacy_steps": (
            pickle.dumps(LEGACY_MAGIC, protocol=2)
            + b"".join(PROTO + names + plain(value) + STOP for value in (1001, {"little_endian": True}, {}))
            + plain([])
            + STOP,
            "steps",
        ),
    }


def costly_pickles() -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal)."""
    return _numbers() | _texts() | _steps()


def thrifty_pickles() -> dict[str, bytes]:
    """Name -> a file that is read, and must not take long."""
    path = _path(2**18 + 5, 18, 100_000)
    arc = _path(0, 15, 12_000)
    keys = [*arc, *_walkers(arc, 15, 21)][:25_000]
    return {
        "memo_walk": (
            b"\x80\x02}"
            + b"".join(b"r" + struct.pack("<L", place) for place in path)
            + (b"r" + struct.pack("<L", 2**18 + 5))
            + (b"j" + struct.pack("<L", 2**18 + 5)) * 100_000
            + STOP
        ),
        "memo_gap": PROTO + b"}q\x07" + plain("w")[:-2] + b"\x94Ns.",
        "dict_short_walk": PROTO + b"}(" + b"".join(_number(key) + b"N" for key in keys) + b"u.",
        "wide_texts": state(_text(b"a" * 16_000_000 + WIDE)),
        "array_text": state(_text(bytes(range(128)) * 100_000 + "é".encode() * 25_000_000)),
    }
