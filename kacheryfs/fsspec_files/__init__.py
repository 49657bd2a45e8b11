"""fsspec's view of links: ``sha1://`` and ``sha1dir://``, read through the embedded fetcher, without a mount.

fsspec finds the two classes by name (entry points ``fsspec.specs``), so that ``fsspec.open``, zarr, xarray, dask and
pandas take links; h5py takes the file object. fsspec itself is optional, and imported by this room alone.

files        ``sha1://H/LABEL?manifest=M``: one file; its path is the link without ``sha1://``
trees        ``sha1dir://H.LABEL/path``: a folder; below the digest its paths are the real names, not percent-encoded
filesystem   what both have in common
linkfile     an open file
seam         errors: what is not there is a FileNotFoundError as well as a KacheryError
targets      where `kacheryfs mirror --to` writes copies: the other way round, any file system of fsspec's

What fsspec's users take for a missing key (zarr fills it with zeros) is only what is certainly not there: a path that
the tree hasn't, a digest of a link that every peer answered not to have. A peer that can't be reached, and a file that
the tree names but nobody has now, is never an OSError.
"""

from .files import Sha1FileSystem
from .trees import Sha1DirFileSystem

__all__ = ["Sha1DirFileSystem", "Sha1FileSystem"]
