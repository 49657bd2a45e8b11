"""One row of the table: a class of SpikeInterface, and what it may be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .safety_kinds import Kind


class Leaf(Enum):
    """How the files of an extractor are read here."""

    BINARY = "binary"
    BINARY_FOLDER = "binary folder"
    NWB = "nwb"
    ZARR = "zarr"
    MOUNTED = "mounted"
    """By SpikeInterface's class itself, from a path of the mount, unless kacheryfs.json tells the layout."""
    MOUNTED_HDF5 = "mounted hdf5"
    """The same, once its HDF5 file was found to refer to nothing outside of itself; by layout, h5py alone reads it."""
    LAYOUT = "layout"
    """Only by the layout in kacheryfs.json: the class itself is never made of what a stranger sent."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class that a stranger's description may name.

    ``recordings`` names the arguments that are recordings themselves (one, a list, or an object of them); ``kwargs``
    says what all others may be. Both together are all that is taken. ``note`` says why a LAYOUT class isn't made;
    ``forced`` is what an argument is set to, whatever the description says.
    """

    module: str
    name: str
    kwargs: Mapping[str, Kind] = field(default_factory=dict)
    recordings: tuple[str, ...] = ()
    leaf: Leaf | None = None
    note: str = ""
    forced: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


def index(*rows: ClassRow) -> dict[str, ClassRow]:
    """Return rows by the name that a description gives."""
    return {row.path: row for row in rows}
