from __future__ import annotations

import io
import sys

import pytest

from kacheryfs.cli import progress
from kacheryfs.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_where_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    with Progress("get", 10) as bar:
        bar.advance(10)
    assert capsys.readouterr().err == ""
    assert bar.done_bytes == 10


def test_a_terminal_is_shown_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with Progress("get [it]", 4_000_000) as bar:
        bar.advance(1_000_000)
        bar.set(3_000_000, 4_000_000)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "get [it]" in shown
    assert "4.0 MB" in shown


def test_what_is_done_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("get", 10) as bar:
        bar.advance(10)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
