"""kacheryfs: a recording in another lab reads as an ordinary file."""

__version__ = "0.1.0"
