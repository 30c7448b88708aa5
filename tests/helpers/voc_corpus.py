"""Bad VOC annotations, made by hand, each with its refusal, and odd ones that are good."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

IMAGE_ID = "000005"
ELSEWHERE = "in another place or spelling"
CLASSES = ("cat", "chair", "dog", "person")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("truncated", "difficult")
KEYS = ("name", "pose", *FLAGS, *CORNERS)
NUMBERS = (1, 2, 3)
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
GOOD = f"""{DECLARATION}
<annotation>
  <folder>VOC2007</folder>
  <filename>000005.jpg</filename>
  <source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>
  <owner><flickrid>archintent louisville</flickrid><name>?</name></owner>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  <segmented>0</segmented>
  <object>
    <name>chair</name>
    <pose>Rear</pose>
    <truncated>0</truncated><difficult>1</difficult>
    <bndbox><xmin>263</xmin><ymin>211</ymin><xmax>324</xmax><ymax>339</ymax></bndbox>
  </object>
  <object>
    <name>person</name>
    <pose>Unspecified</pose>
    <truncated>1</truncated><difficult>0</difficult>
    <bndbox><xmin>48</xmin><ymin>24</ymin><xmax>195</xmax><ymax>291</ymax></bndbox>
    <part>
      <name>head</name>
      <bndbox><xmin>80</xmin><ymin>30</ymin><xmax>130</xmax><ymax>96</ymax></bndbox>
    </part>
  </object>
  <object>
    <name>dog</name>
    <pose>Left</pose>
    <truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>165</xmin><ymin>264</ymin><xmax>500</xmax><ymax>375</ymax></bndbox>
  </object>
</annotation>
"""
OBJECTS = (
    ("chair", (263, 211, 324, 339), True),
    ("person", (48, 24, 195, 291), False),
    ("dog", (165, 264, 500, 375), False),
)
# What is in front of the objects, then each of them; the last with the end of the file.
PARTS = re.split("(?=<object>)", GOOD)


class Bad(NamedTuple):
    """A file, the object that a problem of it names (None: none), and a word of that problem."""

    data: bytes
    number: int | None
    word: str


def element(number: int, key: str) -> str:
    """An object's own: that of its <part> comes behind. 0: of what is in front of the objects."""
    found = re.search(f"<{key}>.*?</{key}>", PARTS[number], re.DOTALL)
    assert found, (number, key)
    return found[0]


def text_of(number: int, key: str) -> str:
    return element(number, key)[len(key) + 2 : -len(key) - 3]


def changed(number: int, old: str, new: str) -> str:
    assert old in PARTS[number], (number, old)
    return "".join([*PARTS[:number], PARTS[number].replace(old, new, 1), *PARTS[number + 1 :]])


def with_value(number: int, key: str, text: str) -> str:
    return changed(number, element(number, key), f"<{key}>{text}</{key}>")


_LOST: dict[str, Callable[[str, str], str]] = {
    "left out": lambda key, old: "",
    "empty": lambda key, old: f"<{key}/>",
    "of spaces": lambda key, old: f"<{key}> \n </{key}>",
    "in another element": lambda key, old: f"<x>{old}</x>",
}
_RESPELT: dict[str, Callable[[str, str], str]] = {
    "in capitals": lambda key, old: old.replace(key, key.upper()),
    "of a name space": lambda key, old: old.replace(f"<{key}>", f'<{key} xmlns="urn:v">'),
}
_NO_NUMBERS = ["8.5", "48.0", "8.1234567890123456789", ".5", "48.", "1e2", "4E1", "nan", "inf", "-Infinity"]
_NO_NUMBERS += ["0x30", "forty", "True", "99999999", "00000048", "9" * 400, "48px", "48%", "48 24", "48;24"]
_NO_NUMBERS += ["+-48", "48+", "- 48", "\u221248", "4 8", "4\n8", "4\u00a08", "\u200b48", "1,000", "48,5"]
_NO_NUMBERS += ["1_0", "\u0664\u0668", "\uff14\uff18", "4\u00b2"]
_NO_FLAGS = ["0.5", "yes", "True", "2", "-1", "00", "1.0", "\u0661", "0 1"]
_NO_SIDES = ["0", "-5", "500.5", "wide", "5e2", "5_00", "50000000", "\u0665\u0660\u0660", "500px"]
_BOX, _OBJECT, _SIZE = element(1, "bndbox"), element(1, "object"), element(0, "size")
_CHANGES: dict[str, tuple[int, str, str, str]] = {
    "negative": (1, "<xmin>263", "<xmin>-3", "pixels count from 1"),
    "left of the image": (2, "<xmin>48", "<xmin>0", "[0, 24, 195, 291] starts outside"),
    "above the image": (3, "<ymin>264", "<ymin>0", "[165, 0, 500, 375] starts outside"),
    "right of the image": (3, "<xmax>500", "<xmax>501", "xmax 501 exceeds the image's 500"),
    "below the image": (1, "<ymax>339", "<ymax>376", "ymax 376 exceeds the image's 375"),
    "far right of the image": (2, "<xmax>195", "<xmax>9999999", "exceeds the image's 500"),
    "turned round in x": (2, "<xmin>48", "<xmin>196", "[196, 24, 195, 291] is empty"),
    "turned round in y": (3, "<ymin>264", "<ymin>376", "[165, 376, 500, 375] is empty"),
    "two boxes": (1, _BOX, f"{_BOX}<bndbox/>", "2 <bndbox>"),
    "box twice": (1, _BOX, _BOX * 2, "2 <bndbox>"),
    "no box": (1, _BOX, "", "0 <bndbox>"),
    "no box but that of its part": (2, element(2, "bndbox"), "", "0 <bndbox>"),
    "empty box": (3, element(3, "bndbox"), "<bndbox/>", "no <xmin>"),
    "corners beside the box": (1, _BOX, f"<bndbox/>{text_of(1, 'bndbox')}", "no <xmin>"),
    "box misspelt": (1, _BOX, _BOX.replace("box", "bax"), "0 <bndbox>"),
    "box in capitals": (1, _BOX, _BOX.replace("bnd", "Bnd"), "0 <bndbox>"),
    "box of a name space": (3, "<bndbox>", '<bndbox xmlns="urn:v">', "0 <bndbox>"),
    "box in another element": (1, _BOX, f"<x>{_BOX}</x>", "0 <bndbox>"),
    "unknown class": (1, "chair", "sofa", "unknown class 'sofa'"),
    "class in capitals": (3, "dog", "Dog", "unknown class 'Dog'"),
    "class with a space inside": (2, "person", "per son", "unknown class 'per son'"),
    "two classes in one": (3, "dog", "dog,cat", "unknown class 'dog,cat'"),
    "class with a Cyrillic letter": (3, "dog", "d\u043eg", "unknown class 'd\u043eg'"),
    "class of a mebibyte": (1, "chair", "chair" * 200_000, "unknown class 'chairchair"),
}
_FILE_CHANGES: dict[str, tuple[int, str, str, str]] = {
    "no size": (0, _SIZE, "", "0 <size>"),
    "size twice": (0, _SIZE, _SIZE * 2, "2 <size>"),
    "size in capitals": (0, _SIZE, _SIZE.replace("size", "Size"), "0 <size>"),
    "size in another element": (0, _SIZE, f"<x>{_SIZE}</x>", "0 <size>"),
    "file name of another image": (0, "000005.jpg", "000006.jpg", "'000006.jpg'; expected that of 000005"),
    "file name in a folder": (0, "000005.jpg", "a/000005.jpg", "'a/000005.jpg'"),
    "file name with two endings": (0, "000005.jpg", "000005.jpg.png", "'000005.jpg.png'"),
    "file name with a space": (0, "000005.jpg", "000005 .jpg", "'000005 .jpg'"),
    "file name twice": (0, element(0, "filename"), element(0, "filename") * 2, "2 <filename>"),
    "elements in the file name": (
        0,
        "000005.jpg",
        "000005<b>.jpg</b>",
        "<filename> in another spelling, or not plain",
    ),
    "object misspelt": (1, _OBJECT, _OBJECT.replace("object", "objekt"), ELSEWHERE),
    "object in capitals": (1, _OBJECT, _OBJECT.replace("object", "Object"), ELSEWHERE),
    "object and box in capitals": (1, _OBJECT, _OBJECT.upper(), ELSEWHERE),
    "object in another element": (1, _OBJECT, f"<x>{_OBJECT}</x>", ELSEWHERE),
    "object of a name space": (3, "<object>", '<object xmlns="urn:v">', ELSEWHERE),
    "object in an object": (1, "</object>", f"{_OBJECT}</object>", ELSEWHERE),
    "object in a part": (2, "<part>", f"<part>{_OBJECT}", ELSEWHERE),
    "object without a box in capitals": (
        1,
        "<object>",
        "<Object><name>dog</name></Object><object>",
        ELSEWHERE,
    ),
    "second box in capitals": (1, _BOX, _BOX + _BOX.replace("bnd", "Bnd"), ELSEWHERE),
    "second box in another element": (1, _BOX, f"{_BOX}<x>{_BOX}</x>", ELSEWHERE),
    "box in front of the objects": (1, "<object>", f"{_BOX}<object>", ELSEWHERE),
    "box in the size": (0, "<depth>", "<bndbox/><depth>", ELSEWHERE),
    "tags across": (1, "</name>\n    <pose>", "<pose></name>\n", "not XML"),
    "tag not closed": (2, "</xmin>", "", "not XML"),
    "bare ampersand": (1, "chair", "chair & table", "not XML"),
    "entity of HTML": (2, "person", "&nbsp;person", "undefined entity"),
    "bare less-than": (3, "<xmin>165", "<xmin><165", "not XML"),
    "null byte": (1, "chair", "ch\0air", "not XML"),
    "control character": (2, "person", "per\x1bson", "not XML"),
    "attribute twice": (0, "<folder>", '<folder a="1" a="2">', "duplicate attribute"),
    "prefix that nothing declares": (1, "<pose>Rear</pose>", "<v:pose>Rear</v:pose>", "unbound prefix"),
    "unknown encoding": (0, "UTF-8", "klingon", "encoding"),
    "encoding of several bytes": (0, "UTF-8", "shift_jis", "encoding"),
    "encoding that is none of text": (0, "UTF-8", "base64", "encoding"),
    "encoding UTF-16 of other bytes": (0, "UTF-8", "UTF-16", "encoding"),
    "encoding without a name": (0, "UTF-8", "", "not XML"),
}


def with_doctype(doctype: str, content: str = "&e;") -> str:
    return changed(1, "chair", content).replace(DECLARATION, f"{DECLARATION}{doctype}")


_LAUGHS = "".join(f'<!ENTITY {a} "{f"&{b};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
_DOCTYPES = {
    "laughs": with_doctype(f'<!DOCTYPE x [<!ENTITY j "ha">{_LAUGHS}]>', "&a;"),
    "quadratic": with_doctype(f'<!DOCTYPE x [<!ENTITY e "{"x" * 50_000}">]>', "&e;" * 50_000),
    "entity": with_doctype('<!DOCTYPE x [<!ENTITY e "chair">]>'),
    "outside entity": with_doctype('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'),
    "outside entity of the net": with_doctype('<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]>'),
    "parameter entity": with_doctype('<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/"> %e;]>', "dog"),
    "outside doctype": with_doctype('<!DOCTYPE annotation SYSTEM "voc.dtd">', "chair"),
    "plain doctype": with_doctype("<!DOCTYPE annotation>", "chair"),
    "default attributes": with_doctype('<!DOCTYPE x [<!ATTLIST object a CDATA "1">]>', "chair"),
}
_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "not XML"),
    "plain text": ("person 48 24 195 291\n", "not XML"),
    "HTML": ("<!doctype html><title>404</title>", "not XML"),
    "picture": (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1", "not XML"),
    "cut in the declaration": (GOOD[:20], "not XML"),
    "cut in front of the root": (GOOD[: GOOD.index("<annotation>")], "not XML"),
    "cut in a tag": (GOOD[: GOOD.index("<bndbox>") + 4], "not XML"),
    "cut in a number": (GOOD[: GOOD.index("263") + 2], "not XML"),
    "cut between objects": (GOOD[: GOOD.rindex("<object>")], "not XML"),
    "cut by one byte": (GOOD.rstrip()[:-1], "not XML"),
    "two roots": (GOOD + "<annotation/>", "not XML"),
    "text behind the root": (f"{GOOD}end", "not XML"),
    "line in front of the declaration": (f"\n{GOOD}", "not XML"),
    "another root around it": (f"<root>{GOOD.removeprefix(DECLARATION)}</root>", "'root'"),
    "root misspelt": (GOOD.replace("annotation>\n", "annotations>\n"), "'annotations'"),
    "root in capitals": (GOOD.replace("annotation>\n", "Annotation>\n"), "'Annotation'"),
    "name space of the root": (GOOD.replace("<annotation>", '<annotation xmlns="urn:v">', 1), "urn:v"),
    "Latin-1 that says UTF-8": (changed(0, "louisville", "r\xe9union").encode("latin-1"), "not XML"),
    "UTF-8 cut in a letter": (GOOD.encode().replace(b"louisville", b"\xe2\x82"), "not XML"),
    "half a pair of UTF-16": (GOOD.replace("UTF-8", "UTF-16").encode("utf-16") + b"\0", "not XML"),
    "UTF-32": (GOOD.replace("UTF-8", "UTF-32").encode("utf-32"), "not XML"),
    "one level too deep": (changed(0, "VOC2007", "<d>" * 15 + "</d>" * 15), "nested deeper than 16"),
    "deep": (changed(0, "VOC2007", "<d>" * 140_000 + "</d>" * 140_000), "nested deeper than 16"),
    "two megabytes": (changed(0, "VOC2007", " " * 2_000_000), "bytes; a file of this kind has at most"),
    "one byte too long": (GOOD + " " * (2**20 + 1 - len(GOOD)), "1,048,577 bytes"),
    "10,001 objects": (changed(0, "<segmented>", "<object/>" * 9_998 + "<segmented>"), "10,001 objects"),
    "200,000 elements more": (changed(0, "VOC2007", "<e/>" * 200_000), "more than 200,000 elements"),
}
BOMBS = ("laughs", "quadratic", "deep", "two megabytes", "10,001 objects", "200,000 elements more")
# Only the evaluation cannot read these; a training file may have them.
TEST_ONLY = {"xmin '8.5'", "ymin '48.0'"}
TEST_ONLY |= {f"{key} {what}" for key in FLAGS for what in _LOST}
TEST_ONLY |= {"pose left out", "pose in another element"}


def bad(text: str | bytes, number: int | None, word: str) -> Bad:
    return Bad(text if isinstance(text, bytes) else text.encode(), number, word)


def hand_made() -> dict[str, Bad]:
    """Name -> file, each with a single fault."""
    cases = {}
    for place, text in enumerate(_NO_NUMBERS):
        number, key = NUMBERS[place % 3], CORNERS[place % 4]
        cases[f"{key} {text!r:.30}"] = bad(
            with_value(number, key, text), number, f"{key} is {text[:70]!r}"[:70]
        )
    for place, text in enumerate(_NO_FLAGS):
        number, key = NUMBERS[place % 3], FLAGS[place % 2]
        cases[f"{key} {text!r}"] = bad(with_value(number, key, text), number, f"<{key}> is {text!r}")
    for key, text in product(("width", "height"), _NO_SIDES):
        cases[f"{key} {text!r}"] = bad(with_value(0, key, text), None, f"<{key}> is {text!r}")
    for place, key in enumerate((*KEYS, "width", "height")):
        number = NUMBERS[place % 3] if key in KEYS else 0
        old, text = element(number, key), text_of(number, key)
        faults = {name: (new(key, old), f"no <{key}>") for name, new in _LOST.items()}
        faults |= {name: (new(key, old), f"<{key}> in another") for name, new in _RESPELT.items()}
        if key == "pose":  # read by the evaluation, and never used
            del faults["empty"], faults["of spaces"]
        faults["twice"] = (old * 2, f"2 <{key}>")
        faults["with elements"] = (f"<{key}>{text}<i/></{key}>", f"<{key}> in another spelling, or not plain")
        for name, (new, word) in faults.items():
            cases[f"{key} {name}"] = bad(changed(number, old, new), number or None, word)
    for name, (number, old, new, word) in _CHANGES.items():
        cases[name] = bad(changed(number, old, new), number, word)
    for name, (number, old, new, word) in _FILE_CHANGES.items():
        cases[name] = bad(changed(number, old, new), None, word)
    cases |= {name: bad(text, None, "DOCTYPE") for name, text in _DOCTYPES.items()}
    return cases | {name: bad(text, None, word) for name, (text, word) in _FILES.items()}


def harmless() -> dict[str, tuple[bytes, tuple[tuple[str, tuple[int, ...], bool], ...]]]:
    """Name -> file, and the objects that are read: class, box, difficult."""
    keys = "".join(element(1, key) for key in ("bndbox", *reversed(FLAGS), "pose", "name"))
    corners = "".join(element(2, key) for key in reversed(CORNERS))
    same: dict[str, str | bytes] = {
        "as it is": GOOD,
        "byte order mark": GOOD.encode("utf-8-sig"),
        "no declaration": GOOD.removeprefix(DECLARATION + "\n"),
        "UTF-16": GOOD.replace("UTF-8", "UTF-16").encode("utf-16"),
        "Latin-1": changed(0, "louisville", "r\xe9union").replace("UTF-8", "ISO-8859-1").encode("latin-1"),
        "comments": re.sub(r"(</?\w+>)", r"<!-- <object> & -->\1", GOOD),
        "comment in a number": changed(1, "263", "2<!-- 9 -->63"),
        "CDATA in a class": changed(2, "person", "<![CDATA[per]]>son"),
        "number by references": changed(1, "263", "&#50;6&#x33;"),
        "ampersand": changed(0, "VOC2007", "a &amp; b &lt;object&gt;"),
        "processing instruction": changed(1, "<object>", '<?xml-stylesheet href="a.xsl"?><object><?php ?>'),
        "attributes": re.sub("<(object|bndbox|xmin)>", r'<\1 id="7" bndbox="0">', GOOD),
        "name space that nothing uses": changed(0, "<annotation>\n", '<annotation xmlns:v="urn:v">\n'),
        "other elements": GOOD.replace("<object>", "<object><id>7</id><occluded>1</occluded><attributes/>"),
        "spaces and lines around values": re.sub(r">([^<>\s]+)<", ">\\n\\t \\1 \\n<", GOOD),
        "one line": re.sub(r"\n\s*", "", GOOD),
        "DOS line ends": GOOD.replace("\n", "\r\n"),
        "keys turned round": changed(1, element(1, "object"), f"<object>{keys}</object>"),
        "corners turned round": changed(2, text_of(2, "bndbox"), corners),
        "size behind the objects": re.sub(f"({_SIZE})(.*)(</annotation>)", r"\2\1\3", GOOD, flags=re.DOTALL),
        "size without a depth": changed(0, element(0, "depth"), ""),
        "empty pose": with_value(1, "pose", ""),
        "no file name": changed(0, element(0, "filename"), ""),
        "empty file name": with_value(0, "filename", ""),
        "file name without an ending": with_value(0, "filename", IMAGE_ID),
        "signs and zeros in front": GOOD.replace("<xmin>", "<xmin>+00").replace("<width>", "<width>+00"),
    }
    cases = {name: (bad(text, None, "").data, OBJECTS) for name, text in same.items()}
    text = GOOD.replace("<xmin>165<", "<xmin>1<").replace("<ymin>264<", "<ymin>1<")
    cases["box of the whole image"] = (text.encode(), (*OBJECTS[:2], ("dog", (1, 1, 500, 375), False)))
    text = text.replace("<xmax>500<", "<xmax>1<").replace("<ymax>375<", "<ymax>1<")
    cases["box of one pixel"] = (text.encode(), (*OBJECTS[:2], ("dog", (1, 1, 1, 1), False)))
    cases["no objects"] = ((PARTS[0] + "</annotation>").encode(), ())
    return cases
