"""``peer``: the peers that are kept, and those of the running mounts."""

from __future__ import annotations

import argparse

from .. import app
from ..errors import InputError
from .configuration import settings_of
from .terminal import put, put_json, say


def peer(args: argparse.Namespace) -> int:
    if args.action == "list":
        return 0
    if not args.url:
        raise InputError(f"name the peer: kacheryfs peer {args.action} http://HOST:PORT")
    app.open_peer_list(settings_of(args)).add(args.url)
    return 0
