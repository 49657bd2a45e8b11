"""Answers commands at the running mount's socket: same user or root only, bounded in size, time and number."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from ..errors import InputError, KacheryError, MountError
from ..folders import make_private_folder
from .messages import COMMANDS, MAX_REQUEST_BYTES, Arguments, decode_request, encode_failure, encode_result
from .sockets import is_answered, listen, remove, user_of

log = logging.getLogger(__name__)

Handler = Callable[[Arguments], Awaitable[object]]
"""Carries out one command; its result must be JSON, its KacheryErrors reach the asker."""

MAX_CONNECTIONS = 32
REQUEST_TIMEOUT_S = 10.0
HANDLER_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 5.0


async def serve_control(
    path: Path,
    handlers: Mapping[str, Handler],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at ``path`` until cancelled, then remove it; ``handlers`` has one for each of ``messages.COMMANDS``."""
    assert handlers.keys() == COMMANDS.keys(), "every command has its handler"
    make_private_folder(path.parent)
    listening = await trio.to_thread.run_sync(lambda: listen(path, is_alive=is_answered))
    async with trio.SocketListener(trio.socket.from_stdlib_socket(listening)) as listener:
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                await _accept(listener, handlers, nursery)
        finally:
            remove(path)  # while we listen still: nobody can have put another there


async def _accept(listener: trio.SocketListener, handlers: Mapping[str, Handler], nursery: trio.Nursery) -> None:
    limiter = trio.Semaphore(MAX_CONNECTIONS)
    while True:
        await limiter.acquire()  # the rest waits in the kernel's queue
        stream = await listener.accept()
        nursery.start_soon(_attend, stream, handlers, limiter)


async def _attend(stream: trio.SocketStream, handlers: Mapping[str, Handler], limiter: trio.Semaphore) -> None:
    try:
        async with stream:
            if _is_allowed(stream):
                await _send(stream, await _answer(stream, handlers))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        log.debug("the asker left before it was answered")
    finally:
        limiter.release()


def _is_allowed(stream: trio.SocketStream) -> bool:
    uid = user_of(stream.socket)
    if uid in (os.geteuid(), 0):
        return True
    log.warning("user %d was refused at the control socket", uid)
    return False


async def _answer(stream: trio.SocketStream, handlers: Mapping[str, Handler]) -> bytes:
    try:
        request = decode_request(await _receive_line(stream))
        with trio.fail_after(HANDLER_TIMEOUT_S):
            return encode_result(await handlers[request.command](request.arguments))
    except KacheryError as exc:
        return encode_failure(exc)
    except trio.TooSlowError:
        return encode_failure(MountError("the mount was too slow to answer; its log may say why"))
    except trio.BrokenResourceError:
        raise
    except Exception:  # an outer edge: a fault in a command must not end the mount
        log.exception("a command at the control socket failed")
        return encode_failure(MountError("a fault of kacheryfs; the mount's log has the details"))


async def _receive_line(stream: trio.SocketStream) -> bytes:
    received = bytearray()
    with trio.fail_after(REQUEST_TIMEOUT_S):
        while not received.endswith(b"\n"):
            chunk = await stream.receive_some(64 * 1024)
            received += chunk
            if not chunk:
                raise InputError("the request broke off")
            if len(received) > MAX_REQUEST_BYTES:
                raise InputError(f"the request is over the limit of {MAX_REQUEST_BYTES} bytes")
    return bytes(received)


async def _send(stream: trio.SocketStream, answer: bytes) -> None:
    """Send, also while the mount ends: ``umount`` is answered when there is nothing left to serve."""
    with trio.move_on_after(ANSWER_TIMEOUT_S, shield=True):
        await stream.send_all(answer)
