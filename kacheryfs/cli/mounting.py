"""``mount`` and ``umount``."""

from __future__ import annotations

import argparse
import hashlib
import os
from typing import TYPE_CHECKING

from .. import app
from ..daemon import find_journal, run_in_background, tell_service_manager
from ..errors import InputError, MountError
from .configuration import settings_of
from .metrics import parse_metrics
from .readiness import telling
from .terminal import put, say

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import Settings

SERVER_FLAGS = ("listen", "access", "upload_limit", "max_connections", "metrics")
"""They are about ``--serve`` alone."""
UMOUNT_TIMEOUT_S = 40.0
"""Longer than fusermount3 gets (``mount.mounts``), so that its own words arrive."""


def mount(args: argparse.Namespace) -> int:
    given = [flag for flag in SERVER_FLAGS if getattr(args, flag) is not None]
    if given and not args.serve:
        raise InputError(f"{_spell(given[0])} says how --serve answers peers: give both, or none")
    if args.foreground:
        return _mount_here(args)
    settings = settings_of(args)
    parse_metrics(args.metrics)
    app.peer_urls(settings, args.peer)  # what is wrong is said to be so before anything starts
    mountpoint = _check_mountpoint(args.mountpoint)
    for line in _start(arguments_of(args, mountpoint), _log_path(settings, mountpoint)):
        put(line)
    if not app.peer_urls(settings, args.peer):
        say("no peer is asked yet: kacheryfs peer add URL")
    return 0


def _start(arguments: list[str], log: Path) -> list[str]:
    try:
        return run_in_background(arguments, log)
    except OSError as exc:
        raise MountError(f"the log {log} can't be written ({exc.strerror}): set KACHERYFS_DATA_DIR elsewhere") from exc


def _check_mountpoint(path: str) -> str:
    """Make the folder ready here, where the person sees what is wrong; returns its real path."""
    from ..mount.mountpoint import prepare_mountpoint

    return prepare_mountpoint(path)


def arguments_of(args: argparse.Namespace, mountpoint: str) -> list[str]:
    """Return the command line of the mount itself, which runs in another working directory."""
    arguments = ["mount", "--foreground", mountpoint]
    for url in args.peer:
        arguments += ["--peer", url]
    if args.store is not None:
        arguments += ["--store", os.path.abspath(os.path.expanduser(args.store))]
    for flag in ("read_timeout", "download_limit", "cache_size", *SERVER_FLAGS):
        if getattr(args, flag) is not None:
            arguments += [_spell(flag), getattr(args, flag)]
    flags = ("require_manifest", "offline", "allow_other", "serve")
    arguments += [_spell(flag) for flag in flags if getattr(args, flag)]
    return arguments + ["-v"] * args.verbosity


def _spell(flag: str) -> str:
    return f"--{flag.replace('_', '-')}"


def _log_path(settings: Settings, mountpoint: str) -> Path:
    return settings.data_dir / "log" / f"mount-{hashlib.sha1(os.fsencode(mountpoint)).hexdigest()[:16]}.log"


def _mount_here(args: argparse.Namespace) -> int:
    import trio

    from ..app.mounting import MountRequest, mount

    settings = settings_of(args)
    is_background = args.ready_fd is not None
    log = str(_log_path(settings, args.mountpoint)) if is_background else find_journal()
    metrics = parse_metrics(args.metrics)
    request = MountRequest(args.mountpoint, args.peer, args.allow_other, log, is_served=args.serve, metrics=metrics)
    with telling(args.ready_fd) as ready:

        def on_ready(mountpoint: str, server_url: str | None) -> None:
            lines = [mountpoint] if server_url is None else [mountpoint, server_url]
            if is_background:
                os.chdir("/")  # where it was started may be unmounted or removed
            else:
                put("\n".join(lines))
            ready.tell_ready(*lines)
            tell_service_manager()

        trio.run(mount, settings, request, on_ready)
    return 0


def umount(args: argparse.Namespace) -> int:
    """Ask the process that serves the mount to end it; take away a dead one."""
    from ..control.client import ask
    from ..control.sockets import is_answered, socket_path
    from ..mount.mountpoint import resolve_mountpoint

    mountpoint = resolve_mountpoint(os.path.expanduser(args.mountpoint))
    socket = socket_path(settings_of(args).runtime_dir, mountpoint)
    if is_answered(socket):
        ask(socket, "umount", timeout_s=UMOUNT_TIMEOUT_S, force=args.force)
    else:
        _umount_unserved(mountpoint, is_forced=args.force)
        socket.unlink(missing_ok=True)
    return 0


def _umount_unserved(mountpoint: str, *, is_forced: bool) -> None:
    """Unmount what no process of these settings serves: dead, or another's."""
    from ..mount.mountpoint import Health, probe
    from ..mount.mounts import find_mount, unmount

    if find_mount(mountpoint) is None:
        raise MountError(f"{mountpoint} is not a mount of kacheryfs; kacheryfs status lists those that run")
    health = probe(mountpoint)
    if health is Health.SILENT and not is_forced:
        raise MountError(f"{mountpoint}: its process doesn't answer; kacheryfs umount --force ends it all the same")
    unmount(mountpoint, is_lazy=is_forced or health is Health.DEAD)
