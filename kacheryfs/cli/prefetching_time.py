"""``prefetch --time``: which bytes of a recording's files some seconds are, and reading those that lie otherwise."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.model import ByteRange
from ..core.quantities import parse_duration_s
from ..core.request import FileRequest, request_of
from ..core.strict_json import parse_strict_json
from ..core.tree import Tree
from ..ephys.describing import FORMAT, MAX_DESCRIPTION_BYTES, decode_description
from ..ephys.layouts import DESCRIPTION_FILE
from ..ephys.recognising import has_spikeinterface
from ..ephys.spans import spans_of_time
from ..errors import InputError, KacheryError, ProofError
from .keeping_files import Failure, Folder, Listing, Wanted, read_all
from .progress import Progress
from .terminal import say

if TYPE_CHECKING:
    from ..config import Settings
    from ..fetch.engine import Engine

Times = tuple[float, float | None]

MAX_WHOLE_BYTES = 16 * 1024 * 1024
"""A recording's other files (headers, metadata, probes), all together, come along up to this. More than that holds
samples: Zarr's chunks, an HDF5 file."""


def parse_times(text: str) -> Times:
    """Read ``S:E`` in seconds, or as ``1 min:90 s``; a missing S is 0, a missing E the end."""
    first, colon, last = text.partition(":")
    try:
        start_s = parse_duration_s(first.strip()) if first.strip() else 0.0
        stop_s = parse_duration_s(last.strip()) if last.strip() else None
    except ValueError as exc:
        raise InputError(f"--time {text[:80]!r}: write S:E in seconds, for example 10:12.5 ({exc})") from exc
    if not colon or (stop_s is not None and stop_s <= start_s):
        raise InputError(f"--time {text[:80]!r}: write S:E in seconds, E after S; for example 10:12.5")
    return start_s, stop_s


@dataclass(frozen=True, slots=True)
class Cut:
    """What to fetch of the recordings in a listing.

    ``spans`` are those of flat files; files that aren't in it are fetched whole. ``unflat`` are recordings with samples
    that lie otherwise: what isn't flat of them is taken out of the listing, and their seconds are to be read.
    """

    spans: dict[Wanted, list[ByteRange]] = field(default_factory=lambda: defaultdict(list))
    unflat: list[Folder] = field(default_factory=list)


class Cutter:
    """Finds out what to fetch of the recordings in a listing, and takes the rest of them out of it."""

    def __init__(self, engine: Engine, listing: Listing, times: Times, failures: list[Failure]) -> None:
        """What can't be cut is told among ``failures``."""
        self._engine = engine
        self._listing = listing
        self._times = times
        self._failures = failures
        self._cut = Cut()
        self._whole = set(listing.named)
        self._left_out: set[FileRequest] = set()
        self._n_recordings = 0

    async def cut(self) -> Cut:
        """Return what to fetch; InputError where there is no recording."""
        for folder in self._listing.folders:
            await self._cut_one(folder, {request_of(entry) for _, entry in folder.tree.walk()})
        if not self._n_recordings and not self._failures:
            raise InputError("--time needs the link of a recording, or of a collection: `kacheryfs share` tells it")
        wanted = self._listing.wanted
        for request in self._whole:  # whoever wants all of a file gets more than a part of it
            self._cut.spans.pop(wanted[request], None)
        for request in self._left_out - self._whole - {one.request for one in self._cut.spans}:
            del wanted[request]
        return self._cut

    async def _cut_one(self, folder: Folder, requests: set[FileRequest]) -> None:
        """Enter one folder's spans, and which of its files are wanted whole or not at all."""
        try:
            spans = await _find_spans(self._engine, folder.tree, self._times)
        except KacheryError as exc:
            self._failures.append(Failure(folder.name, str(folder.link), exc))
            self._left_out |= requests
            return
        self._n_recordings += spans is not None
        for request, ranges in (spans or {}).items():
            self._cut.spans[self._listing.wanted[request]] += ranges
        others = requests - (spans or {}).keys()
        if spans is None or sum(one.size_bytes or 0 for one in others) <= MAX_WHOLE_BYTES:
            self._whole |= others
        else:
            self._cut.unflat.append(folder)
            self._left_out |= others


async def _find_spans(engine: Engine, tree: Tree, times: Times) -> dict[FileRequest, list[ByteRange]] | None:
    """Return the bytes of each flat file; None where the folder is no recording of kacheryfs."""
    entry = tree.files.get(DESCRIPTION_FILE)
    if entry is None or entry.size_bytes > MAX_DESCRIPTION_BYTES:
        return None
    data = await read_all(engine, request_of(entry))
    value = parse_strict_json(data, what=DESCRIPTION_FILE, max_bytes=MAX_DESCRIPTION_BYTES, has_fractions=True)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return None
    spans = spans_of_time(decode_description(data), *times)
    return {_request_at(tree, path): ranges for path, ranges in spans.items()}


def _request_at(tree: Tree, path: tuple[str, ...]) -> FileRequest:
    entry = tree.find(path)
    if entry is None or isinstance(entry, Tree):
        raise ProofError(f"{DESCRIPTION_FILE} names {'/'.join(path)[:200]}, which is no file of its folder")
    return request_of(entry)


def read_seconds(folders: Sequence[Folder], times: Times, settings: Settings, failures: list[Failure]) -> None:
    """Read those seconds as SpikeInterface does, from the kept peers: what is read stays in the store."""
    os.environ.update(settings.flags_as_variables())  # the embedded fetcher goes by the environment
    for folder in folders:
        say(f"{folder.name}: its samples don't lie flat, so these seconds are read by SpikeInterface")
        try:
            _read(str(folder.link), times)
        except KacheryError as exc:
            failures.append(Failure(folder.name, str(folder.link), exc))


def _read(link: str, times: Times) -> None:
    if not has_spikeinterface():
        raise InputError("SpikeInterface isn't installed: pip install 'kacheryfs[spikeinterface]', or leave --time out")
    from ..ephys.loading import load_recording

    recording = load_recording(link)
    rate_hz = recording.get_sampling_frequency()
    with Progress("read") as progress:
        for segment in range(recording.get_num_segments()):
            for start, stop in _seconds_of(times, rate_hz, recording.get_num_samples(segment)):
                traces = recording.get_traces(segment_index=segment, start_frame=start, end_frame=stop)
                progress.advance(traces.nbytes)


def _seconds_of(times: Times, rate_hz: float, n_frames: int) -> Iterator[tuple[int, int]]:
    """Yield the frames of each second: so much is in memory at once."""
    start_s, stop_s = times
    last = n_frames if stop_s is None else min(math.ceil(stop_s * rate_hz), n_frames)
    for start in range(math.floor(start_s * rate_hz), last, math.ceil(rate_hz)):
        yield start, min(start + math.ceil(rate_hz), last)
