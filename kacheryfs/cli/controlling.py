"""``path`` and ``cancel``: asked of a running mount."""

from __future__ import annotations

import argparse

from ..core.link import parse_link
from ..errors import InputError
from .configuration import settings_of
from .mounts import choose_mount, find_mounts, locate_path
from .terminal import put, put_json, say


def path(args: argparse.Namespace) -> int:
    parse_link(args.link)  # a link that is wrong is said to be so, whether a mount runs or not
    mount = choose_mount(find_mounts(settings_of(args)), args.mount)
    found = mount.ask("path", link=args.link)
    if args.json:
        put_json({"path": found, "mountpoint": mount.mountpoint})
    else:
        put(str(found))
    return 0


def cancel(args: argparse.Namespace) -> int:
    if (args.path is None) == (not args.all):
        raise InputError("name a file or folder below a mountpoint, or --all")
    mounts = find_mounts(settings_of(args))
    if args.all:
        n_cancelled = sum(mount.ask("cancel", path=None)["cancelled"] for mount in mounts)
    else:
        found = locate_path(args.path, mounts)
        if found is None:
            raise InputError(f"{args.path} is not below a running mount; kacheryfs status lists the mounts")
        mount, rest = found
        n_cancelled = mount.ask("cancel", path=rest or None)["cancelled"]
    if args.json:
        put_json({"cancelled": n_cancelled})
    else:
        say(f"{n_cancelled:,} waiting {'read was' if n_cancelled == 1 else 'reads were'} ended")
    return 0
