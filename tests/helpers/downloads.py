"""What the tests of downloads share: a file on a site, and downloads of it that stop."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench.core import download
from bench.core.download import Digest, fetch
from bench.core.errors import WeightsError
from tests.helpers.file_server import Site

BODY = bytes(range(256)) * 4000  # of four pieces
OTHER = BODY[::-1]
CUT = 300_000
SHA256 = hashlib.sha256(BODY).hexdigest()
DIGEST = Digest("sha256", SHA256[:8])


def get(site: Site, path: Path, *, digest: Digest = DIGEST, force: bool = False) -> str:
    return fetch(f"{site.url}/net.pth", path, digest=digest, force=force)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def cut_off(site: Site, path: Path) -> None:
    """A first download that breaks after CUT bytes."""
    site.cut = CUT
    with pytest.raises(WeightsError, match="same command"):
        get(site, path)
    assert not path.exists()
    assert (path.parent / "net.pth.part" / "data").read_bytes() == BODY[:CUT]
    site.cut = None
    site.asked.clear()


def stop_before_the_hash(site: Site, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: object, **_more: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_checked", stop)
        with pytest.raises(KeyboardInterrupt):
            get(site, path)
    assert (path.parent / "net.pth.part" / "data").read_bytes() == BODY
    site.asked.clear()
