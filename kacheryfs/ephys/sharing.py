"""Recordings as links: ``share_recording`` offers what a recording reads, in place, and how to open it."""

from __future__ import annotations

import functools
import json
import operator
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spikeinterface
from spikeinterface.core import BaseRecording

from ..app import open_catalog
from ..config import load_settings
from ..core.model import Sha1
from ..core.tree import FileEntry
from ..errors import InputError, KacheryError, ProofError
from ..store.composing import Names, Part, build_tree, compose
from .describing import decode_description, encode_description
from .layouts import DESCRIPTION_FILE, RECORDING_FILE, BinaryLayout, RecordingDescription, TreePath
from .made import require_label, say_left_out
from .metadata import encode_metadata, find_left_out, metadata_of
from .replay_child import sample_traces
from .replaying import Replay, Samples, are_equal
from .safety import parse_description
from .safety_classes import Leaf as LeafKind
from .sharing_files import look_at
from .sharing_json import Description, Leaf, describe, find_leaves, is_of_spikeinterface, reads_links
from .sharing_layouts import find_layout
from .sharing_memory import save_recording
from .sharing_paths import MADE_FOLDER, Named, find_paths, name_files, with_names
from .sharing_progress import Progress
from .sharing_remote import replace_links
from .sharing_summary import summarize

if TYPE_CHECKING:
    from ..config import Settings


def share_recording(recording: BaseRecording, *, label: str | None = None) -> str:
    """Offer a recording to peers and return its link.

    Nothing is copied or changed: the files that the recording reads are read once, to name them by their digest, and
    are served from where they lie; unchanged files are not read again. A recording that lives in memory is first saved,
    with a line on stderr that says where.

    Parameters
    ----------
    recording : spikeinterface.core.BaseRecording
        Any recording: of files (binary, SpikeGLX, Open Ephys, NWB, Zarr, MDA, …), or a chain of preprocessing, slices,
        aggregation and concatenation over such. The link keeps the chain: traces are computed where they are read.
        Channel ids, properties, probe, annotations and times are shared as they are now; absolute paths in them are
        cut down to their last name.
    label : str, optional
        What the link is to be called; by default as the recording's file or folder.

    Returns
    -------
    str
        The link, ``sha1dir://H.label``, of a folder with the files under their real names, ``recording.json`` (which
        stock SpikeInterface loads from a mount: ``si.load(".../recording.json", base_folder=True)``) and
        ``kacheryfs.json``. The same recording gives the same link. ``kacheryfs serve`` lets peers read it.

    Raises
    ------
    KacheryError
        ``InputError`` for what is no recording, or one that can't be opened anew from its files; ``ChangedError`` where
        a file is still being written; ``CatalogError`` where the catalog can't be written.

    Examples
    --------
    >>> import kacheryfs as kfs, spikeinterface as si
    >>> recording = si.generate_recording(num_channels=4, durations=[1.0])
    >>> link = kfs.share_recording(recording, label="example")
    >>> kfs.load_recording(link).get_num_channels()
    4
    """
    if not isinstance(recording, BaseRecording):
        raise InputError(f"share_recording takes a recording of SpikeInterface, not a {type(recording).__name__}")
    require_label(label)
    return share_with(load_settings({}, os.environ), recording, label)


def share_with(settings: Settings, recording: BaseRecording, label: str | None) -> str:
    """Do what ``share_recording`` does, by the caller's settings."""
    what = f"this {type(recording).__name__}"
    try:
        return _share(recording, label, settings, what)
    except (KacheryError, KeyboardInterrupt):
        raise
    except Exception as exc:  # the seam: whatever SpikeInterface and a format's reader raise, in one line
        raise InputError(f"{what} can't be shared: {type(exc).__name__}: {' '.join(str(exc).split())[:300]}") from exc


def _share(recording: Any, label: str | None, settings: Settings, what: str) -> str:
    description = _find_description(recording)
    if description is None:
        recording, label = save_recording(recording, settings.data_dir, what), label or "recording"
        description = describe(recording)
    with Replay(what) as replay:
        draft = _draft(recording, description, replay, what)
        label = label or draft.default_label
        made = _make_files(draft, label)
        _check(draft, made, replay, what)
    _say_what_needs_mount({**draft.parts, **made}, what)
    say_left_out(what, find_left_out(recording))
    own_folders = (settings.store_dir, settings.runtime_dir, settings.config_dir)
    with open_catalog(settings) as catalog, Progress(what) as progress:
        shared = compose(catalog, {**draft.parts, **made}, label, progress=progress.set, own_folders=own_folders)
    return str(shared.link)


def _find_description(recording: Any) -> Description | None:
    """Return how to open the recording anew; None where only this process can."""
    if not recording.check_serializability("json") or not is_of_spikeinterface(recording):
        return None
    try:
        description = describe(recording)
    except TypeError:  # an argument that JSON can't say, in a class that promised otherwise
        return None
    leaves = [leaf for leaf in find_leaves(recording) if not reads_links(leaf.extractor)]
    reads_files = all(find_paths(each) for each in _descriptions(description, leaves))
    return description if reads_files else None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A recording whose files were found: ``description`` has the tree's names, ``samples`` are its own traces."""

    recording: Any
    description: Description
    leaves: Sequence[Leaf]
    named: Named
    parts: Mapping[Names, Part]
    linked: Sequence[BinaryLayout]
    samples: Samples

    @property
    def default_label(self) -> str:
        return next((names[-1] for names in self.named.paths.values()), "recording")


def _draft(recording: Any, description: Description, replay: Replay, what: str) -> _Draft:
    found = find_paths(description)
    leaves = list(find_leaves(recording))
    opened, samples = replay.open_anew(description, _descriptions(description, leaves))
    expected = list(sample_traces(recording))
    _require_equal(samples, expected, what)
    named = name_files([each.path for each in found], opened)
    own = {names: look_at(path) for names, path in named.files.items()}
    stock, linked = replace_links(with_names(description, found, named.paths), leaves)
    if not own and not linked.files:
        raise InputError(f"{what} reads no file that could be shared")
    return _Draft(recording, stock, leaves, named, {**own, **linked.files}, linked.layouts, expected)


def _say_what_needs_mount(files: Mapping[Names, Part], what: str) -> None:
    """Say on stderr if ``load_recording`` will refuse the recording, or read it through a mount alone."""
    description, about = files[(RECORDING_FILE,)], files[(DESCRIPTION_FILE,)]
    assert isinstance(description, bytes)
    assert isinstance(about, bytes)
    nothing = FileEntry(0, Sha1.of(b""))
    told = {layout.at for layout in decode_description(about).binary}
    try:
        top = parse_description(description, build_tree(dict.fromkeys(files, nothing)))
    except ProofError as exc:
        _say(f"load_recording will refuse {what} ({exc}); stock SpikeInterface loads it from a mount")
        return
    for row in {node.row.path: node.row for node in top.walk() if node.at not in told}.values():
        if row.leaf is LeafKind.LAYOUT:
            _say(f"load_recording will refuse {what}, as {row.note}; stock SpikeInterface loads it from a mount")
        elif row.leaf in (LeafKind.MOUNTED, LeafKind.MOUNTED_HDF5):
            _say(f"load_recording will need a mount for {what}: {row.name} alone can make samples of its files")


def _say(text: str) -> None:
    print(f"kacheryfs: {text}", file=sys.stderr, flush=True)


def _descriptions(description: Description, leaves: Sequence[Leaf]) -> list[Description]:
    """Return the leaves' own descriptions, each once: a chain may come back to one leaf in several places."""
    found: list[Description] = [functools.reduce(operator.getitem, leaf.at, description) for leaf in leaves]  # type: ignore[arg-type]
    return list({json.dumps(each["kwargs"], sort_keys=True): each for each in found}.values())


def _require_equal(samples: Samples, expected: Samples, what: str) -> None:
    if not are_equal(samples, expected):
        raise InputError(
            f"{what} gives other traces when it is opened anew (its file was changed, or a step draws at random): open "
            "it again, or save it with recording.save(folder=…) and share what that returns"
        )


def _make_files(draft: _Draft, label: str) -> dict[Names, bytes]:
    """Return the small files of the tree that say what the recording is."""
    made: dict[Names, bytes] = {}
    top = _add_metadata(made, draft.recording)
    summary = summarize(draft.recording)
    about = RecordingDescription(label, spikeinterface.__version__, summary, tuple(_layouts(draft, made)), top)
    made[(DESCRIPTION_FILE,)] = encode_description(about)
    made[(RECORDING_FILE,)] = json.dumps(draft.description, separators=(",", ":")).encode()
    return made


def _layouts(draft: _Draft, made: dict[Names, bytes]) -> Iterator[BinaryLayout]:
    real_names = {os.path.realpath(path): names for names, path in draft.named.files.items()}
    for leaf in draft.leaves:
        layout = find_layout(leaf, real_names)
        if layout is not None:
            yield replace(layout, metadata=_add_metadata(made, leaf.extractor))
    yield from draft.linked


def _add_metadata(made: dict[Names, bytes], recording: Any) -> TreePath:
    """Put a recording's metadata among the made files, one file for equal ones, and return its name."""
    data = encode_metadata(metadata_of(recording))
    names = (MADE_FOLDER, f"{Sha1.of(data).hex[:16]}.npz")
    made[names] = data
    return names


def _check(draft: _Draft, made: Mapping[Names, bytes], replay: Replay, what: str) -> None:
    """Load the recording as somebody else will, from a folder that holds the tree and nothing else.

    Not where files of it are only known by digest: to look at them would fetch them.
    """
    if not all(isinstance(part, bytes) or names in draft.named.files for names, part in draft.parts.items()):
        return
    with tempfile.TemporaryDirectory(prefix="kacheryfs-tree-") as folder:
        for names, part in {**draft.parts, **made}.items():
            place = Path(folder, *names)
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(part, bytes):
                place.write_bytes(part)
            else:
                place.symlink_to(draft.named.files[names])
        _require_equal(replay.load(Path(folder, RECORDING_FILE)), draft.samples, what)
