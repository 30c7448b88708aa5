"""Progress where stderr is no terminal, and the silence of all but the first process."""

import pytest

from bench.core import log


def test_the_end_is_always_said(capsys: pytest.CaptureFixture[str]) -> None:
    with log.progress("Counting", 3) as bar:
        for done in (1, 2, 3):
            bar.update(done, f"note {done}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "3 of 3" in lines[0]
    assert "note 3" in lines[0]


def test_a_total_may_become_known_later(capsys: pytest.CaptureFixture[str]) -> None:
    with log.progress("Reading", 1) as bar:
        bar.update(1, total=40)
        bar.update(40, total=40)
    assert "40 of 40" in capsys.readouterr().err


def test_silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(log, "_silent", False)
    log.silence()
    log.say("nobody hears this")
    with log.progress("Counting", 1) as bar:
        bar.update(1)
    assert capsys.readouterr().err == ""
