"""How a user names a collection: by its link, or by the name that it has on this machine."""

from __future__ import annotations

import os

from ..config import load_settings
from ..core.link import FileLink, TreeLink, parse_link
from ..errors import InputError
from ..store.collection_names import CollectionNames
from ..store.opened import CollectionList

_SCHEMES = ("sha1:", "sha1dir:", "kachery:", "feed:")


def find_link(link_or_name: str) -> FileLink | TreeLink:
    """Return a collection's link, given as such or by the name that it has on this machine; InputError."""
    if not isinstance(link_or_name, str):
        raise InputError(f"a collection's link is text, not a {type(link_or_name).__name__}")
    if link_or_name.strip().startswith(_SCHEMES):
        return parse_link(link_or_name)
    folder = load_settings({}, os.environ).data_dir
    found = CollectionNames(folder).find(link_or_name) or CollectionList(folder).links().get(link_or_name)
    if found is None:
        raise InputError(
            f"no collection on this machine is called {link_or_name[:80]!r}: give its link, or a name of "
            "`kacheryfs collection list`"
        )
    return found
