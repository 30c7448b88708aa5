"""What servers answer: no ranges, another file, errors, redirects, silence, no end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core import http_file
from bench.core.download import Digest, fetch
from bench.core.errors import WeightsError
from tests.helpers.downloads import (
    BODY,
    CUT,
    DIGEST,
    OTHER,
    SHA256,
    cut_off,
    get,
    names,
    stop_before_the_hash,
)
from tests.helpers.file_server import Site, serve


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as site:
        site.files["/net.pth"] = BODY
        yield site


def test_a_server_without_ranges_begins_anew(site: Site, tmp_path: Path) -> None:
    cut_off(site, tmp_path / "net.pth")
    site.ranges = False
    get(site, tmp_path / "net.pth")
    assert len(site.asked) == 1
    assert (tmp_path / "net.pth").read_bytes() == BODY


def test_another_part_than_was_asked_for_begins_anew(site: Site, tmp_path: Path) -> None:
    cut_off(site, tmp_path / "net.pth")
    site.shift = 10
    get(site, tmp_path / "net.pth")
    assert [wanted for _, wanted in site.asked] == [f"bytes={CUT}-", None]
    assert (tmp_path / "net.pth").read_bytes() == BODY


@pytest.mark.parametrize("validators", [{}, {"ETag": 'W/"weak"'}, {"ETag": '"\xe9"'}])
def test_without_a_way_to_tell_the_file_it_begins_anew(
    site: Site, tmp_path: Path, validators: dict[str, str]
) -> None:
    site.validators = validators
    cut_off(site, tmp_path / "net.pth")
    get(site, tmp_path / "net.pth")
    assert site.asked == [("/net.pth", None)]
    assert (tmp_path / "net.pth").read_bytes() == BODY


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("size", [len(BODY), len(BODY) - 5000, 1000])
def test_a_file_that_changed_begins_anew(site: Site, tmp_path: Path, if_range: bool, size: int) -> None:
    cut_off(site, tmp_path / "net.pth")
    site.files["/net.pth"] = new = OTHER[:size]
    site.validators = {"ETag": '"two"'}
    site.if_range = if_range
    get(site, tmp_path / "net.pth", digest=Digest("sha256", hashlib.sha256(new).hexdigest()))
    assert (tmp_path / "net.pth").read_bytes() == new
    assert names(tmp_path) == ["net.pth"]


def test_a_rest_that_is_not_there_begins_anew(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.length = False
    stop_before_the_hash(site, tmp_path / "net.pth", monkeypatch)
    site.files["/net.pth"] = new = BODY[:5000]
    get(site, tmp_path / "net.pth", digest=Digest("sha256", hashlib.sha256(new).hexdigest()))
    assert [wanted for _, wanted in site.asked] == [f"bytes={len(BODY)}-", None]
    assert (tmp_path / "net.pth").read_bytes() == new


@pytest.mark.parametrize(
    "status", [(404, "Not Found"), (403, "Forbidden"), (500, "Fault"), (204, "No Content")]
)
def test_an_answer_without_a_file(site: Site, tmp_path: Path, status: tuple[int, str]) -> None:
    site.status = status
    with pytest.raises(WeightsError, match=str(status[0])):
        get(site, tmp_path / "net.pth")
    assert names(tmp_path) == []


def test_an_error_keeps_what_had_arrived(site: Site, tmp_path: Path) -> None:
    cut_off(site, tmp_path / "net.pth")
    site.status = (503, "Busy \x1b[31m")
    with pytest.raises(WeightsError, match="503") as caught:
        get(site, tmp_path / "net.pth")
    assert str(caught.value).isprintable()
    assert (tmp_path / "net.pth.part" / "data").read_bytes() == BODY[:CUT]


def test_a_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    site.redirects["/old"] = "/net.pth"
    assert fetch(f"{site.url}/old", tmp_path / "net.pth", digest=DIGEST) == SHA256


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/net.pth", "data:,x", "gopher://x/"]
)
def test_a_redirect_to_another_scheme_is_refused(site: Site, tmp_path: Path, target: str) -> None:
    site.redirects["/net.pth"] = target
    with pytest.raises(WeightsError, match=r"expected http|not allowed"):
        get(site, tmp_path / "net.pth")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "target",
    [
        "http://[::1",
        "http://[zz]/",
        "http://a..b/",
        "http://a..b@127.0.0.1/",
        f"http://{'x' * 70}/net.pth",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
    ],
)
def test_a_redirect_to_no_address_is_one_line(site: Site, tmp_path: Path, target: str) -> None:
    site.redirects["/net.pth"] = target
    with pytest.raises(WeightsError) as caught:
        get(site, tmp_path / "net.pth")
    assert str(caught.value).isprintable() and f"{site.url}/net.pth" in str(caught.value)
    assert names(tmp_path) == []
    with pytest.raises(WeightsError):
        http_file.ask(target)


CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n%s\r\nnonsense\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "target", ["http://a..b/", f"http://{'x' * 70}/", "http://127.0.0.1:99999/", "http://a:b/"]
)
def test_what_is_no_address_is_named_before_anybody_is_asked(site: Site, tmp_path: Path, target: str) -> None:
    site.redirects["/net.pth"] = target
    with pytest.raises(WeightsError, match="is no address") as caught:
        get(site, tmp_path / "net.pth")
    assert target in str(caught.value)


@pytest.mark.parametrize("head", [b"200 OK\r\n", b"302 Found\r\nLocation: /net.pth\r\n"])
@pytest.mark.parametrize("size", [b"-5", b"-1", b"x", b"ffffffffff"])
def test_a_chunk_of_a_size_that_cannot_be_is_one_line(
    site: Site, tmp_path: Path, head: bytes, size: bytes
) -> None:
    site.raw = b"HTTP/1.1 " + head + CHUNKS % size
    with pytest.raises(WeightsError) as caught:
        get(site, tmp_path / "net.pth")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "net.pth").exists()


def test_redirects_in_a_circle_are_one_line(site: Site, tmp_path: Path) -> None:
    site.redirects["/net.pth"] = "/net.pth"
    with pytest.raises(WeightsError) as caught:
        get(site, tmp_path / "net.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "net.pth", "", "data:,x"])
def test_only_http_is_spoken(tmp_path: Path, url: str) -> None:
    with pytest.raises(WeightsError, match="https"):
        fetch(url, tmp_path / "net.pth", digest=DIGEST)
    assert names(tmp_path) == []


def test_what_is_encrypted_stays_so() -> None:
    http_file.check_address("https://there/x", before="https://here/x")
    http_file.check_address("https://there/x", before="http://here/x")
    with pytest.raises(WeightsError, match="not encrypted"):
        http_file.check_address("http://there/x", before="https://here/x")


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as gone:
        url = gone.url
    with pytest.raises(WeightsError, match="same command") as caught:
        fetch(f"{url}/net.pth", tmp_path / "net.pth", digest=DIGEST)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_silence_is_not_waited_for_for_ever(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_file, "TIMEOUT_SECONDS", 0.2)
    site.cut, site.stall = CUT, True
    with pytest.raises(WeightsError, match="same command"):
        get(site, tmp_path / "net.pth")
    site.go_on.set()
    site.cut, site.stall = None, False
    assert get(site, tmp_path / "net.pth") == SHA256


@pytest.mark.parametrize("length", [True, False])
def test_a_file_without_end(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: bool
) -> None:
    monkeypatch.setattr(http_file, "MAX_BYTES", CUT)
    site.length = length
    with pytest.raises(WeightsError, match=f"{CUT:,}"):
        get(site, tmp_path / "net.pth")
    assert names(tmp_path) == []
