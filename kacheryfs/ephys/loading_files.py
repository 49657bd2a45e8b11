"""A recording in one file: an NWB file, or a recording object of kachery's lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeinterface.core import BaseRecording

from ..errors import InputError, ProofError
from .remote_source import Source
from .safety_json import MAX_BYTES, parse_bounded_json

if TYPE_CHECKING:
    from ..app.embedded import Fetcher
    from ..core.request import FileRequest

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def load_file(fetcher: Fetcher, request: FileRequest, name: str) -> BaseRecording:
    """Return the recording in a file; InputError says what the file is instead, and what can be done with it."""
    with fetcher.open_file(request) as file:
        head = file.pread(0, 64)
    if head.startswith(_HDF5_MAGIC):
        return _load_nwb(Source(request), name)
    if head.lstrip()[:1] in (b"{", b'"'):
        value = parse_bounded_json(fetcher.read_small(request, MAX_BYTES), name)
        if isinstance(value, dict) and {"class", "kwargs"} <= value.keys():
            raise InputError(
                f"{name} is SpikeInterface's description alone, without the files that it reads: share the recording "
                "with kacheryfs.share_recording, or the folder that holds both"
            )
        from .lineage import load_lineage_recording

        return load_lineage_recording(fetcher, value)
    raise InputError(
        f"{name} is one file and no recording by itself: share the recording with kacheryfs.share_recording, or read "
        "the file through the mount (kacheryfs mount) or kacheryfs get"
    )


def _load_nwb(source: Source, name: str) -> BaseRecording:
    from .remote_nwb import RemoteNwbRecording

    try:
        return RemoteNwbRecording(source.to_json())
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, IndexError, OSError, RuntimeError) as exc:
        reason = str(exc).splitlines()[0][:300] if str(exc) else type(exc).__name__
        raise ProofError(f"{name} is an HDF5 file without one recording that can be told: {reason}") from exc
