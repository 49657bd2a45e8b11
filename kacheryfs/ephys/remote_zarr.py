"""A recording that SpikeInterface saved as Zarr, read through the fetcher, without a mount."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.zarrextractors import ZarrRecordingSegment

from ..app.embedded import get_fetcher
from ..core.tree import Tree
from ..errors import InputError, KacheryError, ProofError
from .safety_probes import make_probegroup
from .safety_zarr import open_zarr

MAX_SEGMENTS = 100_000


class RemoteZarrRecording(BaseRecording):  # type: ignore[misc]
    """SpikeInterface's Zarr folder behind a link.

    Parameters
    ----------
    tree : str
        ``sha1dir://H/path`` of the folder.
    """

    def __init__(self, tree: str) -> None:
        fetcher = get_fetcher()
        found = fetcher.open_link(tree)
        if not isinstance(found, Tree):
            found.close()
            raise InputError(f"{tree[:200]} names a file: a Zarr recording is a folder")
        what = "the Zarr folder"
        root = open_zarr(fetcher, found, what)
        try:
            self._build(root)
        except KacheryError:
            raise
        except Exception as exc:  # zarr and SpikeInterface raise anything for what isn't as they wrote it
            reason = f"{type(exc).__name__}: {str(exc).splitlines()[0][:200] if str(exc) else ''}"
            raise ProofError(f"{what} holds no recording of SpikeInterface: {reason}") from exc
        self._kwargs = {"tree": tree}

    def _build(self, root: Any) -> None:
        rate_hz, n_segments = float(root.attrs["sampling_frequency"]), int(root.attrs["num_segments"])
        if not 0 < n_segments <= MAX_SEGMENTS:
            raise ValueError(f"{n_segments} segments")
        channel_ids = np.asarray(root["channel_ids"][:])
        BaseRecording.__init__(self, rate_hz, channel_ids, root["traces_seg0"].dtype)
        t_starts = root["t_starts"][:] if "t_starts" in root else np.full(n_segments, np.nan)
        for index in range(n_segments):
            self._add(root, index, rate_hz, float(t_starts[index]))
        self._describe(root)

    def _add(self, root: Any, index: int, rate_hz: float, t_start: float) -> None:
        name = f"traces_seg{index}"
        if root[name].ndim != 2 or root[name].shape[1] != self.get_num_channels():
            raise ValueError(f"{name} has another number of channels")
        times: dict[str, Any] = {"t_start": None if np.isnan(t_start) else t_start}
        if f"times_seg{index}" in root:
            times = {"time_vector": root[f"times_seg{index}"]}
        self.add_recording_segment(ZarrRecordingSegment(root, name, sampling_frequency=rate_hz, **times))

    def _describe(self, root: Any) -> None:
        annotations = dict(root.attrs.get("annotations") or {})
        probe = root.attrs.get("probegroup") or root.attrs.get("probe")
        if probe is not None:
            self._probegroup = make_probegroup(probe, self.get_num_channels())
            if "probegroup" not in root.attrs:
                self._mend_old_probe(annotations)
        if "properties" in root:
            for name in root["properties"].keys() - {"contact_vector"}:
                self.set_property(name, np.asarray(root["properties"][name][:]))
        self.annotate(**annotations)

    def _mend_old_probe(self, annotations: dict[str, Any]) -> None:
        """Do as SpikeInterface 0.105 does with what earlier ones wrote: contacts in order, annotations at the probe."""
        order = np.argsort(self._probegroup.to_numpy(complete=True)["device_channel_indices"])
        if not np.array_equal(order, np.arange(len(order))):
            self._probegroup = self._probegroup.get_slice(order)
        for probe, info in zip(self._probegroup.probes, annotations.pop("probes_info", []), strict=False):
            probe.annotations.update(info)
