"""Zarr folders that others made, read through the fetcher: no codec that runs code, no objects, nothing from outside.

Zarr calls whatever codec an array's metadata name, and one of them is ``pickle``. Each ``.zarray`` and the consolidated
``.zmetadata`` are held against a list before zarr sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr  # type: ignore[import-untyped]

from ..app.embedded import request_of
from ..core.tree import FileEntry, Tree
from ..errors import InputError, ProofError
from .safety_json import parse_bounded_json

if TYPE_CHECKING:
    from ..app.embedded import Fetcher

_CHECKSUMS = {"adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"}
_COMPRESSORS = {"blosc", "bz2", "flac", "gzip", "lz4", "lzma", "pcodec", "wavpack", "zfpy", "zlib", "zstd"}
_TRANSFORMS = {"astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"}
CODECS = frozenset(_CHECKSUMS | _COMPRESSORS | _TRANSFORMS)
"""Codecs that compute on bytes and numbers."""
OBJECT_CODECS = frozenset({"json2", "vlen-bytes", "vlen-utf8"})
"""Codecs that make texts and plain values, the only ones that may stand before an array of objects."""
MAX_METADATA_BYTES = 64 * 1024 * 1024
MAX_CHUNK_BYTES = 2 << 30
"""Blosc's own limit; a chunk is held in memory."""

METADATA_NAMES = (".zarray", ".zmetadata")


def open_zarr(fetcher: Fetcher, tree: Tree, what: str) -> Any:
    """Open a tree as a zarr group (or array), read-only; ProofError says what is refused."""
    if not hasattr(zarr.storage, "BaseStore"):
        raise InputError(
            f"{what}: zarr {zarr.__version__} can't be read without a mount; zarr 2 can, or kacheryfs mount"
        )
    store = _make_store(fetcher, tree, what)
    try:
        if ".zmetadata" in tree.files:
            return zarr.open_consolidated(store, mode="r")
        return zarr.open(store, mode="r")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as exc:
        raise ProofError(f"{what} is no zarr folder: {type(exc).__name__}: {str(exc).splitlines()[0][:200]}") from exc


def check_zarr_tree(fetcher: Fetcher, tree: Tree, what: str) -> None:
    """Raise ProofError where an array of the folder names a codec that runs code."""
    store = _make_store(fetcher, tree, what)
    for names, _ in tree.walk():
        if names[-1] in METADATA_NAMES:
            store["/".join(names)]


def check_array_metadata(value: object, what: str) -> None:
    """Hold one ``.zarray`` against the lists; ProofError."""
    try:
        _check_array(value)
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc


def _check_array(value: object) -> None:
    if not isinstance(value, dict):
        raise ValueError("an array's metadata are not an object")
    filters = value.get("filters") or []
    if not isinstance(filters, list):
        raise ValueError("an array's filters are not a list")
    codecs = [_codec_id(codec) for codec in [*filters, *([value["compressor"]] if value.get("compressor") else [])]]
    for codec in codecs:
        if codec not in CODECS | OBJECT_CODECS:
            why = ", and loading a pickle runs code" if codec == "pickle" else ""
            raise ValueError(f"it uses the codec {codec[:40]!r}{why}")
    if _has_objects(value.get("dtype")) and not OBJECT_CODECS & set(codecs):
        raise ValueError("it holds objects")


def _codec_id(codec: object) -> str:
    found = codec.get("id") if isinstance(codec, dict) else None
    if not isinstance(found, str):
        raise ValueError("a codec has no name")
    return found


def _has_objects(dtype: object) -> bool:
    fields = [tuple(field) for field in dtype if isinstance(field, list)] if isinstance(dtype, list) else dtype
    try:
        return np.dtype(fields).hasobject  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError, SyntaxError) as exc:
        raise ValueError(f"{str(dtype)[:40]!r} is no dtype") from exc


def check_metadata_file(key: str, data: bytes, what: str) -> None:
    """Check what zarr is about to take for an array's metadata; ProofError."""
    value = parse_bounded_json(data, f"{key} of {what}")
    if key.rpartition("/")[2] == ".zarray":
        check_array_metadata(value, f"{key} of {what}")
        return
    entries = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(entries, dict):
        raise ProofError(f"{key} of {what} holds no metadata")
    for name, entry in entries.items():
        if name.rpartition("/")[2] == ".zarray":
            check_array_metadata(entry, f"{name} of {what}")


def _make_store(fetcher: Fetcher, tree: Tree, what: str) -> Any:
    class TreeStore(zarr.storage.Store):  # type: ignore[misc]  # made here, since zarr 3 has no such base
        """A tree as zarr 2 sees a folder."""

        def __getitem__(self, key: str) -> bytes:
            found = tree.find(key.split("/"))
            if not isinstance(found, FileEntry):
                raise KeyError(key)
            is_metadata = key.rpartition("/")[2] in METADATA_NAMES
            limit = MAX_METADATA_BYTES if is_metadata else MAX_CHUNK_BYTES
            if found.size_bytes > limit:
                raise ProofError(f"{key[:80]} of {what} has {found.size_bytes} bytes, more than {limit}")
            with fetcher.open_file(request_of(found)) as file:
                data = file.pread(0, found.size_bytes)
            if is_metadata:
                check_metadata_file(key, data, what)
            return data

        def __contains__(self, key: object) -> bool:
            return isinstance(tree.find(str(key).split("/")), FileEntry)

        def __iter__(self) -> Iterator[str]:
            return ("/".join(names) for names, _ in tree.walk())

        def __len__(self) -> int:
            return tree.n_files

        def __setitem__(self, key: str, value: bytes) -> None:
            raise zarr.errors.ReadOnlyError

        def __delitem__(self, key: str) -> None:
            raise zarr.errors.ReadOnlyError

        def listdir(self, path: str = "") -> list[str]:
            found = tree.find([name for name in path.split("/") if name])
            return sorted([*found.dirs, *found.files]) if isinstance(found, Tree) else []

    return TreeStore()
