"""The table's extractors: classes of SpikeInterface that read files, with what each may be given.

Read with SpikeInterface 0.105 and neo 0.14 at hand. A class stands here if reading a hostile file with it runs no code
of the file's: no ``eval``, ``exec``, pickle, download, or library loaded by a name in the file. HDF5 files and zarr
folders are checked before (``safety_hdf5``, ``safety_zarr``).
"""

from __future__ import annotations

from .safety_classes import ClassRow, Leaf, index
from .safety_kinds import (
    Kind,
    dtype,
    either,
    flag,
    ids,
    list_of,
    name,
    nothing,
    number,
    numbers,
    small,
    whole,
    word,
    words,
)
from .safety_paths import file, file_or_folder, files, folder

_CORE = "spikeinterface.core"
_EXTRACTORS = "spikeinterface.extractors"
_NEO = "spikeinterface.extractors.neoextractors"
_REMOTE = "asks for a remote address; only files that were shared along are read"
_remote = nothing(_REMOTE)

_BINARY: dict[str, Kind] = {
    "file_paths": files,
    "sampling_frequency": number,
    "num_channels": small,
    "num_chan": small,
    "dtype": dtype,
    "t_starts": list_of(number),
    "channel_ids": ids,
    "time_axis": whole,
    "file_offset": whole,
    "gain_to_uV": numbers,
    "offset_to_uV": numbers,
    "is_filtered": flag,
    "file_timestamps_paths": files,
}
_NWB: dict[str, Kind] = {
    "file_path": file,
    "load_time_vector": flag,
    "samples_for_rate_estimation": whole,
    "use_pynwb": flag,
    "stream_mode": _remote,
    "stream_cache_path": _remote,
    "storage_options": _remote,
    "cache": _remote,
    "file": nothing("is an open file, which can't be sent"),
}
_STREAM: dict[str, Kind] = {
    "stream_id": either(whole, word),
    "stream_name": word,
    "block_index": whole,
    "all_annotations": flag,
    "use_names_as_ids": flag,
}


def _neo(module: str, prefix: str, leaf: Leaf = Leaf.MOUNTED, note: str = "", **kwargs: Kind) -> ClassRow:
    forced = {"install_maxwell_plugin": False} if "install_maxwell_plugin" in kwargs else {}  # else it downloads one
    both = {**_STREAM, **kwargs}
    return ClassRow(f"{_NEO}.{module}", f"{prefix}RecordingExtractor", both, leaf=leaf, note=note, forced=forced)


EXTRACTORS = index(
    ClassRow(f"{_CORE}.binaryrecordingextractor", "BinaryRecordingExtractor", _BINARY, leaf=Leaf.BINARY),
    ClassRow(f"{_CORE}.binaryfolder", "BinaryFolderRecording", {"folder_path": folder}, leaf=Leaf.BINARY_FOLDER),
    ClassRow(
        f"{_CORE}.zarrextractors",
        "ZarrRecordingExtractor",
        {"folder_path": folder, "storage_options": _remote, "load_compression_ratio": flag},
        leaf=Leaf.ZARR,
    ),
    ClassRow(
        f"{_EXTRACTORS}.nwbextractors",
        "NwbRecordingExtractor",
        {**_NWB, "electrical_series_path": word, "load_channel_properties": flag},
        leaf=Leaf.NWB,
    ),
    ClassRow(
        f"{_EXTRACTORS}.nwbextractors",
        "NwbTimeSeriesExtractor",
        {**_NWB, "timeseries_path": word},
        leaf=Leaf.LAYOUT,
        note="its reader follows the links in a file, in circles, too",
    ),
    ClassRow(
        f"{_EXTRACTORS}.mdaextractors",
        "MdaRecordingExtractor",
        {"folder_path": folder, "raw_fname": name, "params_fname": name, "geom_fname": name},
        leaf=Leaf.MOUNTED,
    ),
    ClassRow(
        f"{_EXTRACTORS}.cbin_ibl",
        "CompressedBinaryIblExtractor",
        {"folder_path": folder, "load_sync_channel": flag, "stream_name": word, "cbin_file_path": file}
        | {"cbin_file": file},
        leaf=Leaf.MOUNTED,
    ),
    ClassRow(
        f"{_EXTRACTORS}.mcsh5extractors",
        "MCSH5RecordingExtractor",
        {"file_path": file, "stream_id": either(whole, word)},
        leaf=Leaf.MOUNTED_HDF5,
    ),
    ClassRow(
        f"{_EXTRACTORS}.whitematterrecordingextractor",
        "WhiteMatterRecordingExtractor",
        {
            "file_path": file,
            "sampling_frequency": number,
            "num_channels": small,
            "channel_ids": ids,
            "is_filtered": flag,
            "gain_to_uV": numbers,
        },
        leaf=Leaf.MOUNTED,
    ),
    ClassRow(
        f"{_EXTRACTORS}.sinapsrecordingextractors",
        "SinapsResearchPlatformRecordingExtractor",
        {"file_path": file, "stream_name": word},
        leaf=Leaf.LAYOUT,
        note="it evaluates its metadata file as Python",
    ),
    ClassRow(
        f"{_EXTRACTORS}.sinapsrecordingextractors",
        "SinapsResearchPlatformH5RecordingExtractor",
        {"file_path": file, "stream_name": word},
        leaf=Leaf.MOUNTED_HDF5,
    ),
    _neo("spikeglx", "SpikeGLX", folder_path=folder, load_sync_channel=flag),
    _neo(
        "openephys",
        "OpenEphysBinary",
        folder_path=folder,
        experiment_name=word,
        experiment_names=either(words, word),
        load_sync_timestamps=flag,
        load_sync_channel=flag,
        block_index=whole,
    ),
    _neo("openephys", "OpenEphysLegacy", folder_path=folder, ignore_timestamps_errors=flag),
    _neo(
        "alphaomega",
        "AlphaOmega",
        folder_path=folder,
        lsx_files=nothing("names files of the machine that it was made on"),
    ),
    _neo("axon", "Axon", file_path=file),
    _neo("axona", "Axona", file_path=file),
    _neo(
        "biocam",
        "Biocam",
        Leaf.MOUNTED_HDF5,
        file_path=file,
        mea_pitch=number,
        electrode_width=number,
        fill_gaps_strategy=word,
    ),
    _neo("blackrock", "Blackrock", file_path=file, gap_tolerance_ms=number),
    _neo("ced", "Ced", file_path=file),
    _neo("edf", "EDF", file_path=file),
    _neo("intan", "Intan", file_path=file, ignore_integrity_checks=flag),
    _neo("intan", "IntanSplitFiles", folder_path=folder, mode=word, ignore_integrity_checks=flag),
    _neo(
        "maxwell",
        "Maxwell",
        Leaf.MOUNTED_HDF5,
        file_path=file,
        rec_name=word,
        install_maxwell_plugin=flag,
    ),
    _neo("mcsraw", "MCSRaw", file_path=file),
    _neo(
        "mearec",
        "MEArec",
        Leaf.LAYOUT,
        "its reader belongs to a library that is not known to be harmless",
        file_path=file,
    ),
    _neo(
        "neuralynx",
        "Neuralynx",
        folder_path=folder,
        exclude_filename=either(words, word),
        strict_gap_mode=flag,
    ),
    _neo("neuroexplorer", "NeuroExplorer", file_path=file),
    _neo("neuronexus", "NeuroNexus", file_path=file),
    _neo("neuroscope", "NeuroScope", file_path=file, xml_file_path=file),
    _neo("nix", "Nix", Leaf.MOUNTED_HDF5, file_path=file),
    _neo("plexon", "Plexon", file_path=file),
    _neo(
        "plexon2",
        "Plexon2",
        Leaf.LAYOUT,
        "it downloads a library and runs it",
        file_path=file,
        reading_attempts=whole,
    ),
    _neo("spike2", "Spike2", file_path=file),
    _neo("spikegadgets", "SpikeGadgets", file_path=file),
    _neo("tdt", "Tdt", folder_path=file_or_folder),
)
