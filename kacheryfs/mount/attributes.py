"""What ``stat`` shows of a node, and for how long the kernel may believe it; pure."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from ..core.model import BLOCK_BYTES
from ..core.request import Trust
from .inodes import ROOT
from .names import Place
from .nodes import CollectionDirectory, Directory, File, FixedDirectory, Node, Readme
from .readme import README_BYTES

FIXED_TIME_NS = 946_684_800 * 10**9
"""2000-01-01 UTC, every file's times: content has no date, and tools take 0 for "unknown" or a fault."""

IMMUTABLE_TTL_S = 86_400.0
"""Content behind a digest never changes; a day bounds what a fault of ours could leave in the kernel."""
CLAIMED_TTL_S = 2.0
"""A claim may be withdrawn: the kernel asks again at the next use."""

ROOT_TTL_S = 1.0
"""Of the root the kernel asks again each second, so that ``stat`` of a dead mount says so too."""

CHANGING_TTL_S = 0.0
"""Of what is opened and closed under a name: the kernel asks each time, so that a new version holds at once."""

FILE_MODE = stat.S_IFREG | 0o444
DIRECTORY_MODE = stat.S_IFDIR | 0o555


@dataclass(frozen=True, slots=True)
class Attributes:
    """The part of ``stat`` that differs between nodes."""

    inode: int
    mode: int
    size_bytes: int
    ttl_s: float

    @property
    def n_sectors(self) -> int:
        """Sectors of 512 bytes: all of them, since GNU tar takes a file of 0 for a hole."""
        return -(-self.size_bytes // 512)


@dataclass(frozen=True, slots=True)
class Absent:
    """A name that stands for nothing, and for how long the kernel may believe that."""

    ttl_s: float


PREFERRED_READ_BYTES = BLOCK_BYTES


def attributes_of(inode: int, node: Node) -> Attributes:
    if isinstance(node, File):
        ttl_s = CLAIMED_TTL_S if node.trust is Trust.CLAIMED else IMMUTABLE_TTL_S
        return Attributes(inode, FILE_MODE, node.size_bytes, ttl_s)
    if isinstance(node, Readme):
        return Attributes(inode, FILE_MODE, len(README_BYTES), IMMUTABLE_TTL_S)
    if isinstance(node, CollectionDirectory):
        return Attributes(inode, DIRECTORY_MODE, 0, CHANGING_TTL_S)
    return Attributes(inode, DIRECTORY_MODE, 0, ROOT_TTL_S if inode == ROOT else IMMUTABLE_TTL_S)


def absent_in(directory: Directory) -> Absent:
    """Return the answer for a name that stands for nothing, whatever peers have."""
    is_changing = isinstance(directory, FixedDirectory) and directory.place is Place.COLLECTIONS
    return Absent(CHANGING_TTL_S if is_changing else IMMUTABLE_TTL_S)
