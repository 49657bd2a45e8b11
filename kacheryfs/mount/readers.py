"""A reader of bytes that lie in memory: the README and the empty file."""

from __future__ import annotations


class BytesReader:
    """Reads from ``data``; never waits."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_now(self, offset: int, n_bytes: int) -> memoryview:
        return memoryview(self._data)[offset : offset + n_bytes]

    async def read(self, offset: int, n_bytes: int) -> bytes:
        return self._data[offset : offset + n_bytes]

    def close(self) -> None:
        pass
