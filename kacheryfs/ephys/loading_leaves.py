"""The recordings at the bottom of a chain, each read in the way that needs least: by layout, file, store, or mount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeinterface.core import BaseRecording

from ..core.tree import FileEntry, Tree
from ..errors import MountError, ProofError
from .layouts import BinaryLayout
from .loading_binary import load_binary, load_binary_folder
from .loading_folder import Folder
from .loading_mounted import get_mountpoint
from .remote import RemoteRecording, make_remote_recording
from .safety import At, Node
from .safety_building import construct, describe
from .safety_classes import Leaf
from .safety_json import parse_bounded_json
from .safety_paths import InTree, split_path

MAX_OEBIN_BYTES = 64 * 1024 * 1024


class Leaves:
    """Makes the leaves of one shared recording."""

    def __init__(self, folder: Folder, layouts: Sequence[BinaryLayout] = ()) -> None:
        self._folder = folder
        self._layouts: Mapping[At, BinaryLayout] = {layout.at: layout for layout in layouts}

    def check(self, top: Node) -> None:
        """Raise ProofError where a layout belongs to no leaf of the description."""
        lost = self._layouts.keys() - {node.at for node in top.walk() if node.row.leaf is not None}
        if lost:
            raise ProofError(
                f"kacheryfs.json tells the layout of {'/'.join(map(str, min(lost, key=str)))[:200]!r}, "
                "which is no leaf of recording.json"
            )

    def load(self, node: Node) -> BaseRecording:
        """Return the recording of a leaf; KacheryError."""
        layout = self._layouts.get(node.at)
        if layout is None:
            return self._load_by_class(node)
        recording = self._load_by_layout(layout, node)
        if layout.metadata is None:
            describe(recording, node)
        return recording

    def _load_by_layout(self, layout: BinaryLayout, node: Node) -> RemoteRecording:
        if not layout.is_hdf5:
            return make_remote_recording(layout, self._folder.source)
        from .remote_hdf5 import make_remote_hdf5_recording

        arguments = {key: value for key, value in node.kwargs.items() if not isinstance(value, InTree)}
        stock = {"class": node.row.path, "kwargs": arguments}
        return make_remote_hdf5_recording(layout, self._folder.source, stock)

    def _load_by_class(self, node: Node) -> BaseRecording:
        folder, leaf = self._folder, node.row.leaf
        if leaf is Leaf.BINARY:
            recording = load_binary(node, folder)
        elif leaf is Leaf.BINARY_FOLDER:
            recording = load_binary_folder(folder.below(_names(node, "folder_path")))
        elif leaf is Leaf.NWB:
            recording = self._load_nwb(node)
        elif leaf is Leaf.ZARR:
            from .remote_zarr import RemoteZarrRecording

            recording = RemoteZarrRecording(str(folder.below(_names(node, "folder_path")).link))
        elif leaf is Leaf.LAYOUT:
            raise ProofError(f"{node.row.name} is not built from what others sent: {node.row.note}")
        else:
            recording = self._load_mounted(node)
        describe(recording, node)
        return recording

    def _load_nwb(self, node: Node) -> BaseRecording:
        from .remote_nwb import RemoteNwbRecording

        taken = ("electrical_series_path", "load_time_vector", "samples_for_rate_estimation", "load_channel_properties")
        source = self._folder.source(_names(node, "file_path"))
        kwargs = {key: node.kwargs[key] for key in taken if node.kwargs.get(key) is not None}
        try:
            return RemoteNwbRecording(source.to_json(), **kwargs)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            AssertionError,
            IndexError,
            OSError,
            RuntimeError,
        ) as exc:
            raise ProofError(f"the NWB file holds no such recording: {str(exc).splitlines()[0][:300]}") from exc

    def _load_mounted(self, node: Node) -> BaseRecording:
        mountpoint = get_mountpoint(self._folder.fetcher.settings, node.row.name)
        paths = [value for value in node.kwargs.values() if isinstance(value, InTree)]
        for path in paths:
            self._check_files(node, path)
        root = mountpoint.joinpath("sha1dir", self._folder.link.sha1.hex, *self._folder.link.path)
        try:
            return construct(node.row, {key: _mounted(value, root) for key, value in node.kwargs.items()}, node)
        except ProofError as exc:
            if not isinstance(exc.__cause__, OSError):
                raise
            raise MountError(f"the mount at {mountpoint} could not read it; kacheryfs status says more: {exc}") from exc

    def _check_files(self, node: Node, path: InTree) -> None:
        """Refuse files that lead SpikeInterface's reader out of the tree."""
        if node.row.leaf is Leaf.MOUNTED_HDF5 and not path.is_folder:
            from .safety_hdf5 import open_hdf5

            with self._folder.open_file(path.names) as file:
                open_hdf5(file.as_file(), "/".join(path.names)[:200]).close()
        if node.row.name == "OpenEphysBinaryRecordingExtractor":
            check_open_ephys(self._folder.below(path.names))


def check_open_ephys(folder: Folder) -> None:
    """Raise ProofError where a ``structure.oebin`` names a folder outside of its own."""
    for names, _ in folder.tree.walk():
        if names[-1] != "structure.oebin":
            continue
        where = "/".join(names)[:200]
        value = parse_bounded_json(folder.files.read(names, MAX_OEBIN_BYTES), where)
        for stream in _streams(value):
            try:
                split_path(stream.get("folder_name", ""))
            except ValueError as exc:
                raise ProofError(f"{where} is refused: a stream's folder {exc}") from exc


def _streams(value: object) -> list[Mapping[str, Any]]:
    lists = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else []
    return [stream for streams in lists for stream in streams if isinstance(stream, dict)]


def _names(node: Node, key: str) -> tuple[str, ...]:
    path = node.kwargs.get(key)
    if not isinstance(path, InTree):
        raise ProofError(f"{node.row.name} is described without its {key!r}")
    return path.names


def _mounted(value: Any, root: Path) -> Any:
    if isinstance(value, list):
        return [_mounted(item, root) for item in value]
    return str(root.joinpath(*value.names)) if isinstance(value, InTree) else value


def is_zarr_recording(tree: Tree) -> bool:
    """Whether a folder looks like what SpikeInterface saves as Zarr."""
    return isinstance(tree.files.get(".zgroup"), FileEntry) and "traces_seg0" in tree.dirs
