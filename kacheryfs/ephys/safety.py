"""Is this description of a recording one that may be built, when a stranger wrote it?

``recording.json`` names classes, and stock SpikeInterface imports and calls whatever they are. Here nothing is looked
up by a name of the stranger's: ``check_description`` holds each object against a table of SpikeInterface's own classes
(``safety_extractors``, ``safety_chains``), each argument against its kind, each path against the tree, and returns what
``safety_building`` then builds from the table. Whatever is not in the table is refused, with its reason in one line.

Theory: what can run code while a recording is loaded, and where each is stopped.

- a class or a function named by the JSON: only rows of the table, by their full name; the class object is then checked
  to be the one of that name
- pickles: no ``.pkl`` path is taken, arrays are read without them (``npy``, ``safety_zarr``)
- classes that execute their files (``params.py`` of Phy and Kilosort, metadata of Sinaps), load models
  (deepinterpolation), or download: not in the table, or only read by their layout
- addresses: nothing with ``://``, no storage options, no stream modes
- paths out of the tree, also inside of files: ``binary.json``, HDF5's external links (``safety_hdf5``)
- numpy types with objects in them; numbers that are none; more of everything than the bounds allow
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..core.tree import Tree
from ..errors import ProofError
from .safety_chains import CHAINS
from .safety_classes import ClassRow
from .safety_extractors import EXTRACTORS
from .safety_json import parse_bounded_json
from .safety_kinds import Place

TABLE: Mapping[str, ClassRow] = EXTRACTORS | CHAINS
MAX_NODES = 2000
"""Recordings in one description: a concatenation of a thousand runs, each with a step on top."""
MAX_NODE_DEPTH = 60

At: TypeAlias = tuple[str | int, ...]

_KEYS = {"class", "module", "version", "kwargs", "annotations", "properties", "relative_paths"}
_EXTRA_KEYS = {"probegroup", "times_kwargs"}
_REASONS = {
    "spikeinterface.core.core_tools.read_python": "it executes the file that it reads",
    "spikeinterface.core.loading.load": "it loads pickles and whatever a JSON names",
    "spikeinterface.core.base.load": "it loads pickles and whatever a JSON names",
    "spikeinterface.preprocessing.deepinterpolation.deepinterpolation.DeepInterpolatedRecording": "it loads a model, "
    "and that can run code",
    "spikeinterface.extractors.shybridextractors.SHYBRIDRecordingExtractor": "its YAML file names what is loaded",
    "spikeinterface.extractors.iblextractors.IblRecordingExtractor": "it reads from a server, not from what was shared",
    "spikeinterface.extractors.phykilosortextractors.PhySortingExtractor": "it executes the folder's params.py",
    "spikeinterface.extractors.phykilosortextractors.KiloSortSortingExtractor": "it executes the folder's params.py",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One recording of a description that was found harmless: its row, and arguments that are right by construction.

    ``at`` leads to it from the top object. Nested recordings stand in ``kwargs`` as nodes, paths as ``InTree``.
    """

    row: ClassRow
    at: At
    kwargs: Mapping[str, Any]
    version: str = ""
    annotations: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    probegroup: Mapping[str, Any] | None = None
    times: tuple[Mapping[str, Any], ...] | None = None

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below, each before those it computes on."""
        yield self
        for value in self.kwargs.values():
            inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
            for node in inner:
                if isinstance(node, Node):
                    yield from node.walk()


def parse_description(data: bytes, tree: Tree, what: str = "recording.json") -> Node:
    """Parse and check SpikeInterface's JSON of a recording; ProofError in one line for all that isn't harmless."""
    return check_description(parse_bounded_json(data, what), tree, what)


def check_description(description: object, tree: Tree, what: str = "recording.json") -> Node:
    """Check a description, whose paths are relative to ``tree``; ProofError says what is refused, and why.

    Pure: nothing is imported, and nothing is opened.
    """
    try:
        return _Checker(Place(tree)).check(description, (), 0)
    except RecursionError as exc:
        raise ProofError(f"{what} is refused: it is nested too deeply") from exc
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc


def find_row(name: object) -> ClassRow:
    """Return the row of a class by its full name; ValueError with the reason for any other."""
    if not isinstance(name, str) or len(name) > 300:
        raise ValueError("'class' is not the name of a class")
    row = TABLE.get(name)
    if row is None:
        reason = _REASONS.get(name, "it is not one of SpikeInterface's recording classes that are known to be harmless")
        raise ValueError(f"the class {name[:120]!r} is not built from what others sent: {reason}")
    return row


class _Checker:
    """Counts while it walks a description."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._n_nodes = 0

    def check(self, value: object, at: At, depth: int) -> Node:
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES or depth > MAX_NODE_DEPTH:
            raise ValueError(f"it holds more than {MAX_NODES} recordings, or {MAX_NODE_DEPTH} on top of each other")
        fields = _take_object(value, "a recording")
        row = find_row(fields.get("class"))
        for key in fields:
            if key not in _KEYS | _EXTRA_KEYS:
                raise ValueError(f"{row.name} has the key {key[:40]!r}, which this kacheryfs does not know")
        kwargs = _take_object(fields.get("kwargs"), f"'kwargs' of {row.name}")
        return Node(
            row,
            at,
            {key: self._check_argument(row, key, item, at, depth) for key, item in kwargs.items()},
            str(fields.get("version", ""))[:100],
            _take_object(fields.get("annotations") or {}, f"'annotations' of {row.name}"),
            _take_object(fields.get("properties") or {}, f"'properties' of {row.name}"),
            _take_object(fields["probegroup"], f"'probegroup' of {row.name}") if fields.get("probegroup") else None,
            _take_times(fields.get("times_kwargs"), row),
        )

    def _check_argument(self, row: ClassRow, key: str, value: object, at: At, depth: int) -> object:
        if key in row.recordings:
            return self._check_recordings(row, key, value, (*at, "kwargs", key), depth + 1)
        if key not in row.kwargs:
            raise ValueError(f"{row.name} is given {key[:40]!r}, which it may not be given by others")
        try:
            return row.kwargs[key](value, self._place)
        except ValueError as exc:
            raise ValueError(f"{key!r} of {row.name} {exc}") from exc

    def _check_recordings(self, row: ClassRow, key: str, value: object, at: At, depth: int) -> object:
        if value is None:
            return None
        if isinstance(value, list):
            return [self.check(item, (*at, index), depth) for index, item in enumerate(value)]
        if isinstance(value, dict) and "class" not in value and row.name == "ChannelsAggregationRecording":
            return {name: self.check(item, (*at, name), depth) for name, item in value.items()}
        return self.check(value, at, depth)


def _take_object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value


def _take_times(value: object, row: ClassRow) -> tuple[Mapping[str, Any], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"'times_kwargs' of {row.name} is not a list")
    for item in value:
        times = _take_object(item, f"'times_kwargs' of {row.name}")
        if not times.keys() <= {"sampling_frequency", "t_start", "time_vector"}:
            raise ValueError(f"'times_kwargs' of {row.name} has an unknown key")
    return tuple(value)
