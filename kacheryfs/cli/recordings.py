"""``share`` of a recording's folder or file: the recording's own link, beside the plain one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import KacheryError
from .terminal import say

if TYPE_CHECKING:
    from ..config import Settings
    from ..ephys.recognising import SharedRecording


def share_recordings_at(path: str, settings: Settings, args: argparse.Namespace) -> list[SharedRecording]:
    """Share the recordings that lie at a path, and say on stderr what their links are for.

    None are shared where files were left out on purpose, since a recording may need them; that one can't be read is
    said, and is no failure: the plain link stands.
    """
    from ..ephys.recognising import find_kind, has_reader, share_recordings

    kind = None if args.dry_run else find_kind(path)
    if kind is None:
        return []
    if args.exclude or not has_reader(kind):
        reason = (
            "with --exclude it gets no link of its own"
            if args.exclude
            else "pip install 'kacheryfs[spikeinterface]' for its link"
        )
        if args.verbosity:
            say(f"{path} looks like a recording ({kind}): {reason}")
        return []
    try:
        found = share_recordings(path, kind, settings)
    except KacheryError as exc:
        say(f"no link of a recording: {exc}")
        return []
    for recording in found:
        stream = f", {recording.stream}" if len(found) > 1 else ""
        say(f"a recording ({kind}{stream}): in Python, kacheryfs.load_recording({recording.link!r})")
    return found
