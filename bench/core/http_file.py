"""What a download needs of HTTP: ask for a file or the rest of one, and tell what the answer is worth.

Only http and https are spoken, redirects included, and what is encrypted stays so.
"""

from __future__ import annotations

import http.client
import re
import urllib.request
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import __version__
from bench.core.errors import WeightsError

TIMEOUT_SECONDS = 60.0
"""Of silence: to connect, and between two pieces."""

MAX_BYTES = 8 * 1024**3  # a full training checkpoint of a ResNet-50 has below one GiB

Reply = http.client.HTTPResponse


class Said(BaseModel):
    """What a server said of a file.

    Attributes:
        url: Where it was asked for.
        validator: The strong ETag, or Last-Modified, or "": what a later request may ask by, in If-Range.
        size: Bytes in all, if it said.

    Source:
        RFC 9110, sections 8.8 and 13.1.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str
    validator: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,200}$")]
    size: Annotated[int, Field(ge=0)] | None


def check_address(url: str, before: str = "") -> None:
    """Hold that `url`, to which `before` leads, is one we follow. Raises WeightsError if not."""
    where = f"{before}: leads to {plain(url)!r}" if before else plain(url)
    try:
        parts = urlsplit(url)
        # Both raise on what cannot be; the name of a host is looked up in this encoding.
        scheme, _host, _port = parts.scheme, (parts.hostname or "").encode("idna"), parts.port
    except ValueError as cause:
        raise WeightsError(
            f"{where}: is no address: {plain(str(cause))}. Nothing was read from there."
        ) from None
    if scheme not in ("http", "https"):
        raise WeightsError(f"{where}: expected http or https. Nothing was read from there.")
    if scheme == "http" and before.startswith("https:"):
        raise WeightsError(f"{where}: not encrypted. Nothing was read from there.")


def ask(url: str, offset: int = 0, said: Said | None = None) -> Reply:
    """Ask for a file, or, with `offset` and `said`, for its rest from that byte if it is still the same.

    Returns:
        The answer, of status 2xx, or 416 if a rest was asked for; to be closed by the caller.

    Raises:
        WeightsError: no connection, an error, or a redirect that is not followed.
    """
    headers = {"User-Agent": f"transfer-bench/{__version__}", "Accept-Encoding": "identity"}
    if offset and said is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": said.validator}
    check_address(url)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked above
    try:
        reply: Reply = urllib.request.build_opener(_Redirect).open(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code == 416 and offset:
            return error  # type: ignore[return-value]  # it has what is used: status, headers, close
        raise WeightsError(f"{url}: the server answers {error.code} {plain(str(error.reason))}") from None
    except (OSError, http.client.HTTPException) as cause:
        raise stopped(url, cause, offset, None) from None
    except ValueError as cause:  # urllib's, for a redirect that is no address, before it asks `_Redirect`
        raise WeightsError(f"{url}: an answer that cannot be followed: {plain(str(cause))}") from None
    return reply


def said_by(url: str, reply: Reply) -> Said:
    """What an answer with the whole file says of it.

    Raises:
        WeightsError: the answer has no file, or one of a size that cannot be.
    """
    if reply.status != 200:
        raise WeightsError(f"{url}: the server answers {reply.status}; expected 200 and a file")
    length = reply.headers.get("Content-Length")
    if length is not None and not re.fullmatch(r"\d{1,18}", length):
        raise WeightsError(f"{url}: the server says a length of {plain(length)!r}; expected a number")
    size = None if length is None else int(length)
    if size is not None and size > MAX_BYTES:
        raise too_large(url)
    # A weak ETag is no promise of equal bytes, and may not stand in If-Range.
    etag = reply.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else reply.headers.get("Last-Modified", "")
    try:
        return Said(url=url, validator=validator, size=size)
    except ValidationError:
        return Said(url=url, validator="", size=size)


def is_chunked(reply: Reply) -> bool:
    """Whether the answer comes in chunks, so that its end is marked although no length is said.

    Without length and chunks the end of the connection is the end of the file, early or not.

    Source:
        RFC 9112, section 6.3.
    """
    return reply.headers.get("Transfer-Encoding", "").lower() == "chunked"


def size_if_rest(reply: Reply, offset: int, said: Said) -> int | None:
    """Bytes of the whole file if the answer goes on at byte `offset` of the file of which `said` speaks.

    None for any other answer: the whole file, another part, or a part of a file that has changed.
    """
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", reply.headers.get("Content-Range", ""))
    if reply.status != 206 or found is None:
        return None
    first, last, size = map(int, found.groups())
    # Some servers answer with a part although If-Range should have kept them from it.
    name = "ETag" if said.validator.startswith('"') else "Last-Modified"
    same = reply.headers.get(name, said.validator) == said.validator and said.size in (None, size)
    return size if same and first == offset and last == size - 1 and size <= MAX_BYTES else None


def read(reply: Reply, count: int, url: str, done: int, total: int | None) -> bytes:
    """At most `count` bytes more, none at the end; `done` of `total` were read before, for the message.

    Raises:
        WeightsError: the connection broke, or what came is no HTTP.
    """
    try:
        return reply.read(count)
    except (OSError, http.client.HTTPException, ValueError) as cause:  # the latter: a chunk of negative size
        raise stopped(url, cause, done, total) from None


def stopped(url: str, cause: Exception | str, done: int, total: int | None) -> WeightsError:
    """The error for a connection that failed with `done` of `total` bytes here."""
    inner = cause.reason if isinstance(cause, URLError) else cause
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    why = plain(text) or type(inner).__name__
    there = f"{done:,} bytes" if total is None else f"{done:,} of {total:,} bytes"
    return WeightsError(f"{url}: {why}. {there} are here; the same command goes on.")


def too_large(url: str) -> WeightsError:
    """The error for a file that cannot be what was asked for."""
    return WeightsError(f"{url}: more than {MAX_BYTES:,} bytes; expected no larger file")


def plain(text: str) -> str:
    """One line of what a server says; an escape sequence in it must not reach the terminal."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))[:200]


class _Redirect(urllib.request.HTTPRedirectHandler):
    def http_error_302(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        fp.close()  # urllib would read the body of a redirect, however long it is
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_address(newurl, before=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
