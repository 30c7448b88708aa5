"""Forged pickles, bare and in the containers of torch, with the words of their refusal."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.forge import (
    LEGACY_MAGIC,
    PROTO,
    STOP,
    Call,
    named,
    plain,
    state,
    storage,
    tensor,
    torch_legacy,
    torch_zip,
)


def _with_metadata(metadata: Any, *, young: bool = False) -> bytes:
    """A tensor with the last argument that torch writes for negated and conjugated ones."""
    call = tensor()[: -len(b"tR")]
    if young:
        call = tensor(stored=storage("torch.storage\nUntypedStorage", count=16))[: -len(b"tR")]
        call = call.replace(b"_v2", b"_v3") + b"ctorch\nfloat32\n"
    return call + plain(metadata) + b"tR"


def forged_pickles(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal). A file that runs leaves `canary` behind."""
    touch = f"touch '{canary}'"
    code = f"open({str(canary)!r}, 'w').close()"
    calls: dict[str, tuple[str, str, Any]] = {
        "os_system": ("os", "system", (touch,)),
        "posix_system": ("posix", "system", (touch,)),
        "nt_system": ("nt", "system", (touch,)),
        "os_popen": ("os", "popen", (touch,)),
        "exec": ("builtins", "exec", (code,)),
        "exec_py2": ("__builtin__", "eval", (code,)),
        "eval": ("builtins", "eval", (f"exec({code!r})",)),
        "compile": ("builtins", "compile", (code, "x", "exec")),
        "open": ("builtins", "open", (str(canary), "w")),
        "getattr": ("builtins", "getattr", ("x", "__class__")),
        "import": ("builtins", "__import__", ("os",)),
        "importlib": ("importlib", "import_module", ("os",)),
        "runpy": ("runpy", "run_path", (str(canary),)),
        "subprocess": ("subprocess", "check_output", (["touch", str(canary)],)),
        "pty": ("pty", "spawn", (["touch", str(canary)],)),
        "pickle_loads": ("pickle", "loads", (pickle.dumps(Call(os.system, touch)),)),
        "torch_load": ("torch.serialization", "load", (str(canary),)),
        "torch_hub": ("torch.hub", "load", ("x/y", "z")),
        "torch_module": ("torch.nn.modules.module", "Module", ()),
        "torch_compile": ("torch._inductor.codecache", "compile_file", (str(canary),)),
        "partial": ("functools", "partial", (print,)),
        "attrgetter": ("operator", "attrgetter", ("system",)),
        "numpy_load": ("numpy", "load", (str(canary),)),
        "numpy_exec": ("numpy.testing._private.utils", "runstring", (code, {})),
        "ctypes": ("ctypes", "CDLL", ("libc.so.6",)),
        "socket": ("socket", "socket", ()),
        "webbrowser": ("webbrowser", "open", ("http://localhost",)),
        "dotted": ("torch._utils", "os.system", (touch,)),
        "dunder": ("collections", "OrderedDict.__init__.__globals__", ()),
        "control": ("evil\x1b[2J", "name", ()),
    }
    files = {f"call_{name}": (torch_zip(state(named(*call))), "asks for ") for name, call in calls.items()}
    files |= {
        "legacy_call": (torch_legacy(state(named("os", "system", (touch,)))), "asks for os.system"),
        "plain_call": (pickle.dumps(Call(os.system, touch)), "asks for posix.system"),
        "plain_call_4": (pickle.dumps({"model": Call(exec, code)}, protocol=4), "asks for builtins.exec"),
        "protocol_0": (pickle.dumps({"a": Call(exec, code)}, protocol=0), "asks for builtins.exec"),
        "stacked": (state(plain(1)) + pickle.dumps(Call(os.system, touch)), "bytes behind the pickle"),
        "stacked_in_zip": (
            torch_zip(state(tensor()) + pickle.dumps(Call(os.system, touch))),
            "behind the pickle",
        ),
        "legacy_first": (
            pickle.dumps(LEGACY_MAGIC, protocol=2) + pickle.dumps(Call(os.system, touch), protocol=2),
            "asks for posix.system",
        ),
        "legacy_keys": (
            torch_legacy(state(tensor(legacy=True)), blob=b"", raw_keys=pickle.dumps(Call(os.system, touch))),
            "asks for posix.system",
        ),
        "in_storage": (
            torch_zip(state(tensor(stored=named("os", "system", (touch,))))),
            "asks for os.system",
        ),
        "in_persistent_id": (
            torch_zip(state(named("os", "system", (touch,)) + b"Q")),
            "asks for os.system",
        ),
        "storage_kind": (torch_zip(state(tensor(stored=storage("torch\nSize")))), "unknown kind"),
        "module_id": (torch_zip(state(plain(("module", "x", "y", "z", 1)) + b"Q")), "no storage"),
        "call_of_value": (torch_zip(state(plain("os.system") + plain((touch,)) + b"R")), "calls a str"),
        "call_of_label": (
            torch_zip(state(named("torch", "FloatStorage", (4,)))),
            "calls torch.FloatStorage",
        ),
        "build_on_global": (
            torch_zip(state(b"ccollections\nOrderedDict\n" + plain({"__init__": 1}) + b"b")),
            "sets attributes of a Global",
        ),
        "build_on_list": (
            torch_zip(state(plain([]) + plain({"x": 1}) + b"b")),
            "sets attributes of a list",
        ),
        "inst": (torch_zip(PROTO + b"(" + plain(touch) + b"ios\nsystem\n."), "has no place in weights"),
        "obj": (torch_zip(PROTO + b"(ccollections\nOrderedDict\no."), "has no place in weights"),
        "extension": (torch_zip(PROTO + b"\x82\x01."), "has no place in weights"),
        "buffer": (torch_zip(PROTO + b"\x97."), "has no place in weights"),
        "protocol_9": (torch_zip(b"\x80\x09N."), "protocol 9"),
        "newobj_ex": (
            torch_zip(state(b"cargparse\nNamespace\n)" + plain({"a": 1}) + b"\x92")),
            "named arguments",
        ),
        "reconstructor": (
            torch_zip(state(b"ccopy_reg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR")),
            "another class",
        ),
        "objects": (pickle.dumps({"a": np.array([Call(exec, code)], dtype=object)}), "array of objects"),
        "structured": (pickle.dumps({"a": np.zeros(1, dtype=[("x", "f4")])}), "numpy dtype"),
        "numpy_shape": (
            pickle.dumps({"a": np.zeros(4, np.float32)}, protocol=2).replace(
                b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"
            ),
            "storage of 4",
        ),
        "numpy_bytes": (
            pickle.dumps({"a": np.zeros(4, np.float32)}, protocol=2).replace(b"K\x04\x85", b"K\x02\x85"),
            "with 16 bytes",
        ),
        "nested": (torch_zip(PROTO + b"]" * 200_000 + b"a" * 199_999 + STOP), "nested deeper"),
        "nested_dicts": (torch_zip(PROTO + b"}" + b"K\x01}" * 5000 + b"s" * 5000 + STOP), "nested deeper"),
        "nested_tuples": (torch_zip(PROTO + b"N" + b"\x85" * 100_000 + STOP), "nested deeper"),
        "many_steps": (torch_zip(PROTO + b"\x8f" * 3_000_000 + STOP), "steps"),
        "many_marks": (torch_zip(PROTO + b"(" * 3_000_000 + STOP), "steps"),
        "long_loop": (
            torch_zip(
                PROTO
                + b"]("
                + b"K\x01" * 10_000
                + b"eq\0"
                + b"ctorch\nSize\nq\x010"
                + b"h\1h\0\x85R0" * 9999
                + b"h\0."
            ),
            "steps",
        ),
        "copies": (
            torch_zip(
                PROTO
                + plain("x" * 1_000_000)
                + b"q\1c_codecs\nencode\nq\2"
                + b"h\2h\1"
                + plain("latin1")
                + b"\x86R0" * 1
                + (b"h\2h\1" + plain("latin1") + b"\x86R") * 999
                + b"."
            ),
            "more bytes than the file",
        ),
        "huge_bytes": (PROTO + b"\x8e" + struct.pack("<Q", 2**62) + b"x.", "ends early"),
        "huge_text": (PROTO + b"X" + struct.pack("<L", 2**32 - 1) + b"x.", "a text of"),
        "huge_memo": (torch_zip(PROTO + b"Nr\xff\xff\xff\xff" + b"j\xff\xff\xff\xfe."), "under the number"),
        "huge_memo_read": (torch_zip(PROTO + b"Nj\xff\xff\xff\xff."), "damaged pickle"),
        "memo_gap_read": (PROTO + b"Nq\x07h\x03.", "damaged pickle"),
        "huge_number": (PROTO + b"\x8b" + struct.pack("<L", 2**31) + b"x.", "a number of"),
        "long_number": (PROTO + b"L" + b"9" * 100_000 + b"L\n.", "too many digits"),
        "tuple_key": (torch_zip(PROTO + b"}" + plain((1, 2)) + b"Ns."), "a key or set element"),
        "big_key": (torch_zip(PROTO + b"}" + plain(2**61 - 1) + b"Ns."), "a key or set element"),
        "same_key": (torch_zip(PROTO + b"}" + (plain("w") + tensor() + b"s") * 2 + STOP), "there twice"),
        "no_stop": (torch_zip(state(tensor())[:-1]), "ends early"),
        "empty_stack": (torch_zip(PROTO + b"R."), "damaged pickle"),
        "no_mark": (torch_zip(PROTO + b"t."), "damaged pickle"),
        "pop_all": (torch_zip(PROTO + b"N0."), "damaged pickle"),
        "missing_storage": (torch_zip(state(tensor(stored=storage(key="7")))), "is missing"),
        "path_storage": (torch_zip(state(tensor(stored=storage(key="../data.pkl")))), "is missing"),
        "huge_storage": (torch_zip(state(tensor(stored=storage(count=2**50)))), "has 16 bytes"),
        "short_storage": (torch_zip(state(tensor(stored=storage(count=5)))), "has 16 bytes"),
        "negative_storage": (torch_zip(state(tensor(stored=storage(count=-4)))), "a count"),
        "huge_shape": (torch_zip(state(tensor(shape=(2**40,), strides=(1,)))), "of a storage of 4"),
        "expanded_shape": (torch_zip(state(tensor(shape=(2**40,), strides=(0,)))), "over a storage of 4"),
        "overflow_shape": (
            torch_zip(state(tensor(shape=(2**61, 8), strides=(2**60, 1)))),
            "of a storage of 4",
        ),
        "negative_offset": (torch_zip(state(tensor(offset=-1))), "no counts"),
        "far_offset": (torch_zip(state(tensor(offset=2**40))), "of a storage of 4"),
        "empty_shape": (torch_zip(state(tensor(shape=(0, 2**61), strides=(1, 1)))), "over a storage of 4"),
        "near_offset": (torch_zip(state(tensor(offset=1))), "of a storage of 4"),
        "negative_stride": (torch_zip(state(tensor(offset=3, strides=(-1,)))), "no counts"),
        "long_stride": (torch_zip(state(tensor(strides=(2,)))), "of a storage of 4"),
        "many_dims": (torch_zip(state(tensor(shape=(1,) * 99, strides=(1,) * 99))), "99 dimensions"),
        "float_shape": (torch_zip(state(tensor(shape=(4.0,)))), "no counts"),
        "odd_strides": (torch_zip(state(tensor(strides=(1, 1)))), "dimensions"),
        "storage_outside": (state(tensor()), "outside a torch file"),
        "legacy_view": (
            torch_legacy(state(tensor(stored=storage(tail=plain(("v", 3, 4)))))),
            "beyond its storage",
        ),
        "legacy_size": (
            torch_legacy(state(tensor(legacy=True)), blob=struct.pack("<q", 2**40)),
            "cut off",
        ),
        "legacy_tail": (
            torch_legacy(state(tensor(legacy=True)), blob=struct.pack("<q", 4) + b"\0" * 99),
            "behind the last storage",
        ),
        "legacy_other_keys": (
            torch_legacy(state(tensor(legacy=True)), keys=("1",)),
            "lists other storages",
        ),
        "legacy_number_keys": (
            torch_legacy(state(tensor(legacy=True)), keys=(0,)),
            "lists other storages",
        ),
        "bare_storage": (torch_zip(state(storage())), "holds a Storage by itself"),
        "bare_dtype": (state(named("numpy", "dtype", ("f4", False, True))), "holds a NumpyDtype by itself"),
        "bare_dtype_inside": (
            state(b"cargparse\nNamespace\n](" + named("numpy", "dtype", ("f4",)) + b"e\x85R"),
            "holds a NumpyDtype by itself",
        ),
        "bare_tuple_class": (
            state(named("dill._dill", "_create_namedtuple", ("T", ("a",), "m"))),
            "holds a TupleClass by itself",
        ),
        "negated": (torch_zip(state(_with_metadata({"neg": True}))), "negated or conjugated"),
        "conjugated": (torch_zip(state(_with_metadata({"conj": True}))), "negated or conjugated"),
        "negated_young": (
            torch_zip(state(_with_metadata({"neg": True}, young=True))),
            "negated or conjugated",
        ),
        "negated_parameter": (
            torch_zip(
                state(
                    b"ctorch._tensor\n_rebuild_from_type_v2\n("
                    + _with_metadata({"neg": True})[:-1].replace(
                        b"_rebuild_tensor_v2\n(", b"_rebuild_tensor_v2\nctorch\nTensor\n("
                    )
                    + b"}tR"
                )
            ),
            "negated or conjugated",
        ),
        "not_a_dict": (torch_zip(PROTO + tensor() + STOP), "holds a TensorRef"),
    }
    return files
