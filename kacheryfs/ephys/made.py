"""Offer a tree of made files and originals with the settings of this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

from ..app import open_catalog
from ..config import load_settings
from ..store.composing import Names, Part, compose

log = logging.getLogger(__name__)


def share_parts(files: Mapping[Names, Part], label: str) -> str:
    """Enter the tree into the catalog and return its link; unchanged originals are not read again."""
    settings = load_settings({}, os.environ)
    with open_catalog(settings) as catalog:
        return str(compose(catalog, files, label, own_folders=(settings.store_dir,)).link)


def say_left_out(what: str, left_out: Sequence[str]) -> None:
    """Tell the user what of a thing is not in its share, and why."""
    for reason in left_out:
        log.warning("not shared with %s: %s", what, reason)
