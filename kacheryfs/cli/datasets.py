"""``dataset build``: a collection out of a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..store.collection_names import CollectionNames
from .configuration import settings_of
from .sharing import say_who_serves
from .terminal import format_table, put, put_json, say
from .units import format_bytes, format_count

if TYPE_CHECKING:
    from ..ephys.datasets import Plan, Planned


def build(args: argparse.Namespace) -> int:
    from ..ephys.datasets import build_dataset, plan_dataset

    settings, folders = settings_of(args), _parse_folders(args.folders)
    plan = plan_dataset(args.recipe, folders)
    if args.dry_run:
        return _tell(plan, is_json=args.json)
    name = plan.recipe.name
    before = CollectionNames(settings.data_dir).find(name)
    link = build_dataset(args.recipe, folders, say=say)
    if before is not None and str(before) != link:
        say(f"{name} stood for {before} on this machine until now")
    if args.json:
        put_json({"name": name, "link": link})
    else:
        put(link)
    say_who_serves(settings)
    return 0


def _parse_folders(texts: list[str]) -> dict[str, str]:
    folders: dict[str, str] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder) or "\0" in folder:
            raise InputError(f"--folder {text[:80]!r}: write NAME=DIR, for $NAME in the recipe")
        if name in folders:
            raise InputError(f"--folder {name} is given twice")
        folders[name] = folder
    return folders


def _tell(plan: Plan, *, is_json: bool) -> int:
    recipe = plan.recipe
    if is_json:
        put_json({"name": recipe.name, "entries": [_as_json(planned) for planned in plan.entries]})
        return 0
    counts = f"{format_count(len(recipe.recordings), 'recording')}, {format_count(len(recipe.sortings), 'sorting')}"
    say(f"would build {recipe.name}: {counts}")
    for line in format_table([_as_row(planned) for planned in plan.entries]):
        say(line)
    return 0


def _as_json(planned: Planned) -> dict[str, object]:
    is_path = isinstance(planned.source, Path)
    return {
        "kind": planned.kind,
        "id": planned.entry.id,
        "format": planned.entry.format,
        "path": str(planned.source) if is_path else None,
        "link": None if is_path else str(planned.source),
    }


def _as_row(planned: Planned) -> tuple[str, ...]:
    source = planned.source
    size = format_bytes(source.stat().st_size) if isinstance(source, Path) and source.is_file() else "-"
    return planned.kind, planned.entry.id, planned.entry.format or "shared", size, str(source)
