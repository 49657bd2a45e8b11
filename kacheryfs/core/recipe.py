"""Recipes: which files and links a dataset is built from, as a value that is right by construction.

A stranger may have written a recipe, and what it names will be shared: so a path stays below the recipe's own folder,
or below a folder that the user gave a name (``$RAW/…``); nothing in it is an absolute path, ``..`` or the name of a
variable of the environment at large.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import InputError
from .collection import take_tags, why_not_an_id
from .link import FileLink, TreeLink, parse_link
from .names import why_not_a_name

MAX_ENTRIES = 100_000
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RecipePath:
    """A path below the recipe's folder, or below the folder that ``variable`` stands for."""

    names: tuple[str, ...]
    variable: str | None = None

    def __str__(self) -> str:
        return "/".join([*([f"${self.variable}"] if self.variable else []), *self.names]) or "."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeEntry:
    """A recording or a sorting: where it is, how it is opened (None: as what was shared), and what it is called."""

    id: str
    source: RecipePath | FileLink | TreeLink
    more: tuple[RecipePath, ...] = ()
    """Further files, each a segment of its own."""
    format: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    label: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRecording(RecipeEntry):
    """A recording; ``probe`` is a file of probeinterface's."""

    probe: RecipePath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSorting(RecipeEntry):
    """A sorting of one of the recipe's recordings."""

    recording_id: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A dataset: what its collection is called, and what goes in.

    ``folders`` are the named folders' places where the user says nothing else. ``link`` is the one that must come out,
    and ``spikeinterface`` the version that it comes out with, if the author says so.
    """

    name: str
    description: str
    recordings: tuple[RecipeRecording, ...]
    sortings: tuple[RecipeSorting, ...]
    folders: Mapping[str, RecipePath]
    link: FileLink | TreeLink | None = None
    previous: FileLink | TreeLink | None = None
    spikeinterface: str | None = None

    @property
    def entries(self) -> tuple[RecipeRecording | RecipeSorting, ...]:
        """The recordings, and then the sortings."""
        return (*self.recordings, *self.sortings)

    @property
    def variables(self) -> list[str]:
        """The named folders that a path of the recipe begins with, sorted."""
        paths = [*(entry.source for entry in self.entries), *(entry.probe for entry in self.recordings)]
        paths += [path for entry in self.entries for path in entry.more]
        return sorted({path.variable for path in paths if isinstance(path, RecipePath) and path.variable})


def parse_recipe(table: Mapping[str, object]) -> Recipe:
    """Read a recipe's TOML table; InputError says in one line what is wrong with it."""
    taken = _Table("the recipe", table)
    folders = taken.take("folders", dict, {})
    recipe = Recipe(
        name=_parse_id(taken.need("name", str)),
        description=taken.take("description", str, ""),
        recordings=tuple(_parse_recording(one) for one in taken.tables("recording")),
        sortings=tuple(_parse_sorting(one) for one in taken.tables("sorting")),
        folders={_parse_variable(name): _parse_default(name, path) for name, path in folders.items()},
        link=taken.parse("link", parse_link),
        previous=taken.parse("previous", parse_link),
        spikeinterface=taken.take("spikeinterface", str, None),
    )
    taken.refuse_others()
    _refuse_doubles("recording", (entry.id for entry in recipe.recordings))
    _refuse_doubles("sorting", (entry.id for entry in recipe.sortings))
    known = {entry.id for entry in recipe.recordings}
    for sorting in recipe.sortings:
        if sorting.recording_id not in known:
            raise InputError(f"sorting {sorting.id!r} is of {sorting.recording_id[:80]!r}, no recording of the recipe")
    return recipe


def _parse_recording(taken: _Table) -> RecipeRecording:
    recording = RecipeRecording(**_parse_entry(taken), probe=taken.parse("probe", parse_recipe_path))
    if recording.probe is not None and not isinstance(recording.source, RecipePath):
        raise InputError(f"{taken.what}: a probe goes with a path; what is behind a link has its own, or none")
    taken.refuse_others()
    return recording


def _parse_sorting(taken: _Table) -> RecipeSorting:
    sorting = RecipeSorting(**_parse_entry(taken), recording_id=taken.need("recording", str))
    taken.refuse_others()
    return sorting


def _parse_entry(taken: _Table) -> dict[str, Any]:
    paths, link = _parse_paths(taken), taken.parse("link", parse_link)
    kind = taken.take("format", str, None)
    if bool(paths) == (link is not None):
        raise InputError(f"{taken.what} has {'both' if paths else 'neither'} a path and a link: give one")
    if paths and kind is None:
        raise InputError(f"{taken.what} has a path, but no format to open it with")
    parameters = taken.take("parameters", dict, {})
    if parameters and kind is None:
        raise InputError(f"{taken.what} has parameters, but no format that takes them")
    tags = taken.take("tags", list, [])
    if not all(isinstance(tag, str) for tag in tags):
        raise InputError(f"a tag of {taken.what} is not text")
    return {
        "id": _parse_id(taken.need("id", str)),
        "source": paths[0] if paths else link,
        "more": tuple(paths[1:]),
        "format": kind,
        "parameters": parameters,
        "label": taken.take("label", str, ""),
        "description": taken.take("description", str, ""),
        "tags": take_tags(tags),
    }


def _parse_paths(taken: _Table) -> list[RecipePath]:
    """Read ``path``: one, or a list of files that are segments."""
    value = taken.take("path", object, [])
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"'path' of {taken.what} is neither text nor a list of texts")
    paths = [parse_recipe_path(text) for text in texts]
    if any(not path.names for path in paths):
        raise InputError(
            f"the path of {taken.what} ends with ${paths[0].variable}: write the folder's name behind it, since "
            "that is part of what is shared and must be the same everywhere"
        )
    if len({path.variable for path in paths}) > 1:
        raise InputError(f"the files of {taken.what} are to stand below one folder: their names below it are shared")
    return paths


def parse_recipe_path(text: str) -> RecipePath:
    """Read ``below/the/recipe`` or ``$NAME/below/it``; InputError for any other path."""
    head, slash, rest = text.partition("/")
    variable = _parse_variable(head[1:].strip("{}")) if head.startswith("$") else None
    body = (rest if slash else "") if variable else text
    names = tuple(name for name in body.split("/") if name not in ("", "."))
    if body.startswith(("/", "~")) or ".." in names:
        raise InputError(f"the path {text[:80]!r} leaves its folder: write it relative, or below a $NAME that is given")
    for name in names:
        if reason := why_not_a_name(name):
            raise InputError(f"the path {text[:80]!r}: {name[:80]!r} {reason}")
    if not names and variable is None:
        raise InputError("a path of the recipe is empty")
    return RecipePath(names, variable)


def _parse_default(name: str, value: object) -> RecipePath:
    path = parse_recipe_path(value) if isinstance(value, str) else None
    if path is None or path.variable is not None:
        raise InputError(f"the folder {name[:80]} is not a path relative to the recipe")
    return path


def _parse_variable(name: str) -> str:
    if not _VARIABLE.match(name):
        raise InputError(f"${name[:80]} is no name of a folder: capitals, digits and _ make one")
    return name


def _parse_id(text: str) -> str:
    if reason := why_not_an_id(text):
        raise InputError(f"the id or name {text[:80]!r} {reason}")
    return text


def _refuse_doubles(kind: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise InputError(f"the recipe has two {kind}s with the id {one[:80]!r}")
        seen.add(one)


class _Table:
    """Takes the keys of a table one by one, each with its type, and refuses what is left."""

    def __init__(self, what: str, values: Mapping[str, object]) -> None:
        self.what = what
        self._rest = dict(values)

    def take(self, key: str, kind: type[_T], default: Any) -> Any:
        value = self._rest.pop(key, default)
        if value is not default and not isinstance(value, kind):
            raise InputError(f"{key!r} of {self.what} is not {_KINDS[kind]}")
        return value

    def need(self, key: str, kind: type[_T]) -> Any:
        value = self.take(key, kind, None)
        if value is None:
            raise InputError(f"{self.what} has no {key!r}")
        return value

    def parse(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        text = self.take(key, str, None)
        return None if text is None else parse(text)

    def tables(self, key: str) -> list[_Table]:
        """Return the tables of ``[[key]]``, each called by its id."""
        values = self.take(key, list, [])
        if len(values) > MAX_ENTRIES or not all(isinstance(value, dict) for value in values):
            raise InputError(f"{self.what} has something else than [[{key}]] tables, or more than {MAX_ENTRIES}")
        return [_Table(f"{key} {str(value.get('id', number))[:80]!r}", value) for number, value in enumerate(values, 1)]

    def refuse_others(self) -> None:
        if self._rest:
            raise InputError(f"{self.what} has the unknown key {min(self._rest)[:40]!r}")


_KINDS: Mapping[type, str] = {str: "text", dict: "a table", list: "a list"}
