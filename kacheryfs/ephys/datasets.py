"""Builds a dataset out of a recipe: the same recipe and the same files give the same link on every machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spikeinterface

from ..config import MAX_CONFIG_BYTES
from ..core import collection as core
from ..core.collection_json import encode_collection
from ..core.link import FileLink, TreeLink
from ..core.model import Sha1
from ..core.recipe import Recipe, RecipeEntry, RecipePath, RecipeRecording, RecipeSorting, parse_recipe
from ..errors import InputError, KacheryError, ProofError
from .collection_entries import as_input_errors, make_recording_entry, make_sorting_entry
from .collections import Collection
from .dataset_formats import check_format, open_recording, open_sorting

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_log = logging.getLogger(__name__)

VARIABLE_PREFIX = "DATASET_"
"""The environment variable DATASET_RAW is the folder $RAW; no other variable is looked at."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Planned:
    """One entry of a recipe, with the file or the link that it will be made of."""

    entry: RecipeRecording | RecipeSorting
    source: Path | FileLink | TreeLink
    more: tuple[Path, ...] = ()
    probe: Path | None = None

    @property
    def kind(self) -> str:
        return "sorting" if isinstance(self.entry, RecipeSorting) else "recording"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe comes to on this machine; every file of it is there."""

    recipe: Recipe
    entries: tuple[Planned, ...]


def plan_dataset(path: str | os.PathLike[str], folders: Mapping[str, str] | None = None) -> Plan:
    """Read a recipe and find its files; nothing is opened or shared.

    Parameters
    ----------
    path : str or path
        The recipe, a TOML file.
    folders : mapping, optional
        Where the named folders of the recipe ($NAME) are; else the environment's DATASET_NAME says it, or the recipe.

    Returns
    -------
    Plan
        What would be built.

    Raises
    ------
    KacheryError
        ``InputError`` for a recipe that can't be read, or a file, folder, format or parameter that isn't there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from kacheryfs.ephys.datasets import plan_dataset
    >>> with TemporaryDirectory() as folder:
    ...     n_chars = Path(folder, "recipe.toml").write_text('name = "empty"')
    ...     plan_dataset(Path(folder, "recipe.toml")).recipe.name
    'empty'
    """
    recipe_path = Path(path)
    recipe = _read_recipe(recipe_path)
    places = _find_folders(recipe, recipe_path.absolute().parent, dict(folders or {}))
    return Plan(recipe, tuple(_plan(entry, places) for entry in recipe.entries))


def build_dataset(
    path: str | os.PathLike[str], folders: Mapping[str, str] | None = None, *, say: Say = lambda _: None
) -> str:
    """Build what a recipe describes, offer it to peers and return the collection's link.

    Recordings and sortings are shared in place, as ``kfs.share_recording`` does it. The recipe's text, the bytes of its
    files and the version of SpikeInterface decide about the link; names of folders above them, the machine and the time
    do not.

    Parameters
    ----------
    path, folders
        As for ``plan_dataset``.
    say : callable, optional
        Told a line about each entry as it is done.

    Returns
    -------
    str
        The collection's link, ``sha1://H/NAME.json``.

    Raises
    ------
    KacheryError
        ``InputError`` for a recipe or a file that can't be used; ``ProofError`` where the recipe says which link must
        come out, and another does; whatever sharing raises.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from kacheryfs.ephys.datasets import build_dataset
    >>> with TemporaryDirectory() as folder:
    ...     n_chars = Path(folder, "recipe.toml").write_text('name = "empty"')
    ...     build_dataset(Path(folder, "recipe.toml"))
    'sha1://fe0db4c4032f4af414a11393ace1873ece4dd6ed/empty.json'
    """
    plan = plan_dataset(path, folders)
    recipe = plan.recipe
    with as_input_errors():
        value = core.Collection(recipe.name, recipe.description, previous=recipe.previous)
    for planned in plan.entries:
        value = _with_entry(value, planned)
        say(f"{planned.kind} {planned.entry.id} is in {recipe.name}")
    _require_expected(recipe, value)
    return Collection(value, shared=None if recipe.previous is None else (recipe.previous, None)).share()


def _read_recipe(path: Path) -> Recipe:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise InputError(f"{path} is over the limit of {MAX_CONFIG_BYTES} bytes")
        table = tomllib.loads(data.decode("utf-8"))
    except OSError as exc:
        raise InputError(f"{path} can't be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path} is not TOML: {str(exc).splitlines()[0]}") from exc
    try:
        return parse_recipe(table)
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc


def _find_folders(recipe: Recipe, base: Path, given: dict[str, str]) -> dict[str | None, Path]:
    """Return the folder of each name, and that of paths without one."""
    unused = given.keys() - set(recipe.variables)
    if unused:
        raise InputError(f"no path of the recipe begins with ${min(unused)[:80]}")
    places: dict[str | None, Path] = {None: base}
    for name in recipe.variables:
        text = given.get(name) or os.environ.get(VARIABLE_PREFIX + name)
        if text:
            places[name] = Path(text).expanduser().absolute()
        elif name in recipe.folders:
            places[name] = base.joinpath(*recipe.folders[name].names)
        else:
            raise InputError(f"where is ${name}? Say it with --folder {name}=DIR, or in {VARIABLE_PREFIX}{name}")
    return places


def _plan(entry: RecipeRecording | RecipeSorting, places: Mapping[str | None, Path]) -> Planned:
    is_sorting = isinstance(entry, RecipeSorting)
    try:
        if entry.format is not None:
            check_format(entry.format, entry.parameters, is_sorting=is_sorting)
        if not isinstance(entry.source, RecipePath):
            return Planned(entry, entry.source)
        probe = entry.probe if isinstance(entry, RecipeRecording) else None
        source, *more = (_find(path, places) for path in (entry.source, *entry.more))
        return Planned(entry, source, tuple(more), None if probe is None else _find(probe, places))
    except InputError as exc:
        raise InputError(f"{'sorting' if is_sorting else 'recording'} {entry.id!r}: {exc}") from exc


def _find(path: RecipePath, places: Mapping[str | None, Path]) -> Path:
    found = places[path.variable].joinpath(*path.names)
    if not os.path.exists(found):  # Path.exists raises where a folder is closed to us
        raise InputError(f"there is no {path}: {found} doesn't exist, or is closed to us")
    return found


def _with_entry(value: core.Collection, planned: Planned) -> core.Collection:
    try:
        if isinstance(planned.entry, RecipeSorting):
            return value.with_sorting(_build_sorting(planned, planned.entry))
        return value.with_recording(_build_recording(planned, planned.entry))
    except KacheryError as exc:
        raise type(exc)(f"{planned.kind} {planned.entry.id!r}: {exc}") from exc


def _build_recording(planned: Planned, entry: RecipeRecording) -> core.RecordingEntry:
    return make_recording_entry(_recording_of(planned, entry), entry.id, _words(entry))


def _recording_of(planned: Planned, entry: RecipeRecording) -> Any:
    """Return the recording itself, or the link of one that is shared already."""
    if not isinstance(planned.source, Path):
        if entry.format is None:
            return str(planned.source)
        from .dataset_links import share_linked_recording

        return share_linked_recording(planned.source, entry.format, entry.parameters, label=entry.id)
    assert entry.format is not None
    recording = open_recording(entry.format, [planned.source, *planned.more], entry.parameters)
    return recording if planned.probe is None else _with_probe(recording, planned.probe)


def _with_probe(recording: Any, path: Path) -> Any:
    import probeinterface

    try:
        recording.set_probegroup(probeinterface.read_probeinterface(path))  # in place, and returns nothing
    except Exception as exc:  # probeinterface raises anything for a file that isn't its own
        reason = " ".join(str(exc).split())[:300]
        raise InputError(f"{path} is no probe of this recording: {type(exc).__name__}: {reason}") from exc
    return recording


def _build_sorting(planned: Planned, entry: RecipeSorting) -> core.SortingEntry:
    sorting: Any = str(planned.source)
    if planned.more:
        raise InputError("a sorting is read from one path")
    if isinstance(planned.source, Path):
        assert entry.format is not None
        sorting = open_sorting(entry.format, planned.source, entry.parameters)
    elif entry.format is not None:
        raise InputError("what a link names is a sorting that was shared: leave out the format")
    return make_sorting_entry(sorting, entry.recording_id, entry.id, _words(entry))


def _words(entry: RecipeEntry) -> tuple[str, str, tuple[str, ...]]:
    return entry.label, entry.description, entry.tags


def _require_expected(recipe: Recipe, value: core.Collection) -> None:
    """Hold the collection against the link that the recipe's author got."""
    version = spikeinterface.__version__
    is_other = recipe.spikeinterface is not None and not version.startswith(recipe.spikeinterface)
    why = f"this is SpikeInterface {version}, the author's was {recipe.spikeinterface}" if is_other else ""
    built = Sha1.of(encode_collection(value))
    if recipe.link is not None and recipe.link.sha1 != built:
        why = why or "a file differs from the author's, or the version of SpikeInterface"
        raise ProofError(f"the dataset is {built}, and the recipe says {recipe.link.sha1}: {why}")
    if why:
        _log.warning("%s", f"{recipe.name}: {why}; another version may give another link")
