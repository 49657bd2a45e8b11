"""Sortings as links: ``share_sorting`` gives the link, ``load_sorting`` takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseSorting, SpikeVectorSortingSegment

from ..app.embedded import get_fetcher
from ..core.link import FileLink, TreeLink
from ..core.tree import FileEntry
from ..errors import InputError, KacheryError
from .made import require_label, say_left_out, share_parts
from .npy import Array
from .sortings_describing import FORMAT, decode_sorting, encode_sorting
from .sortings_files import SortingFiles, make_sorting_files
from .sortings_reading import SortingContent, read_sorting_files
from .treefiles import DESCRIPTION_FILE, TreeFiles, parse_given_link

DEFAULT_LABEL = "sorting"


def share_sorting(sorting: BaseSorting, *, label: str | None = None) -> str:
    """Offer a sorting to peers and return its link.

    Every kind of sorting (npz, numpy folder, Phy, Kilosort, NWB, in memory, …) is written down in one safe form, which
    holds no code, no pickle and no path. The same sorting gives the same link on every machine. The folder is one that
    stock SpikeInterface loads from a mount, too: ``si.load("…/sha1dir/H.sorting")``.

    Parameters
    ----------
    sorting : spikeinterface.core.BaseSorting
        Any sorting. Its spikes, unit ids, properties, annotations and the start times of its segments are shared; its
        provenance (the files that it was read from), a registered recording, and of a sorter's log all but the
        sorter's name and version are not. Of absolute paths in annotations and properties the last name is left.
    label : str, optional
        What the link is to be called; ``sorting`` where none is given.

    Returns
    -------
    str
        The link, ``sha1dir://H.sorting``. ``kacheryfs serve`` lets peers read it.

    Raises
    ------
    KacheryError
        ``InputError`` for what is no sorting, can't be read, or has spikes before the first frame; ``CatalogError``
        where the catalog can't be written. A property or annotation with objects in it that can't be written down as
        values is left out with a warning in the log.

    Examples
    --------
    >>> import numpy as np, kacheryfs as kfs
    >>> from spikeinterface.core import NumpySorting
    >>> sorting = NumpySorting.from_samples_and_labels([np.array([10, 20])], [np.array([0, 1])], 30000.0)
    >>> link = kfs.share_sorting(sorting)
    >>> kfs.load_sorting(link).get_unit_spike_train(0).tolist()
    [10]
    """
    if not isinstance(sorting, BaseSorting):
        raise InputError(f"share_sorting takes a sorting of SpikeInterface, not a {type(sorting).__name__}")
    require_label(label)
    label = label or DEFAULT_LABEL
    made = written_down(sorting)
    link = share_parts(made.files | {(DESCRIPTION_FILE,): encode_sorting(made.description, label)}, label)
    say_left_out("the sorting", made.left_out)
    return link


def written_down(sorting: BaseSorting, *, keeps_order: bool = False) -> SortingFiles:
    """Return the files of a sorting; every failure is a KacheryError."""
    try:
        return make_sorting_files(sorting, keeps_order=keeps_order)
    except KacheryError:
        raise
    except Exception as exc:  # an extractor reads its files by any library, which raises whatever it likes
        reason = " ".join(str(exc).split())[:300]
        raise InputError(f"the sorting can't be shared, reading it failed: {type(exc).__name__}: {reason}") from exc


def load_sorting(link: str, *, sampling_frequency: float | None = None) -> BaseSorting:
    """Return the sorting behind a link, fetched from peers or read from this machine's own share.

    Nothing in the share can run code: its arrays and values are checked one by one, and stock loaders never see them.

    Parameters
    ----------
    link : str
        What ``share_sorting`` returned, ``sha1dir://H.LABEL``; or the lineage's: a ``sha1://`` link to the JSON of a
        sorting object, or to firings (``….mda``).
    sampling_frequency : float, optional
        In Hz, for firings of the lineage that don't say theirs; a shared sorting says its own.

    Returns
    -------
    spikeinterface.core.BaseSorting
        In memory: 24 bytes a spike. Units, spike trains (in frames), properties, annotations and start times (in s)
        are the original's; spikes of one frame come in the order of their units. It can be saved, cloned and sent to
        other processes, where it is loaded again by its link.

    Raises
    ------
    KacheryError
        ``LinkError`` for what is no link; ``InputError`` for a link to something else; ``NotFoundError``,
        ``UnreachableError`` or ``TimedOutError`` where no peer has it; ``ProofError`` for a share that is not a
        sorting in its right form: unsorted or out of range spikes, object arrays, missing files.

    Examples
    --------
    >>> import numpy as np, kacheryfs as kfs
    >>> from spikeinterface.core import NumpySorting
    >>> sorting = NumpySorting.from_samples_and_labels([np.array([10, 20])], [np.array([0, 1])], 30000.0)
    >>> kfs.load_sorting(kfs.share_sorting(sorting)).unit_ids.tolist()
    [0, 1]
    """
    parsed = parse_given_link(link)
    if isinstance(parsed, FileLink) or _is_file(parsed):
        from .lineage_sortings import load_lineage_sorting

        return load_lineage_sorting(get_fetcher(), parsed, sampling_frequency=sampling_frequency)
    return SharedSorting(link)


def _is_file(link: TreeLink) -> bool:
    """Whether a link leads to a file inside of a folder."""
    return bool(link.path) and isinstance(get_fetcher().get_tree(link.sha1).find(link.path), FileEntry)


class SharedSorting(BaseSorting):  # type: ignore[misc]
    """A shared sorting, in memory; what SpikeInterface writes down of it is its link."""

    def __init__(self, link: str) -> None:
        files = TreeFiles.open(get_fetcher(), link, "sorting")
        description = decode_sorting(files.read_description(FORMAT, "sorting"))
        _build(self, read_sorting_files(files, description))
        self._kwargs = {"link": link}


class LoadedSorting(BaseSorting):  # type: ignore[misc]
    """The sorting inside of a shared analyzer, in memory; it has no link of its own."""

    def __init__(self, content: SortingContent) -> None:
        _build(self, content)
        self._serializability = {"memory": True, "json": False, "pickle": False}
        self._kwargs = {"content": content}


def _build(sorting: BaseSorting, content: SortingContent) -> None:
    """Fill a sorting with what was read and checked."""
    description = content.description
    BaseSorting.__init__(sorting, description.sampling_frequency_hz, description.unit_ids)
    for index, segment in enumerate(description.segments):
        kind = SpikeVectorSortingSegment if content.times_s is None else _TimedSegment
        built = kind(content.spikes, index, description.unit_ids)
        built._t_start = built._native_t_start = segment.t_start_s
        sorting.add_sorting_segment(built)
        if content.times_s is not None:
            built.times_s = content.times_s
    sorting._cached_spike_vector = content.spikes
    for key, values in content.properties.items():
        sorting.set_property(key, values)
    sorting.annotate(**description.annotations)


class _TimedSegment(SpikeVectorSortingSegment):  # type: ignore[misc]
    """A segment whose spikes have times of their own, in seconds."""

    times_s: Array

    def get_unit_spike_train_in_seconds(
        self, unit_id: Any, start_time: float | None = None, end_time: float | None = None
    ) -> Array:
        """Return the times in [start_time, end_time)."""
        first, last = np.searchsorted(self.spikes["segment_index"], [self.segment_index, self.segment_index + 1])
        is_of_unit = self.spikes["unit_index"][first:last] == self.unit_ids.index(unit_id)
        times_s: Array = self.times_s[first:last][is_of_unit]
        start = 0 if start_time is None else np.searchsorted(times_s, start_time)
        stop = len(times_s) if end_time is None else np.searchsorted(times_s, end_time)
        return times_s[start:stop]
