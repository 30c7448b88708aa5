"""Bad COCO files, made by hand, each with its refusal, and odd ones that are good."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Json = dict[str, Any]
Key = str | int
PACKED = "P16400000`1"
COUNTS = [32, 6, 4, 6, 4, 6, 4, 6, 52]
"""What `PACKED` says: 4 columns of 6 pixels in an image of 12 x 10."""


def _object(*values: Any) -> Json:
    keys = ("id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd")
    return dict(zip(keys, values, strict=True))


_PARTS = [[20.5, 2.25, 28.5, 2.25, 28.5, 10.25, 20.5, 10.25], [30.5, 12, 36.5, 12, 33, 22.75]]
GOOD: Json = {
    "images": [
        {"id": 2, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 5, "file_name": "b.jpg", "width": 12, "height": 10},
        {"id": 9, "file_name": "c.jpg", "width": 20, "height": 16},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 18, "name": "traffic light"}],
    "annotations": [
        _object(7, 2, 1, [4, 5, 10, 8], 80, [[4, 5, 14, 5, 14, 13, 4, 13]], 0),
        _object(1, 2, 18, [20.5, 2.25, 16.0, 20.5], 130.5, _PARTS, 0),
        _object(12, 5, 3, [3, 2, 4, 6], 24, {"size": [10, 12], "counts": COUNTS}, 1),
        _object(3, 5, 1, [3, 2, 4, 6], 24, {"size": [10, 12], "counts": PACKED}, 0),
        _object(20, 9, 3, [2, 2, 15.5, 12], 93, [[2, 2, 17.5, 14, 2, 14]], 0),
    ],
}
READ = (7, 1, 12, 3, 20)
"""Annotations of the good file as they are read: by image, then in the order of the file."""
KINDS = {"images": "image", "categories": "category", "annotations": "annotation"}
HUGE = 10**400
_LEFT_OUT = object()


class Bad(NamedTuple):
    """A file, what a problem of it starts with behind the path, and a word of that problem."""

    data: bytes
    place: str
    word: str


def place_of(kind: str, id_: int) -> str:
    """With its colon, or 7 would be 70, too."""
    return f", {KINDS[kind]} {id_}:"


def nameless(kind: str, index: int) -> str:
    """The place of an entry that has no id of its own."""
    return f", {KINDS[kind]} number {index + 1} of the list:"


def text_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def altered(path: tuple[Key, ...], new: Any = _LEFT_OUT) -> Json:
    """The good file with another value at `path`, or none."""
    value = copy.deepcopy(GOOD)
    *front, last = path
    inner: Any = value
    for key in front:
        inner = inner[key]
    inner[last] = new
    if new is _LEFT_OUT:
        del inner[last]
    return value


def entry(kind: str, id_: int) -> tuple[str, int]:
    """Where an entry lies in the good file."""
    return kind, [item["id"] for item in GOOD[kind]].index(id_)


def changed(change: Callable[[Json], Any]) -> Json:
    """The good file after `change`."""
    value = copy.deepcopy(GOOD)
    change(value)
    return value


def replaced(old: str, new: str) -> bytes:
    """The good file's text with the first `old` replaced; it must be there."""
    text = json.dumps(GOOD)
    assert old in text, old
    return text.replace(old, new, 1).encode()


# Kind, id, key: values that it must not have.
_VALUES: list[tuple[str, int, str, list[Any]]] = [
    ("annotations", 7, "category_id", [2, 0, -1, 1.0, "1", None, True, [1], {}, 2**53]),
    ("annotations", 20, "image_id", [3, 0, -9, 9.0, "9", None, False, [9], {"id": 9}, 2**64]),
    ("annotations", 7, "bbox", [None, "4 5 10 8", {}, 5, [], [4, 5, 10], [4, 5, 10, 8, 1]]),
    ("annotations", 7, "bbox", [[4, 5, "10", 8], [[4, 5, 10, 8]], [4, 5, [10], 8], [4, None, 10, 8]]),
    ("annotations", 7, "bbox", [[True, 5, 10, 8], [4, 5, -10, 8], [4, 5, 10, -0.5], [4, 5, 1e10, 8]]),
    ("annotations", 7, "bbox", [[-1.5, 5, 10, 8], [4, -2, 10, 8], [32, 5, 10, 8], [4, 24, 10, 8]]),
    ("annotations", 20, "bbox", [[2, 2, 19.5, 14], [12, 10, 17.5, 14], [HUGE, 2, 3, 4], [2, 2, 3, -HUGE]]),
    ("annotations", 1, "area", [None, -1, -0.001, "130.5", [130.5], {}, True, 1e13, HUGE, -HUGE]),
    ("annotations", 1, "iscrowd", [2, -1, "1", "0", 0.5, 1.0, None, [], {}, HUGE]),
    ("annotations", 20, "ignore", [1, True, 2, "1", 0.5]),
    ("annotations", 1, "segmentation", [None, [], {}, "", 5, True, "polygon"]),
    ("images", 9, "width", [0, -20, 20.0, "20", None, True, 65_536, 2**53, [20], HUGE]),
    ("images", 5, "height", [0, -10, 10.5, "10", None, False, 65_536, {}]),
    ("images", 9, "file_name", ["/etc/passwd", "//etc/passwd", "../c.jpg", "x/../c.jpg", "x/..", "..", ""]),
    ("images", 9, "file_name", ["x\\c.jpg", "C:\\c.jpg", "c\0.jpg", "c.jpg\n", "c\x1b.jpg", "gpj\u202e.c"]),
    ("images", 9, "file_name", ["\ud800.jpg", None, 9, ["c.jpg"], {"name": "c.jpg"}, True, "a.jpg", "b.jpg"]),
    ("categories", 3, "name", [None, "", "  ", "\t", 3, True, ["dog"], "d\0g", "d\ng", "d\u200bg", "\ud800"]),
    ("categories", 18, "name", ["x" * 201, "y" * 1_000_000, "cat", "dog"]),
]
_NO_IDS = [-1, 3.0, "3", None, True, False, 2**53, HUGE, [3], {}]
# Polygons for annotation 7, in 40 x 30 pixels.
_NO_POLYGONS: dict[str, list[Any]] = {
    "empty": [[]],
    "of a point": [[4, 5]],
    "of two points": [[4, 5, 14, 13]],
    "of five numbers": [[4, 5, 14, 5, 14]],
    "of seven numbers": [[4, 5, 14, 5, 14, 13, 4]],
    "of strings": [["4", "5", "14", "5", "14", "13"]],
    "with null": [[4, 5, 14, None, 14, 13]],
    "with a boolean": [[4, 5, 14, True, 14, 13]],
    "of pairs": [[[4, 5], [14, 5], [14, 13]]],
    "flat list": [4, 5, 14, 5, 14, 13],
    "of an object": [{"x": [4, 14, 14], "y": [5, 5, 13]}],
    "null": [None],
    "text": ["4 5 14 5 14 13"],
    "left of the image": [[-1.5, 5, 14, 5, 14, 13]],
    "above the image": [[4, -3, 14, 5, 14, 13]],
    "right of the image": [[4, 5, 41.5, 5, 14, 13]],
    "below the image": [[4, 5, 14, 5, 14, 32]],
    "far away": [[4, 5, 2e9, 5, 14, 13]],
    "of 400 digits": [[4, 5, 14, 5, HUGE, 13]],
    "second of two points": [[4, 5, 14, 5, 14, 13], [4, 5, 14, 13]],
    "second outside": [[4, 5, 14, 5, 14, 13], [4, 5, 99, 5, 14, 13]],
    "too many points": [[4, 5, 14, 5, 14, 13] * 16_667],
    "on a line": [[4, 5, 8, 5, 14, 5]],
    "of one point thrice": [[4, 5, 4, 5, 4, 5]],
    "two lines": [[4, 5, 8, 5, 14, 5], [4, 5, 4, 9, 4, 13]],
}
# Run lengths for annotation 12 or 3, in an image 12 wide and 10 high.
_NO_RUNS: dict[str, Any] = {
    "no size": {"counts": COUNTS},
    "size null": {"size": None, "counts": COUNTS},
    "size turned round": {"size": [12, 10], "counts": COUNTS},
    "size of another image": {"size": [30, 40], "counts": COUNTS},
    "size of three": {"size": [10, 12, 1], "counts": COUNTS},
    "size of floats": {"size": [10.0, 12.0], "counts": COUNTS},
    "size of strings": {"size": ["10", "12"], "counts": PACKED},
    "size text": {"size": "10 12", "counts": PACKED},
    "no counts": {"size": [10, 12]},
    "counts null": {"size": [10, 12], "counts": None},
    "counts number": {"size": [10, 12], "counts": 120},
    "counts object": {"size": [10, 12], "counts": {}},
    "counts empty": {"size": [10, 12], "counts": []},
    "too short": {"size": [10, 12], "counts": COUNTS[:-1]},
    "too long": {"size": [10, 12], "counts": [*COUNTS, 1]},
    "one too many": {"size": [10, 12], "counts": [*COUNTS[:-1], 53]},
    "negative": {"size": [10, 12], "counts": [-8, 40, *COUNTS[1:-1], 58]},
    "float": {"size": [10, 12], "counts": [32.0, *COUNTS[1:]]},
    "boolean": {"size": [10, 12], "counts": [True, 31, *COUNTS[1:]]},
    "string": {"size": [10, 12], "counts": ["32", *COUNTS[1:]]},
    "nested": {"size": [10, 12], "counts": [COUNTS]},
    "nothing inside": {"size": [10, 12], "counts": [120]},
    "nothing inside in parts": {"size": [10, 12], "counts": [60, 0, 60, 0]},
    "400 digits": {"size": [10, 12], "counts": [0, HUGE]},
    "sum of more digits than Python writes": {"size": [10, 12], "counts": [9 * 10**4299] * 2},
    "packed, empty": {"size": [10, 12], "counts": ""},
    "packed, cut in a number": {"size": [10, 12], "counts": PACKED[:1]},
    "packed, cut behind a number": {"size": [10, 12], "counts": PACKED[:5]},
    "packed, last number cut": {"size": [10, 12], "counts": PACKED[:-1]},
    "packed, a number more": {"size": [10, 12], "counts": PACKED + "6"},
    "packed, space": {"size": [10, 12], "counts": " " + PACKED},
    "packed, line end": {"size": [10, 12], "counts": PACKED + "\n"},
    "packed, letter behind o": {"size": [10, 12], "counts": PACKED[:3] + "p" + PACKED[3:]},
    "packed, half a pair": {"size": [10, 12], "counts": "\ud800"},
    "packed, beyond Latin-1": {"size": [10, 12], "counts": PACKED[:3] + "\u0663" + PACKED[4:]},
    "packed, negative": {"size": [10, 12], "counts": "O" + PACKED},
    "packed, negative by difference": {"size": [10, 12], "counts": PACKED[:4] + "A00"},
    "packed, endless number": {"size": [10, 12], "counts": "P" * 100_000},
    "packed, long zero": {"size": [10, 12], "counts": "PPPPPPP0" + PACKED},
    "packed, nothing inside": {"size": [10, 12], "counts": "h3"},
}


_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "column"),
    "spaces": (b" \n ", "column"),
    "plain text": (b"a.jpg 4 5 10 8\n", "column"),
    "picture": (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1", "UTF-8"),
    "list at the top": (text_of([GOOD]), "top"),
    "object without keys": (b"{}", "images is missing"),
    "NaN": (replaced("130.5", "NaN"), "NaN"),
    "Infinity": (replaced("130.5", "Infinity"), "Infinity"),
    "-Infinity": (replaced("20.5", "-Infinity"), "-Infinity"),
    "NaN in a polygon": (replaced("36.5", "NaN"), "NaN"),
    "NaN in what nobody reads": (replaced('"images"', '"info": [NaN], "images"'), "NaN"),
    "1e999": (replaced("130.5", "1e999"), "1e999"),
    "-1e999": (replaced("20.5", "-1e999"), "-1e999"),
    "integer of 5,000 digits": (replaced("130.5", "1" * 5_000), "digits"),
    "id twice in an entry": (replaced('"id": 7', '"id": 8, "id": 7'), "'id' is there twice"),
    "id twice, equal": (replaced('"id": 7', '"id": 7, "id": 7'), "'id' is there twice"),
    "box twice": (replaced('"area": 80', '"bbox": [4, 5, 10, 8], "area": 80'), "'bbox' is there twice"),
    "list twice": (replaced('"annotations"', '"images": [], "annotations"'), "'images' is there twice"),
    "key twice in what nobody reads": (replaced("{", '{"info": {"a": 1, "a": 2}, '), "'a' is there twice"),
    "deep list": (b"[" * 100_000, "nested"),
    "deep list that ends": (replaced("{", '{"info": ' + "[" * 70 + "]" * 70 + ", "), "nested"),
    "deep object": (b'{"a": ' * 100_000, "nested"),
    "deep polygon": (replaced("[[4, 5,", "[" * 5_000 + "[4, 5,"), "nested"),
    "cut in half": (text_of(GOOD)[: len(text_of(GOOD)) // 2], "column"),
    "cut by one byte": (text_of(GOOD)[:-1], "column"),
    "cut in a key": (text_of(GOOD)[:5], "column"),
    "two values": (text_of(GOOD) * 2, "column"),
    "text behind it": (text_of(GOOD) + b"end", "column"),
    "comma at the end": (replaced('"name": "cat"}', '"name": "cat",}'), "column"),
    "single quotes": (text_of(GOOD).replace(b'"', b"'"), "column"),
    "comment": (b"// COCO\n" + text_of(GOOD), "column"),
    "bare line end in a string": (replaced("a.jpg", "a\n.jpg"), "column"),
    "broken escape": (replaced("a.jpg", "a\\q.jpg"), "column"),
    "Latin-1": (replaced("cat", "ch\xe4t").decode().encode("latin-1"), "UTF-8"),
    "UTF-16": (text_of(GOOD).decode().encode("utf-16"), "UTF-8"),
    "UTF-8 cut in a letter": (text_of(GOOD).replace(b"a.jpg", b"\xe2\x82"), "UTF-8"),
    "half a pair in UTF-8": (text_of(GOOD).replace(b"a.jpg", b"\xed\xa0\x80"), "UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf" + text_of(GOOD), "BOM"),
    "no images": (text_of(altered(("images",), [])), "images is empty"),
    "no categories": (text_of(altered(("categories",), [])), "categories is empty"),
    "10,001 categories": (
        text_of(altered(("categories",), [{"id": i, "name": f"{i}"} for i in range(10_001)])),
        "10,001",
    ),
    "lists in capitals": (text_of({key.upper(): value for key, value in GOOD.items()}), "is missing"),
    "lists in another object": (text_of({"coco": GOOD}), "is missing"),
}
for _new in ("0x28", "040", "+40", "4_0", "40.", ".4", "40px", "\x0040", "True", "None", "'40'", ""):
    _FILES[f"number {_new!r}"] = replaced('"width": 40', f'"width": {_new}'), "column"
for _new in ("null", "5", "0.5", "false", '"images"', "[]", "[[]]"):
    _FILES[f"{_new} at the top"] = _new.encode(), "top"
for _key in KINDS:
    _FILES[f"{_key} missing"] = text_of(altered((_key,))), f"{_key} is missing"
    for _name, _value in {"null": None, "an object": {}, "text": "[]", "a number": 5, "false": False}.items():
        _FILES[f"{_key} {_name}"] = text_of(altered((_key,), _value)), f"{_key} is no list"


def _of_ids() -> dict[str, Bad]:
    cases = {}
    for kind in KINDS:
        last = len(GOOD[kind]) - 1
        for value in _NO_IDS:
            cases[f"{kind}: id {json.dumps(value):.20}"] = Bad(
                text_of(altered((kind, last, "id"), value)), nameless(kind, last), "id"
            )
        cases[f"{kind}: no id"] = Bad(text_of(altered((kind, 0, "id"))), nameless(kind, 0), "id")
        first = GOOD[kind][0]["id"]
        cases[f"{kind}: id of another"] = Bad(
            text_of(altered((kind, 1, "id"), first)), place_of(kind, first), "again"
        )
        double = changed(lambda value, kind=kind: value[kind].append(value[kind][0]))
        cases[f"{kind}: entry twice"] = Bad(text_of(double), place_of(kind, first), "again")
        for name, value in {"null": None, "list": [], "text": "x", "number": 7, "true": True}.items():
            data = text_of(changed(lambda it, kind=kind, value=value: it[kind].append(value)))
            cases[f"{kind}: entry is {name}"] = Bad(data, nameless(kind, last + 1), "object")
    return cases


def hand_made() -> dict[str, Bad]:
    """Name -> file, each with a single fault."""
    cases = _of_ids()
    for kind, id_, key, values in _VALUES:
        at = (*entry(kind, id_), key)
        for value in values:
            name = f"{kind} {id_}: {key} {json.dumps(value):.40}"
            cases[name] = Bad(text_of(altered(at, value)), place_of(kind, id_), key.removeprefix("file_"))
        if key != "ignore" and key != "iscrowd":
            cases[f"{kind} {id_}: no {key}"] = Bad(text_of(altered(at)), place_of(kind, id_), key)
    at = (*entry("annotations", 7), "segmentation")
    for name, polygons in _NO_POLYGONS.items():
        cases[f"polygon {name}"] = Bad(text_of(altered(at, polygons)), place_of("annotations", 7), "polygon")
    for number, (name, runs) in enumerate(_NO_RUNS.items()):
        id_ = 3 if "packed" in name or number % 2 else 12
        at = (*entry("annotations", id_), "segmentation")
        cases[f"runs {name}"] = Bad(text_of(altered(at, runs)), place_of("annotations", id_), "run lengths")
    return cases | {name: Bad(data, ":", word) for name, (data, word) in _FILES.items()}


def with_object(id_: int, **new: Any) -> Json:
    """The good file with other values in one annotation."""
    kind, index = entry("annotations", id_)
    return altered((kind, index), GOOD[kind][index] | new)


def with_ids(kind: str, key: str, ids: dict[int, int]) -> Json:
    """The good file with other ids of images or categories, and `key` of annotations changed with them."""
    value = copy.deepcopy(GOOD)
    for item in value[kind]:
        item["id"] = ids[item["id"]]
    for item in value["annotations"]:
        item[key] = ids[item[key]]
    return value


def _extended(value: Any) -> Any:
    if isinstance(value, list):
        return [_extended(item) for item in value]
    extra = {"keypoints": [1, None], "license": 0, "ID": -1, "info": {"id": "x"}}
    return {key: _extended(item) if key in KINDS else item for key, item in value.items()} | extra


def harmless() -> dict[str, tuple[bytes, tuple[int, ...]]]:
    """Name -> file, and the ids of the annotations in the order in which they are read."""
    flat = {"bbox": [4, 5, 10, 0], "area": 0, "segmentation": [[4, 5, 8, 5, 14, 5]]}
    lone = [item for item in GOOD["annotations"] if item["image_id"] != 9]
    whole = {"bbox": [0, 0, 12, 10], "area": 120, "segmentation": {"size": [10, 12], "counts": [0, 120]}}
    names = ["\u00e4 \u732b.jpg", "x/y/b.jpg", "it's #1 [a] (100%).jpg"]
    same: dict[str, Any] = {
        "as it is": GOOD,
        "extra keys everywhere": _extended(GOOD),
        "keys turned round": {key: [dict([*i.items()][::-1]) for i in GOOD[key]] for key in sorted(GOOD)},
        "images and categories turned round": GOOD
        | {key: GOOD[key][::-1] for key in ("images", "categories")},
        "category ids with gaps and 0": with_ids("categories", "category_id", {1: 90, 3: 0, 18: 2**53 - 1}),
        "image id 0": with_ids("images", "image_id", {2: 0, 5: 5, 9: 2**53 - 1}),
        "category of no annotation": changed(lambda it: it["categories"].append({"id": 4, "name": "Cat"})),
        "names of other letters": altered(("categories", 0, "name"), "\u732b \u00e4\U0001f408"),
        "name of 200 letters": altered(("categories", 0, "name"), "x" * 200),
        "file names of all kinds": changed(
            lambda it: [item.update(file_name=name) for item, name in zip(it["images"], names, strict=True)]
        ),
        "box half a pixel out": with_object(7, bbox=[-0.5, -0.5, 41, 31]),
        "polygon half a pixel out": with_object(7, segmentation=[[-0.5, 5, 40.5, 5, 14, 30.5]]),
        "flat box and polygon": with_object(7, **flat),
        "flat box with an area": with_object(7, bbox=[4, 5, 0, 8]),
        "flat polygon of area 0": with_object(7, area=0, segmentation=flat["segmentation"]),
        "one part flat": with_object(1, segmentation=[*flat["segmentation"], *_PARTS]),
        "polygon that ends where it starts": with_object(7, segmentation=[[4, 5, 14, 5, 14, 13, 4, 5]]),
        "figure of eight": with_object(7, segmentation=[[4, 5, 14, 13, 14, 5, 4, 13]], area=40),
        "box and area elsewhere than the polygon": with_object(7, bbox=[30, 20, 5, 5], area=2),
        "many parts": with_object(7, segmentation=[[4, 5, 14, 5, 14, 13]] * 50),
        "floats for integers": with_object(7, bbox=[4.0, 5.0, 10.0, 8.0], area=80.0),
        "iscrowd true": with_object(12, iscrowd=True),
        "iscrowd false": with_object(7, iscrowd=False, ignore=0),
        "no iscrowd": altered((*entry("annotations", 7), "iscrowd")),
        "crowd of polygons": with_object(7, iscrowd=1),
        "every pixel inside": with_object(3, **whole),
        "runs of no pixel": with_object(
            12, segmentation={"size": [10, 12], "counts": [30, 0, 2, *COUNTS[1:]]}
        ),
    }
    cases = {name: (text_of(value), READ) for name, value in same.items()}
    cases["numbers with exponents"] = replaced("130.5", "1.305E+2"), READ
    cases["lines and spaces"] = json.dumps(GOOD, indent=4).replace("\n", "\r\n").encode() + b"\r\n", READ
    cases["letters as they are"] = replaced('"cat"', '"\u732b"'), READ
    cases["annotation id 0"] = text_of(with_object(7, id=0)), (0, *READ[1:])
    cases["annotations turned round"] = (
        text_of(GOOD | {"annotations": GOOD["annotations"][::-1]}),
        (1, 7, 3, 12, 20),
    )
    cases["image without annotations"] = text_of(GOOD | {"annotations": lone}), READ[:-1]
    cases["no annotations"] = text_of(GOOD | {"annotations": []}), ()
    return cases


def write_set(root: Path, train: Json, test: Json, *, names: tuple[str, str] = ("train", "val")) -> Path:
    """A set on disk: noise for each image, in the size that its entry says; returns `root`."""
    for seed, (name, value) in enumerate(zip(names, (train, test), strict=True)):
        file = root / "annotations" / f"instances_{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text_of(value))
        for image in value["images"]:
            write_image(root / "images" / name / image["file_name"], image, seed + image["id"])
    return root


def write_image(path: Path, image: Json, seed: int) -> None:
    """A JPEG of noise; equal seeds and sizes, equal files."""
    pixels = np.random.default_rng(seed).integers(0, 256, (image["height"], image["width"], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG")
