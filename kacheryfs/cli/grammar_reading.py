"""Grammar: the commands that read what peers have, through a mount or without one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .grammar_serving import add_server_flags

if TYPE_CHECKING:
    from .commands import Commands

_LINK = "sha1://…/NAME?manifest=…, sha1dir://…/path/inside, or an older kachery link"


def add_commands(commands: Commands) -> None:
    _add_mount(commands)
    _add_umount(commands)
    _add_get(commands)
    _add_cat(commands)
    _add_cancel(commands)
    _add_path(commands)
    _add_info(commands)


def _add_mount(commands: Commands) -> None:
    mount = commands.add(
        "mount",
        run="mounting:mount",
        help="show what peers have as files under MOUNTPOINT",
        about="Mount, and return when the mount can be used; it goes on in the background, and `kacheryfs status`\n"
        "says where its log is. The directory is made if needed, and a dead mount in its place is cleared.\n"
        "Prints the mountpoint; with --serve, in a second line, the URL that peers use.",
        examples=[
            "kacheryfs mount ~/kachery --peer http://lab2.example:27180",
            "kacheryfs mount --serve --listen 0.0.0.0:27180 ~/kachery",
            "kacheryfs mount --cache-size 200GB --download-limit 50MB/s ~/kachery",
            "kacheryfs mount --foreground -v ~/kachery",
        ],
    )
    mount.add_argument("mountpoint", metavar="MOUNTPOINT")
    mount.add_argument("--foreground", action="store_true", help="stay; Ctrl-C unmounts")
    mount.add_argument("--allow-other", action="store_true", help="let other users read too (see fuse.conf)")
    mount.add_argument("--serve", action="store_true", help="answer peers, too, from a process beside the mount")
    add_server_flags(mount)
    mount.add_argument(
        "--cache-size",
        metavar="SIZE",
        help="the store's bound on disk: 200GB, 80%% of it, 'free 50GB', auto, or 0 to keep nothing",
    )
    mount.add_argument("--ready-fd", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    add_engine_flags(mount)


def _add_umount(commands: Commands) -> None:
    umount = commands.add(
        "umount",
        run="mounting:umount",
        help="remove a mount, also a dead one",
        examples=["kacheryfs umount ~/kachery", "kacheryfs umount --force ~/kachery"],
    )
    umount.add_argument("mountpoint", metavar="MOUNTPOINT")
    umount.add_argument(
        "--force",
        action="store_true",
        help="end waiting reads first; detach even while in use",
    )


def _add_get(commands: Commands) -> None:
    get = commands.add(
        "get",
        run="getting:get",
        help="fetch a file or a folder to DEST, without a mount; goes on where it stopped",
        about="Fetch a file or a whole folder, without a mount. What was fetched before is in the store and isn't\n"
        "fetched again; files that are already right at DEST are left as they are.",
        examples=[
            "kacheryfs get 'sha1://2b6f…/rec.dat?manifest=…'",
            "kacheryfs get sha1dir://77aa….p2_g0 recordings/p2_g0",
        ],
        has_json=True,
    )
    get.add_argument("link", metavar="LINK", help=_LINK)
    get.add_argument(
        "dest",
        nargs="?",
        metavar="DEST",
        help="file or folder to make, or a folder to put it into",
    )
    get.add_argument("--force", action="store_true", help="replace files at DEST that are something else")
    add_engine_flags(get)


def _add_cat(commands: Commands) -> None:
    cat = commands.add(
        "cat",
        run="reading:cat",
        help="write a file, or a range of it, to stdout, without a mount",
        examples=[
            "kacheryfs cat 'sha1://2b6f…/notes.txt'",
            "kacheryfs cat --range 0:1024 'sha1://2b6f…/rec.dat?manifest=…' | xxd",
        ],
    )
    cat.add_argument("link", metavar="LINK", help=_LINK)
    cat.add_argument("--range", metavar="A:B", help="only bytes A up to B, B not included; either may be left out")
    add_engine_flags(cat)


def _add_cancel(commands: Commands) -> None:
    cancel = commands.add(
        "cancel",
        run="controlling:cancel",
        help="end waiting reads now, with an error",
        examples=["kacheryfs cancel ~/kachery/sha1/2b6f…", "kacheryfs cancel --all"],
        has_json=True,
    )
    cancel.add_argument("path", nargs="?", metavar="PATH", help="a file or folder below a mountpoint")
    cancel.add_argument("--all", action="store_true", help="every waiting read of every mount")


def _add_path(commands: Commands) -> None:
    path = commands.add(
        "path",
        run="controlling:path",
        help="print where a link stands under the running mount",
        examples=["kacheryfs path 'sha1://2b6f…/rec.dat?manifest=…'"],
        has_json=True,
    )
    path.add_argument("link", metavar="LINK", help=_LINK)
    path.add_argument("--mount", metavar="MOUNTPOINT", help="which mount, where several run")


def _add_info(commands: Commands) -> None:
    info = commands.add(
        "info",
        run="informing:info",
        help="size, SHA-1, manifest, trust, present bytes and providers of a link or path",
        examples=[
            "kacheryfs info 'sha1://2b6f…/rec.dat?manifest=…'",
            "kacheryfs info ~/kachery/sha1/2b6f…",
            "kacheryfs info recordings/rec.dat",
        ],
        has_json=True,
    )
    info.add_argument("target", metavar="LINK|PATH", help="a link, a path below a mountpoint, or a local file")
    add_engine_flags(info)


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peer", action="append", default=[], metavar="URL", help="ask this peer too, this time")
    parser.add_argument("--read-timeout", metavar="S", help="seconds that a read waits while no peer can serve it")
    parser.add_argument(
        "--download-limit",
        metavar="RATE",
        help="what is received of files from all peers together, such as 20MB/s; none or 0: no limit",
    )
    parser.add_argument(
        "--require-manifest",
        action="store_true",
        default=None,
        help="refuse what only peers vouch for",
    )
    parser.add_argument(
        "--offline", action="store_true", default=None, help="ask no peer: what isn't here fails at once"
    )
    parser.add_argument("--store", metavar="DIR", help="keep blocks here")
