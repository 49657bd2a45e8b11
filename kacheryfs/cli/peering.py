"""``peer``: the peers that are kept, and those of the running mounts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .. import app
from ..core.secret import Secret, parse_secrets
from ..errors import InputError
from .configuration import settings_of
from .mounts import find_mounts
from .terminal import format_table, put, put_json, say
from .units import format_ms

if TYPE_CHECKING:
    from ..config import Settings

MAX_SECRET_BYTES = 64 * 1024


def peer(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.secret_file is not None and args.action != "add":
        raise InputError("--secret-file goes with peer add")
    if args.action == "list":
        return _list(settings, args.url, is_json=args.json)
    if not args.url:
        raise InputError(f"name the peer: kacheryfs peer {args.action} http://HOST:PORT")
    done = _add(settings, args.url, args.secret_file) if args.action == "add" else _remove(settings, args.url)
    if args.json:
        put_json(done)
    return 0


def _add(settings: Settings, url: str, secret_file: str | None) -> dict[str, Any]:
    secret = None if secret_file is None else read_secret(secret_file)
    app.make_peer(settings, url)  # a URL that is wrong is said to be so before anything is kept
    if secret is not None:
        app.open_secrets(settings).keep(url, secret)
    is_new = app.open_peer_list(settings).add(url)
    mounts = find_mounts(settings)
    for mount in mounts:
        mount.ask("peer-add", url=url)
    kept = "is kept" if is_new else "was kept already" if secret is None else "was kept already, its secret is new"
    say(f"{url} {kept}{_of_mounts(len(mounts), 'and asked by')}")
    return {"url": url, "is_new": is_new, "mounts": [mount.mountpoint for mount in mounts]}


def read_secret(path: str) -> Secret:
    """Read a file with one secret in it; InputError."""
    try:
        with open(path, encoding="ascii") as file:
            secrets = parse_secrets(file.read(MAX_SECRET_BYTES))
    except OSError as exc:
        raise InputError(f"{path} can't be read ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"{path}: a secret is of ASCII letters, digits and -._~+/") from exc
    except ValueError as exc:
        raise InputError(f"{path} is not a file with a secret in it: {exc}") from exc
    if len(secrets) > 1:
        raise InputError(f"{path} has {len(secrets)} secrets, and a peer is told one")
    return secrets[0]


def _remove(settings: Settings, url: str) -> dict[str, Any]:
    app.open_secrets(settings).forget(url)
    was_kept = app.open_peer_list(settings).remove(url)
    mounts = [mount for mount in find_mounts(settings) if mount.ask("peer-remove", url=url)["was_there"]]
    if not was_kept and not mounts:
        raise _no_peer(url)
    kept = "is no longer kept" if was_kept else "was not kept"
    say(f"{url} {kept}{_of_mounts(len(mounts), 'and no longer asked by')}")
    return {"url": url, "was_kept": was_kept, "mounts": [mount.mountpoint for mount in mounts]}


def _no_peer(url: str) -> InputError:
    return InputError(f"{url} is no peer of ours; kacheryfs peer list shows them")


def _of_mounts(n_mounts: int, words: str) -> str:
    if not n_mounts:
        return ""
    return f", {words} {'the running mount' if n_mounts == 1 else f'{n_mounts} running mounts'}"


def _list(settings: Settings, url: str | None, *, is_json: bool) -> int:
    """Show all peers, or the one that is named."""
    kept = app.open_peer_list(settings).urls()
    states = {peer["url"]: peer for mount in find_mounts(settings) for peer in mount.status["peers"]}
    secrets = app.open_secrets(settings)
    rows = [
        {
            "url": url,
            "is_kept": url in kept,
            "has_secret": secrets.find(url) is not None,
            "state": states.get(url),
        }
        for url in dict.fromkeys([*kept, *states])
    ]
    if url is not None:
        wanted = app.make_peer(settings, url).url
        rows = [row for row in rows if row["url"] == wanted]
        if not rows:
            raise _no_peer(url)
    if is_json:
        put_json(rows)
        return 0
    for line in format_table([_row(row) for row in rows]):
        put(line)
    if not rows:
        say("no peer is configured: kacheryfs peer add URL")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    state = row["state"]
    kept = "kept" if row["is_kept"] else "this mount only"
    if row["has_secret"]:
        kept += ", with a secret"
    if state is None:
        return row["url"], kept, "-", "no mount asks it now"
    return row["url"], kept, format_ms(state["round_trip_s"]), state["says"]
