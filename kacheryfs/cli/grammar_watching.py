"""Grammar: the commands that show what goes on, and those that keep it going."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .commands import Commands


def add_commands(commands: Commands) -> None:
    _add_status(commands)
    _add_why(commands)
    _add_top(commands)
    _add_service(commands)


def _add_status(commands: Commands) -> None:
    commands.add(
        "status",
        run="status:status",
        help="the mounts, the peers, the store, and what is being fetched or waited for",
        examples=["kacheryfs status", "kacheryfs status --json"],
        has_json=True,
    )


def _add_why(commands: Commands) -> None:
    why = commands.add(
        "why",
        run="why:why",
        help="what a read waits for: the block, who was asked, what each said or does, when it gives up",
        about="Tell why a read of a file, or of any below a folder, takes so long: the blocks that are missing, the\n"
        "peers that were asked for each, what each said or does, how fast, and when the read will give up. Of what\n"
        "nobody waits for: what is known. Of a mountpoint: all that waits there. Asks no peer, so it answers at once.\n"
        "Exit code 3 for no such name, 8 where no mount runs.",
        examples=["kacheryfs why ~/kachery/sha1/2b6f…", "kacheryfs why --json 'sha1://2b6f…/rec.dat?manifest=…'"],
        has_json=True,
    )
    why.add_argument("target", metavar="PATH|LINK", help="a file or folder below a mountpoint, or its link")
    why.add_argument("--mount", metavar="MOUNTPOINT", help="which mount, where several run and a link is given")


def _add_top(commands: Commands) -> None:
    top = commands.add(
        "top",
        run="watching:top",
        help="the running mounts, live: peers, files, waiting reads, rates and hits",
        about="Show the running mounts until q or Ctrl-C: reads, hits (they waited for no peer), how long\n"
        "the others waited, what each peer delivers, the files being read and how much of each is present, evictions.\n"
        "Without a terminal it prints a page each time. Exit code 0, also where no mount runs.",
        examples=["kacheryfs top", "kacheryfs top --once", "kacheryfs top --json --interval 10 >> numbers.jsonl"],
    )
    top.add_argument("--once", action="store_true", help="print one page, after one interval, and end")
    top.add_argument("--interval", metavar="S", default="1", help="seconds between two looks (default: 1)")
    top.add_argument("--json", action="store_true", help="print a line of JSON each time")


def _add_service(commands: Commands) -> None:
    service = commands.add_group(
        "service",
        help="have systemd run a mount, or the server, from every login on",
        about="Have systemd run a mount, or the server, as a service of yours: from every login on, again after a\n"
        "crash, and with `loginctl enable-linger` from the start of the machine. Exit code 9 without systemd.",
        examples=[
            "kacheryfs service install mount ~/kachery --peer http://lab2.example:27180",
            "kacheryfs service install serve --listen 0.0.0.0:27180",
            "kacheryfs service status",
            "kacheryfs service remove mount ~/kachery",
        ],
    )
    install = service.add(
        "install",
        run="service:install",
        help="install and start a service; one that is there takes up the new command line",
        about="Write a user unit, start it, and start it at every login. What follows mount or serve is the command\n"
        "line of that command; the KACHERYFS_ variables of this shell hold for the service too.",
        examples=[
            "kacheryfs service install mount ~/kachery --peer http://lab2.example:27180",
            "kacheryfs service install --print serve --listen 0.0.0.0:27180",
        ],
        has_json=True,
    )
    install.add_argument("--print", action="store_true", help="print the unit, install nothing")
    _add_what(install)
    remove = service.add(
        "remove",
        run="service:remove",
        help="stop a service and remove its unit",
        examples=["kacheryfs service remove mount ~/kachery", "kacheryfs service remove serve"],
        has_json=True,
    )
    _add_what(remove)
    service.add(
        "status",
        run="service:status",
        help="the installed services, whether they run, and where their logs are",
        examples=["kacheryfs service status", "kacheryfs service status --json"],
        has_json=True,
    )


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("mount", "serve"))
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="…", help="MOUNTPOINT, and flags of that command"
    )
