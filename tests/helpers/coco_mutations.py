"""Bad COCO files, made from a good one by rule and by chance, each with its refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.helpers.coco_corpus import GOOD, KINDS, Bad, Key, altered, nameless, place_of, replaced, text_of

TEXT = json.dumps(GOOD)
_JUNK: list[Any] = [None, True, "x", [], {}, -1, 0.5, [None], {"id": 1}]
"""What is wrong in most places."""
_GOOD_JUNK = {"name": ("x",), "file_name": ("x",), "area": (0.5,), "iscrowd": (True,)}
"""What is right in some."""
_MAY_BE_LEFT_OUT = ("iscrowd",)


def _place(kind: str, index: int, key: str) -> str:
    return nameless(kind, index) if key == "id" else place_of(kind, GOOD[kind][index]["id"])


def _word(key: str) -> str:
    """A run length's key and an unsafe file name's are not spelt out."""
    return {"file_name": "name"}.get(key, key)


def _entries() -> Iterator[tuple[str, int, dict[str, Any]]]:
    for kind in KINDS:
        for index, item in enumerate(GOOD[kind]):
            yield kind, index, item


def _of_keys(rng: Random) -> Iterator[tuple[str, Bad]]:
    """Every key of every entry: left out, of each wrong type, far out of range."""
    for kind, index, item in _entries():
        for key in item:
            at, place, word = (kind, index, key), _place(kind, index, key), _word(key)
            name = f"{kind} {item['id']}, {key}"
            if key not in _MAY_BE_LEFT_OUT:
                yield f"{name} left out", Bad(text_of(altered(at)), place, word)
            for junk in [
                *_JUNK,
                -rng.randint(2, 10**9),
                str(rng.random()),
                [rng.random()] * rng.choice((1, 5)),
            ]:
                if isinstance(junk, str) and key in ("name", "file_name"):
                    continue
                if not any(junk is good or junk == good for good in _GOOD_JUNK.get(key, ())):
                    yield f"{name} {junk!r}", Bad(text_of(altered(at, junk)), place, word)


def _numbers(value: Any, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], float]]:
    if isinstance(value, list | dict):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, (*path, key))
    elif not isinstance(value, str):
        yield path, value


def _of_numbers(rng: Random) -> Iterator[tuple[str, Bad]]:
    """Every single number of boxes and outlines."""
    for index, item in enumerate(GOOD["annotations"]):
        place = place_of("annotations", item["id"])
        for key in ("bbox", "segmentation"):
            for path, number in _numbers(item[key], ("annotations", index, key)):
                far = rng.choice((-1, 1)) * rng.randint(1_000, 10**12)
                for new in (None, True, [number], str(number), far):
                    data = text_of(altered(path, new))
                    yield f"{'.'.join(map(str, path))} {new!r}", Bad(data, place, "")


def _without(rng: Random, pattern: str) -> bytes:
    found = rng.choice(list(re.finditer(pattern, TEXT)))
    return (TEXT[: found.start()] + TEXT[found.end() :]).encode()


def _of_text(rng: Random) -> Iterator[tuple[str, Bad]]:
    """The text cut, and spoiled in a place of chance."""
    for turn in range(30):
        end = rng.randrange(len(TEXT))
        yield f"cut at {end}", Bad(TEXT[:end].encode(), ":", "column")
        for pattern in (r"[\[\]{}]", '"', "[:,](?= )"):
            yield f"{pattern} lost, turn {turn}", Bad(_without(rng, pattern), ":", "column")
        at = rng.randrange(len(TEXT))
        spoiled = TEXT[:at].encode() + bytes([rng.randrange(0xF8, 0x100)]) + TEXT[at:].encode()
        yield f"byte at {at}, turn {turn}", Bad(spoiled, ":", "UTF-8")
        found = rng.choice(list(re.finditer(r"(?<=[\[ ])-?[\d.]+(?=[,\]}])", TEXT)))
        word = rng.choice(("NaN", "Infinity", "-Infinity", f"{rng.randint(1, 9)}e{rng.randint(309, 9_999)}"))
        data = (TEXT[: found.start()] + word + TEXT[found.end() :]).encode()
        yield f"{word} at {found.start()}", Bad(data, ":", word)
        key = rng.choice(re.findall(r'"\w+": (?=[\d"])', TEXT))
        yield f"twice {key}, turn {turn}", Bad(replaced(key, f"{key}{rng.random()}, {key}"), ":", "twice")


def generated(seed: int = 0) -> Iterator[tuple[str, Bad]]:
    """Different files; equal seeds, equal files."""
    rng, seen = Random(seed), set()
    for make in (_of_keys, _of_numbers, _of_text):
        for name, case in make(rng):
            if case.data not in seen:
                seen.add(case.data)
                yield name, case
