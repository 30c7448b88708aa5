"""A server of files on 127.0.0.1 that does what real ones do: ignore Range, cut off, redirect, stall."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What is served, and how; tests change the fields between requests.

    Attributes:
        files: Path to bytes.
        validators: Headers of every file, by which a rest may be asked for.
        redirects: Path to where it leads.
        status: Answer everything with this code and reason.
        raw: Answer everything with these very bytes, head included.
        ranges: Honour Range.
        if_range: Honour If-Range; else a rest is given also of a file that has changed.
        shift: Give a rest that begins so many bytes too early.
        length: Say Content-Length; without it the end of the connection is the end of the file.
        cut: Close the connection after this many bytes of the answer's body.
        stall: Wait at that place for `go_on` instead of closing.
        asked: (path, Range) of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    redirects: dict[str, str] = field(default_factory=dict)
    status: tuple[int, str] | None = None
    raw: bytes | None = None
    ranges: bool = True
    if_range: bool = True
    shift: int = 0
    length: bool = True
    cut: int | None = None
    stall: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Site]:
    """A site while inside; set NO_PROXY to 127.0.0.1 where a proxy may be configured."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, site)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    wanted = handler.headers.get("Range")
    site.asked.append((handler.path, wanted))
    if site.raw is not None:
        handler.wfile.write(site.raw)
        return
    if site.status is not None:
        handler.send_response(*site.status)
        handler.end_headers()
        return
    if handler.path in site.redirects:
        handler.send_response(302)
        handler.send_header("Location", site.redirects[handler.path])
        handler.end_headers()
        return
    if handler.path not in site.files:
        handler.send_error(404)
        return
    body = site.files[handler.path]
    start = _start(handler, site, wanted)
    if start is not None and start >= len(body):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(body)}")
        handler.end_headers()
        return
    handler.send_response(200 if start is None else 206)
    rest = body[start or 0 :]
    if start is not None:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if site.length:
        handler.send_header("Content-Length", str(len(rest)))
    for name, value in site.validators.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(rest[: site.cut])
    if site.stall:
        handler.wfile.flush()
        site.stalled.set()
        site.go_on.wait(20)
        handler.wfile.write(rest[site.cut :])


def _start(handler: BaseHTTPRequestHandler, site: Site, wanted: str | None) -> int | None:
    """The byte to begin with, or None for the whole file."""
    match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
    if match is None or not site.ranges:
        return None
    if site.if_range and handler.headers.get("If-Range") not in site.validators.values():
        return None
    return int(match[1]) - site.shift
