"""Grammar: the commands that keep data here, or elsewhere."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .grammar_reading import add_engine_flags

if TYPE_CHECKING:
    from .commands import Commands

_TARGET = "a link (of a file, a folder, a recording, a collection), a path below a mountpoint, or a shared path"


def add_commands(commands: Commands) -> None:
    _add_prefetch(commands)
    _add_pin(commands)
    _add_unpin(commands)
    _add_pins(commands)
    _add_cache(commands)
    _add_mirror(commands)


def _add_prefetch(commands: Commands) -> None:
    prefetch = commands.add(
        "prefetch",
        run="prefetching:prefetch",
        help="fetch files, a part of one, or some seconds of recordings, before they are read",
        about="Fetch into the store what will be read: files, folders, recordings, all that a collection names. What\n"
        "is here isn't fetched again: run it again after an interruption. A running mount shows it at once.\n"
        "`kacheryfs pin` keeps it from being evicted.\n"
        "Exit code 0: all is here; 6: the cache or the disk is full; else that of the worst thing which isn't here.",
        examples=[
            "kacheryfs prefetch sha1dir://77aa….p2_g0",
            "kacheryfs prefetch --time 60:120 sha1dir://77aa….trial_01",
            "kacheryfs prefetch --range 0:100000000 ~/kachery/sha1/2b6f…",
        ],
        has_json=True,
    )
    prefetch.add_argument("targets", nargs="+", metavar="LINK|PATH", help=_TARGET)
    prefetch.add_argument("--range", metavar="A:B", help="of one file, only bytes A up to B, B not included")
    prefetch.add_argument(
        "--time", metavar="S:E", help="of recordings, only seconds S to E, counted from each segment's beginning"
    )
    add_engine_flags(prefetch)


def _add_pin(commands: Commands) -> None:
    pin = commands.add(
        "pin",
        run="keeping:pin",
        help="keep files in the cache whatever else is read",
        about="Keep what a link stands for: blocks of it that are here, or come later, are never evicted, until\n"
        "`kacheryfs unpin`. Nothing is fetched but the list of a folder's files. Prints the pinned links.\n"
        "Exit code 0: all is pinned; else that of the worst part of it that couldn't be looked up.",
        examples=[
            "kacheryfs pin sha1dir://77aa….p2_g0",
            "kacheryfs pin ~/kachery/collections/locust/recordings/trial_01",
        ],
        has_json=True,
    )
    pin.add_argument("targets", nargs="+", metavar="LINK|PATH", help=_TARGET)
    add_engine_flags(pin)


def _add_unpin(commands: Commands) -> None:
    unpin = commands.add(
        "unpin",
        run="keeping:unpin",
        help="let pinned files be evicted again; nothing is removed now",
        about="Let pinned files be evicted again, when space is needed. Exit code 2: something wasn't pinned.",
        examples=["kacheryfs unpin sha1dir://77aa….p2_g0"],
        has_json=True,
    )
    unpin.add_argument("targets", nargs="+", metavar="LINK|PATH", help="a link of `kacheryfs pins`, or its path")
    _add_store_flag(unpin)


def _add_pins(commands: Commands) -> None:
    pins = commands.add(
        "pins",
        run="keeping:pins",
        help="list what is pinned, and how much of it is here",
        examples=["kacheryfs pins", "kacheryfs pins --json"],
        has_json=True,
    )
    _add_store_flag(pins)


def _add_cache(commands: Commands) -> None:
    actions = commands.add_group(
        "cache",
        help="what was fetched and is kept: list it, give space back, see how full it is",
        about="What was fetched and is kept here, up to the setting cache_size. What this machine shares isn't part\n"
        "of it, and never touched.",
        examples=["kacheryfs cache stats", "kacheryfs cache evict --bytes 10GB", "kacheryfs cache list --json"],
    )
    _add_cache_list(actions)
    _add_cache_evict(actions)
    _add_cache_clear(actions)
    _add_cache_stats(actions)


def _add_cache_list(actions: Commands) -> None:
    listing = actions.add(
        "list",
        run="keeping_cache:list_files_here",
        help="the files that are here in whole or in part, largest first",
        examples=["kacheryfs cache list", "kacheryfs cache list --json"],
        has_json=True,
    )
    _add_store_flag(listing)


def _add_cache_evict(actions: Commands) -> None:
    evict = actions.add(
        "evict",
        run="keeping_cache:evict",
        help="drop files, or so many bytes of what was used longest ago",
        about="Drop blocks; they are fetched again when they are read. What is pinned or in use stays.",
        examples=[
            "kacheryfs cache evict sha1dir://77aa….p2_g0",
            "kacheryfs cache evict --bytes 10GB",
        ],
        has_json=True,
    )
    evict.add_argument("targets", nargs="*", metavar="LINK|PATH", help=f"only of this: {_TARGET}")
    evict.add_argument("--bytes", metavar="SIZE", help="about so much, by pieces of up to 16 MiB, for example 10GB")
    add_engine_flags(evict)


def _add_cache_clear(actions: Commands) -> None:
    clear = actions.add(
        "clear",
        run="keeping_cache:clear",
        help="drop all that is neither pinned nor in use",
        examples=["kacheryfs cache clear"],
        has_json=True,
    )
    _add_store_flag(clear)


def _add_cache_stats(actions: Commands) -> None:
    stats = actions.add(
        "stats",
        run="keeping_cache:stats",
        help="its limit, what it takes, what is pinned, what was evicted",
        examples=["kacheryfs cache stats", "kacheryfs cache stats --json"],
        has_json=True,
    )
    _add_store_flag(stats)


def _add_store_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", metavar="DIR", help="the store that is meant")


def _add_mirror(commands: Commands) -> None:
    mirror = commands.add(
        "mirror",
        run="mirroring:mirror",
        help="keep files complete, pinned and served here, or write copies to a web server's folder or a bucket",
        about="Keep files, folders and all that a collection names complete and pinned on this machine: store data\n"
        "if it is important to you. With --watch it stays, serves them (unless a server runs here already), and\n"
        "fetches again what `kacheryfs verify` or a damaged disk drops; prints the server's URL. Undo it by `unpin`.\n"
        "\n"
        "With --to write them to TARGET instead, each verified as a whole before it gets its name there, in the\n"
        "layout that any web server or a bucket's own endpoint serves to peers. Run it again after an interruption,\n"
        "or for what is new. Prints the URL for `kacheryfs peer add` where it is known, else TARGET. Keys and\n"
        "endpoints are set as fsspec reads them (AWS_ACCESS_KEY_ID, FSSPEC_S3_ENDPOINT_URL, …).\n"
        "\n"
        "Exit code 0: all is there. Else that of the worst thing which isn't: each is named. With --watch: 0.",
        examples=[
            "kacheryfs mirror sha1dir://77aa….p2_g0",
            "kacheryfs mirror --watch --listen 0.0.0.0:27180 sha1://2b6f…/locust.json",
            "kacheryfs mirror sha1dir://77aa….p2_g0 --to /srv/www/kachery",
            "kacheryfs mirror sha1://2b6f…/locust.json --to s3://lab-bucket/kachery",
        ],
        has_json=True,
    )
    mirror.add_argument("targets", nargs="+", metavar="LINK|PATH", help=_TARGET)
    mirror.add_argument("--to", metavar="TARGET", help="a folder, or a URL of fsspec's: s3://, gs://, sftp://, …")
    mirror.add_argument("--watch", action="store_true", help="stay, serve, and repair, until Ctrl-C or SIGTERM")
    mirror.add_argument("--every", metavar="S", help="how often --watch looks whether all is here (default: 60 s)")
    mirror.add_argument("--listen", metavar="HOST:PORT", help="where --watch answers peers; as for kacheryfs serve")
    add_engine_flags(mirror)
