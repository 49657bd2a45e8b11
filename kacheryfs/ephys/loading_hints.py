"""What to do with a folder that is no shared recording: the names in it tell what it is."""

from __future__ import annotations

from .loading_folder import Folder


def why_no_recording(folder: Folder) -> str:
    """Return one line that says what the folder is, and how its recording can be had."""
    names = ["/".join(names) for names, _ in folder.tree.walk()]
    for kind, reader, is_kind in (
        ("SpikeGLX", "read_spikeglx", any(name.endswith((".ap.meta", ".lf.meta", ".nidq.meta")) for name in names)),
        ("Open Ephys", "read_openephys", any(name.endswith(("structure.oebin", ".continuous")) for name in names)),
    ):
        if is_kind:
            return (
                f"{folder.link} is a plain {kind} folder: whoever shares it can make a recording's link with "
                f"kacheryfs.share_recording(spikeinterface.extractors.{reader}(FOLDER)); or read it through a mount"
            )
    nwb = next((name for name in names if name.endswith(".nwb")), None)
    if nwb is not None:
        return f"{folder.link} is a folder with an NWB file: load {folder.link}/{nwb}"
    return (
        f"{folder.link} holds no recording (no kacheryfs.json, no recording.json): share one with "
        "kacheryfs.share_recording"
    )
