"""Offer a tree of made files and originals with the settings of this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

from ..app import open_catalog
from ..config import load_settings
from ..core.names import why_not_a_name
from ..errors import InputError
from ..store.composing import Names, Part, compose
from .sharing_progress import Progress

log = logging.getLogger(__name__)


def require_label(label: object) -> None:
    """Refuse what can't be called so in a link; nothing at all, or empty text, asks for the default."""
    if label is None:
        return
    if not isinstance(label, str):
        raise InputError(f"a label is text, not a {type(label).__name__}")
    reason = label and why_not_a_name(label)
    if reason:
        raise InputError(f"the label {label[:80]!r} {reason}")


def share_parts(files: Mapping[Names, Part], label: str) -> str:
    """Enter the tree into the catalog and return its link; unchanged originals are not read again."""
    settings = load_settings({}, os.environ)
    own_folders = (settings.store_dir, settings.runtime_dir, settings.config_dir)
    with open_catalog(settings) as catalog, Progress(f"the {label}") as progress:
        return str(compose(catalog, files, label, progress=progress.set, own_folders=own_folders).link)


def say_left_out(what: str, left_out: Sequence[str]) -> None:
    """Tell the user what of a thing is not in its share, and why."""
    for reason in left_out:
        log.warning("not shared with %s: %s", what, reason)
