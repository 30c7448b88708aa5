"""The file beside a record: equal bytes for equal arrays, nothing lost, nothing damaged read."""

import gzip
import hashlib

import numpy as np
import pytest

from bench.core.errors import DataError
from transfer.metrics import kept
from transfer.metrics.kept import pack_arrays, unpack_arrays

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "counts": RANDOM.integers(0, 9, 300),
    "scores": RANDOM.random((50, 4)).astype(np.float32),
    "is_crowd": RANDOM.random(20) < 0.5,
    "text": np.frombuffer(b"packed", np.uint8),
    "none": np.zeros((0, 4), np.float64),
}
NAMES = {"classes": ["cat", "chat \u00e9l\u00e9gant"], "image_ids": [3, 2**40]}


def test_nothing_is_lost() -> None:
    packed = pack_arrays(ARRAYS, NAMES)
    arrays, names = unpack_arrays(packed.data, packed.sha256, "x")
    assert names == NAMES
    assert sorted(arrays) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_an_array_is_kept_by_its_values_however_it_lies_in_memory() -> None:
    table = np.arange(12).reshape(3, 4)
    assert pack_arrays({"a": np.asfortranarray(table)}, {}) == pack_arrays({"a": table}, {})
    assert pack_arrays({"a": table[:, ::2]}, {}) == pack_arrays({"a": table[:, ::2].copy()}, {})


def test_equal_arrays_give_equal_bytes() -> None:
    assert pack_arrays(ARRAYS, NAMES) == pack_arrays(dict(reversed(ARRAYS.items())), dict(NAMES))
    changed = {**ARRAYS, "counts": ARRAYS["counts"] + 1}
    assert pack_arrays(changed, NAMES).sha256 != pack_arrays(ARRAYS, NAMES).sha256
    assert pack_arrays(ARRAYS, {**NAMES, "classes": []}).sha256 != pack_arrays(ARRAYS, NAMES).sha256


def test_a_cut_off_or_foreign_file_is_named() -> None:
    packed = pack_arrays(ARRAYS, NAMES)
    other = pack_arrays(ARRAYS, {})
    for data in (packed.data[:-9], packed.data[:40], b"", b"hello", other.data):
        with pytest.raises(DataError, match=r"^here:"):
            unpack_arrays(data, packed.sha256, "here")


def test_no_changed_bit_goes_unseen() -> None:
    """Each byte in turn: whatever the library under it makes of that, it is one error that names the file.

    But for bits that say nothing of the content: the time and the system in the header, the padding.
    """
    packed = pack_arrays(ARRAYS, NAMES)
    unseen = []
    for place in range(len(packed.data)):
        flipped = bytearray(packed.data)
        flipped[place] ^= 4
        try:
            arrays, names = unpack_arrays(bytes(flipped), packed.sha256, "here")
        except DataError as error:
            assert str(error).startswith("here:")  # noqa: PT017
        else:
            assert names == NAMES
            assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
            unseen.append(place)
    assert len(unseen) < 10


@pytest.mark.parametrize("content", [b"not safetensors at all", b"", b"\xff" * 20])
def test_gzip_of_something_else_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^here:"):
        unpack_arrays(gzip.compress(content), hashlib.sha256(content).hexdigest(), "here")


def test_arrays_without_names_are_named() -> None:
    from safetensors.numpy import save

    content = save(ARRAYS)
    with pytest.raises(DataError, match=r"^here:"):
        unpack_arrays(gzip.compress(content), hashlib.sha256(content).hexdigest(), "here")


def test_a_file_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_BYTES", 1000)
    data = gzip.compress(bytes(1001))
    with pytest.raises(DataError, match=r"^here:.*1,000 bytes"):
        unpack_arrays(data, hashlib.sha256(bytes(1001)).hexdigest(), "here")
