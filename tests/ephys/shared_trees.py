"""Look into the trees that this machine shares: their files, laid out in a folder as a mount would show them."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from kacheryfs.app import open_catalog
from kacheryfs.config import load_settings
from kacheryfs.core.link import TreeLink, parse_link
from kacheryfs.core.model import Sha1
from kacheryfs.core.tree import Tree, decode_tree
from kacheryfs.ephys.describing import decode_description
from kacheryfs.ephys.layouts import BinaryLayout, RecordingDescription
from kacheryfs.store.catalog import Catalog


def read(catalog: Catalog, sha1: Sha1) -> bytes:
    with catalog.open_original(sha1) as opened:
        return os.pread(opened.fd, opened.size_bytes, 0)


def files_of(link: str) -> dict[str, bytes]:
    """Return every file of a shared tree, as it would be served."""
    parsed = parse_link(link)
    assert isinstance(parsed, TreeLink)
    with open_catalog(load_settings({}, os.environ)) as catalog:
        tree = decode_tree(read(catalog, parsed.sha1))
        return {"/".join(names): read(catalog, entry.sha1) for names, entry in tree.walk()}


def tree_of(link: str) -> Tree:
    with open_catalog(load_settings({}, os.environ)) as catalog:
        return decode_tree(read(catalog, parse_link(link).sha1))


def description_of(link: str) -> RecordingDescription:
    return decode_description(files_of(link)["kacheryfs.json"])


def lay_out(link: str, folder: Path) -> Path:
    """Write a shared tree into a folder; returns its recording.json."""
    for name, content in files_of(link).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "recording.json"


def read_layout(files: dict[str, bytes], layout: BinaryLayout, segment_index: int) -> Any:
    """Return a segment's samples by its layout alone."""
    segment = layout.segments[segment_index]
    data = files["/".join(segment.file)][segment.offset_bytes :]
    n_samples = segment.n_frames * layout.n_columns
    shape = (segment.n_frames, layout.n_columns)
    samples = np.frombuffer(data, layout.dtype, n_samples).reshape(shape, order=segment.order)
    return samples if layout.columns is None else samples[:, list(layout.columns)]


def made_texts(link: str) -> str:
    """Return what the files that sharing made or changed say, npz unpacked."""
    texts = []
    for name, content in files_of(link).items():
        if name.endswith(".npz"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                texts += [archive.read(member).decode("latin-1").replace("\0", "") for member in archive.namelist()]
        elif name.endswith((".json", ".zattrs", ".zmetadata")):
            texts.append(content.decode())
    return "\n".join(texts)


def assert_equal_recordings(one: Any, other: Any, *, exact: bool = False) -> None:
    """Hold everything that SpikeInterface knows of two recordings against each other; dtypes too where ``exact``."""
    assert one.sampling_frequency == other.sampling_frequency
    assert one.channel_ids.tolist() == other.channel_ids.tolist()
    assert one.dtype == other.dtype
    assert one.get_num_segments() == other.get_num_segments()
    for index in range(one.get_num_segments()):
        assert one.get_num_samples(index) == other.get_num_samples(index)
        assert np.array_equal(one.get_traces(segment_index=index), other.get_traces(segment_index=index))
        assert np.array_equal(one.get_times(segment_index=index), other.get_times(segment_index=index))
    assert set(one.get_property_keys()) == set(other.get_property_keys())
    for key in one.get_property_keys():
        mine, yours = one.get_property(key), other.get_property(key)
        assert np.array_equal(mine, yours, equal_nan=mine.dtype.kind == "f"), key
        assert not exact or mine.dtype == yours.dtype
    assert one.has_probe() == other.has_probe()
    if one.has_probe():
        mine, yours = (
            one.get_probegroup().to_dict(array_as_list=True),
            other.get_probegroup().to_dict(array_as_list=True),
        )
        assert mine == yours
    assert one._annotations == other._annotations
