"""A TCP proxy on loopback that adds a round trip and caps what comes down, for all connections together.

A program of its own: ``python -m benchmarks.proxy --target HOST:PORT --counters FILE`` prints its port and runs until
SIGTERM. The cap stands in the counters' file, and the bench may change it, or order lies, while it runs. Theory of
operation: one thread and ``select`` (its timeout counts microseconds, epoll's milliseconds). Each direction of a
connection is a ``Pipe``: what is read from the source is stamped with the time at which it arrives at the other end,
and written then. A source is read only while the line's backlog is short, as behind a router whose buffer holds
``BUFFER_S``; TCP does the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from .counters import Counters
from .line import Line, Rounds

READ_BYTES = 128 * 1024
"""One read: 1.3 ms of a line of 100 MB/s."""
BUFFER_S = 0.03
"""The router's buffer: 3 MB at 100 MB/s; shorter ones ran dry when another process held the CPU for a time slice."""
MIN_READ_BYTES = 1460
"""A slow line's bytes come packet by packet, not 128 KiB at once after half a second."""
MAX_UNREAD_BYTES = 8 * 1024 * 1024
"""What is kept of a connection whose receiver doesn't read."""
MAX_HEAD_BYTES = 4096
"""No answer here has a longer one: a lie is in the bytes, its head stays true."""


def read_bytes(line: Line) -> int:
    """Return how much of a source is read at once: no more than the router's buffer holds."""
    if line.rate_bytes_per_s is None:
        return READ_BYTES
    return min(READ_BYTES, max(MIN_READ_BYTES, int(line.rate_bytes_per_s * BUFFER_S)))


def falsify(data: bytes) -> bytes:
    """Change the last byte of what is longer than any head: every block of 256 KiB takes several reads."""
    return data[:-1] + bytes([data[-1] ^ 1]) if len(data) > MAX_HEAD_BYTES else data


class Pipe:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, line: Line, *, not_before: float) -> None:
        self.source, self.sink, self.line = source, sink, line
        self._not_before = not_before
        self._queue: deque[tuple[float, memoryview]] = deque()
        self._queued_bytes = 0
        self.has_ended = False  # the source has; what is queued still goes out
        self.is_blocked = False  # the sink takes nothing now
        self.is_done = False

    def wants(self, now: float) -> bool:
        return not self.has_ended and self._queued_bytes < MAX_UNREAD_BYTES and self.line.backlog_s(now) < BUFFER_S

    def next_event(self, now: float) -> float | None:
        """Return when something can be done without a socket becoming ready, None: never."""
        if self._queue and not self.is_blocked:
            return self._queue[0][0]
        excess_s = self.line.backlog_s(now) - BUFFER_S
        return now + excess_s if excess_s >= 0 and not self.has_ended else None

    def take(self, now: float, *, is_lying: bool = False) -> int:
        """Read from the source and put it on the line."""
        try:
            data = self.source.recv(read_bytes(self.line))
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        arrival = self.line.send(max(now, self._not_before), len(data))
        self._queue.append((arrival, memoryview(falsify(data) if is_lying else data)))
        self._queued_bytes += len(data)
        self.has_ended = not data
        return len(data)

    def give(self, now: float) -> int:
        """Write to the sink what has arrived; return the bytes."""
        n_given = 0
        while self._queue and self._queue[0][0] <= now:
            arrival, data = self._queue.popleft()
            if not data:
                self._finish()
                break
            n = self._write(data)
            n_given += n
            if n < len(data):
                self._queue.appendleft((arrival, data[n:]))
                self.is_blocked = True
                break
        self._queued_bytes -= n_given
        return n_given

    def _write(self, data: memoryview) -> int:
        try:
            return self.sink.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._finish()
            return len(data)

    def _finish(self) -> None:
        self._queue.clear()
        self.has_ended = self.is_done = True
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)


class Connection:
    """A client's connection and ours to the target; nothing goes up before the handshake's round trip is over."""

    def __init__(self, number: int, client: socket.socket, server: socket.socket, proxy: Proxy, now: float) -> None:
        self.number = number
        self.sockets = (client, server)
        for sock in self.sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.up = Pipe(client, server, proxy.up, not_before=now + proxy.up.delay_s + proxy.down.delay_s)
        self.down = Pipe(server, client, proxy.down, not_before=now)
        self.pipes = (self.up, self.down)
        self.is_asking = False  # a request went up, and nothing of its answer came down

    def close_if_done(self) -> bool:
        """Close once the client has everything, or is gone; a server that ended alone may still be read from."""
        if not (self.down.is_done or (self.up.is_done and self.down.has_ended)):
            return False
        for sock in self.sockets:
            sock.close()
        return True


class Proxy:
    """The loop and what it counts."""

    def __init__(self, target: tuple[str, int], counters: Counters, *, listen: tuple[str, int], delay_s: float) -> None:
        self._target = target
        self._counters = counters
        self._epoch = counters.get("epoch")
        self._rounds = Rounds()
        self.up, self.down = Line(delay_s, None), Line(delay_s, counters.get("rate_bytes_per_s") or None)
        self._listener = socket.create_server(listen, backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[Connection] = []
        self._n_connections = 0

    def run(self) -> None:
        while True:
            self._wait()
            self.down.set_rate(self._counters.get("rate_bytes_per_s") or None)
            now = time.monotonic()
            for connection in list(self._connections):
                self._serve(connection, now)
                if connection.close_if_done():
                    self._connections.remove(connection)

    def _pipes(self) -> Iterator[Pipe]:
        for connection in self._connections:
            yield from connection.pipes

    def _wait(self) -> None:
        now = time.monotonic()
        readers: list[socket.socket] = [pipe.source for pipe in self._pipes() if pipe.wants(now)]
        writers = [pipe.sink for pipe in self._pipes() if pipe.is_blocked]
        events = [event for pipe in self._pipes() if (event := pipe.next_event(now)) is not None]
        timeout = max(min(events) - now, 0.0) if events else None
        readable, writable, _ = select.select([self._listener, *readers], writers, [], timeout)
        self._readable = set(readable)
        for pipe in self._pipes():
            pipe.is_blocked = pipe.is_blocked and pipe.sink not in writable
        if self._listener in self._readable:
            self._accept()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            self._n_connections += 1
            self._connections.append(Connection(self._n_connections, client, server, self, time.monotonic()))
            self._counters.add("connections")
            self._current_rounds().connect(self._n_connections)

    def _current_rounds(self) -> Rounds:
        if (epoch := self._counters.get("epoch")) != self._epoch:
            self._epoch, self._rounds = epoch, Rounds()
        return self._rounds

    def _serve(self, connection: Connection, now: float) -> None:
        if connection.up.source in self._readable and (n := connection.up.take(now)):
            self._count_request(connection, n)
        if connection.down.source in self._readable:
            n_bytes = connection.down.take(now, is_lying=bool(self._counters.get("is_lying")))
            self._counters.add("down_bytes", n_bytes)
        connection.up.give(now)
        if connection.down.give(now) and connection.is_asking:
            connection.is_asking = False
            self._current_rounds().answer(connection.number)
            self._counters.set("rounds", self._rounds.answered)

    def _count_request(self, connection: Connection, n_bytes: int) -> None:
        self._counters.add("up_bytes", n_bytes)
        if not connection.is_asking:
            connection.is_asking = True
            self._counters.add("requests")
            self._current_rounds().ask(connection.number)


def _address(text: str) -> tuple[str, int]:
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--counters", type=Path, required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--delay-ms", type=float, default=10.0, help="each way")
    options = parser.parse_args()
    counters = Counters(options.counters)
    listen, target = _address(options.listen), _address(options.target)
    proxy = Proxy(target, counters, listen=listen, delay_s=options.delay_ms / 1e3)
    print(proxy.port, flush=True)
    proxy.run()


if __name__ == "__main__":
    main()
