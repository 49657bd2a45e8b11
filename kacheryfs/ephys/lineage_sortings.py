"""Sortings of the lineage (labbox-ephys, sortingview, SpikeForest) as SpikeInterface sortings, in memory.

``load_lineage_sorting`` takes what ``kacheryfs.core.lineage_sorting`` parses. Every array is checked before it is used;
nothing is unpickled.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeinterface.core import BaseSorting

from ..core.lineage_fields import as_number
from ..core.lineage_sorting import (
    CuratedSorting,
    H5Sorting,
    LineageSorting,
    LinkedSorting,
    MdaSorting,
    NpyPairSorting,
    NpzSorting,
    NwbSorting,
    parse_lineage_sorting,
)
from ..core.link import FileLink, TreeLink
from ..errors import InputError, ProofError
from .lineage_arrays import MAX_ARRAY_BYTES, Array, read_mda, read_npz
from .lineage_files import MAX_LINKS, FileKind, LinkedFiles, name_of
from .lineage_spikes import Spikes, spikes_of
from .npy import read_npy

if TYPE_CHECKING:
    from ..app.embedded import Fetcher

log = logging.getLogger(__name__)

DEFAULT_RATE_HZ = 30000.0
"""What the lineage took for firings that say no rate."""

Link = FileLink | TreeLink
_PARSED = (LinkedSorting, NpyPairSorting, NpzSorting, MdaSorting, H5Sorting, NwbSorting, CuratedSorting)


def load_lineage_sorting(fetcher: Fetcher, value: object, *, sampling_frequency: float | None = None) -> BaseSorting:
    """Return a sorting that the lineage described.

    Parameters
    ----------
    fetcher : Fetcher
        What reads the links inside of the object (``kacheryfs.app.embedded.get_fetcher()``).
    value : object
        The parsed JSON (``{"sorting_format": "npy2", "data": …}``, SpikeForest's truth ``{firings, self_reference}``),
        a link to the file of one, to firings (MDA), to an NWB file or to h5_v1, or what ``parse_lineage_sorting``
        returned.
    sampling_frequency : float, optional
        In Hz, for firings that don't say theirs: SpikeForest's truth has the rate of its recording. Without it 30,000
        is taken, as the lineage did, with a warning in the log.

    Returns
    -------
    spikeinterface.core.BaseSorting
        One segment, in memory; spikes in frames, ordered by frame and unit; units in the order of their ids.

    Raises
    ------
    KacheryError
        ``InputError`` for a format that isn't read, ``LinkError`` for what is no link, ``ProofError`` for an object or
        a file that is damaged (object arrays are never loaded), ``NotFoundError`` or ``UnreachableError`` where no peer
        has a file.

    Examples
    --------
    >>> from kacheryfs.ephys.lineage_sortings import load_lineage_sorting
    >>> load_lineage_sorting(None, {"sorting_format": "in_memory", "data": {}})
    Traceback (most recent call last):
        ...
    kacheryfs.errors.InputError: the sorting format 'in_memory' isn't read here; read are npy1, npy2, mda, h5_v1, nwb, curated
    """  # noqa: E501
    if isinstance(value, (FileLink, TreeLink)):
        value = LinkedSorting(value)
    described = value if isinstance(value, _PARSED) else parse_lineage_sorting(value)
    return _Loader(LinkedFiles(fetcher), sampling_frequency).load(described).to_sorting()


@dataclass(slots=True)
class _Loader:
    files: LinkedFiles
    rate_hz: float | None
    n_links: int = 0

    def load(self, described: LineageSorting) -> Spikes:
        match described:
            case LinkedSorting():
                return self.load(self._follow(described.link))
            case NpyPairSorting():
                times, labels = self._read_npy(described.times), self._read_npy(described.labels)
                return spikes_of(times, labels, described.sampling_frequency_hz, "the sorting")
            case NpzSorting():
                return self._load_npz(described)
            case MdaSorting():
                return self._load_firings(described)
            case H5Sorting():
                from .lineage_hdf5 import read_h5_sorting

                with self.files.open(described.h5) as file:
                    return read_h5_sorting(file, name_of(described.h5), self._rate)
            case NwbSorting():
                from .lineage_nwb import read_nwb_units

                with self.files.open(described.path) as file:
                    return read_nwb_units(file, name_of(described.path), self._rate)
            case CuratedSorting():
                return self.load(described.sorting).merged(described.merge_groups)

    def _follow(self, link: Link) -> LineageSorting:
        """Return what a link names: firings, units of an NWB file, h5_v1, or the object in a file."""
        self.n_links += 1
        if self.n_links > MAX_LINKS:
            raise ProofError(f"sortings name each other by more than {MAX_LINKS} links")
        if self.files.find_folder(link) is not None:
            raise InputError(f"{link} names a folder, where the lineage kept a sorting in a file")
        match self.files.kind_of(link):
            case FileKind.MDA:
                return MdaSorting(link)
            case FileKind.HDF5:
                from .lineage_hdf5 import is_h5_sorting

                with self.files.open(link) as file:
                    return H5Sorting(link) if is_h5_sorting(file, name_of(link)) else NwbSorting(link)
            case FileKind.JSON:
                return parse_lineage_sorting(self.files.read_json(link))
        raise InputError(f"{name_of(link)} is no sorting by itself: neither an object in JSON, nor firings, nor HDF5")

    def _read_npy(self, link: Link) -> Array:
        with self.files.open(link) as file:
            return read_npy(file, what=name_of(link), max_bytes=MAX_ARRAY_BYTES)

    def _load_npz(self, described: NpzSorting) -> Spikes:
        name = name_of(described.npz)
        with self.files.open(described.npz) as file:
            names = ("spike_indexes", "spike_labels", "sampling_frequency")
            arrays = read_npz(file, names, name)
        rate = arrays["sampling_frequency"]
        rate_hz = as_number(rate.ravel()[0].item()) if rate.size == 1 and rate.dtype.kind in "iuf" else None
        if rate_hz is None or rate_hz <= 0:
            raise ProofError(f"'sampling_frequency' of {name} is no rate in Hz")
        return spikes_of(arrays["spike_indexes"], arrays["spike_labels"], rate_hz, name, described.unit_ids)

    def _load_firings(self, described: MdaSorting) -> Spikes:
        name = name_of(described.firings)
        with self.files.open(described.firings) as file:
            firings = read_mda(file, name)
        if firings.ndim != 2 or firings.shape[0] < 3:
            raise ProofError(f"{name} is {' × '.join(map(str, firings.shape))}; firings are 3 × spikes")
        return spikes_of(firings[1], firings[2], described.sampling_frequency_hz or self._rate(name), name)

    def _rate(self, name: str) -> float:
        if self.rate_hz is not None:
            return self.rate_hz
        log.warning(
            "%s says no sampling rate: %g Hz is taken, pass sampling_frequency to set it", name, DEFAULT_RATE_HZ
        )
        return DEFAULT_RATE_HZ
