from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest
import trio

from kacheryfs.cli import configuration, entry
from kacheryfs.cli.entry import report, sole_cause
from kacheryfs.errors import NotFoundError, ProofError


def test_an_error_of_ours_is_one_line_and_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(NotFoundError("nobody\nhas it"), 0) == 3
    assert capsys.readouterr().err == "kacheryfs: nobody has it\n"


def test_a_group_of_errors_is_told_by_the_one_that_matters() -> None:
    async def fail(exc: BaseException) -> None:
        raise exc

    async def main() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(fail, ValueError("a consequence"))
            inner.start_soon(fail, ProofError("the reason"))

    with pytest.raises(BaseException) as caught:  # noqa: PT011  - a group on 3.11, a backport's on 3.10
        trio.run(main)
    assert str(sole_cause(caught.value)) == "the reason"
    assert isinstance(sole_cause(KeyboardInterrupt()), KeyboardInterrupt)


def test_an_interrupt_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(KeyboardInterrupt(), 0) == 130
    assert capsys.readouterr().err == ""


def test_an_error_of_the_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(PermissionError(13, "Permission denied", "/some/where"), 0) == 1
    assert capsys.readouterr().err == "kacheryfs: /some/where: Permission denied\n"


def _fail(args: argparse.Namespace) -> int:
    raise ZeroDivisionError("a fault")


def test_a_fault_of_ours_is_one_line_that_asks_to_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "config", _fail)
    assert entry.main(["config"]) == 1
    words = capsys.readouterr().err
    assert words.count("\n") == 1
    assert "report" in words
    assert "ZeroDivisionError" in words


@pytest.mark.expects_warnings
def test_a_fault_of_ours_shows_its_traceback_with_v(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "config", _fail)
    assert entry.main(["-v", "config"]) == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(["config"], ""), (["config"], "1"), (["--help"], "")],  # argparse itself swallows what an unbuffered help meets
)
def test_a_full_disk_at_stdout_is_one_line_however_stdout_is_buffered(arguments: list[str], unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kacheryfs", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "kacheryfs: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_quiet(unbuffered: str) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kacheryfs", "config"],
            stdout=write_fd,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
            timeout=60,
        )
    finally:
        os.close(write_fd)
    assert (done.returncode, done.stderr) == (141, b"")
