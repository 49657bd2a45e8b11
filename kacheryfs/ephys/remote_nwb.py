"""An NWB file's recording, read by h5py through the fetcher, without a mount."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikeinterface.extractors.nwbextractors import NwbRecordingExtractor

from ..app.embedded import get_fetcher
from ..errors import ProofError
from .remote_source import Source
from .safety_hdf5 import close_at_exit, find_groups_of_type, open_hdf5


class RemoteNwbRecording(NwbRecordingExtractor):  # type: ignore[misc]
    """SpikeInterface's NWB extractor on a file behind a link, which was checked to stay inside of itself.

    Parameters
    ----------
    source : dict
        ``link`` (``sha1://H?manifest=M``) and ``size_bytes`` of the file.
    electrical_series_path : str or None
    load_time_vector : bool
    samples_for_rate_estimation : int
    load_channel_properties : bool
        As SpikeInterface's extractor takes them.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        electrical_series_path: str | None = None,
        load_time_vector: bool = False,
        samples_for_rate_estimation: int = 1000,
        load_channel_properties: bool = True,
    ) -> None:
        found = Source.parse(source)
        remote = get_fetcher().open_file(found.request)
        self._remote_file = remote
        what = f"the NWB file sha1 {found.request.sha1.short}"
        with open_hdf5(remote.as_file(), what) as checked:
            series = electrical_series_path or _find_series(checked, what)
        NwbRecordingExtractor.__init__(
            self,
            electrical_series_path=series,
            load_time_vector=load_time_vector,
            samples_for_rate_estimation=samples_for_rate_estimation,
            load_channel_properties=load_channel_properties,
            file=remote.as_file(),
        )
        close_at_exit(self._reader.file)
        self._serializability = {"memory": True, "json": True, "pickle": True}  # by the link, not by the open file
        self._kwargs = {
            "source": found.to_json(),
            "electrical_series_path": self.electrical_series_path,
            "load_time_vector": load_time_vector,
            "samples_for_rate_estimation": samples_for_rate_estimation,
            "load_channel_properties": load_channel_properties,
        }


def _find_series(file: Any, what: str) -> str:
    """Return the one ElectricalSeries; SpikeInterface would look for it along all links, in circles, too."""
    found = find_groups_of_type(file, "ElectricalSeries", what)
    if not found:
        raise ProofError(
            f"{what} has no ElectricalSeries: of an HDF5 format other than NWB share the recording itself, with "
            "kacheryfs.share_recording"
        )
    if len(found) != 1:
        names = ", ".join(found)[:300]
        raise ProofError(f"{what} has not one ElectricalSeries but {len(found)} ({names}): the share has to name it")
    return found[0]
