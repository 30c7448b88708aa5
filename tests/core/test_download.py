"""Downloads from a server of our own: whole, cut off, gone on with, refused; half of one is never a file."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from bench.core import download, lock
from bench.core.download import Digest, fetch
from bench.core.errors import DiskError, UsageError, WeightsError
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


@pytest.mark.parametrize(
    "digest",
    [
        DIGEST,
        Digest("sha256", SHA256),
        Digest("md5", hashlib.md5(BODY).hexdigest()[:8]),
        Digest("md5", hashlib.md5(BODY).hexdigest()),
    ],
    ids=lambda digest: f"{digest.kind}-{len(digest.digits)}",
)
@pytest.mark.parametrize("length", [True, False])
def test_a_whole_file(site: Site, tmp_path: Path, digest: Digest, length: bool) -> None:
    site.length = length
    steps: list[tuple[int, int | None]] = []
    found = fetch(
        f"{site.url}/net.pth",
        tmp_path / "new" / "net.pth",
        digest=digest,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert found == SHA256
    assert (tmp_path / "new" / "net.pth").read_bytes() == BODY
    assert names(tmp_path) == ["new", "new/net.pth"]
    assert steps[0][0] == 0 and steps[-1] == (len(BODY), len(BODY) if length else None)


@pytest.mark.parametrize(
    "validators",
    [
        {"ETag": '"one"'},
        {"Last-Modified": "Wed, 04 Mar 2020 10:00:00 GMT"},
        {"ETag": 'W/"weak"', "Last-Modified": "Wed, 04 Mar 2020 10:00:00 GMT"},
    ],
)
def test_a_stopped_download_goes_on(site: Site, tmp_path: Path, validators: dict[str, str]) -> None:
    site.validators = validators
    cut_off(site, tmp_path / "net.pth")
    steps: list[int] = []
    fetch(
        f"{site.url}/net.pth",
        tmp_path / "net.pth",
        digest=DIGEST,
        progress=lambda done, _total: steps.append(done),
    )
    assert site.asked == [("/net.pth", f"bytes={CUT}-")]
    assert steps[0] == CUT
    assert (tmp_path / "net.pth").read_bytes() == BODY
    assert names(tmp_path) == ["net.pth"]


def test_it_goes_on_twice(site: Site, tmp_path: Path) -> None:
    cut_off(site, tmp_path / "net.pth")
    site.cut = 1000
    with pytest.raises(WeightsError, match=f"{CUT + 1000:,} of {len(BODY):,} bytes"):
        get(site, tmp_path / "net.pth")
    site.cut = None
    get(site, tmp_path / "net.pth")
    assert site.asked[-1] == ("/net.pth", f"bytes={CUT + 1000}-")
    assert (tmp_path / "net.pth").read_bytes() == BODY


def test_bytes_of_another_address_are_not_gone_on_from(site: Site, tmp_path: Path) -> None:
    cut_off(site, tmp_path / "net.pth")
    site.files["/moved/net.pth"] = BODY
    fetch(f"{site.url}/moved/net.pth", tmp_path / "net.pth", digest=DIGEST)
    assert site.asked == [("/moved/net.pth", None)]
    assert (tmp_path / "net.pth").read_bytes() == BODY


@pytest.mark.parametrize(
    "text", ["", "{", '{"url": 3}', "[]", '{"url": "x", "validator": "\\u0007", "size": 1}']
)
def test_a_damaged_note_begins_anew(site: Site, tmp_path: Path, text: str) -> None:
    cut_off(site, tmp_path / "net.pth")
    (tmp_path / "net.pth.part" / "said.json").write_text(text)
    get(site, tmp_path / "net.pth")
    assert site.asked == [("/net.pth", None)]
    assert (tmp_path / "net.pth").read_bytes() == BODY


def test_more_bytes_than_the_file_has_begin_anew(site: Site, tmp_path: Path) -> None:
    cut_off(site, tmp_path / "net.pth")
    (tmp_path / "net.pth.part" / "data").write_bytes(BODY + b"more")
    get(site, tmp_path / "net.pth")
    assert (tmp_path / "net.pth").read_bytes() == BODY


@pytest.mark.parametrize(("length", "asked"), [(True, []), (False, [("/net.pth", f"bytes={len(BODY)}-")])])
def test_a_whole_file_that_was_not_hashed_yet_is_not_downloaded_again(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    length: bool,
    asked: list[tuple[str, str]],
) -> None:
    site.length = length
    stop_before_the_hash(site, tmp_path / "net.pth", monkeypatch)
    assert get(site, tmp_path / "net.pth") == SHA256
    assert site.asked == asked
    assert names(tmp_path) == ["net.pth"]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_wrong_hash_keeps_nothing(site: Site, tmp_path: Path, resumed: bool) -> None:
    if resumed:
        cut_off(site, tmp_path / "net.pth")
    site.files["/net.pth"] = BODY[:CUT] + OTHER[CUT:]
    with pytest.raises(WeightsError) as caught:
        get(site, tmp_path / "net.pth")
    assert hashlib.sha256(site.files["/net.pth"]).hexdigest() in str(caught.value)
    assert DIGEST.digits in str(caught.value)
    assert names(tmp_path) == []


PAGE = b"<html>Please log in</html>"


def kept(folder: Path) -> bytes:
    """What the next download goes on from."""
    return (folder / "net.pth.part" / "data").read_bytes()


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("validators", [{}, {"ETag": '"page"'}])
def test_a_page_instead_of_the_file_leaves_what_had_arrived(
    site: Site, tmp_path: Path, length: bool, validators: dict[str, str]
) -> None:
    cut_off(site, tmp_path / "net.pth")
    before, site.validators = site.validators, validators
    site.files["/net.pth"], site.length = PAGE, length
    with pytest.raises(WeightsError, match=f"{CUT:,} bytes of before"):
        get(site, tmp_path / "net.pth")
    assert kept(tmp_path) == BODY[:CUT]
    site.files["/net.pth"], site.validators = BODY, before
    assert get(site, tmp_path / "net.pth") == SHA256
    assert site.asked[-1] == ("/net.pth", f"bytes={CUT}-")
    assert names(tmp_path) == ["net.pth"]


@pytest.mark.parametrize("cut", [CUT // 2, CUT, 2 * CUT])
@pytest.mark.parametrize("validators", [{}, {"ETag": '"two"'}])
def test_of_two_beginnings_the_longer_one_is_gone_on_from(
    site: Site, tmp_path: Path, cut: int, validators: dict[str, str]
) -> None:
    """The server's validator changed, as where several machines answer; without one nothing can go on."""
    cut_off(site, tmp_path / "net.pth")
    before, site.validators = site.validators, validators
    site.cut = cut
    with pytest.raises(WeightsError, match="same command"):
        get(site, tmp_path / "net.pth")
    longer = cut > CUT and bool(validators)
    assert kept(tmp_path) == BODY[: cut if longer else CUT]
    assert names(tmp_path / "net.pth.part") == [".lock", "data", "said.json"]
    site.validators, site.cut = (validators if longer else before), None
    assert get(site, tmp_path / "net.pth") == SHA256
    assert site.asked[-1] == ("/net.pth", f"bytes={cut if longer else CUT}-")


@pytest.mark.parametrize("size", [CUT // 2, 2 * CUT])
def test_a_beginning_that_a_killed_download_left(site: Site, tmp_path: Path, size: int) -> None:
    cut_off(site, tmp_path / "net.pth")
    part = tmp_path / "net.pth.part"
    (part / "new-data").write_bytes(BODY[:size])
    (part / "new-said.json").write_bytes((part / "said.json").read_bytes())
    assert get(site, tmp_path / "net.pth") == SHA256
    assert site.asked == [("/net.pth", f"bytes={max(size, CUT)}-")]
    assert names(tmp_path) == ["net.pth"]


def test_a_connection_that_breaks_before_an_end_that_was_not_said(site: Site, tmp_path: Path) -> None:
    site.length = False
    cut_off(site, tmp_path / "net.pth")
    site.cut = 1000
    with pytest.raises(WeightsError, match="same command"):
        get(site, tmp_path / "net.pth")
    site.cut = None
    assert get(site, tmp_path / "net.pth") == SHA256
    assert site.asked[-1] == ("/net.pth", f"bytes={CUT + 1000}-")
    assert names(tmp_path) == ["net.pth"]


def test_a_wrong_file_whose_end_was_not_said_is_forgotten_when_it_is_known_to_be_whole(
    site: Site, tmp_path: Path
) -> None:
    site.files["/net.pth"], site.length = OTHER, False
    with pytest.raises(WeightsError, match="same command"):
        get(site, tmp_path / "net.pth")
    assert kept(tmp_path) == OTHER
    with pytest.raises(WeightsError, match="Nothing was kept"):
        get(site, tmp_path / "net.pth")
    assert site.asked[-1] == ("/net.pth", f"bytes={len(OTHER)}-")
    assert names(tmp_path) == []


@pytest.mark.parametrize("head", [b'ETag: "one"\r\nTransfer-Encoding: chunked\r\n', b""])
def test_a_wrong_file_that_is_whole_or_cannot_go_on_is_not_kept(
    site: Site, tmp_path: Path, head: bytes
) -> None:
    site.raw = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n5\r\nwrong\r\n0\r\n\r\n"
    with pytest.raises(WeightsError, match="Nothing was kept"):
        get(site, tmp_path / "net.pth")
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(BODY)
    assert get(site, tmp_path / "net.pth") == SHA256
    assert get(site, tmp_path / "net.pth", force=True) == SHA256
    assert site.asked == []
    assert names(tmp_path) == ["net.pth"]


def test_another_file_is_replaced_only_when_asked(site: Site, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        get(site, tmp_path / "net.pth")
    assert (tmp_path / "net.pth").read_bytes() == b"mine"
    assert site.asked == []
    get(site, tmp_path / "net.pth", force=True)
    assert (tmp_path / "net.pth").read_bytes() == BODY


@pytest.mark.parametrize("force", [False, True])
def test_a_download_that_fails_replaces_nothing(site: Site, tmp_path: Path, force: bool) -> None:
    (tmp_path / "net.pth").write_bytes(b"mine")
    site.files["/net.pth"] = OTHER
    with pytest.raises((UsageError, WeightsError)):
        get(site, tmp_path / "net.pth", force=force)
    assert (tmp_path / "net.pth").read_bytes() == b"mine"


def test_wrong_places(site: Site, tmp_path: Path) -> None:
    (tmp_path / "net.pth").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "b.pth.part").write_text("mine")
    with pytest.raises(UsageError):
        get(site, tmp_path / "net.pth", force=True)
    for place in ("file/net.pth", "b.pth", "x" * 300):
        with pytest.raises(DiskError):
            get(site, tmp_path / place)
    assert names(tmp_path) == ["b.pth.part", "file", "net.pth"]
    assert site.asked == []


def test_a_full_disk(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_bytes: object) -> BinaryIO:
        return open("/dev/full", "ab")

    with monkeypatch.context() as patch:
        patch.setattr(download._Bytes, "append", full)
        with pytest.raises(DiskError, match=f"{len(BODY):,}") as caught:
            get(site, tmp_path / "net.pth")
    assert caught.value.exit_code == 9
    assert get(site, tmp_path / "net.pth") == SHA256


def test_of_two_at_once_one_downloads(site: Site, tmp_path: Path) -> None:
    site.cut, site.stall = CUT, True
    first = threading.Thread(target=get, args=(site, tmp_path / "net.pth"))
    first.start()
    assert site.stalled.wait(10)
    with pytest.raises(UsageError, match="in use"):
        get(site, tmp_path / "net.pth")
    site.go_on.set()
    first.join()
    assert len(site.asked) == 1
    assert (tmp_path / "net.pth").read_bytes() == BODY
    assert names(tmp_path) == ["net.pth"]


def test_what_another_process_brought_meanwhile_is_not_downloaded_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def held_before(folder: Path) -> Iterator[None]:
        with hold(folder):
            (tmp_path / "net.pth").write_bytes(BODY)
            yield

    hold = lock.hold
    monkeypatch.setattr(lock, "hold", held_before)
    assert get(site, tmp_path / "net.pth") == SHA256
    assert site.asked == []
    assert names(tmp_path) == ["net.pth"]


CODE = """
import sys
from pathlib import Path
from bench.core.download import Digest, fetch
fetch(sys.argv[1], Path(sys.argv[2]), digest=Digest("sha256", sys.argv[3]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_what_had_arrived(site: Site, tmp_path: Path, number: int) -> None:
    site.cut, site.stall = len(BODY) - 1, True
    url, path = f"{site.url}/net.pth", tmp_path / "net.pth"
    command = [sys.executable, "-c", CODE, url, str(path), DIGEST.digits]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        data = tmp_path / "net.pth.part" / "data"
        assert site.stalled.wait(20)
        while not data.exists() or data.stat().st_size < len(BODY) // 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(20) != 0
    there = data.stat().st_size
    assert data.read_bytes() == BODY[:there]
    site.go_on.set()
    site.cut, site.stall = None, False
    assert get(site, path) == SHA256
    assert site.asked[-1] == ("/net.pth", f"bytes={there}-")


@pytest.mark.parametrize(
    ("kind", "digits"), [("sha256", "1234567"), ("sha256", "ABCDEF01"), ("md5", SHA256), ("md5", "1234567g")]
)
def test_a_digest_that_is_none_is_our_own_fault(kind: str, digits: str) -> None:
    with pytest.raises(ValueError):
        Digest(kind, digits)  # type: ignore[arg-type]
