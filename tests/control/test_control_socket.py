"""The control socket over a real socket: who may ask, what comes back, and what is bounded."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from kacheryfs.control.client import ask
from kacheryfs.control.messages import COMMANDS, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Arguments
from kacheryfs.control.server import MAX_CONNECTIONS, Handler, serve_control
from kacheryfs.control.sockets import connect, is_answered, list_sockets, listen, socket_path
from kacheryfs.errors import ConfigError, InputError, MountError, NotFoundError

Ask = Callable[..., Awaitable[object]]


def _echo(command: str) -> Handler:
    async def handle(arguments: Arguments) -> object:
        return {"command": command, "arguments": dict(arguments)}

    return handle


def _handlers(**changed: Handler) -> dict[str, Handler]:
    return {command: _echo(command) for command in COMMANDS} | changed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return socket_path(tmp_path / "run", "/mnt/kachery")


def _is_there(path: Path) -> bool:
    return path.exists()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _let_everybody_in(path: Path) -> None:
    path.parent.chmod(0o755)
    path.chmod(0o666)


async def _ask(path: Path, command: str, /, **arguments: object) -> object:
    return await trio.to_thread.run_sync(lambda: ask(path, command, timeout_s=30, **arguments))


async def _send_raw(path: Path, data: bytes) -> dict[str, object]:
    """Send bytes and return the answer; through trio, so that a mock clock sees who waits."""
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        with trio.move_on_after(5):
            await stream.send_all(data)
        received = b""
        while chunk := await stream.receive_some(65536):
            received += chunk
    return json.loads(received) if received else {}


async def test_every_command_reaches_its_handler_with_its_arguments(path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve_control, path, _handlers())
    for command, wanted in COMMANDS.items():
        arguments = {name: kinds[-1]("x") if kinds[-1] is not type(None) else None for name, kinds in wanted.items()}
        assert await _ask(path, command, **arguments) == {"command": command, "arguments": arguments}


async def test_names_that_are_not_utf8_survive(path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve_control, path, _handlers())
    name = os.fsdecode(b"sha1dir/x/invalid-\xff")
    answer = await _ask(path, "why", path=name)
    assert answer == {"command": "why", "arguments": {"path": name}}


async def test_an_error_of_a_handler_is_the_askers(path: Path, nursery: trio.Nursery) -> None:
    async def fail(arguments: Arguments) -> object:
        raise NotFoundError("nobody has it")

    await nursery.start(serve_control, path, _handlers(why=fail))
    with pytest.raises(NotFoundError, match="nobody has it"):
        await _ask(path, "why", path="x")


@pytest.mark.expects_warnings
async def test_a_fault_in_a_handler_does_not_end_the_server(path: Path, nursery: trio.Nursery) -> None:
    async def fail(arguments: Arguments) -> object:
        raise ZeroDivisionError

    await nursery.start(serve_control, path, _handlers(why=fail))
    with pytest.raises(MountError, match="fault"):
        await _ask(path, "why", path="x")
    assert await _ask(path, "status") == {"command": "status", "arguments": {}}


async def test_a_handler_that_never_ends_is_cut(
    path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def hang(arguments: Arguments) -> object:
        return await trio.sleep_forever()

    await nursery.start(serve_control, path, _handlers(status=hang))
    answer = await _send_raw(path, b'{"kacheryfs": 1, "command": "status", "arguments": {}}\n')
    assert answer["kind"] == "MountError"


async def test_a_silent_asker_is_cut(path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    await nursery.start(serve_control, path, _handlers())
    for data in (b"", b'{"kacheryfs": 1'):
        assert (await _send_raw(path, data))["kind"] == "MountError"


async def test_idle_askers_do_not_lock_the_others_out(
    path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    await nursery.start(serve_control, path, _handlers())
    idle = [await trio.open_unix_socket(str(path)) for _ in range(MAX_CONNECTIONS + 5)]
    answer = await _send_raw(path, b'{"kacheryfs": 1, "command": "status", "arguments": {}}\n')
    assert "result" in answer
    for stream in idle:
        await stream.aclose()


@pytest.mark.parametrize(
    "line", [b"\n", b"status\n", b"[]\n", b"\xff\n", b'{"kacheryfs": 9}\n', b"[" * 100_000 + b"\n"]
)
async def test_what_is_no_request_is_answered_so(path: Path, nursery: trio.Nursery, line: bytes) -> None:
    await nursery.start(serve_control, path, _handlers())
    answer = await _send_raw(path, line)
    assert answer["kind"] == "InputError"


async def test_a_request_that_is_too_long_is_refused(path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve_control, path, _handlers())
    with pytest.raises((InputError, MountError)):
        await _ask(path, "why", path="x" * MAX_REQUEST_BYTES)
    assert await _ask(path, "status")


async def test_an_answer_that_is_too_long_is_an_error(path: Path, nursery: trio.Nursery) -> None:
    async def overflow(arguments: Arguments) -> object:
        return "x" * MAX_ANSWER_BYTES

    await nursery.start(serve_control, path, _handlers(status=overflow))
    with pytest.raises(MountError, match="limit"):
        await _ask(path, "status")


async def test_an_asker_that_leaves_disturbs_nobody(path: Path, nursery: trio.Nursery) -> None:
    left = trio.Event()

    async def wait(arguments: Arguments) -> object:
        await left.wait()
        return "x" * 1_000_000

    await nursery.start(serve_control, path, _handlers(status=wait))
    stream = await trio.open_unix_socket(str(path))
    await stream.send_all(b'{"kacheryfs": 1, "command": "status", "arguments": {}}\n')
    await trio.testing.wait_all_tasks_blocked()
    await stream.aclose()
    left.set()
    assert await _ask(path, "peer-list")


async def test_umount_is_answered_though_the_server_ends(path: Path) -> None:
    async with trio.open_nursery() as outer, trio.open_nursery() as serving:

        async def end(arguments: Arguments) -> object:
            serving.cancel_scope.cancel()
            return "unmounted"

        await serving.start(serve_control, path, _handlers(umount=end))
        answers: list[object] = []

        async def asking() -> None:
            answers.append(await _ask(path, "umount", force=True))

        outer.start_soon(asking)
    assert answers == ["unmounted"]
    assert not _is_there(path)


async def test_the_folder_and_the_socket_are_only_ours(path: Path, nursery: trio.Nursery) -> None:
    path.parent.mkdir(mode=0o755)
    await nursery.start(serve_control, path, _handlers())
    assert [_mode(path.parent), _mode(path)] == [0o700, 0o600]


async def test_a_folder_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        await serve_control(path, _handlers())


ASK_AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(b'{"kacheryfs": 1, "command": "status", "arguments": {}}\\n')
print(sock.recv(1000))
"""


@pytest.mark.expects_warnings
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused_by_the_kernels_word(nursery: trio.Nursery) -> None:
    folder = Path(f"/tmp/kacheryfs-test-{os.getpid()}")
    path = socket_path(folder, "/mnt/kachery")
    try:
        await nursery.start(serve_control, path, _handlers())
        _let_everybody_in(path)
        done = await trio.run_process(
            [sys.executable, "-c", ASK_AS_NOBODY, str(path)], capture_stdout=True, capture_stderr=True, check=False
        )
        assert (done.returncode, done.stdout.strip()) in ((0, b"b''"), (1, b""))  # closed unanswered
        assert done.stderr == b"" or b"ConnectionResetError" in done.stderr or b"BrokenPipeError" in done.stderr
        assert await _ask(path, "status")
    finally:
        nursery.cancel_scope.cancel()
        shutil.rmtree(folder)


async def test_a_long_path_is_no_obstacle(tmp_path: Path, nursery: trio.Nursery) -> None:
    path = socket_path(tmp_path / ("a" * 150) / ("b" * 150), "/mnt/kachery")
    await nursery.start(serve_control, path, _handlers())
    assert await _ask(path, "status")


async def test_a_socket_that_nobody_answers_at_is_replaced(path: Path, nursery: trio.Nursery) -> None:
    path.parent.mkdir(mode=0o700)
    listen(path, is_alive=is_answered).close()
    assert _is_there(path)
    await nursery.start(serve_control, path, _handlers())
    assert await _ask(path, "status")


async def test_a_socket_that_is_answered_is_not_taken_over(path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve_control, path, _handlers())
    with pytest.raises(MountError, match="already"):
        await serve_control(path, _handlers())
    assert await _ask(path, "status")
    assert list_sockets(path.parent) == [path]


def test_mountpoints_have_sockets_of_their_own(tmp_path: Path) -> None:
    names = {socket_path(tmp_path, mountpoint) for mountpoint in ("/a", "/b", os.fsdecode(b"/\xff"))}
    assert len(names) == 3


def test_asking_where_no_mount_runs_says_what_to_do(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(MountError, match="kacheryfs mount"):
            ask(path, "status")
        path.parent.mkdir(exist_ok=True)


def test_a_command_that_is_wrong_is_refused_before_anybody_is_asked(path: Path) -> None:
    with pytest.raises(InputError):
        ask(path, "shutdown")
    with pytest.raises(InputError):
        ask(path, "why")


@pytest.mark.parametrize(
    ("answer", "words"), [(b"", "ended"), (b"x" * (MAX_ANSWER_BYTES + 10), "limit"), (None, "within")]
)
def test_a_mount_that_answers_badly_is_said_to(path: Path, answer: bytes | None, words: str) -> None:
    path.parent.mkdir(mode=0o700)
    with listen(path, is_alive=is_answered) as listening:

        def serve() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.recv(1000)
                try:
                    sock.sendall(answer or b"")
                except (BrokenPipeError, ConnectionResetError):
                    return
                if answer is None:
                    sock.recv(1000)  # until the asker gives up

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(MountError, match=words):
            ask(path, "status", timeout_s=0.2 if answer is None else 30)
        thread.join()


def test_a_connection_is_an_ordinary_socket(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with listen(path, is_alive=is_answered), connect(path, 1.0) as sock:
        assert sock.family == socket.AF_UNIX
