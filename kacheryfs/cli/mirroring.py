"""``mirror``; here ``--to``: verified copies in the static layout, where a plain web server or a bucket serves them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from .. import app
from ..core.link import FileLink
from ..errors import InputError, KacheryError, StoreError
from .configuration import settings_of
from .keeping_files import (
    Failure,
    Link,
    Listing,
    Targets,
    Wanted,
    find_targets,
    list_files,
    tell_failures,
    worst_exit_code,
)
from .mirroring_here import mirror_here
from .progress import Progress
from .terminal import put, put_json, say
from .units import format_bytes, format_count

if TYPE_CHECKING:
    from ..app.export import Exported, Exporter, Target
    from ..config import Settings

N_AT_ONCE = 8
"""Files under way together: small ones wait for round trips; a bucket holds 16 MiB of each large one in memory."""


@dataclass(slots=True)
class Mirrored:
    """What came of it."""

    listing: Listing
    done: dict[Wanted, Exported] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def n_new(self) -> int:
        return sum(exported.is_new for exported in self.done.values())

    @property
    def new_bytes(self) -> int:
        return sum(exported.size_bytes for exported in self.done.values() if exported.is_new)


def mirror(args: argparse.Namespace) -> int:
    if args.watch and args.to is not None:
        raise InputError("--watch keeps files complete on this machine; for --to, run it again when there is more")
    if not args.watch and (args.every is not None or args.listen is not None):
        raise InputError("--every and --listen go with --watch: without it, mirror ends and serves nobody")
    if args.to is None:
        return mirror_here(args)
    settings = settings_of(args)
    named = find_targets(args.targets, settings, args.peer)
    target = open_target(args.to, settings)
    try:
        with Progress("mirror") as progress:
            found = trio.run(_mirror, settings, named, target, progress)
        _report(found, named.links, target, is_json=args.json)
    finally:
        target.close()
    return worst_exit_code(found.failures)


def open_target(text: str, settings: Settings) -> Target:
    """Return the folder or the fsspec URL that copies go to; InputError."""
    from ..app.export_folder import FolderTarget

    scheme = text.partition("://")[0] if "://" in text else ""
    if not text or "\0" in text:
        raise InputError("--to is empty or has a NUL in it: name a folder, or a URL such as s3://bucket/prefix")
    if scheme in ("", "file"):
        return FolderTarget(Path(text.removeprefix("file://")).expanduser())
    if scheme.rpartition("::")[2] == "memory":
        raise InputError("--to memory://…: that is gone once this command ends; name a folder, or s3://bucket/prefix")
    try:
        from ..fsspec_files.targets import FsspecTarget
    except ImportError as exc:
        raise InputError(f"--to {scheme}://…: that needs fsspec; pip install 'kacheryfs[fsspec]'") from exc
    return FsspecTarget(text)


async def _mirror(settings: Settings, named: Targets, target: Target, progress: Progress) -> Mirrored:
    from ..app.export import Exporter

    async with app.open_engine(settings, named.peers) as engine:
        listing = await list_files(engine, named.links)
        found = Mirrored(listing, failures=list(listing.failures))
        progress.set_total(listing.known_bytes)
        exporter = Exporter(engine, target, on_found=progress.add_total, on_bytes=progress.advance)
        limit = trio.CapacityLimiter(N_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for wanted in listing.wanted.values():
                await limit.acquire_on_behalf_of(wanted)
                nursery.start_soon(_export, exporter, wanted, found, limit)
    return found


async def _export(exporter: Exporter, wanted: Wanted, found: Mirrored, limit: trio.CapacityLimiter) -> None:
    try:
        found.done[wanted] = await exporter.export(wanted.request, allow_claims=wanted.is_folder)
    except (StoreError, InputError):
        raise  # the target, or this machine's disk: the next file would fare no better
    except KacheryError as exc:
        found.failures.append(wanted.fail(exc))
    finally:
        limit.release_on_behalf_of(wanted)


def _report(found: Mirrored, links: list[Link], target: Target, *, is_json: bool) -> None:
    url, better = target.public_url, _links_with_manifests(found, links)
    if is_json:
        put_json(_as_json(found, target.place, url, better))
        return
    put(url or target.place)
    for link in better:
        say(f"send this link, a web server tells no manifest: {link}")
    tell_failures(found.failures)
    already = f", {len(found.done) - found.n_new:,} already there" if len(found.done) > found.n_new else ""
    say(f"{format_count(found.n_new, 'file')}, {format_bytes(found.new_bytes)} written{already}")
    if url is None:
        say(f"serve {target.place} by any web server; others: kacheryfs peer add http://HOST/PATH")
    else:
        say(f"once it lets everybody read, others: kacheryfs peer add {url}")


def _links_with_manifests(found: Mirrored, links: list[Link]) -> list[str]:
    """Return the given links that lack a manifest which their file needs, with it."""
    manifests = {wanted.request.sha1: exported.manifest for wanted, exported in found.done.items()}
    bare = [link for link in links if isinstance(link, FileLink) and link.manifest is None]
    full = [FileLink(link.sha1, link.label, manifests.get(link.sha1)) for link in bare]
    return [str(link) for link in full if link.manifest]


def _as_json(found: Mirrored, place: str, url: str | None, better: list[str]) -> dict[str, Any]:
    return {
        "target": place,
        "url": url,
        "files": len(found.listing.wanted),
        "written": found.n_new,
        "already_there": len(found.done) - found.n_new,
        "bytes_written": found.new_bytes,
        "links": better,
        "incomplete": [failure.as_json() for failure in found.failures],
    }
