"""h5py, for the modules that read HDF5; who may do without it imports those where HDF5 turns up."""

from __future__ import annotations

from ..errors import InputError

try:
    import h5py
except ImportError as exc:
    raise InputError("HDF5 (NWB and other formats) is read by h5py: pip install 'kacheryfs[spikeinterface]'") from exc

__all__ = ["h5py"]
