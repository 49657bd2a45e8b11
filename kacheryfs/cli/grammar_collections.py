"""Grammar: collections of recordings and sortings, and the recipes that datasets are built from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .commands import Commands

_COLLECTION = "its NAME on this machine, or its link"


def add_commands(commands: Commands) -> None:
    _add_collection(commands)
    # _add_dataset(commands)


def _add_collection(commands: Commands) -> None:
    actions = commands.add_group(
        "collection",
        help="sets of recordings and sortings behind one link: make, list, show, open them",
        about="A collection is one link to a set of recordings and sortings. It never changes: whoever adds to it\n"
        "gets the link of a new version, which names the one before.",
        examples=[
            "kacheryfs collection create locust --description 'Antennal lobe, tetrodes'",
            "kacheryfs collection add-recording locust sha1dir://77aa….trial_01 --id trial_01",
            "kacheryfs collection show locust",
        ],
    )
    _add_create(actions)
    _add_recording(actions)
    _add_sorting(actions)
    _add_remove(actions)
    _add_list(actions)
    _add_show(actions)
    _add_export(actions)
    _add_open(actions)
    _add_close(actions)


def _add_create(actions: Commands) -> None:
    create = actions.add(
        "create",
        run="collecting:create",
        help="begin a collection called NAME; prints its link",
        about="Begin a collection, empty or with what is in another one. The lineage's collections and feed.json\n"
        "snapshots are read, too.",
        examples=[
            "kacheryfs collection create locust --description 'Antennal lobe, tetrodes'",
            "kacheryfs collection create labbox --from sha1://2b6f…/feed.json",
        ],
        has_json=True,
    )
    create.add_argument("name", metavar="NAME", help="a name that a folder can have; the mount shows it as one")
    create.add_argument("--description", default="", metavar="TEXT")
    create.add_argument("--from", dest="source", metavar="LINK", help="begin with all that this collection holds")


def _add_recording(actions: Commands) -> None:
    add = actions.add(
        "add-recording",
        run="collecting:add_recordings",
        help="add recordings by their links; prints the new version's link",
        about="Add shared recordings to a collection. Sampling rate, channels, duration and probe are read from what\n"
        "was shared; a link that can't be read is refused.",
        examples=[
            "kacheryfs collection add-recording locust sha1dir://77aa….trial_01 --label 'Trial 1' --tag tetrode",
            "kacheryfs collection add-recording sha1://2b6f…/locust.json sha1dir://77aa….trial_02 --id trial_02",
        ],
        has_json=True,
    )
    add.add_argument("collection", metavar="COLLECTION", help=_COLLECTION)
    add.add_argument("links", nargs="+", metavar="LINK", help="what `kacheryfs share` or share_recording printed")
    _add_words(add)


def _add_sorting(actions: Commands) -> None:
    add = actions.add(
        "add-sorting",
        run="collecting:add_sortings",
        help="add sortings of one recording by their links; prints the new version's link",
        examples=["kacheryfs collection add-sorting locust trial_01 sha1dir://90cc….sorted --label 'by hand'"],
        has_json=True,
    )
    add.add_argument("collection", metavar="COLLECTION", help=_COLLECTION)
    add.add_argument("recording", metavar="RECORDING", help="the id of the recording that was sorted")
    add.add_argument("links", nargs="+", metavar="LINK", help="what share_sorting returned")
    _add_words(add)


def _add_words(add: argparse.ArgumentParser) -> None:
    add.add_argument("--id", metavar="ID", help="its folder's name; default: the link's name")
    add.add_argument("--label", default="", metavar="TEXT", help="what people call it")
    add.add_argument("--description", default="", metavar="TEXT")
    add.add_argument("--tag", action="append", default=[], dest="tags", metavar="TAG", help="may be given often")
    add.add_argument("--replace", action="store_true", help="in place of what has this id")


def _add_remove(actions: Commands) -> None:
    remove = actions.add(
        "remove",
        run="collecting:remove",
        help="take a recording or a sorting out; prints the new version's link",
        examples=["kacheryfs collection remove locust trial_02"],
        has_json=True,
    )
    remove.add_argument("collection", metavar="COLLECTION", help=_COLLECTION)
    remove.add_argument("ids", nargs="+", metavar="ID")
    remove.add_argument("--sorting", action="store_true", help="the ids are those of sortings")


def _add_list(actions: Commands) -> None:
    actions.add(
        "list",
        run="collecting:list_collections",
        help="the collections that were made or opened on this machine",
        examples=["kacheryfs collection list", "kacheryfs collection list --json"],
        has_json=True,
    )


def _add_show(actions: Commands) -> None:
    show = actions.add(
        "show",
        run="collecting:show",
        help="what a collection holds: ids, rates, channels, durations, probes, labels",
        examples=["kacheryfs collection show locust", "kacheryfs collection show sha1://2b6f…/locust.json --json"],
        has_json=True,
    )
    show.add_argument("collection", metavar="COLLECTION", help=_COLLECTION)


def _add_export(actions: Commands) -> None:
    export = actions.add(
        "export",
        run="collecting:export",
        help="write a collection's canonical JSON, the bytes that its link names, to stdout",
        examples=[
            "kacheryfs collection export locust > locust.json",
            "kacheryfs collection export --csv locust > locust.csv",
        ],
    )
    export.add_argument("collection", metavar="COLLECTION", help=_COLLECTION)
    export.add_argument("--csv", action="store_true", help="a table of recordings and sortings instead")


def _add_open(actions: Commands) -> None:
    opening = actions.add(
        "open",
        run="collection_view:open_collection",
        help="show a collection in the mount, as folders with human names",
        about="Show a collection as MOUNTPOINT/collections/NAME/recordings/ID/…, now and in every later mount.",
        examples=["kacheryfs collection open sha1://2b6f…/locust.json", "kacheryfs collection open locust"],
        has_json=True,
    )
    opening.add_argument("collection", metavar="COLLECTION", help=_COLLECTION)
    opening.add_argument("--name", metavar="NAME", help="another name for the folder")


def _add_close(actions: Commands) -> None:
    close = actions.add(
        "close",
        run="collection_view:close_collection",
        help="take a collection out of the mount again",
        examples=["kacheryfs collection close locust"],
        has_json=True,
    )
    close.add_argument("name", metavar="NAME", help="the folder's name")


def _add_dataset(commands: Commands) -> None:
    actions = commands.add_group(
        "dataset",
        help="build a collection from a recipe: the same link on every machine",
        examples=["kacheryfs dataset build recipe.toml", "kacheryfs dataset build --dry-run recipe.toml"],
    )
    build = actions.add(
        "build",
        run="datasets:build",
        help="share what a recipe names, and print the link of the collection that it makes",
        about="Build the recordings, sortings and the collection that RECIPE describes. Files are read where they\n"
        "lie; $NAME at the beginning of a path is given by --folder or by the variable DATASET_NAME.",
        examples=[
            "kacheryfs dataset build recipe.toml",
            "kacheryfs dataset build --folder RAW=recordings/2026 recipe.toml",
            "kacheryfs dataset build --dry-run recipe.toml",
        ],
        has_json=True,
    )
    build.add_argument("recipe", metavar="RECIPE", help="a TOML file; scripts/dataset has one to begin with")
    build.add_argument(
        "--folder", action="append", default=[], dest="folders", metavar="NAME=DIR", help="where $NAME is"
    )
    build.add_argument("--dry-run", action="store_true", help="tell what would be built; nothing is read or shared")
