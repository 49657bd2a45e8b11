"""A recording as SpikeInterface's own JSON: what stock ``si.load`` reads, with nothing in it that JSON would bend.

``to_dict`` is written for pickles: as JSON, structured properties become nested lists and mixed ones texts, and an
annotation that is no JSON value is an error. What doesn't come back as it was is left out here, at every step of the
chain; ``metadata`` keeps it for ``load_recording``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.base import BaseExtractor
from spikeinterface.core.core_tools import SIJsonEncoder, is_dict_extractor

from .safety_extractors import EXTRACTORS
from .scrubbing import scrub

MAX_TIMES = 1_000_000
"""Frames of time vectors in one ``recording.json``, of some 20 bytes each; more are told by the metadata alone."""

_DRAWING = {"CenterRecording", "NormalizeByQuantileRecording", "ZScoreRecording"}
"""Steps that scale by factors of random chunks; what they do with them ``ScaleRecording`` does, bit for bit."""

Description = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Leaf:
    """An extractor that reads files, and where it stands in the description: ``("kwargs", "recording", …)``."""

    at: tuple[str | int, ...]
    extractor: Any


def find_leaves(recording: BaseRecording, at: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """Yield the ends of a recording's chain, in the order of its description."""
    parents = list(_parents(recording))
    if not parents:
        yield Leaf(at, recording)
    for keys, parent in parents:
        yield from find_leaves(parent, (*at, "kwargs", *keys))


def _parents(recording: BaseRecording) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the recordings that one is made of, with the keys that lead to them in its arguments."""
    for name, value in recording._kwargs.items():
        if isinstance(value, BaseExtractor):
            yield (name,), value
        elif isinstance(value, list):
            yield from (((name, index), each) for index, each in enumerate(value) if isinstance(each, BaseExtractor))
        elif isinstance(value, dict):
            yield from (((name, key), each) for key, each in value.items() if isinstance(each, BaseExtractor))


def is_of_spikeinterface(recording: BaseRecording) -> bool:
    """Tell whether every class of the chain is SpikeInterface's, or ours for links, so that others have it, too."""
    package = type(recording).__module__.partition(".")[0]
    return package in ("spikeinterface", "kacheryfs") and all(map(is_of_spikeinterface, _below(recording)))


def _below(recording: BaseRecording) -> Iterator[Any]:
    return (parent for _, parent in _parents(recording))


def reads_links(recording: BaseRecording) -> bool:
    """Tell whether this is a recording that ``load_recording`` made to read what is behind a link."""
    return type(recording).__module__.partition(".")[0] == "kacheryfs"


def describe(recording: BaseRecording) -> Description:
    """Return the description as JSON would give it back, its paths still absolute; TypeError if JSON can't say it."""
    value = _with_drawn(recording, recording.to_dict(include_annotations=True, include_properties=True, recursive=True))
    budget = _TimesBudget(MAX_TIMES)
    cleaned: Description = json.loads(json.dumps(_clean(value, budget), cls=SIJsonEncoder))
    return cleaned


def _with_drawn(recording: Any, value: Description) -> Description:
    """Put the factors that a step drew from random chunks in its description: opened anew it would draw others."""
    kwargs = dict(value["kwargs"])
    for keys, parent in _parents(recording):
        *above, last = keys
        inner: Any = kwargs
        for key in above:
            inner[key] = type(inner[key])(inner[key])  # a copy: what to_dict returns is the recording's own
            inner = inner[key]
        inner[last] = _with_drawn(parent, inner[last])
    if reads_links(recording):
        times = [segment.get_times_kwargs() for segment in recording.segments]
        return {**value, "kwargs": kwargs, "times_kwargs": times}  # no file behind it tells them
    name = type(recording).__name__
    if name == "BiocamRecordingExtractor":  # SpikeInterface 0.105 forgets it, and can't read such a file without
        kwargs["fill_gaps_strategy"] = recording.neo_reader._fill_gaps_strategy
    if name not in _DRAWING or not recording.segments:
        return {**value, "kwargs": kwargs}
    segment = recording.segments[0]
    drawn = {"gain": np.asarray(segment.gain).tolist(), "offset": np.asarray(segment.offset).tolist()}
    dtype = np.dtype(recording.dtype).str
    kwargs = {"recording": kwargs["recording"], **drawn, "dtype": dtype}
    return {**value, "class": value["class"].replace(name, "ScaleRecording"), "kwargs": kwargs}


@dataclass(slots=True)
class _TimesBudget:
    left: int


def _clean(value: Description, budget: _TimesBudget) -> Description:
    """Return an extractor's description with what JSON can say of it, and of those that it is made of."""
    cleaned = dict(value)
    kwargs = {name: _clean_argument(each, budget) for name, each in value["kwargs"].items()}
    row = EXTRACTORS.get(value["class"])
    cleaned["kwargs"] = kwargs if row is None else {**kwargs, **row.forced}
    cleaned["annotations"] = {
        key: scrub(each) for key, each in value["annotations"].items() if _to_json(each) is not None
    }
    properties = ((key, scrub(np.asarray(each))) for key, each in value["properties"].items())
    cleaned["properties"] = {key: each.tolist() for key, each in properties if _survives_json(each)}
    if "probegroup" in value:
        cleaned["probegroup"] = scrub(json.loads(json.dumps(value["probegroup"], cls=SIJsonEncoder)))
    if "times_kwargs" in value:
        cleaned["times_kwargs"] = [_clean_times(times, budget) for times in value["times_kwargs"]]
    return cleaned


def _clean_argument(value: Any, budget: _TimesBudget) -> Any:
    if is_dict_extractor(value):
        return _clean(value, budget)
    if isinstance(value, dict):
        return {key: _clean_argument(each, budget) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean_argument(each, budget) for each in value]
    return value


def _to_json(value: object) -> str | None:
    try:
        return json.dumps(value, cls=SIJsonEncoder)
    except (TypeError, ValueError):
        return None


def _survives_json(values: np.ndarray[Any, Any]) -> bool:
    """Tell whether ``set_property`` gets equal values back from JSON; a dtype may become wider."""
    text = _to_json(values.tolist())
    if text is None or values.dtype.kind in "VS":
        return False
    try:
        again = np.asarray(json.loads(text))
    except ValueError:  # lists of several lengths
        return False
    is_number = values.dtype.kind in "fc"
    return again.shape == values.shape and bool(np.array_equal(again, values, equal_nan=is_number))


def _clean_times(times: Mapping[str, Any], budget: _TimesBudget) -> dict[str, Any]:
    """Return a segment's times; past the budget regular times from its vector's first on stand in for the vector."""
    vector = times["time_vector"]
    if vector is None:
        return dict(times)
    if len(vector) <= budget.left:
        budget.left -= len(vector)
        return {**times, "time_vector": np.asarray(vector).tolist()}
    return {**times, "t_start": float(vector[0]) if len(vector) else None, "time_vector": None}
