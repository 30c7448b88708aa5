"""Bad VOC annotations, made by chance from a good one, each with its refusal."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from random import Random

from tests.helpers.voc_corpus import (
    CLASSES,
    CORNERS,
    ELSEWHERE,
    FLAGS,
    GOOD,
    IMAGE_ID,
    KEYS,
    NUMBERS,
    Bad,
    bad,
    changed,
    element,
    text_of,
    with_doctype,
    with_value,
)


def _letters(rng: Random, count: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=count))


def _misspelt(rng: Random, word: str, known: tuple[str, ...]) -> str:
    """With a letter more, or another one."""
    new = word
    while new in known:
        at = rng.randrange(len(word))
        new = word[:at] + rng.choice(string.ascii_letters) + word[at + rng.randrange(2) :]
    return new


def _inserted(rng: Random, text: str, junk: str) -> str:
    """With `junk` between two characters."""
    at = rng.randrange(1, len(text))
    return text[:at] + junk + text[at:]


def _without_one(rng: Random, pattern: str) -> str:
    found = rng.choice(list(re.finditer(pattern, GOOD)))
    return GOOD[: found.start()] + GOOD[found.end() :]


def _other_tags(rng: Random, front: str, behind: str) -> str:
    """An object's tags replaced, with letters of chance for `{}`."""
    name, whole = _letters(rng, 6), element(number := rng.choice(NUMBERS), "object")
    inner = whole.removeprefix("<object>").removesuffix("</object>")
    return changed(number, whole, front.format(name) + inner + behind.format(name))


# What stands in an object for a key that had a text, and a word of the problem.
_KEY_FAULTS: dict[str, Callable[[Random, str, str], tuple[str, str]]] = {
    "left out": lambda rng, key, text: ("", f"no <{key}>"),
    "empty": lambda rng, key, text: (f"<{key}>{' ' * rng.randrange(9)}</{key}>", f"no <{key}>"),
    "twice": lambda rng, key, text: (f"<{key}>{text}</{key}>" * (n := rng.randint(2, 9)), f"{n} <{key}>"),
    "misspelt": lambda rng, key, text: (f"<{(n := _misspelt(rng, key, KEYS))}>{text}</{n}>", f"<{key}>"),
    "prefixed": lambda rng, key, text: (
        f'<v:{key} xmlns:v="{rng.random()}">1</v:{key}>',
        f"<{key}> in another",
    ),
    "filled": lambda rng, key, text: (
        f"<{key}>{text}<{_letters(rng, 5)}/></{key}>",
        f"<{key}> in another spelling, or not plain",
    ),
}
# What stands for a coordinate.
_NUMBER_FAULTS: dict[str, Callable[[Random, str], str]] = {
    "fraction": lambda rng, text: f"{text}.{rng.randrange(10_000)}",
    "exponent": lambda rng, text: f"{text}{rng.choice('eE')}{rng.choice(['', '+', '-'])}{rng.randrange(10)}",
    "junk inside": lambda rng, text: _inserted(rng, text, rng.choice(" \n._,;:'+-*/ex%\u00a0\u0663\u200b")),
    "junk behind": lambda rng, text: text + rng.choice("._,;:'+-*/ex%\u0663\u200b"),
    "word": lambda rng, text: _letters(rng, rng.randint(1, 9)),
    "digits": lambda rng, text: "".join(rng.choices("123456789", k=rng.randint(8, 60))),
    "hexadecimal": lambda rng, text: hex(int(text) + rng.randrange(100)),
}
# A whole text, and a word of the problem.
_FILE_FAULTS: dict[str, Callable[[Random], tuple[str | bytes, str]]] = {
    "cut": lambda rng: (GOOD[: rng.randrange(len(GOOD.rstrip()))], "not XML"),
    "closing tag lost": lambda rng: (_without_one(rng, r"</\w+>"), "not XML"),
    "opening tag lost": lambda rng: (_without_one(rng, r"<\w+>"), "not XML"),
    "angle lost": lambda rng: (_without_one(rng, "[<>]"), "not XML"),
    "entity": lambda rng: (_inserted(rng, GOOD, f"&{_letters(rng, 6)};"), "not XML"),
    "junk": lambda rng: (_inserted(rng, GOOD, rng.choice(["<<", "& ", "\x01", "\x1b"])), "not XML"),
    "byte": lambda rng: (_inserted(rng, GOOD, "\xe9").encode("latin-1"), "not XML"),
    "doctype": lambda rng: (with_doctype(f"<!DOCTYPE {_letters(rng, 5)}>", "chair"), "DOCTYPE"),
    "own entity": lambda rng: (with_doctype(f'<!DOCTYPE x [<!ENTITY e "{_letters(rng, 5)}">]>'), "DOCTYPE"),
    "wrapped": lambda rng: (_other_tags(rng, "<{}><object>", "</object></{}>"), ELSEWHERE),
    "other tag": lambda rng: (_other_tags(rng, "<{}>", "</{}>"), ELSEWHERE),
    "prefix": lambda rng: (_other_tags(rng, '<{0}:object xmlns:{0}="u">', "</{}:object>"), ELSEWHERE),
    "no prefix": lambda rng: (_other_tags(rng, "<{}:object>", "</{}:object>"), "unbound prefix"),
    "box": lambda rng: (changed(0, "<seg", f'<bndbox n="{rng.random()}"/><seg'), ELSEWHERE),
    "file name": lambda rng: (changed(0, IMAGE_ID, f"{rng.randrange(6, 10**6):06}"), "<filename> is"),
    "encoding": lambda rng: (changed(0, "UTF-8", f"x-{_letters(rng, 5)}"), "encoding"),
    "root": lambda rng: (re.sub(r"\bannotation>\n", f"a{_letters(rng, 5)}>\n", GOOD), "its root is 'a"),
    "name space": lambda rng: (changed(0, "ion>\n", f'ion xmlns="{rng.random()}">\n'), "its root is '{"),
    "width": lambda rng: (with_value(0, "width", f"-{rng.randrange(500)}"), "<width> is"),
    "height": lambda rng: (with_value(0, "height", f"{rng.randrange(500)}.5"), "<height> is"),
}


def _box_faults(rng: Random, number: int, axis: str) -> Iterator[tuple[str, str]]:
    low, high = (text_of(number, f"{axis}{end}") for end in ("min", "max"))
    least, most = f"<{axis}min>{low}<", f"<{axis}max>{high}<"
    turned = changed(number, least, f"<{axis}min>{high}<")
    yield turned.replace(most, f"<{axis}max>{low}<"), "is empty"
    yield changed(number, most, f"<{axis}max>{rng.randint(501, 10**6)}<"), f"{axis}max"
    yield changed(number, least, f"<{axis}min>{-rng.randrange(99)}<"), "starts outside"
    count = rng.randint(2, 9)
    yield changed(number, element(number, "bndbox"), "<bndbox/>" * count), f"{count} <bndbox>"
    name = _misspelt(rng, text_of(number, "name"), CLASSES)
    yield with_value(number, "name", name), f"unknown class {name!r}"
    flag, text = rng.choice(FLAGS), str(rng.choice([-1, 1]) * rng.randint(2, 99))
    yield with_value(number, flag, text), f"<{flag}> is {text!r}"


def _one_of_each(rng: Random) -> Iterator[tuple[str, Bad]]:
    for name, file_fault in _FILE_FAULTS.items():
        text, word = file_fault(rng)
        yield name, bad(text, None, word)
    for name, key_fault in _KEY_FAULTS.items():
        number, key = rng.choice(NUMBERS), rng.choice(KEYS)
        if (name, key) == ("empty", "pose"):  # which may be
            key = "name"
        new, word = key_fault(rng, key, text_of(number, key))
        yield f"key {name}", bad(changed(number, element(number, key), new), number, word)
    for name, number_fault in _NUMBER_FAULTS.items():
        number, key = rng.choice(NUMBERS), rng.choice(CORNERS)
        new = number_fault(rng, text_of(number, key))
        yield f"number {name}", bad(with_value(number, key, new), number, f"{key} is {new!r}"[:70])
    number = rng.choice(NUMBERS)
    for text, word in _box_faults(rng, number, rng.choice("xy")):
        yield f"object with {word}", bad(text, number, word)


def generated(seed: int) -> Iterator[tuple[str, Bad]]:
    """Different files, by each way of spoiling in turn; equal seeds, equal files."""
    rng, seen = Random(seed), set()
    for turn in range(24):
        for name, case in _one_of_each(rng):
            if case.data not in seen:
                seen.add(case.data)
                yield f"{name}, turn {turn}", case
