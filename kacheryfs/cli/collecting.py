"""``collection``: make collections of recordings and sortings, list them, show what is in them, write them out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import app
from ..core.collection_json import collection_to_json, encode_collection
from ..core.link import FileLink, TreeLink, parse_link
from ..core.opened import OpenedCollection
from ..errors import InputError
from ..store.collection_names import CollectionNames
from .configuration import settings_of
from .mounts import find_mounts
from .sharing import say_who_serves
from .terminal import format_table, put, put_json, say
from .units import format_count

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.collection import Collection as Value
    from ..ephys.collections import Collection

Link = FileLink | TreeLink


def create(args: argparse.Namespace) -> int:
    from ..ephys.collections import Collection

    settings = settings_of(args)
    names = CollectionNames(settings.data_dir)
    found = names.find(args.name)
    if found is not None:
        raise InputError(f"there is a collection {args.name} on this machine ({found}): choose another name")
    if args.source is None:
        collection = Collection.create(args.name, args.description)
    else:
        collection = Collection.load(args.source).renamed(args.name, args.description or None)
    return _put_version(settings, collection, args)


def add_recordings(args: argparse.Namespace) -> int:
    settings, collection = settings_of(args), _load(args)
    _refuse_one_id_for_many(args)
    for link in args.links:
        item = collection.add_recording(link, id=args.id, **_words(args))
        _say_added(collection, item.id, args)
    return _put_version(settings, collection, args)


def add_sortings(args: argparse.Namespace) -> int:
    settings, collection = settings_of(args), _load(args)
    _refuse_one_id_for_many(args)
    for link in args.links:
        item = collection.add_sorting(link, recording_id=args.recording, id=args.id, **_words(args))
        _say_added(collection, item.id, args)
    return _put_version(settings, collection, args)


def _load(args: argparse.Namespace) -> Collection:
    from ..ephys.collections import Collection

    return Collection.load(args.collection)


def _refuse_one_id_for_many(args: argparse.Namespace) -> None:
    if args.id is not None and len(args.links) > 1:
        raise InputError("--id names one entry, but several links were given: leave it out, or add them one by one")


def _words(args: argparse.Namespace) -> dict[str, Any]:
    return {"label": args.label, "description": args.description, "tags": args.tags, "replace": args.replace}


def _say_added(collection: Collection, entry_id: str, args: argparse.Namespace) -> None:
    if not args.json:
        say(f"{entry_id} is in {collection.name}")


def remove(args: argparse.Namespace) -> int:
    settings, collection = settings_of(args), _load(args)
    for entry_id in args.ids:
        if args.sorting:
            collection.remove_sorting(entry_id)
        else:
            collection.remove_recording(entry_id)
    return _put_version(settings, collection, args)


def _put_version(settings: Settings, collection: Collection, args: argparse.Namespace) -> int:
    """Share the new version, let its name stand for it, and print its link."""
    before = parse_link(collection.link) if collection.link else None
    names = CollectionNames(settings.data_dir)
    current = names.find(collection.name)
    if current not in (None, before):
        raise InputError(
            f"{collection.name} is another version or another collection on this machine ({current}): "
            "add to that one, or give this one a name of its own with `collection create NAME --from LINK`"
        )
    link = collection.share(keep_name=False)
    names.advance(collection.name, before, parse_link(link))
    if args.json:
        put_json({"name": collection.name, "link": link, "previous": collection.previous})
    else:
        put(link)
    _show_instead(settings, collection.name, before, parse_link(link))
    say_who_serves(settings)
    return 0


def _show_instead(settings: Settings, name: str, before: Link | None, link: Link) -> None:
    """Let the mounts that show the version before show the new one."""
    opened = app.open_collection_list(settings)
    if before is None or opened.links().get(name) != before:
        return
    assert isinstance(link, FileLink)
    assert isinstance(before, FileLink)
    opened.open(OpenedCollection(name, link), replacing=before)
    for mount in find_mounts(settings):
        mount.ask("collection-reload")


def list_collections(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    made, opened = CollectionNames(settings.data_dir).all(), app.open_collection_list(settings).links()
    rows: list[dict[str, object]] = []
    for name in sorted({*made, *opened}):
        links = dict.fromkeys(str(links[name]) for links in (made, opened) if name in links)
        for link in links:
            is_made, is_open = str(made.get(name)) == link, str(opened.get(name)) == link
            rows.append({"name": name, "link": link, "is_made_here": is_made, "is_open": is_open})
    if args.json:
        put_json(rows)
        return 0
    for line in format_table([(str(row["name"]), _state(row), str(row["link"])) for row in rows]):
        put(line)
    if not rows:
        say("no collection was made or opened here: kacheryfs collection create NAME, or open LINK")
    return 0


def _state(row: dict[str, object]) -> str:
    states = {"made here": row["is_made_here"], "open": row["is_open"]}
    return ", ".join(state for state, holds in states.items() if holds)


def show(args: argparse.Namespace) -> int:
    settings_of(args)
    collection = _load(args)
    if args.json:
        put_json({"link": collection.link, "collection": collection_to_json(collection.value)})
        return 0
    for line in _describe(collection):
        put(line)
    return 0


def _describe(collection: Collection) -> Iterable[str]:
    value = collection.value
    yield from format_table(
        [
            ("name", value.name),
            *(("about" if not n else "", line) for n, line in enumerate(value.description.splitlines())),
            ("link", str(collection.link)),
            *([("previous", str(value.previous))] if value.previous else []),
        ]
    )
    yield f"{format_count(len(value.recordings), 'recording')}, {format_count(len(value.sortings), 'sorting')}"
    yield from format_table(_recording_rows(value))
    yield from format_table(_sorting_rows(value))


def _recording_rows(value: Value) -> Iterable[tuple[str, ...]]:
    for entry in value.recordings.values():
        yield (
            entry.id,
            _quantity(entry.sampling_frequency, "Hz"),
            "-" if entry.n_channels is None else format_count(entry.n_channels, "channel"),
            _quantity(entry.duration_s, "s"),
            entry.probe or "-",
            _tail(entry.label, entry.tags),
            str(entry.link),
        )


def _sorting_rows(value: Value) -> Iterable[tuple[str, ...]]:
    for entry in value.sortings.values():
        yield (
            entry.id,
            f"of {entry.recording_id}",
            "-" if entry.n_units is None else format_count(entry.n_units, "unit"),
            _tail(entry.label, entry.tags),
            str(entry.link),
        )


def _quantity(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.10g} {unit}"


def _tail(label: str, tags: tuple[str, ...]) -> str:
    return " ".join([*filter(None, [label]), *(f"[{tag}]" for tag in tags)]) or "-"


def export(args: argparse.Namespace) -> int:
    """Write the canonical JSON without a line's end: `sha1sum` of it is the digest in the link."""
    from ..ephys.collection_tables import to_csv

    settings_of(args)
    collection = _load(args)
    if args.csv:
        sys.stdout.write(to_csv(collection.value))
    else:
        sys.stdout.buffer.write(encode_collection(collection.value))
    sys.stdout.flush()
    return 0
