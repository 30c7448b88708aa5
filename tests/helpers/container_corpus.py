"""Forged containers around an honest pickle, with the words of their refusal."""

from __future__ import annotations

import io
import struct
import zipfile

from tests.helpers.forge import raw_zip, safetensors, state, tensor, torch_zip


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
    return {
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
        "st_long_header": (safetensors({"w": span}, size=2**60), "header of"),
        "st_outside": (safetensors({"w": {**span, "data_offsets": [0, 32], "shape": [8]}}), "not a whole"),
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
        "tar": (b"\0" * 257 + b"ustar" + b"\0" * 300, "a tar file"),
        "noise": (bytes(range(200, 256)) * 9, "not a known kind"),
    }
