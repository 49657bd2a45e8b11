"""Share what was made of a loaded recording: its files stand in the new tree by their digests, none is fetched whole.

``load_recording`` reads files behind links through classes of kacheryfs. In the new ``recording.json`` the extractors
of SpikeInterface stand that read the same from files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import spikeinterface

from ..app.embedded import get_fetcher
from ..core.link import parse_link
from ..core.request import FileRequest
from ..core.tree import FileEntry, Tree
from ..errors import InputError
from .describing import take_place
from .fields import Fields
from .layouts import BinaryLayout, Hdf5Segment, SegmentLayout, TreePath
from .remote_source import Source
from .sharing_json import Description, Leaf, reads_links

FOLDER = "linked"
_SOURCE = ("link", "size_bytes")
_CORE = "spikeinterface.core"
_OTHERWISE = (
    "this recording reads from a link in a way that stock SpikeInterface can't: pass that link on, or save the "
    "recording with recording.save(folder=…) and share what that returns"
)


@dataclass(slots=True)
class Linked:
    """What the links of a chain put into the new tree."""

    files: dict[TreePath, FileEntry] = field(default_factory=dict)
    layouts: list[BinaryLayout] = field(default_factory=list)

    def add_file(self, value: object, ending: str) -> tuple[TreePath, FileEntry]:
        request = Source.parse(value).request
        names = (FOLDER, f"{request.sha1.hex[:16]}.{ending}")
        entry = FileEntry(_size_of(request), request.sha1, request.manifest)
        self.files[names] = entry
        return names, entry


def _size_of(request: FileRequest) -> int:
    if request.size_bytes is not None:
        return request.size_bytes
    with get_fetcher().open_file(request) as file:
        return file.size_bytes


def replace_links(description: Description, leaves: list[Leaf]) -> tuple[Description, Linked]:
    """Return the description with stock extractors in place of those that read links."""
    linked = Linked()
    for leaf in leaves:
        if reads_links(leaf.extractor):
            description = _replaced(description, leaf.at, functools.partial(_stock, leaf=leaf, linked=linked))
    return description, linked


def _replaced(value: Any, at: tuple[str | int, ...], change: Callable[[Any], Any]) -> Any:
    """Return a copy of nested lists and dicts with one place changed."""
    if not at:
        return change(value)
    copied = value.copy()
    copied[at[0]] = _replaced(value[at[0]], at[1:], change)
    return copied


def _stock(value: Description, *, leaf: Leaf, linked: Linked) -> Description:
    make = _MAKERS.get(type(leaf.extractor).__name__)
    if make is None:
        raise InputError(_OTHERWISE)
    return make(value, leaf, linked)


def _described(value: Description, name: str, kwargs: dict[str, Any]) -> Description:
    about = {"class": name, "module": "spikeinterface", "version": spikeinterface.__version__, "kwargs": kwargs}
    return {**value, **about}


def _from_zarr(value: Description, leaf: Leaf, linked: Linked) -> Description:
    link = parse_link(value["kwargs"]["tree"])
    tree = get_fetcher().open_link(link)
    assert isinstance(tree, Tree)
    folder = (FOLDER, f"{link.sha1.hex[:16]}{len(linked.files)}.zarr")
    linked.files.update({(*folder, *names): entry for names, entry in tree.walk()})
    return _described(value, f"{_CORE}.zarrextractors.ZarrRecordingExtractor", {"folder_path": "/".join(folder)})


def _from_nwb(value: Description, leaf: Leaf, linked: Linked) -> Description:
    kwargs = dict(value["kwargs"])
    names, _ = linked.add_file(kwargs.pop("source"), "nwb")
    name = "spikeinterface.extractors.nwbextractors.NwbRecordingExtractor"
    return _described(value, name, {"file_path": "/".join(names), **kwargs})


def _from_hdf5(value: Description, leaf: Leaf, linked: Linked) -> Description:
    """Put the format's own extractor in place, which was told of in the share that this was loaded from."""
    kwargs = value["kwargs"]
    files = [linked.add_file({key: each[key] for key in _SOURCE if key in each}, "h5") for each in kwargs["segments"]]
    names = {names for names, _ in files}
    if kwargs["stock"] is None or len(names) != 1:
        raise InputError(_OTHERWISE)
    segments = tuple(
        Hdf5Segment(file, take_place(Fields.of(dict(each), "a segment")), each["t_start"])
        for (file, _), each in zip(files, kwargs["segments"], strict=True)
    )
    columns = None if kwargs["columns"] is None else tuple(kwargs["columns"])
    about = (kwargs["sampling_frequency"], kwargs["dtype"], tuple(kwargs["channel_ids"]), kwargs["n_columns"], columns)
    linked.layouts.append(BinaryLayout(leaf.at, *about, segments))
    path = "/".join(names.pop())
    return _described(value, kwargs["stock"]["class"], {**kwargs["stock"]["kwargs"], "file_path": path})


def _from_binary(value: Description, leaf: Leaf, linked: Linked) -> Description:
    """Put a binary extractor of all columns in place, and a slice of channels over it where some are not read."""
    layout = _layout(value["kwargs"], leaf, linked)
    first = layout.segments[0]
    assert isinstance(first, SegmentLayout)
    kwargs = {
        "file_paths": ["/".join(segment.file) for segment in layout.segments],
        "sampling_frequency": layout.sampling_frequency_hz,
        "t_starts": None if first.t_start_s is None else [segment.t_start_s for segment in layout.segments],
        "num_channels": layout.n_columns,
        "dtype": layout.dtype,
        "channel_ids": list(layout.channel_ids),
        "time_axis": int(first.order == "F"),
        "file_offset": first.offset_bytes,
    }
    binary = f"{_CORE}.binaryrecordingextractor.BinaryRecordingExtractor"
    if value["kwargs"]["columns"] is None:
        linked.layouts.append(layout)
        return _described(value, binary, kwargs)
    linked.layouts.append(replace(layout, at=(*leaf.at, "kwargs", "parent_recording")))
    nothing = {"annotations": {}, "properties": {}, "relative_paths": False}
    inner = _described(nothing, binary, kwargs)
    outer = {"parent_recording": inner, "channel_ids": list(value["kwargs"]["channel_ids"])}
    return _described(value, f"{_CORE}.channelslice.ChannelSliceRecording", outer)


def _layout(kwargs: dict[str, Any], leaf: Leaf, linked: Linked) -> BinaryLayout:
    segments = []
    for segment in kwargs["segments"]:
        names, entry = linked.add_file({key: segment[key] for key in _SOURCE if key in segment}, "bin")
        taken = SegmentLayout(names, segment["offset_bytes"], segment["n_frames"], segment["order"], segment["t_start"])
        segments.append(taken)
        _require_plain(taken, entry, segments[0], kwargs)
    ids = _ids_of_columns(kwargs)
    return BinaryLayout(
        leaf.at, kwargs["sampling_frequency"], kwargs["dtype"], ids, kwargs["n_columns"], None, tuple(segments)
    )


def _require_plain(segment: SegmentLayout, entry: FileEntry, first: SegmentLayout, kwargs: dict[str, Any]) -> None:
    """Refuse what a binary extractor can't be told: frames that don't fill their file, several offsets."""
    frame_bytes = kwargs["n_columns"] * int(kwargs["dtype"][2:])
    fills = (entry.size_bytes - segment.offset_bytes) // frame_bytes == segment.n_frames
    if not fills or (segment.offset_bytes, segment.order) != (first.offset_bytes, first.order):
        raise InputError(_OTHERWISE)


def _ids_of_columns(kwargs: dict[str, Any]) -> tuple[str | int, ...]:
    """Return an id for every column: the channel's, or a new one where no channel reads it."""
    channel_ids, columns = kwargs["channel_ids"], kwargs["columns"]
    if columns is None:
        return tuple(channel_ids)
    ids = dict(zip(columns, channel_ids, strict=True))
    is_number = all(isinstance(each, int) for each in channel_ids)
    unused = max(channel_ids, default=0) + 1 if is_number else 0
    return tuple(
        ids.get(column, unused + column if is_number else f"unused column {column}")
        for column in range(kwargs["n_columns"])
    )


_MAKERS = {
    "RemoteBinaryRecording": _from_binary,
    "RemoteZarrRecording": _from_zarr,
    "RemoteNwbRecording": _from_nwb,
    "RemoteHdf5Recording": _from_hdf5,
}
