"""The page asks nobody for anything, and could not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.report.html.browser import Browser


class _Counting(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Counting.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), _Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


ASK = """
const [address, done] = arguments;
const image = new Promise((end) => {
  const it = new Image();
  it.onload = it.onerror = end;
  it.src = `${address}/i`;
});
const text = fetch(`${address}/f`).catch(() => 0);
const sheet = new Promise((end) => {
  const it = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `${address}/s` });
  it.onload = it.onerror = end;
  document.head.append(it);
});
Promise.all([image, text, sheet]).then(() => done(1));
"""


def test_no_request_was_made_and_none_can_be(
    browser: Browser, path: Path, tmp_path: Path, server: str
) -> None:
    browser.driver.get_log("performance")
    browser.load(path)
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == [path.as_uri()]
    browser.driver.execute_async_script(ASK, server)
    assert _Counting.asked == []
    assert len(browser.errors()) >= 3  # the browser tells of each that it refused
    # a page without the policy asks: the test would see it
    loose = tmp_path / "loose.html"
    loose.write_text("<!doctype html><title>x</title>", encoding="utf-8")
    browser.load(loose)
    browser.driver.execute_async_script(ASK, server)
    assert set(_Counting.asked) == {"/i", "/f", "/s"}
    browser.errors()
