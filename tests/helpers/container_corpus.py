"""Forged containers around an honest pickle, with the words of their refusal."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np

from tests.helpers.forge import (
    LEGACY_MAGIC,
    raw_zip,
    safetensors,
    state,
    tensor,
    torch_legacy,
    torch_tar,
    torch_zip,
)


def _cut_off() -> dict[str, tuple[bytes, str]]:
    """Honest files, cut where one part of them ends or inside it."""
    good = torch_zip(state(tensor()))
    directory, end = good.index(b"PK\x01\x02"), good.index(b"PK\x05\x06")
    zips = {
        "signature": 4,
        "local_header": 30,
        "first_entry": good.index(b"PK\x03\x04", 4),
        "values": directory - 1,
        "directory": directory,
        "inside_directory": directory + 50,
        "end": end,
        "inside_end": end + 21,
    }
    old = torch_legacy(state(tensor(legacy=True)))
    parts = [0]  # where each pickle of the five ends
    for _ in range(5):
        rest = io.BytesIO(old[parts[-1] :])
        pickle.Unpickler(rest).load() if len(parts) != 4 else rest.seek(old[parts[-1] :].index(b"s.") + 2)
        parts.append(parts[-1] + rest.tell())
    places = dict(zip(("start", "magic", "protocol", "system", "object", "keys"), parts, strict=True))
    places |= {"count": parts[-1] + 8, "inside_count": parts[-1] + 3, "elements": len(old) - 1}
    plain = pickle.dumps({"w": np.zeros(9, np.float32)}, protocol=4)
    files = {f"cut_zip_{name}": (good[:at], "cut off") for name, at in zips.items()}
    files |= {f"cut_old_{name}": (old[:at], "cut off") for name, at in places.items() if at}
    files["cut_old_magic"] = (files["cut_old_magic"][0], "")
    for at in (1, 2, 11, 40, len(plain) - 20, len(plain) - 1):
        files[f"cut_plain_{at}"] = (plain[:at], "")
    return files


def _zip64(entries: int = 2**16 - 1, size: int = 2**32 - 1, start: int = 2**32 - 1, **wide: int) -> bytes:
    """An honest zip whose end record is replaced by one that points to a zip64 record."""
    good = torch_zip(state(tensor()))
    end = good.index(b"PK\x05\x06")
    count, length, first = struct.unpack_from("<H2L", good, end + 10)
    count, length, first = wide.get("count", count), wide.get("length", length), wide.get("first", first)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, first)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, wide.get("place", end), 1)
    return (
        good[:end]
        + record
        + locator
        + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, size, start, 0)
    )


def _patched(position: int, value: bytes, mark: bytes = b"PK\x01\x02") -> bytes:
    """An honest zip with bytes replaced, counted from the first place of `mark`."""
    good = torch_zip(state(tensor()))
    at = good.index(mark) + position
    return good[:at] + value + good[at + len(value) :]


def _forged_sizes() -> dict[str, tuple[bytes, str]]:
    huge = struct.pack("<L", 2**31)
    wide = struct.pack("<2HQ", 1, 8, 2**62)
    legacy = state(tensor(legacy=True))
    return {
        "size_count64": (_zip64(count=2**60), "entries"),
        "size_length64": (_zip64(length=2**60), "not where it says"),
        "size_first64": (_zip64(first=2**63), "not where it says"),
        "size_place64": (_zip64(place=2**40), "damaged zip directory"),
        "size_negative64": (_zip64(length=2**64 - 1, first=2**64 - 1), "not where it says"),
        "size_entry": (_patched(20, huge * 2), "reaches beyond"),
        "size_packed": (_patched(20, huge), "compressed"),
        "size_wide_missing": (_patched(20, b"\xff" * 8), "damaged zip directory"),
        "size_offset": (_patched(42, huge), "outside the file"),
        "size_name": (_patched(28, b"\xff\xff"), "refused"),
        "size_extra": (_patched(30, b"\xff\xff"), "damaged zip directory"),
        "size_comment": (_patched(20, b"\xff\xff", b"PK\x05\x06"), "behind it"),
        "size_local_extra": (_patched(28, b"\xff\xff", b"PK\x03\x04"), "reaches beyond"),
        "size_local_name": (_patched(26, b"\xff\xff", b"PK\x03\x04"), "two headers differ"),
        "size_crc": (_patched(16, b"\x01\x02\x03\x04"), "checksum"),
        "size_entry64": (
            raw_zip([("a/data.pkl", state(tensor()))]).replace(b"PK\x01\x02", b"PK\x01\x02") + wide,
            "behind it",
        ),
        "size_old_negative": (torch_legacy(legacy, blob=struct.pack("<q", -4)), "cut off"),
        "size_old_other": (torch_legacy(legacy, blob=struct.pack("<q", 5) + b"\0" * 20), "cut off"),
        "size_old_none": (torch_legacy(legacy, blob=b""), "cut off"),
        "size_old_magic": (pickle.dumps(LEGACY_MAGIC, protocol=2) * 5, "before 1.6"),
    }


def _metadata(count: int) -> bytes:
    """A header of safetensors with so many entries in its metadata, 12 bytes each, and no tensor."""
    return b'{"__metadata__":{' + b",".join(b'"%06x":""' % i for i in range(count)) + b"}}"


def full_containers() -> dict[str, bytes]:
    """Name -> a file that is read, with the largest header there may be."""
    empty = b'"%0100x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return {
        "st_full_metadata": safetensors(_metadata(340_000), b""),
        "st_full_tensors": safetensors(b"{" + b",".join(empty % i for i in range(27_000)) + b"}", b""),
    }


def forged_containers() -> dict[str, tuple[bytes, str]]:
    """Name -> (file, words of the refusal)."""
    honest = state(tensor())
    good = torch_zip(honest)
    bomb = torch_zip(honest, b"\0" * 50_000_000, method=zipfile.ZIP_DEFLATED)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        for name in ("a/data.pkl", "b/data.pkl"):
            archive.writestr(name, honest)
    directory = good.index(b"PK\x01\x02")
    overlapping = bytearray(good)
    # The second entry's offset in the directory is set to the first's: both then name the same bytes.
    second = good.index(b"PK\x01\x02", directory + 4)
    overlapping[second + 42 : second + 46] = b"\0\0\0\0"
    hidden = b"PK\x03\x04" + b"\0" * 10 + struct.pack("<3L2H", 0, 1, 1, 3, 0) + b"a/y" + b"!"
    outer = [("a/data.pkl", honest), ("a/x", hidden)]
    inside = len(raw_zip(outer[:1])) - 22 - 46 - len("a/data.pkl") + 30 + len("a/x")
    span = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return (
        _cut_off()
        | _forged_sizes()
        | {
            "zip_bomb": (bomb, "compressed"),
            "zip_flipped": (good.replace(b"\0" * 16, b"\0" * 15 + b"\1", 1), "checksum"),
            "zip_prefix": (b"PK\x03\x04" + good, "refused"),
            "zip_suffix": (good + b"tail", "behind it"),
            "zip_two_roots": (twice.getvalue(), "not of torch.save"),
            "zip_overlap": (bytes(overlapping), "two headers differ"),
            "zip_inside": (raw_zip(outer, ("a/y", inside, b"!")), "overlap"),
            "zip_twice": (raw_zip([("a/data.pkl", honest), ("a/data.pkl", honest)]), "is there twice"),
            "zip_dotdot": (torch_zip(honest, extra={"a/../../x": b""}), "entry name"),
            "zip_absolute": (torch_zip(honest, extra={"/etc/x": b""}), "entry name"),
            "zip_backslash": (torch_zip(honest, extra={"a\\b": b""}).replace(b"a/b", b"a\\b"), "entry name"),
            "zip_script": (torch_zip(honest, extra={"a/constants.pkl": b"x"}), "TorchScript"),
            "zip_plain": (torch_zip(honest).replace(b"a/data.pkl", b"a/dato.pkl"), "not of torch.save"),
            "zip_same_name": (torch_zip(honest).replace(b"a/version", b"a/data/0\0"), "refused"),
            "zip_many": (good[:-12] + b"\xff\xff\xff\xff" + good[-8:], "refused"),
            "zip_only_end": (b"PK\x05\x06" + b"\0" * 18, "not of torch.save"),
            "st_big_header": (safetensors(b"{" + b" " * 40_000_000 + b"}"), "header of"),
            "st_metadata": (safetensors(_metadata(1_300_000), b""), "header of"),
            "st_long_header": (safetensors({"w": span}, size=2**60), "header of"),
            "st_outside": (
                safetensors({"w": {**span, "data_offsets": [0, 32], "shape": [8]}}),
                "not a whole",
            ),
            "st_overlap": (safetensors({"w": span, "v": span}), "not a whole"),
            "st_negative": (safetensors({"w": {**span, "data_offsets": [-16, 0]}}), "not a whole"),
            "st_reversed": (safetensors({"w": {**span, "data_offsets": [16, 0]}}), "not a whole"),
            "st_shape": (safetensors({"w": {**span, "shape": [2**62, 4]}}), "not a whole"),
            "st_twice": (safetensors(b'{"w":1,"w":2}'), "there twice"),
            "st_nested": (safetensors(b'{"w":' * 9999 + b"1" + b"}" * 9999), "nested deeper"),
            "st_no_json": (safetensors(b"{nonsense"), "line 1"),
            "st_tail": (safetensors({"w": span}, b"\0" * 99), "not a whole"),
            "empty": (b"", "an empty file"),
            "html": (b"<!DOCTYPE html><html></html>", "a web page"),
            "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
            "gzip": (b"\x1f\x8b" + b"\0" * 99, "a compressed file"),
            "tar_of_torch": (torch_tar(honest), "before 0.2"),
            "tar": (b"\0" * 257 + b"ustar" + b"\0" * 300, "a tar file"),
            "noise": (bytes(range(200, 256)) * 9, "not a known kind"),
        }
    )
