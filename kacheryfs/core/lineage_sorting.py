"""Sortings as the lineage described them: parsed strictly from JSON into values that say where the spikes lie.

``{"sorting_format": F, "data": D}``, SpikeForest's truth ``{firings, self_reference}``, a link, or ``{path}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError, ProofError
from .lineage_curation import Curation, take_units
from .lineage_fields import MAX_LINEAGE_DEPTH, Fields, UnitId, take_link
from .link import FileLink, TreeLink

Link = FileLink | TreeLink


@dataclass(frozen=True, slots=True)
class LinkedSorting:
    """A sorting behind a link: the file of an object, or firings (``.mda``)."""

    link: Link


@dataclass(frozen=True, slots=True)
class NpyPairSorting:
    """npy1: frames and units of all spikes in two ``.npy`` files."""

    times: Link
    labels: Link
    sampling_frequency_hz: float


@dataclass(frozen=True, slots=True)
class NpzSorting:
    """npy2: an ``.npz`` with ``spike_indexes``, ``spike_labels`` and ``sampling_frequency``.

    ``unit_ids`` names units that may have no spike; the rate is the object's, where it says one.
    """

    npz: Link
    unit_ids: tuple[UnitId, ...] | None = None
    sampling_frequency_hz: float | None = None


@dataclass(frozen=True, slots=True)
class MdaSorting:
    """Firings: 3 × N; row 1 has the frames, row 2 the units. SpikeForest's truth says no rate."""

    firings: Link
    sampling_frequency_hz: float | None = None


@dataclass(frozen=True, slots=True)
class H5Sorting:
    """h5_v1: ``sampling_frequency`` (one float64), ``unit_ids`` (int32), ``unit_spike_trains/ID`` (int64 frames)."""

    h5: Link


@dataclass(frozen=True, slots=True)
class NwbSorting:
    """The units of an NWB file."""

    path: Link


@dataclass(frozen=True, slots=True)
class CuratedSorting:
    """Another sorting with groups of units merged; a group goes by its smallest id."""

    sorting: LineageSorting
    merge_groups: tuple[tuple[UnitId, ...], ...]


LineageSorting = LinkedSorting | NpyPairSorting | NpzSorting | MdaSorting | H5Sorting | NwbSorting | CuratedSorting


def is_lineage_sorting(value: object) -> bool:
    """Tell whether parsed JSON claims to be a sorting of the lineage, by its keys."""
    return isinstance(value, dict) and ("sorting_format" in value or "firings" in value)


def parse_lineage_sorting(value: object, depth: int = 0) -> LineageSorting:
    """Take the parsed JSON of a sorting, or a link as text; ProofError, LinkError or InputError in one line."""
    if depth > MAX_LINEAGE_DEPTH:
        raise ProofError(f"sortings stand inside each other deeper than {MAX_LINEAGE_DEPTH}")
    if isinstance(value, str):
        return LinkedSorting(take_link(value, "a sorting"))
    fields = Fields.of(value, "a sorting")
    if not fields.has("sorting_format"):
        return _parse_short(fields)
    fields.refuse_unknown({"sorting_format", "data"})
    name = fields.text("sorting_format")
    parser = _FORMATS.get(name)
    if parser is None:
        raise InputError(f"the sorting format {name[:60]!r} isn't read here; read are {', '.join(_FORMATS)}")
    return parser(Fields(f"a sorting of format {name}", fields.inner("data").values), depth)


def _parse_short(fields: Fields) -> LineageSorting:
    if fields.has("firings"):
        return _parse_mda(fields, 0)
    if fields.values.keys() == {"path"}:
        return LinkedSorting(fields.link("path"))
    raise ProofError("an object without 'sorting_format' is not a sorting of the lineage")


def _parse_npy1(data: Fields, _depth: int) -> NpyPairSorting:
    data.refuse_unknown({"times_npy_uri", "labels_npy_uri", "samplerate"})
    return NpyPairSorting(data.link("times_npy_uri"), data.link("labels_npy_uri"), data.rate("samplerate"))


def _parse_npy2(data: Fields, _depth: int) -> NpzSorting:
    data.refuse_unknown({"npz_uri", "unit_ids", "sampling_frequency"})
    units = data.ids("unit_ids") if data.has("unit_ids") else None
    return NpzSorting(data.link("npz_uri"), units, _rate_if_any(data, "sampling_frequency"))


def _parse_mda(data: Fields, _depth: int) -> MdaSorting:
    data.refuse_unknown({"firings", "samplerate", "self_reference"})
    return MdaSorting(data.link("firings"), _rate_if_any(data, "samplerate"))


def _parse_h5(data: Fields, _depth: int) -> H5Sorting:
    data.refuse_unknown({"h5_path"})
    return H5Sorting(data.link("h5_path"))


def _parse_nwb(data: Fields, _depth: int) -> NwbSorting:
    data.refuse_unknown({"path"})
    return NwbSorting(data.link("path"))


def _parse_curated(data: Fields, depth: int) -> CuratedSorting:
    data.refuse_unknown({"sorting", "merge_groups"})
    curation = Curation()
    for group in data.items("merge_groups") if data.has("merge_groups") else []:
        curation.merge(take_units(group, f"'merge_groups' of {data.what}"))
    return CuratedSorting(parse_lineage_sorting(data.get("sorting"), depth + 1), curation.frozen().merge_groups)


def _rate_if_any(data: Fields, key: str) -> float | None:
    return data.rate(key) if data.has(key) else None


_FORMATS: dict[str, Callable[[Fields, int], LineageSorting]] = {
    "npy1": _parse_npy1,
    "npy2": _parse_npy2,
    "mda": _parse_mda,
    "h5_v1": _parse_h5,
    "nwb": _parse_nwb,
    "curated": _parse_curated,
}
