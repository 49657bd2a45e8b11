"""Recordings of every kind that SpikeInterface reads, written small into a folder; each writer returns the reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import probeinterface
import spikeinterface as si
import spikeinterface.extractors as se
from hdf5_kinds import HDF5_KINDS
from spikeinterface.extractors.mdaextractors import MdaRecordingExtractor
from spikeinterface.extractors.neoextractors.openephys import OpenEphysBinaryRecordingExtractor
from spikeinterface.extractors.whitematterrecordingextractor import WhiteMatterRecordingExtractor

RATE_HZ = 30_000.0
REAL_META = Path(__file__).resolve().parents[3] / "shared" / "data" / "spikeglx" / "p2_g0_t0.imec0.ap.meta"
"""Beside the repository; not part of it."""


def samples(n_frames: int, n_channels: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-400, 400, (n_frames, n_channels), dtype="<i2")


def write_binary(folder: Path) -> Any:
    for index, n_frames in enumerate((3000, 2000)):
        samples(n_frames, 4, index).tofile(folder / f"part{index}.dat")
    return se.read_binary(
        [folder / "part0.dat", folder / "part1.dat"],
        sampling_frequency=RATE_HZ,
        dtype="int16",
        num_channels=4,
        channel_ids=["a", "b", "c", "d"],
        gain_to_uV=0.195,
        offset_to_uV=0.0,
        t_starts=[0.0, 10.0],
    )


def write_binary_with_header(folder: Path) -> Any:
    data = samples(3000, 4)
    (folder / "rec.raw").write_bytes(b"header--" + data.tobytes())
    return se.read_binary(folder / "rec.raw", sampling_frequency=25_000.3, dtype="int16", num_channels=4, file_offset=8)


def write_binary_by_channel(folder: Path) -> Any:
    """SpikeInterface 0.105 reads such a file right only as a whole; by its layout every span is."""
    samples(3000, 4).T.copy().tofile(folder / "rec.raw")
    return se.read_binary(folder / "rec.raw", sampling_frequency=RATE_HZ, dtype="int16", num_channels=4, time_axis=1)


def write_whitematter(folder: Path) -> Any:
    (folder / "rec.bin").write_bytes(bytes(8) + samples(3000, 4).tobytes())
    return WhiteMatterRecordingExtractor(folder / "rec.bin", sampling_frequency=25_000.0, num_channels=4)


def write_neuroscope(folder: Path) -> Any:
    """Write a file whose reader takes a sibling, too."""
    samples(3000, 4).tofile(folder / "rec.dat")
    channels = "".join(f'<channel skip="0">{index}</channel>' for index in range(4))
    system = (
        "<nBits>16</nBits><nChannels>4</nChannels><samplingRate>30000</samplingRate><voltageRange>20</voltageRange>"
    )
    (folder / "rec.xml").write_text(
        f"<parameters><acquisitionSystem>{system}<amplification>1000</amplification><offset>0</offset>"
        "</acquisitionSystem><anatomicalDescription><channelGroups>"
        f"<group>{channels}</group></channelGroups></anatomicalDescription></parameters>"
    )
    (folder / "notes_private.txt").write_text("nobody else's business")
    return se.read_neuroscope_recording(folder / "rec.dat")


def generated(n_channels: int = 4, durations: tuple[float, ...] = (0.1, 0.05)) -> Any:
    recording = si.generate_recording(num_channels=n_channels, durations=list(durations), seed=3)
    recording.set_channel_gains(0.195)
    recording.set_channel_offsets(0.5)
    recording.set_property("quality", np.array(["good", "noise"] * (n_channels // 2)))
    recording.annotate(session="s1")
    return recording


def write_binary_folder(folder: Path) -> Any:
    recording = generated()
    recording.set_times(np.arange(3000) / 30_000.3 + 1, segment_index=0)
    recording.set_times(np.arange(1500) / 30_000.3 + 100, segment_index=1)
    return recording.save(format="binary", folder=folder / "saved", n_jobs=1, progress_bar=False)


def write_zarr(folder: Path) -> Any:
    return generated().save(format="zarr", folder=folder / "saved.zarr", n_jobs=1, progress_bar=False)


def write_mda(folder: Path) -> Any:
    recording = generated(durations=(0.1,))
    MdaRecordingExtractor.write_recording(recording, folder / "mda", n_jobs=1, progress_bar=False)
    return MdaRecordingExtractor(folder / "mda")


def write_spikeglx(folder: Path, *, n_frames: int = 3000, streams: tuple[str, ...] = ("ap", "lf")) -> Any:
    """Write a run's folder as SpikeGLX does, of a Neuropixels 1.0 probe; returns its ap band."""
    probe = folder / "run1_g0" / "run1_g0_imec0"
    probe.mkdir(parents=True)
    for band, rate_hz in (("ap", 30_000), ("lf", 2_500)):
        if band in streams:
            n = n_frames * rate_hz // 30_000
            data = samples(n, 385, rate_hz)
            data[:, -1] = 0
            data.tofile(probe / f"run1_g0_t0.imec0.{band}.bin")
            (probe / f"run1_g0_t0.imec0.{band}.meta").write_text(plain_meta(band, rate_hz, data.nbytes))
    (probe / "notes_private.txt").write_text("nobody else's business")
    return se.read_spikeglx(folder / "run1_g0", stream_id="imec0.ap")


def plain_meta(band: str, rate_hz: int, n_bytes: int) -> str:
    """Return the least that names a Neuropixels 1.0 stream."""
    saved = "384,0,1" if band == "ap" else "0,384,1"
    channels = "".join(f"({i} 0 0 500 250 1)" for i in range(384))
    channel_map = "".join(f"({band.upper()}{i};{i}:{i})" for i in range(384))
    sites = "".join(f"({i % 2}:{i % 2}:{i // 2}:1)" for i in range(384))
    fields = {
        "acqApLfSy": "384,384,1",
        "appVersion": "20190327",
        "fileCreateTime": "2020-01-01T00:00:00",
        "fileName": f"D:/run1_g0/run1_g0_t0.imec0.{band}.bin",
        "fileSHA1": "",
        "fileSizeBytes": n_bytes,
        "fileTimeSecs": n_bytes / 770 / rate_hz,
        "firstSample": "0",
        "gateMode": "Immediate",
        "imAiRangeMax": "0.6",
        "imAiRangeMin": "-0.6",
        "imDatPrb_port": "1",
        "imDatPrb_slot": "2",
        "imDatPrb_pn": "NP1010",
        "imDatPrb_type": "0",
        "imDatPrb_sn": "1",
        "imSampRate": rate_hz,
        "nSavedChans": 385,
        "snsApLfSy": saved,
        "snsSaveChanSubset": "all",
        "typeThis": "imec",
        "~imroTbl": f"(0,384){channels}",
        "~snsChanMap": f"(384,384,1){channel_map}(SY0;384:384)",
        "~snsShankMap": f"(1,2,480){sites}",
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def write_real_spikeglx(folder: Path, meta: Path, *, n_frames: int = 3000) -> Any:
    """Write a run's folder with a real probe's metadata, set to match."""
    name = meta.name.removesuffix(".meta")
    folder.mkdir(parents=True, exist_ok=True)
    data = samples(n_frames, 385)
    data[:, -1] = 0
    data.tofile(folder / f"{name}.bin")
    changes = {"fileSizeBytes": data.nbytes, "fileTimeSecs": n_frames / RATE_HZ, "fileName": f"D:/p2/{name}.bin"}
    lines = (line.partition("=") for line in meta.read_text().splitlines())
    (folder / f"{name}.meta").write_text("".join(f"{key}={changes.get(key, value)}\n" for key, _, value in lines))
    return se.read_spikeglx(folder, stream_id="imec0.ap")


def write_open_ephys(folder: Path, *, n_recordings: int = 2) -> Any:
    """Write a Record Node's folder as the Open Ephys GUI (0.6) does, with two streams; returns the neural one."""
    for index in range(n_recordings):
        recording = folder / "session" / "Record Node 101" / "experiment1" / f"recording{index + 1}"
        streams = []
        for name, n_channels, rate_hz in (("Rhythm-100.0", 4, 30_000), ("Rhythm-100.aux", 2, 1_000)):
            stream = recording / "continuous" / name
            stream.mkdir(parents=True)
            n_frames = 3000 * rate_hz // 30_000 + index
            samples(n_frames, n_channels, index).tofile(stream / "continuous.dat")
            np.save(stream / "sample_numbers.npy", np.arange(n_frames, dtype="int64") + 90_000 * index)
            np.save(stream / "timestamps.npy", np.arange(n_frames) / rate_hz + 3.0 * index)
            channels = [{"channel_name": f"CH{i + 1}", "units": "uV", "bit_volts": 0.195} for i in range(n_channels)]
            about = {"folder_name": f"{name}/", "sample_rate": rate_hz, "stream_name": name.partition(".")[2] or name}
            streams.append({**about, "num_channels": n_channels, "source_processor_id": 100, "channels": channels})
        about_all = {"GUI version": "0.6.4", "continuous": streams, "events": [], "spikes": []}
        (recording / "structure.oebin").write_text(json.dumps(about_all))
        (recording / "notes_private.txt").write_text("nobody else's business")
    names, _ = OpenEphysBinaryRecordingExtractor.get_streams(folder / "session")
    return se.read_openephys(folder / "session", stream_name=names[0])


def write_nwb(folder: Path, *, has_timestamps: bool = False) -> Any:
    """Write the least of an NWB file that has an ElectricalSeries, without pynwb."""
    path = folder / "session.nwb"
    with h5py.File(path, "w") as file:
        file.attrs.update({"neurodata_type": "NWBFile", "namespace": "core", "nwb_version": "2.6.0"})
        table = file.create_group("general/extracellular_ephys/electrodes")
        table.attrs.update({"neurodata_type": "DynamicTable", "colnames": ["location", "x", "y"]})
        table["id"] = np.arange(4)
        table["location"] = np.array([b"CA1", b"CA1", b"CA3", b"CA3"])
        table["x"], table["y"] = np.zeros(4), np.arange(4) * 20.0
        series = file.create_group("acquisition/ElectricalSeries")
        series.attrs.update({"neurodata_type": "ElectricalSeries", "namespace": "core"})
        data = series.create_dataset("data", data=samples(3000, 4), chunks=(1000, 4), compression="gzip")
        data.attrs.update({"conversion": 1e-6, "offset": 0.0, "resolution": -1.0, "unit": "volts"})
        series["electrodes"] = np.arange(4)
        if has_timestamps:
            series["timestamps"] = np.arange(3000) / RATE_HZ + 7.5
        else:
            series["starting_time"] = 12.5
            series["starting_time"].attrs["rate"] = RATE_HZ
    return se.read_nwb_recording(path)


def give_probe(recording: Any) -> Any:
    """Give a recording a linear probe, in place."""
    probe = probeinterface.generate_linear_probe(recording.get_num_channels(), ypitch=20)
    probe.set_device_channel_indices(np.arange(recording.get_num_channels()))
    recording.set_probe(probe)
    return recording


KINDS: dict[str, Callable[[Path], Any]] = {
    "binary": write_binary,
    "binary with a header": write_binary_with_header,
    "binary by channel": write_binary_by_channel,
    "white matter": write_whitematter,
    "neuroscope": write_neuroscope,
    "binary folder": write_binary_folder,
    "zarr": write_zarr,
    "mda": write_mda,
    "spikeglx": write_spikeglx,
    "open ephys": write_open_ephys,
    "nwb": write_nwb,
    "nwb with timestamps": lambda folder: write_nwb(folder, has_timestamps=True),
    "mcs": HDF5_KINDS["mcs"],
    "nix": HDF5_KINDS["nix"],
}
