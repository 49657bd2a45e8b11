"""Grammar: the commands that offer, and those that look after what is here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .commands import Commands


def add_commands(commands: Commands) -> None:
    _add_share(commands)
    _add_shares(commands)
    _add_unshare(commands)
    _add_serve(commands)
    _add_peer(commands)
    _add_verify(commands)
    _add_config(commands)


def _add_share(commands: Commands) -> None:
    share = commands.add(
        "share",
        run="sharing:share",
        help="offer files and folders where they lie; prints one link a PATH",
        about="Hash files in one pass (SHA-1 and manifest), enter them into the catalog and print one link a PATH, in\n"
        "order. Nothing is copied or sent; `kacheryfs serve` answers peers. Unchanged files are not read again.\n"
        "Of a recording (SpikeGLX, Open Ephys, NWB, Zarr) stderr tells a link for kacheryfs.load_recording, too.",
        examples=[
            "kacheryfs share recordings/p2_g0",
            "kacheryfs share --exclude '*.lf.bin' --dry-run recordings/p2_g0",
            "kacheryfs share --kachery-storage ~/kachery-storage",
        ],
        has_json=True,
    )
    share.add_argument("paths", nargs="*", metavar="PATH", help="a file or a folder")
    share.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out what matches, by name or path below PATH",
    )
    share.add_argument("--dry-run", action="store_true", help="tell what would be shared; nothing is hashed or entered")
    share.add_argument("--force", action="store_true", help='share "/" or a whole home folder all the same')
    share.add_argument("--kachery-storage", metavar="DIR", help="offer the files of a kachery storage folder")


def _add_shares(commands: Commands) -> None:
    commands.add(
        "shares",
        run="sharing:shares",
        help="list what is shared, and which originals have changed",
        examples=["kacheryfs shares", "kacheryfs shares --json"],
        has_json=True,
    )


def _add_unshare(commands: Commands) -> None:
    unshare = commands.add(
        "unshare",
        run="sharing:unshare",
        help="take shared files out of the catalog; the files themselves stay",
        examples=["kacheryfs unshare recordings/p2_g0", "kacheryfs unshare sha1dir://2b6f…"],
        has_json=True,
    )
    unshare.add_argument(
        "targets", nargs="+", metavar="LINK|PATH", help="a link that share printed, or the path it was given"
    )


def _add_serve(commands: Commands) -> None:
    serve = commands.add(
        "serve",
        run="serving:serve",
        help="answer peers, in the foreground, until Ctrl-C or SIGTERM",
        about="Answer peers until SIGINT or SIGTERM; the URL that peers use is the first line printed.",
        examples=[
            "kacheryfs serve",
            "kacheryfs serve --listen 0.0.0.0:27180",
            "kacheryfs serve --upload-limit 20MB/s --metrics",
        ],
    )
    add_server_flags(serve)
    for hidden in ("--beside", "--listen-fds"):  # of a mount: the mountpoint, and the sockets that it made
        serve.add_argument(hidden, help=argparse.SUPPRESS)
    serve.add_argument("--ready-fd", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Add where peers are answered, who, and how much that may cost."""
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="default: 127.0.0.1 and the setting's port; port 0 picks a free one",
    )
    parser.add_argument("--access", metavar="WHO", help="who is answered: everybody, local, or secret")
    parser.add_argument(
        "--upload-limit",
        metavar="RATE",
        help="what is sent to all peers together, such as 20MB/s; none or 0: no limit",
    )
    parser.add_argument("--max-connections", metavar="N", help="of peers, at once; half of them from one address")
    parser.add_argument(
        "--metrics",
        nargs="?",
        const="127.0.0.1:27181",
        metavar="HOST:PORT",
        help="count for Prometheus, at http://HOST:PORT/metrics; without a value at 127.0.0.1:27181",
    )


def _add_peer(commands: Commands) -> None:
    peer = commands.add(
        "peer",
        run="peering:peer",
        help="add, remove or list the peers that are asked",
        about="Add, remove or list peers. What is added or removed holds at once in a running mount, and is kept.",
        examples=[
            "kacheryfs peer add http://lab2.example:27180",
            "kacheryfs peer add http://lab3.example:27180 --secret-file lab3.secret",
            "kacheryfs peer remove http://lab2.example:27180",
            "kacheryfs peer list --json",
        ],
        has_json=True,
    )
    peer.add_argument("action", choices=("add", "remove", "list"))
    peer.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help="http://HOST[:PORT] or https://, with a path if it has one; list shows this one alone",
    )
    peer.add_argument("--secret-file", metavar="FILE", help="what this peer wants to be told; kept, and never shown")


def _add_verify(commands: Commands) -> None:
    verify = commands.add(
        "verify",
        run="verifying:verify",
        help="read local blocks and shared originals again; report and drop what is wrong",
        about="Read stored blocks and shared originals again and compare them with their digests. Wrong blocks are\n"
        "dropped and fetched again when needed; a wrong original leaves the catalog (the file itself is not touched).\n"
        "One that was changed since it was shared stays, unserved, until it is shared again or unshared.\n"
        "Exit code 5 if anything was wrong, else 7 if a shared original was changed.",
        examples=["kacheryfs verify", "kacheryfs verify 'sha1://2b6f…/rec.dat?manifest=…'"],
        has_json=True,
    )
    verify.add_argument("links", nargs="*", metavar="LINK", help="only these; everything when none is given")


def _add_config(commands: Commands) -> None:
    commands.add(
        "config",
        run="configuration:config",
        help="the effective settings, and where each came from",
        examples=["kacheryfs config", "KACHERYFS_READ_TIMEOUT=30 kacheryfs config --json"],
        has_json=True,
    )
