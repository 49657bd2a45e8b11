"""Runs a command of ours in the background: a fresh process that tells by a pipe when it can be used.

A fresh process instead of a fork: what was imported may have started threads. It gets no descriptor but the pipe, a
session of its own, and a log file for stdout and stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import KacheryError

log = logging.getLogger(__name__)

MAX_LOG_BYTES = 10 * 1024 * 1024
"""A log over this is put aside (``.1``) when the next run begins."""
MAX_WORD_BYTES = 64 * 1024
HOME = Path(__file__).parent.parent
"""Where a process of ours starts: -m puts the current folder first on the path, and the user's may hold a trio.py."""


class BackgroundError(KacheryError):
    """The process in the background did not come up; message and exit code are its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ReadyPipe:
    """The background process's end of the pipe: says once how its start went."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)  # fusermount3 must not hold it open

    def tell_ready(self, *lines: str) -> None:
        """Say that all is well, with what the person at the terminal shall read."""
        self._tell({"ready": True, "lines": lines})

    def tell_failed(self, message: str, exit_code: int) -> None:
        self._tell({"ready": False, "message": message, "exit_code": exit_code})

    def _tell(self, word: Mapping[str, object]) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "wb") as pipe:  # who started us may be gone
            pipe.write(json.dumps(word).encode())


def tell_service_manager() -> None:
    """Tell systemd, where it started us, that we can be used (sd_notify(3)); children of ours shall not."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
    except OSError as exc:
        log.warning("systemd can't be told that the service is ready: %s", exc.strerror)


def find_journal() -> str | None:
    """Return how to read our log where systemd's journal takes it (JOURNAL_STREAM in systemd.exec(5)), else None."""
    stderr = os.fstat(2)
    if os.environ.get("JOURNAL_STREAM") != f"{stderr.st_dev}:{stderr.st_ino}":
        return None
    return f"journalctl --user _PID={os.getpid()}"


def run_in_background(arguments: Sequence[str], log_path: Path) -> list[str]:
    """Start ``kacheryfs ARGUMENTS --ready-fd N`` and wait; returns the lines that it told, else BackgroundError."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as pipe:
        try:
            process = _start([*arguments, "--ready-fd", str(write_fd)], log_path, write_fd)
        finally:
            os.close(write_fd)
        try:
            word = pipe.read(MAX_WORD_BYTES)
        except KeyboardInterrupt:
            process.terminate()
            raise
    try:
        lines = read_word(word, f"the process in the background ended early; its log: {log_path}")
    except BackgroundError:
        process.wait()
        raise
    process.returncode = 0  # it goes on without us: nobody waits for it
    return lines


def _start(arguments: Sequence[str], log_path: Path, ready_fd: int) -> subprocess.Popen[bytes]:
    _put_aside(log_path)
    with open(log_path, "ab", opener=_open_private) as log:
        return subprocess.Popen(
            command_of(arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_fd,),
            start_new_session=True,
            cwd=HOME,
            env=absolute_environment(os.environ),
        )


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _put_aside(log_path: Path) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log_path.exists() and log_path.stat().st_size > MAX_LOG_BYTES:
        log_path.replace(log_path.with_name(log_path.name + ".1"))


def absolute_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Make relative folders and files in the environment hold in another working directory too."""
    return {
        name: os.path.abspath(value)
        if value and name.startswith("KACHERYFS_") and name.endswith(("DIR", "FILE"))
        else value
        for name, value in environ.items()
    }


def command_of(arguments: Sequence[str]) -> list[str]:
    """Return the command line of another process of ours, to be run in ``HOME``."""
    return [sys.executable, "-m", __package__, *arguments]


def read_word(word: bytes, why_none: str) -> list[str]:
    """Return the lines that a process told by its ReadyPipe, else BackgroundError (``why_none`` if it told nothing)."""
    if not word:
        raise BackgroundError(why_none, 8)
    answer = json.loads(word)
    if not answer["ready"]:
        raise BackgroundError(answer["message"], answer["exit_code"])
    return list(answer["lines"])
