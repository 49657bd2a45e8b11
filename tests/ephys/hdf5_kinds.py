"""Small files of each HDF5 format that SpikeInterface reads, as its readers want them; each writer returns the reader.

Samples stand in all the ways that HDF5 has: chunked and packed, chunked across channels, one after the other, and by
frame, by channel, or a dataset each.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import probeinterface
import spikeinterface.extractors as se
from spikeinterface.extractors.neoextractors.mearec import MEArecRecordingExtractor
from spikeinterface.extractors.neoextractors.nix import NixRecordingExtractor
from spikeinterface.extractors.sinapsrecordingextractors import SinapsResearchPlatformH5RecordingExtractor

RATE_HZ = 10_000.0
N_CHANNELS, N_FRAMES = 4, 3000
PACKED: dict[str, Any] = {"compression": "gzip", "shuffle": True}


def counts(n_frames: int = N_FRAMES, n_channels: int = N_CHANNELS, dtype: str = "<u2") -> Any:
    """Return an ADC's 12 bits, frames × channels."""
    return np.random.default_rng(n_channels).integers(0, 4096, (n_frames, n_channels)).astype(dtype)


def write_mcs(folder: Path, *, n_frames: int = N_FRAMES, **how: Any) -> Any:
    """Write what MultiChannelDataManager exports: channels × frames of 32 bits."""
    path = folder / "rec.h5"
    fields = [("ChannelID", "<i4"), ("Label", "S8"), ("Unit", "S4"), ("Tick", "<i8"), ("Exponent", "<i4")]
    channels = np.zeros(N_CHANNELS, [*fields, ("ConversionFactor", "<i8"), ("ADZero", "<i4")])
    channels["ChannelID"], channels["Label"] = np.arange(N_CHANNELS) * 3, [b"A1", b"B1", b"B2", b"Ref"]
    channels["Unit"], channels["Tick"], channels["Exponent"] = b"V", 1_000_000 / RATE_HZ, -9
    channels["ConversionFactor"], channels["ADZero"] = 59, 3
    with h5py.File(path, "w") as file:
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        samples = np.ascontiguousarray(counts(n_frames, dtype="<i4").T) - 2048
        stream.create_dataset("ChannelData", data=samples, **how)
        stream["ChannelDataTimeStamps"] = np.array([[0, 0, n_frames - 1]])
        stream["InfoChannel"] = channels
    return se.read_mcsh5(path)


def write_sinaps(folder: Path, *, stream: str = "filt") -> Any:
    """Write SiNAPS' unsigned samples, and its probe where probeinterface would look before it asks GitHub."""
    path = folder / "rec.h5"
    with h5py.File(path, "w") as file:
        for index, name in enumerate(("RealTimeProcessedData/FilteredData", "RawData/ElectrodeArrayData")):
            file.create_dataset(name, data=counts(N_FRAMES + index).T, chunks=(2, 700), **PACKED)
        file["RawData/AuxData"] = counts(N_FRAMES, 2).T
        for name, value in (("VoltageConverter", 1.5), ("VoltageConverterAUX", 0.25), ("SamplingFrequency", RATE_HZ)):
            file[f"Parameters/{name}"] = [value]
        file["Advanced Recording Parameters/Probe/probeType"] = "p4"
        file["Advanced Recording Parameters/DAQ/nbADCLevels"] = [4096]
    assert folder.is_relative_to(Path.home()), "this writes into the home folder: a test has one of its own"
    cache = Path.home() / ".config/probeinterface/library/main/sinaps-research-platform"
    cache.mkdir(parents=True, exist_ok=True)
    probe = probeinterface.generate_linear_probe(N_CHANNELS, ypitch=20)
    probe.manufacturer, probe.model_name = "sinaps-research-platform", "p4"
    probe.set_contact_ids(np.arange(N_CHANNELS))
    probeinterface.write_probeinterface(cache / "p4.json", probe)
    return SinapsResearchPlatformH5RecordingExtractor(path, stream_name=stream)


def write_3brain(folder: Path, *, version: int | None = 102, inversion: int = 1) -> Any:
    """Write BrainWave 3's file; version 100 is frames × channels, the others frame after frame."""
    path = folder / "rec.brw"
    places = np.array([(row, column) for row in (1, 2) for column in (1, 2)], [("Row", "<i2"), ("Col", "<i2")])
    variables = {"BitDepth": 12, "MaxVolt": 4125.0, "MinVolt": -4125.0, "NRecFrames": N_FRAMES, "SamplingRate": RATE_HZ}
    with h5py.File(path, "w") as file:
        for name, value in (variables | {"SignalInversion": inversion}).items():
            file[f"3BRecInfo/3BRecVars/{name}"] = [value]
        file["3BRecInfo/3BMeaStreams/Raw/Chs"] = places
        shape = (500, N_CHANNELS) if version == 100 else (1001,)
        samples = counts() if version == 100 else counts().ravel()
        file.create_dataset("3BData/Raw", data=samples, chunks=shape, **PACKED)
        if version is not None:
            file["3BData"].attrs["Version"] = version
    return se.read_biocam(path)


def write_3brain_4(folder: Path, *, is_sparse: bool = False) -> Any:
    """Write BrainWave 4's file of one well; ``is_sparse`` has events alone, of one channel here."""
    path = folder / "rec.brw"
    values = {"MaxAnalogValue": 4125.0, "MinAnalogValue": -4125.0, "MaxDigitalValue": 4096.0, "MinDigitalValue": 0.0}
    about = {
        "ValueConverter": {**values, "ScaleFactor": 1.0},
        "TimeConverter": {"FrameRate": RATE_HZ},
        "MeaPlate": {"Model": "Accura"},
    }
    with h5py.File(path, "w") as file:
        file["ExperimentSettings"] = np.array([json.dumps(about).encode()])
        well = file.create_group("Well_A1")
        well["StoredChIdxs"] = np.arange(N_CHANNELS)
        file["TOC"] = np.array([[0, N_FRAMES], [N_FRAMES, N_FRAMES]]) if is_sparse else np.array([[0, N_FRAMES]])
        if is_sparse:
            event = np.arange(2000, 2100, dtype="<u2").tobytes()
            span = np.array([300, 400], "<u8").tobytes()
            blob = np.array([1, len(span) + len(event)], "<u4").tobytes() + span + event
            well["EventsBasedSparseRaw"] = np.frombuffer(blob, "u1")
            well["EventsBasedSparseRawTOC"] = np.array([0, len(blob)])
        else:
            well.create_dataset("Raw", data=counts().ravel(), chunks=(4096,), **PACKED)
    return se.read_biocam(path, fill_gaps_strategy="zeros")


def write_maxwell(folder: Path, *, wells: tuple[str, ...] = ("well000",), **how: Any) -> Any:
    """Write MaxTwo's file, of one or more wells; its reader of the second."""
    path = folder / "data.raw.h5"
    with h5py.File(path, "w") as file:
        file["version"] = np.array([b"20190530"])
        for index, well in enumerate(wells):
            recording = file.create_group(f"wells/{well}/rec0000")
            recording["settings/sampling"], recording["settings/lsb"] = [RATE_HZ], [6.3e-6]
            recording["settings/mapping"] = _mapping()
            recording.create_dataset("groups/routed/raw", data=counts(N_FRAMES + index).T, **how)
    return se.read_maxwell(path, stream_id=wells[-1], install_maxwell_plugin=False)


def write_old_maxwell(folder: Path) -> Any:
    """Write MaxOne's file."""
    path = folder / "data.raw.h5"
    with h5py.File(path, "w") as file:
        file["version"], file["settings/lsb"] = np.array([b"20160704"]), [6.3e-6]
        file["mapping"] = _mapping()
        file.create_dataset("sig", data=counts().T, chunks=(1, 1000), **PACKED)
    return se.read_maxwell(path, install_maxwell_plugin=False)


def _mapping() -> Any:
    fields = [("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")]
    return np.array([(index * 5, index * 100, index * 17.5, 35.0) for index in range(N_CHANNELS)], fields)


def write_nix(folder: Path) -> Any:
    """Write neo's own format, of two segments, as neo does: a dataset each channel."""
    import neo
    import quantities

    path = folder / "rec.nix"
    block = neo.Block()
    for index, n_frames in enumerate((N_FRAMES, 2000)):
        segment = neo.Segment()
        samples = counts(n_frames, dtype="<i2").astype("<f8") / 7
        units = {"units": "uV", "sampling_rate": RATE_HZ * quantities.Hz, "t_start": index * 7.5 * quantities.s}
        segment.analogsignals.append(neo.AnalogSignal(samples, name="probe", **units))
        block.segments.append(segment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # neo's writer, of its own older names
        with neo.io.NixIO(str(path), "ow") as writer:
            writer.write_block(block)
    return NixRecordingExtractor(path)


def write_nwb_series(folder: Path, *, is_single: bool = False) -> Any:
    """Write an NWB file with a series that is no ElectricalSeries: a running speed, or some."""
    path = folder / "session.nwb"
    with h5py.File(path, "w") as file:
        file.attrs.update({"neurodata_type": "NWBFile", "namespace": "core", "nwb_version": "2.6.0"})
        series = file.create_group("acquisition/speed")
        series.attrs.update({"neurodata_type": "TimeSeries", "namespace": "core"})
        samples = counts().astype("<f4") / 3
        data = series.create_dataset("data", data=samples[:, 0] if is_single else samples, chunks=True, **PACKED)
        data.attrs.update({"conversion": 1.0, "offset": 0.0, "resolution": -1.0, "unit": "m/s"})
        series["timestamps"] = np.arange(N_FRAMES) / RATE_HZ + 7.5
    return se.read_nwb_timeseries(path, load_time_vector=not is_single)


MEAREC = """
import h5py
class Generator:
    def __init__(self, path):
        file = h5py.File(path, "r")
        self.recordings, self.channel_positions = file["recordings"], file["channel_positions"][:]
        about = {key: file[f"info/recordings/{key}"][()] for key in ("fs", "duration")}
        self.info = {"recordings": about | {"dtype": "float32"}}
        self.gain_to_uV = 1.0
def load_recordings(recordings, **options):
    return Generator(recordings)
"""
"""What neo's reader asks of the library MEArec, which would take a neuron simulator along."""


def write_mearec(folder: Path) -> Any:
    """Write MEArec's file; its reader imports ``MEArec``."""
    path = folder / "rec.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("recordings", data=counts().astype("<f4") / 9, chunks=(1000, 2), **PACKED)
        file["channel_positions"] = np.array([[0.0, 0.0, 20.0 * index] for index in range(N_CHANNELS)])
        file["info/recordings/fs"], file["info/recordings/duration"] = RATE_HZ, N_FRAMES / RATE_HZ
        electrodes = {"electrode_name": "linear", "description": "x", "plane": "yz", "shape": "square", "size": 5.0}
        for name, value in (electrodes | {"sortlist": "null"}).items():
            file[f"info/electrodes/{name}"] = value
    return MEArecRecordingExtractor(path)


HDF5_KINDS: dict[str, Callable[[Path], Any]] = {
    "mcs": lambda folder: write_mcs(folder, chunks=(4, 512), **PACKED),
    "mcs, chunks of a channel": lambda folder: write_mcs(folder, chunks=(1, 3000)),
    "mcs, one after the other": write_mcs,
    "sinaps": write_sinaps,
    "sinaps raw": lambda folder: write_sinaps(folder, stream="raw"),
    "3brain": write_3brain,
    "3brain without a version": lambda folder: write_3brain(folder, version=None),
    "3brain upside down": lambda folder: write_3brain(folder, inversion=-1),
    "3brain by frame": lambda folder: write_3brain(folder, version=100),
    "3brain by frame upside down": lambda folder: write_3brain(folder, version=100, inversion=-1),
    "3brain of brainwave 4": write_3brain_4,
    "maxwell": lambda folder: write_maxwell(folder, chunks=(3, 200), **PACKED),
    "maxwell, one after the other": write_maxwell,
    "maxwell, second well": lambda folder: write_maxwell(folder, wells=("well000", "well001"), chunks=(1, 300)),
    "maxwell of old": write_old_maxwell,
    "nix": write_nix,
    "nwb series": write_nwb_series,
    "nwb series of one channel": lambda folder: write_nwb_series(folder, is_single=True),
}
