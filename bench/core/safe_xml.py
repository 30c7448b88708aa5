"""A strict XML reader: no DOCTYPE, no entities of its own, bounded size, depth and number of elements."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from bench.core.errors import BenchError, DataError
from bench.core.paths import read_bounded

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_ELEMENTS = 200_000


def read_xml(path: Path, *, error: type[BenchError] = DataError) -> Element:
    """The root element of an XML file.

    Raises:
        error: unreadable, above 1 MiB, a DOCTYPE, nested deeper than 16, above 200,000 elements, not XML.
    """
    data = read_bounded(path, MAX_BYTES, error=error)
    return parse_xml(data, str(path), error=error)


def parse_xml(data: bytes, where: str, *, error: type[BenchError] = DataError) -> Element:
    """The root element of XML bytes; `where` names the file in messages. Raises as `read_xml`."""
    try:
        root: Element = fromstring(data, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as cause:
        raise error(f"{where}: has a DOCTYPE or entities ({type(cause).__name__}); refused") from None
    except ParseError as cause:
        raise error(f"{where}: not XML: {cause}") from None
    except (LookupError, ValueError) as cause:  # an encoding that does not exist or does not fit
        raise error(f"{where}: its encoding cannot be read: {cause}") from None
    _check_bounds(root, where, error)
    return root


def _check_bounds(root: Element, where: str, error: type[BenchError]) -> None:
    count = 0
    level: list[Element] = [root]
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_ELEMENTS:
            raise error(f"{where}: more than {MAX_ELEMENTS:,} elements")
        level = [child for element in level for child in element]
        if not level:
            return
    raise error(f"{where}: nested deeper than {MAX_DEPTH}")
