"""Pickles that misuse the names a file may ask for, and every opcode that calls or builds."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.forge import (
    PROTO,
    STOP,
    dill_array,
    dill_function,
    haiku,
    named,
    named_tuple,
    plain,
    state,
    tensor,
    torch_zip,
)

NAMESPACE = b"cargparse\nNamespace\n"
ORDERED = b"ccollections\nOrderedDict\n"
FLAT = b"chaiku._src.data_structures\nFlatMapping\n"
CONFIG = b"cyacs.config\nCfgNode\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
IMPORT = "dill._dill", "_import_module"
DUNDERS = (
    "__class__",
    "__dict__",
    "__setstate__",
    "__reduce__",
    "__getattr__",
    "__slots__",
    "__del__",
    "name",
)


def _called(module: str, name: str, *args: Any) -> bytes:
    return named(module, name, args)


def _looped(start: bytes, body: bytes, count: int) -> bytes:
    """A pickle that leaves `count` values on the stack."""
    return PROTO + start + body * count + STOP


def _opcodes(canary: Path) -> dict[str, tuple[bytes, str]]:
    code = f"open({str(canary)!r}, 'w').close()"
    evil = plain((code,))
    return {
        "op_ext2": (PROTO + b"\x83\x01\x00.", "has no place"),
        "op_ext4": (PROTO + b"\x84\x01\x00\x00\x00.", "has no place"),
        "op_persid": (PROTO + b"P0\n.", "has no place"),
        "op_binpersid": (PROTO + plain(("storage",)) + b"Q.", "outside a torch file"),
        "op_next_buffer": (PROTO + b"\x97.", "has no place"),
        "op_readonly_buffer": (PROTO + plain(b"x") + b"\x98.", "has no place"),
        "op_inst": (b"(d(iargparse\nNamespace\n.", "has no place"),
        "op_obj": (PROTO + b"(" + NAMESPACE + b"o.", "has no place"),
        "op_reduce": (PROTO + b"cbuiltins\nexec\n" + evil + b"R.", "asks for builtins.exec"),
        "op_newobj": (PROTO + b"cbuiltins\nexec\n" + evil + b"\x81.", "asks for builtins.exec"),
        "op_newobj_label": (
            PROTO + b"cbuiltins\nint\n" + plain(("9" * 99,)) + b"\x81.",
            "calls builtins.int",
        ),
        "op_newobj_ex": (PROTO + b"cbuiltins\nexec\n" + evil + b"}\x92.", "asks for builtins.exec"),
        "op_newobj_ex_names": (PROTO + ORDERED + b")" + plain({"a": 1}) + b"\x92.", "named arguments"),
        "op_stack_global": (PROTO + plain("os") + plain("system") + b"\x93.", "asks for os.system"),
        "op_stack_global_number": (PROTO + plain(1) + plain(2) + b"\x93.", "not text"),
        "op_stack_global_dots": (
            PROTO + plain("torch") + plain("os.system") + b"\x93.",
            "asks for torch.os",
        ),
        "op_build_text": (PROTO + plain("x") + plain({"a": 1}) + b"b.", "attributes of a str"),
        "op_build_tuple": (PROTO + b")" + plain({"a": 1}) + b"b.", "attributes of a tuple"),
        "op_build_array": (PROTO + ARRAY + b")R" + plain({"a": 1}) + b"b.", "damaged pickle"),
        "op_build_dtype": (PROTO + _called("numpy", "dtype", "f4") + b"Nb.", "damaged pickle"),
        "op_reduce_inert": (PROTO + NAMESPACE + b")R)R.", "calls a Inert"),
        "op_reduce_list": (PROTO + NAMESPACE + b"]R.", "without arguments"),
        "op_setitem_inert": (PROTO + NAMESPACE + b")R" + plain("a") + b"Ns.", "stores items in a Inert"),
        "op_append_inert": (PROTO + NAMESPACE + b")RNa.", "appends to a Inert"),
        "op_add_list": (PROTO + b"](N\x90.", "adds to a list"),
        "op_inert_key": (PROTO + b"}" + NAMESPACE + b")RNs.", "a key or set element"),
        "op_memo_missing": (PROTO + b"h\x07.", "damaged pickle"),
        "op_memo_negative": (b"(dp-1\n(lp-1\n0.", "under the number"),
        "op_memo_digits": (b"(dp" + b"9" * 999 + b"\n.", "too many digits"),
        "op_pop_mark": (PROTO + b"(0.", "damaged pickle"),
        "op_float_digits": (b"(dF" + b"9" * 1_000_000 + b"\n.", "too many digits"),
        "op_python_2_escape": (b"(dS'\\q'\n.", "Python 2"),
        "op_python_2_quote": (b"(dS'abc\\'\n.", "damaged pickle"),
        "op_long_name": (PROTO + b"c" + b"\xff" * 30_000_000 + b"\nx\n.", "asks for "),
        "op_long_line": (b"(dV" + b"x" * 40_000_000 + b"\n.", "a line of"),
        "op_long_text": (b"(dV\\U0001f642" + b"x" * 30_000_000 + b"\n.", "beyond Latin-1"),
        "op_long_key": (
            PROTO + b"}B" + struct.pack("<L", 30_000_000) + b"\xff" * 30_000_000 + b"q\x00Nsh\x00Ns.",
            "twice",
        ),
        "op_frame": (PROTO + b"\x95" + b"\xff" * 8 + b"N.", "holds a NoneType"),
    }


def _misused(canary: Path) -> dict[str, tuple[bytes, str]]:
    touch = f"touch '{canary}'"
    deep = b"N" + b"\x85" * 100
    system = dill_function("os", "system") + plain((touch,)) + b"R"
    short = np.zeros(2, np.float32)
    array = dill_array(short)
    dims = b"(" + b"K\x03" * 400_000 + b"t"
    dills = ("_eval_repr", "_create_function", "_create_code", "_unmarshal", "_load_type", "_create_type")
    lost = {
        f"dill{name}": (state(_called("dill._dill", name, touch)), f"asks for dill._dill.{name}")
        for name in dills
    }
    return lost | {
        "getattr_class": (
            state(b"cbuiltins\ngetattr\n" + ORDERED + plain("__init__") + b"\x86R"),
            "asks for collections.OrderedDict.__init__",
        ),
        "getattr_value": (
            state(_called("builtins", "getattr", "x", "format")),
            "asks for an attribute of a str",
        ),
        "getattr_array": (
            state(b"cbuiltins\ngetattr\n" + array + plain("read") + b"\x86R"),
            "asks for an attribute of a TensorRef",
        ),
        "getattr_three": (state(_called("builtins", "getattr", "x", "a", "b")), "damaged pickle"),
        "dill_system": (state(system), "asks for os.system"),
        "dill_exec": (state(dill_function("builtins", "exec")), "asks for builtins.exec"),
        "dill_dots": (state(dill_function("", "os.system")), "asks for .os.system"),
        "dill_import_number": (
            state(b"cdill._dill\n_get_attr\n" + _called(*IMPORT, 7) + plain("x") + b"\x86R"),
            "asks for an attribute of a Inert",
        ),
        "dill_import_called": (state(_called(*IMPORT, "os") + b")R"), "calls a Inert"),
        "tuple_too_few": (state(named_tuple("T", ("a", "b"), [b"N"])), "1 values for 2 fields"),
        "tuple_twice": (state(named_tuple("T", ("a", "a"), [b"N", b"N"])), "there twice"),
        "tuple_text": (state(named_tuple("T", "a " * 1_000_000, [])), "without a name and fields"),
        "tuple_no_names": (state(named_tuple("T", ("a", "b; import os"), [b"N", b"N"])), "are no names"),
        "tuple_fields": (
            torch_zip(
                _looped(
                    plain(("T", tuple(f"f{i}" for i in range(200)), "m"))
                    + b"q\x000cdill._dill\n_create_namedtuple\nq\x010",
                    b"h\x01h\x00R",
                    9000,
                )
            ),
            "steps",
        ),
        "array_other_maker": (
            state(b"cjax._src.array\n_reconstruct_array\n(" + ORDERED + b")NNtR"),
            "not made by numpy",
        ),
        "array_evil_maker": (
            state(b"cjax._src.array\n_reconstruct_array\n(cos\nsystem\n" + plain((touch,)) + b"NNtR"),
            "asks for os.system",
        ),
        "array_dims": (
            state(
                ARRAY + b")R(K\x01" + dims + _called("numpy", "dtype", "f4") + b"\x89" + plain(b"x") + b"tb"
            ),
            "400000 dimensions",
        ),
        "array_strings": (pickle.dumps({"w": np.array(["text"])}), "numpy dtype"),
        "array_half": (pickle.dumps({"w": short}, protocol=2).replace(b"K\x02\x85", b"K\x03\x85"), "refused"),
        "deque_number": (state(_called("collections", "deque", 10**9)), "made of something else"),
        "counter_number": (state(_called("collections", "Counter", 10**9)), "made of something else"),
        "mapping_text": (state(FLAT + plain("x" * 1_000_000) + b"\x85R"), "made of something else"),
        "mapping_copies": (
            torch_zip(
                _looped(
                    plain(dict.fromkeys(map(str, range(5000)))) + b"q\x000" + FLAT + b"q\x010",
                    b"h\x01h\x00\x85R",
                    9000,
                )
            ),
            "steps",
        ),
        "mapping_keys": (state(FLAT + b"}" + NAMESPACE + b")R" + b"Ns\x85R"), "a key or set element"),
        "bytes_number": (state(_called("builtins", "bytes", 10**9)), "damaged pickle"),
        "bytearray_number": (state(_called("builtins", "bytearray", 10**9)), "damaged pickle"),
        "set_of_lists": (state(b"cbuiltins\nset\n]]a\x85R"), "a key or set element"),
        "size_of_text": (state(_called("torch", "Size", "x" * 99)), "made of something else"),
        "reconstructor_number": (
            state(b"ccopyreg\n_reconstructor\n(" + CONFIG + b"cbuiltins\ndict\n" + plain(10**9) + b"tR"),
            "made of something else",
        ),
        "inert_deep_args": (state(NAMESPACE + deep + b"\x85R"), "nested deeper"),
        "inert_deep_state": (state(NAMESPACE + b")R" + deep + b"b"), "nested deeper"),
        "inert_chain": (state((NAMESPACE + b"(") * 100 + b"tR" * 100), "nested deeper"),
        "many_inert": (_looped(NAMESPACE + b"q\x000", b"h\x00)R", 400_000), "steps"),
        "many_arrays": (_looped(ARRAY + b"q\x000", b"h\x00)R", 400_000), "steps"),
        "many_names": (_looped(b"", b"cbuiltins\nint\n", 600_000), "steps"),
        "many_keys": (
            _looped(b"}", b"".join(b"J%bNs" % i.to_bytes(4, "little") for i in range(200_000)), 1),
            "numbers as keys",
        ),
        "many_copies": (
            _looped(plain(("x" * 1000, "latin1")) + b"q\x000c_codecs\nencode\nq\x010", b"h\x01h\x00R", 9000),
            "more bytes than the file",
        ),
        "mapping_system": (
            state(haiku({})[:-2] + named("os", "system", (touch,)) + b"\x85R"),
            "asks for os.system",
        ),
    }


def forged_names(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal). A file that runs leaves `canary` behind."""
    return _opcodes(canary) | _misused(canary)


def odd_files() -> dict[str, bytes]:
    """Name -> a file that is read, because what is odd in it has no effect."""
    dunders = {name: "os.system" for name in DUNDERS}
    twice = [b"](h%ch%ceq%c0" % (i, i, i + 1) for i in range(40)]
    inert = {
        "namespace": NAMESPACE + b")R",
        "config": b"comegaconf.dictconfig\nDictConfig\n)\x81",
        "history": b"cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81",
    }
    files = {f"build_{name}": state(made + plain(dunders) + b"b") for name, made in inert.items()}
    files |= {f"slots_{name}": state(made + plain((dunders, dunders)) + b"b") for name, made in inert.items()}
    return files | {
        "dict_state": state(CONFIG + b")\x81" + plain(dunders) + b"b"),
        "dict_items": state(CONFIG + b")\x81(" + plain("__class__") + ORDERED + plain("update") + b"Nu"),
        "dict_arguments": state(CONFIG + plain((10**9, "x")) + b"\x81"),
        "own_state": state(NAMESPACE + b")Rq\x00h\x00b"),
        "own_list": state(b"]q\x00h\x00a"),
        "own_mapping": state(FLAT + b"}q\x00" + plain("a") + b"h\x00s\x85R"),
        "laughs": state(b"]q\x000" + b"".join(twice) + b"h%c" % 40),
        "deque_length": state(_called("collections", "deque", (), 10**18)),
        "timedelta": state(_called("datetime", "timedelta", 10**30, -1, "x")),
        "datetime": state(_called("datetime", "datetime", "\xff" * 10)),
        "path": state(_called("pathlib", "PosixPath", "/", "..", "etc", "passwd")),
        "uuid": state(b"cuuid\nUUID\n)\x81" + plain({"int": 2**1000}) + b"b"),
        "device": state(_called("torch", "device", "cuda", 10**9)),
        "version": state(b"ctorch.torch_version\nTorchVersion\n" + plain(("x" * 99_999,)) + b"\x81"),
        "factory": state(b"ccollections\ndefaultdict\n" + ORDERED + b"\x85R"),
        "interpolation": state(inert["config"] + plain({"_content": "${oc.env:HOME}"}) + b"b"),
        "tuple_of_os": state(named_tuple("system", (), [], "os")),
        "import_alone": state(_called(*IMPORT, "antigravity")),
        "far_strides": torch_zip(state(tensor(shape=(1, 4), strides=(2**61, 1)))),
    }
