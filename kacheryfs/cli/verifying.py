"""``verify``: read what is kept and what is shared again, and hold it against its digests."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .. import app
from ..core.link import FileLink, TreeLink, parse_link
from ..core.model import MAX_BLOCK_BYTES, Binding, Sha1
from ..core.tree import decode_tree
from ..errors import NotFoundError
from .configuration import settings_of
from .mounts import find_mounts
from .progress import Progress
from .terminal import put, put_json, say
from .units import format_bytes, format_count
from .verdicts import Verdict, worst_exit_code

if TYPE_CHECKING:
    from ..config import Settings
    from ..store.blocks import Store, StoredSummary
    from ..store.catalog import Catalog

Advance = Callable[[int], None]


def verify(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    links = [parse_link(text) for text in args.links]
    store = app.open_store(settings)
    with app.open_catalog(settings) as catalog, Progress("verify") as progress:
        wanted = _wanted(links, catalog, store)
        verdicts = list(_verify(catalog, store, links, wanted, progress))
    if wanted is not None:
        _refuse_absent(wanted, verdicts)
    if args.json:
        put_json([verdict.as_json() for verdict in verdicts])
    else:
        _put(verdicts)
    if any(verdict.where == "store" and verdict.state == "wrong" for verdict in verdicts):
        _warn_of_mounts(settings)
    return worst_exit_code(verdicts)


def _wanted(links: list[FileLink | TreeLink], catalog: Catalog, store: Store) -> set[Sha1] | None:
    """Return the files that are meant; None for all."""
    if not links:
        return None
    wanted: set[Sha1] = set()
    for link in links:
        wanted.add(link.sha1)
        if isinstance(link, TreeLink):
            wanted |= {entry.sha1 for _, entry in decode_tree(_read_local(link.sha1, catalog, store)).walk()}
    return wanted


def _read_local(sha1: Sha1, catalog: Catalog, store: Store) -> bytes:
    """Return a tree's JSON as it lies here; NotFoundError where it doesn't."""
    try:
        fd = store.open_complete(sha1)
    except NotFoundError:
        with catalog.open_original(sha1) as original:
            return os.pread(original.fd, min(original.size_bytes, MAX_BLOCK_BYTES), 0)
    try:
        return os.pread(fd, MAX_BLOCK_BYTES, 0)
    finally:
        os.close(fd)


def _verify(
    catalog: Catalog, store: Store, links: list[FileLink | TreeLink], wanted: set[Sha1] | None, progress: Progress
) -> Iterator[Verdict]:
    stored = [summary for summary in store.files() if wanted is None or summary.sha1 in wanted]
    stored_bytes = sum(summary.present_bytes for summary in stored)
    progress.set(0, stored_bytes)
    for summary in stored:
        yield _verify_stored(store, summary, progress.advance)

    def on_progress(done: int, total: int) -> None:
        progress.set(stored_bytes + done, stored_bytes + total)

    subjects: Sequence[FileLink | TreeLink | None] = links or [None]
    for subject in subjects:
        yield from _verify_shared(catalog, subject, on_progress)


def _verify_stored(store: Store, summary: StoredSummary, advance: Advance) -> Verdict:
    """Check every present block; a wrong one is missing from then on."""
    name = f"sha1 {summary.sha1}"
    bound = None if summary.manifest else summary.size_bytes
    file = store.find_partial(Binding(summary.sha1, summary.manifest, bound))
    if file is None:
        advance(summary.present_bytes)
        return Verdict("store", name, "unproven", "its manifest is not here: read it once with its peers reachable")
    n_wrong = n_unproven = 0
    try:
        for block in range(file.layout.n_blocks):
            if not file.is_present(block):
                continue
            if not file.check(block):
                n_unproven += file.is_present(block)
                n_wrong += not file.is_present(block)
            advance(file.layout.block_size(block))
    finally:
        file.close()
    if n_wrong:
        return Verdict("store", name, "wrong", f"{format_count(n_wrong, 'block')} dropped, fetched again when needed")
    if n_unproven:
        return Verdict(
            "store", name, "unproven", f"{format_count(n_unproven, 'block')}: a part of the manifest is not here"
        )
    return Verdict("store", name, "ok", format_bytes(summary.present_bytes))


_WORDS = {
    "changed": "not served; kacheryfs share again gives the new link",
    "missing": "not served; it is not there any more",
    "unreadable": "it can't be read now; not served while that is so",
    "wrong": "its bytes changed although its times did not (the disk, or a tool that hides it); no longer shared",
}


def _verify_shared(
    catalog: Catalog, link: FileLink | TreeLink | None, on_progress: Callable[[int, int], None]
) -> Iterator[Verdict]:
    """Read again what is shared; what a link stands for may lie in the store alone."""
    from ..store.rechecking import verify_originals

    try:
        for found in verify_originals(catalog, link, progress=on_progress):
            if found.verdict == "right":
                yield Verdict("share", found.path, "ok", format_bytes(found.size_bytes))
            else:
                yield Verdict("share", found.path, found.verdict, _WORDS[found.verdict])
    except NotFoundError:
        return


def _refuse_absent(wanted: set[Sha1], verdicts: list[Verdict]) -> None:
    if wanted and not verdicts:
        raise NotFoundError(f"sha1 {next(iter(wanted)).short}: nothing of it is here, so there is nothing to verify")


def _warn_of_mounts(settings: Settings) -> None:
    """Name the mounts over this store: each checks a block when it first reads it, and keeps what it read."""
    for mount in find_mounts(settings):
        if mount.status["store"]["path"] == str(settings.store_dir):
            say(f"{mount.mountpoint} may still show what was wrong: umount it, and mount it again")


def _put(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.state != "ok":
            put(f"{verdict.state}  {verdict.where}  {verdict.name}: {verdict.words}")
    n_right = sum(verdict.state == "ok" for verdict in verdicts)
    say(f"{format_count(n_right, 'file')} right, {len(verdicts) - n_right:,} not")
