"""Guess from one handle's reads which bytes will be wanted next: pure arithmetic, run for every read."""

from __future__ import annotations

from dataclasses import dataclass

from .model import ByteRange

STREAMS = 4
"""Places in one file that are followed at once: a sorter reads a recording at several times through one handle."""

SETTLED_BYTES = 384 * 1024
"""What a waveform snippet of 90 frames × 384 channels makes the kernel ask (three reads of 128 KiB). Only a reader that
goes on past it is read ahead of: a snippet must not cost MiBs."""

FAULT_BYTES = 128 * 1024
"""What a page fault makes the kernel ask at its usual read-ahead. Who reads 64 KiB here and there makes it ask less."""

FIRST_LEFT_BYTES = 3 * 1024 * 1024
"""What is on its way, at first, when the window moves on: 2 MB fill a line of 100 MB/s and 20 ms. With 2 MiB left it
fell idle at every step: 23 MB took 360 ms, not 322 (the line: 278)."""
FIRST_STEPS_BYTES = 4 * 1024 * 1024
"""All steps of the first window. In steps of 1 or 1.5 MiB from one provider runs overtake each other: 349 to 369 ms."""
FULL_AFTER_BYTES = 32 * 1024 * 1024
"""Past this a reader gets the whole window. A second of 384 channels (23 MB) must not: it would fetch 40 MB for it."""


@dataclass(slots=True)
class _Stream:
    next_byte: int
    read_bytes: int
    hinted_to: int
    n_reads: int = 1


class ReadPattern:
    """The sequential streams within one handle's reads."""

    def __init__(self, max_window_bytes: int) -> None:
        self._max_window_bytes = max_window_bytes
        self._streams: list[_Stream] = []  # Invariant: most recently used last, at most STREAMS

    def observe(self, span: ByteRange, n_steps: int = 2) -> ByteRange | None:
        """Take note of a read; return the bytes to fetch ahead now, None for nothing new.

        The window moves on in ``n_steps``: a hint per read would make runs of 128 KiB.
        """
        stream = self._follow(span)
        window, step = self._window_of(stream, n_steps)
        wanted_to = stream.next_byte + window
        start = max(stream.hinted_to, stream.next_byte)
        if not window or wanted_to - start < step:
            return None
        stream.hinted_to = wanted_to
        return ByteRange(start, wanted_to)

    @property
    def is_at_start(self) -> bool:
        """Whether what was read last follows nothing that was read before."""
        return not self._streams or self._streams[-1].n_reads == 1

    def _follow(self, span: ByteRange) -> _Stream:
        # The kernel keeps two reads under way, and they may arrive in either order.
        slack = max(256 * 1024, 2 * len(span))
        for stream in reversed(self._streams):
            if stream.next_byte - slack <= span.start <= stream.next_byte + slack:
                stream.read_bytes += max(span.stop - stream.next_byte, 0)
                stream.n_reads += span.stop > stream.next_byte  # the same one again, as after a wait, goes nowhere
                stream.next_byte = max(stream.next_byte, span.stop)
                self._streams.remove(stream)
                break
        else:
            stream = _Stream(span.stop, len(span), span.stop)
        self._streams.append(stream)
        del self._streams[:-STREAMS]
        return stream

    def _window_of(self, stream: _Stream, n_steps: int) -> tuple[int, int]:
        """Return how much to have ahead of the reader, and in which steps it moves on."""
        # One read is no sequence, however long: a kernel that reads 1 MiB ahead asks for that around a fault.
        if stream.read_bytes <= SETTLED_BYTES or stream.n_reads < 2:
            return 0, 0
        window = self._max_window_bytes
        if stream.read_bytes > FULL_AFTER_BYTES:
            return window, window // n_steps
        first_step = FIRST_STEPS_BYTES // n_steps
        return min(FIRST_LEFT_BYTES + first_step, window), min(first_step, window // n_steps)


def snippet_after(fault: ByteRange) -> ByteRange:
    """Return what a waveform snippet goes on to read whose first page fault makes the kernel ask for ``fault``."""
    return ByteRange(fault.stop, fault.start + SETTLED_BYTES)
