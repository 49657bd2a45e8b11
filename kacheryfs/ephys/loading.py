"""``load_recording``: the recording behind a link, lazily, without a mount where that can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from spikeinterface.core import BaseRecording

from ..app.embedded import get_fetcher, request_of
from ..core.link import FileLink, TreeLink
from ..core.request import FileRequest
from ..core.strict_json import parse_strict_json
from ..core.tree import Tree
from ..errors import InputError, NotFoundError, ProofError
from .describing import FORMAT, MAX_DESCRIPTION_BYTES, decode_description
from .layouts import DESCRIPTION_FILE, RECORDING_FILE, RecordingDescription
from .loading_binary import load_binary_folder
from .loading_files import load_file
from .loading_folder import Folder
from .loading_hints import why_no_recording
from .loading_leaves import Leaves, is_zarr_recording
from .metadata import MAX_METADATA_BYTES, apply_metadata, decode_metadata
from .safety import Node, parse_description
from .safety_building import build
from .safety_json import MAX_BYTES
from .treefiles import check_format, parse_given_link

if TYPE_CHECKING:
    from ..app.embedded import Fetcher


def load_recording(link: str) -> BaseRecording:
    """Load a shared recording; its traces are fetched from the peers as they are read.

    Nothing that the link's maker wrote is executed: classes, arguments and files are held against a table of what
    SpikeInterface's own recordings may be, and anything else is refused with its reason.

    Parameters
    ----------
    link : str
        What ``share_recording`` returned (``sha1dir://H.label``), in any spelling, or a folder in a tree that holds
        such a recording. Also: a folder that SpikeInterface saved (binary or Zarr), an NWB file, and the recording
        objects of kachery's lineage (``sha1://H/recording.json``).

    Returns
    -------
    spikeinterface.core.BaseRecording
        With the channel ids, gains, offsets (to µV), probe (µm), properties, annotations, times (s) and segments of the
        original; ``get_traces`` gives frames × channels. It can be pickled, and be read in other processes
        (``n_jobs``). A read whose peers are all lost raises ``TimedOutError``, which names them.

    Raises
    ------
    KacheryError
        ``LinkError`` for what is no link; ``NotFoundError`` or ``UnreachableError`` where no peer has it;
        ``ProofError`` for a recording that is refused, with the reason; ``InputError`` for a link to something else;
        ``MountError`` where only SpikeInterface's own reader can make samples of the files, which takes paths, and no
        mount runs.

    Examples
    --------
    >>> import kacheryfs as kfs, spikeinterface as si
    >>> link = kfs.share_recording(si.generate_recording(num_channels=4, durations=[1.0]), label="example")
    >>> kfs.load_recording(link).get_traces(start_frame=0, end_frame=100).shape
    (100, 4)
    >>> kfs.load_recording("http://example.org/rec")
    Traceback (most recent call last):
        ...
    kacheryfs.errors.LinkError: 'http://example.org/rec' is not a link; a link is sha1://<40 hex>/<name>?manifest=<64 hex> or sha1dir://<40 hex>.<name>/<path>
    """  # noqa: E501
    parsed = parse_given_link(link)
    fetcher = get_fetcher()
    if isinstance(parsed, FileLink):
        return load_file(fetcher, FileRequest(parsed.sha1, parsed.manifest), parsed.label or parsed.sha1.hex)
    return _load_tree_link(fetcher, parsed)


def _load_tree_link(fetcher: Fetcher, link: TreeLink) -> BaseRecording:
    root = Folder(fetcher, TreeLink(link.sha1, link.label), fetcher.get_tree(link.sha1))
    found = root.tree.find(link.path)
    if found is None:
        raise NotFoundError(f"{'/'.join(link.path)}: not in the folder sha1 {link.sha1.short}")
    if isinstance(found, Tree):
        return load_folder(root.below(link.path))
    above = root.below(link.path[:-1])
    if link.path[-1] in (RECORDING_FILE, DESCRIPTION_FILE) and RECORDING_FILE in above.tree.files:
        return load_folder(above)
    return load_file(fetcher, request_of(found), link.path[-1])


def load_folder(folder: Folder) -> BaseRecording:
    """Return the recording that stands in a folder."""
    files = folder.tree.files
    if DESCRIPTION_FILE in files:
        return _load_described(folder, _read_description(folder))
    if RECORDING_FILE in files:
        return _build(folder, Leaves(folder))
    if "binary.json" in files:
        return load_binary_folder(folder)
    if is_zarr_recording(folder.tree):
        from .remote_zarr import RemoteZarrRecording

        return RemoteZarrRecording(str(folder.link))
    if {"raw.mda", "params.json"} <= files.keys():
        from .lineage import load_lineage_recording

        return load_lineage_recording(folder.fetcher, folder.link)
    raise InputError(why_no_recording(folder))


def _read_description(folder: Folder) -> RecordingDescription:
    data = folder.files.read((DESCRIPTION_FILE,), MAX_DESCRIPTION_BYTES)
    what = DESCRIPTION_FILE
    value = parse_strict_json(data, what=what, max_bytes=MAX_DESCRIPTION_BYTES, has_fractions=True)
    check_format(value, FORMAT, "recording")
    return decode_description(data)


def _load_described(folder: Folder, description: RecordingDescription) -> BaseRecording:
    recording = _build(folder, Leaves(folder, description.binary))
    _check_summary(recording, description)
    if description.metadata is not None:
        metadata = decode_metadata(folder.files.read(description.metadata, MAX_METADATA_BYTES))
        try:
            apply_metadata(metadata, recording)
            if np.array_equal(metadata.channel_ids, recording.channel_ids):
                recording._main_ids = metadata.channel_ids  # the same ids, in the original's dtype
        except (ValueError, TypeError, KeyError, AssertionError, AttributeError, IndexError) as exc:
            raise ProofError(f"the recording's metadata don't fit it: {str(exc).splitlines()[0][:200]}") from exc
    return recording


def _build(folder: Folder, leaves: Leaves) -> BaseRecording:
    top: Node = parse_description(folder.files.read((RECORDING_FILE,), MAX_BYTES), folder.tree)
    leaves.check(top)
    return build(top, leaves.load)


def _check_summary(recording: BaseRecording, description: RecordingDescription) -> None:
    """Hold what was built against what was shared: another version of SpikeInterface may build another thing."""
    summary = description.summary
    n_frames = tuple(recording.get_num_samples(index) for index in range(recording.get_num_segments()))
    found = (recording.get_num_channels(), n_frames)
    if found != (summary.n_channels, summary.n_frames):
        raise ProofError(
            f"the recording loads with {found[0]} channels and {sum(n_frames)} frames, and was shared with "
            f"{summary.n_channels} and {sum(summary.n_frames)}, by SpikeInterface {description.spikeinterface}"
        )
