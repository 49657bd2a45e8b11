"""Analyzers as links: ``share_analyzer`` gives the link, ``load_analyzer`` takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from spikeinterface.core import SortingAnalyzer, load_sorting_analyzer

from ..app.embedded import get_fetcher
from ..errors import InputError, KacheryError
from ..store.composing import Names, Part
from .analyzers_describing import (
    BINARY_FOLDER,
    FORMAT,
    ZARR,
    AnalyzerDescription,
    AnalyzerSettings,
    decode_analyzer,
    encode_analyzer,
)
from .analyzers_files import EXTENSIONS_FOLDER, Gathered, gather_folder, gather_memory, make_stock_files, require_folder
from .analyzers_loaded import SharedAnalyzer
from .analyzers_reading import SORTING_FOLDER, SPARSITY_FILE, AnalyzerFiles
from .analyzers_zarr import gather_zarr
from .made import require_label, say_left_out, share_parts
from .npy import encode_npy
from .scrubbing import scrub
from .sortings import written_down
from .treefiles import DESCRIPTION_FILE, TreeFiles
from .values import encode_value


def share_analyzer(
    analyzer: SortingAnalyzer | str | os.PathLike[str], *, label: str | None = None, with_recording: bool = True
) -> str:
    """Offer an analyzer with its extensions to peers and return its link.

    The arrays of a binary folder or a Zarr are offered in place, none is copied: share again after computing there. An
    analyzer in memory is written down for the share (after ``save_as(format="binary_folder", …)`` that takes less
    memory). Stock SpikeInterface loads the folder from a mount, too: ``si.load("…/sha1dir/H.analyzer")``, of a Zarr
    ``si.load("…/sha1dir/H.analyzer.zarr")``.

    Parameters
    ----------
    analyzer : spikeinterface.core.SortingAnalyzer, str or Path
        An analyzer of format ``memory``, ``binary_folder`` or ``zarr``, or the folder of one of yours, which is opened
        as ``si.load_sorting_analyzer`` does (that may unpickle the recording in it). Pickles (the models of
        ``principal_components``) are left out, and said so in the log: compute that extension again to have them. The
        sorting's provenance and all paths of this machine stay here.
    label : str, optional
        What the link is to be called; ``analyzer`` where none is given. A Zarr's ends in ``.zarr`` in any case: stock
        SpikeInterface goes by that.
    with_recording : bool, default: True
        Share the analyzer's recording, too, as ``share_recording`` does, and put its link into the analyzer.

    Returns
    -------
    str
        The link, ``sha1dir://H.analyzer``. ``kacheryfs serve`` lets peers read it.

    Raises
    ------
    KacheryError
        ``InputError`` for what is no analyzer, or can't be read, or whose recording can't be shared; ``ChangedError``
        where a file was changed meanwhile; ``CatalogError`` where the catalog can't be written.

    Examples
    --------
    >>> import spikeinterface as si, kacheryfs as kfs
    >>> recording, sorting = si.generate_ground_truth_recording(durations=[2.0], num_channels=4, num_units=2, seed=0)
    >>> analyzer = si.create_sorting_analyzer(sorting, recording, sparse=False)
    >>> link = kfs.share_analyzer(analyzer, with_recording=False)
    >>> kfs.load_analyzer(link).get_num_units()
    2
    """
    require_label(label)
    analyzer = _opened(analyzer)
    recording = _share_recording(analyzer) if with_recording else None
    try:
        return _share(analyzer, label, recording)
    except KacheryError:
        raise
    except Exception as exc:  # the analyzer's folder may hold anything, and SpikeInterface raises anything for it
        reason = " ".join(str(exc).split())[:300]
        raise InputError(f"the analyzer can't be shared: {type(exc).__name__}: {reason}") from exc


def _opened(analyzer: object) -> SortingAnalyzer:
    if isinstance(analyzer, SortingAnalyzer):
        return analyzer
    if not isinstance(analyzer, str | os.PathLike):
        raise InputError(f"share_analyzer takes a SortingAnalyzer or its folder, not a {type(analyzer).__name__}")
    folder = require_folder(analyzer)
    try:
        return load_sorting_analyzer(folder, load_extensions=False)
    except Exception as exc:  # SpikeInterface raises anything for what isn't as it wrote it
        reason = " ".join(str(exc).split())[:300]
        raise InputError(f"{folder} can't be opened as an analyzer: {type(exc).__name__}: {reason}") from exc


def _share_recording(analyzer: Any) -> str | None:
    own_link: str | None = getattr(analyzer, "recording_link", None)
    if own_link is not None:
        return own_link
    if not analyzer.has_recording():
        return None
    from .sharing import share_recording

    return share_recording(analyzer._recording)


def _share(analyzer: Any, label: str | None, recording: str | None) -> str:
    storage = ZARR if analyzer.format == "zarr" else BINARY_FOLDER
    label = label or "analyzer"
    if storage == ZARR and not label.endswith(".zarr"):
        label += ".zarr"
    gathered = Gathered()
    extensions = _gather_extensions(analyzer, gathered)
    sorting = written_down(analyzer.sorting, keeps_order=True)
    attributes, left_out = _attributes_of(analyzer)
    probegroup = analyzer.rec_attributes.get("probegroup")
    description = AnalyzerDescription(
        storage,
        AnalyzerSettings(bool(analyzer.return_in_uV), str(analyzer.peak_sign), str(analyzer.peak_mode)),
        attributes,
        None if probegroup is None else scrub(probegroup.to_dict(array_as_list=True)),
        sorting.description,
        analyzer.sparsity is not None,
        tuple(extensions),
        recording,
        (*gathered.left_out, *sorting.left_out, *left_out),
    )
    made = _made_files(analyzer, description, sorting.files)
    link = share_parts({**gathered.parts, **made, (DESCRIPTION_FILE,): encode_analyzer(description, label)}, label)
    say_left_out("the analyzer", description.left_out)
    return link


def _gather_extensions(analyzer: Any, gathered: Gathered) -> list[str]:
    """Add the extensions' files and return their names: those on disk, and those in memory alone."""
    if analyzer.format == "memory":
        if isinstance(analyzer, SharedAnalyzer):
            analyzer.load_all_saved_extension()
        in_memory = sorted(analyzer.extensions)
        gather_memory(analyzer, in_memory, gathered)
        return in_memory
    folder = require_folder(analyzer.folder)
    saved = sorted(analyzer.get_saved_extension_names())
    unsaved = sorted(analyzer.extensions.keys() - set(saved))
    if analyzer.format == ZARR:
        gather_zarr(folder, saved, gathered)
        for name in unsaved:
            gathered.leave_out((EXTENSIONS_FOLDER, name), "it isn't saved in the Zarr")
        return saved
    gather_folder(folder, saved, gathered)
    gather_memory(analyzer, unsaved, gathered)
    return sorted([*saved, *unsaved])


def _attributes_of(analyzer: Any) -> tuple[dict[str, Any], list[str]]:
    """Return what the analyzer knows of its recording, and what of it has no safe form."""
    known = analyzer.rec_attributes
    left_out: list[str] = []
    properties: dict[str, Any] = {}
    for key, values in dict(known.get("properties") or {}).items():
        try:
            encode_value(scrub(values))
            properties[str(key)] = scrub(values)
        except ValueError as exc:
            left_out.append(f"the channels' property {key!r}: {exc}")
    attributes = {
        "channel_ids": known["channel_ids"],
        "sampling_frequency": float(known["sampling_frequency"]),
        "num_channels": int(known["num_channels"]),
        "num_samples": [int(n) for n in known["num_samples"]],
        "is_filtered": bool(known["is_filtered"]),
        "properties": properties,
        "dtype": str(np.dtype(known["dtype"])),
    }
    return attributes, left_out


def _made_files(analyzer: Any, description: AnalyzerDescription, sorting: Mapping[Names, bytes]) -> dict[Names, Part]:
    """Return the sorting and the mask in the form that both formats share, and for memory what stock needs."""
    folder = description.made_folder
    made: dict[Names, Part] = {(*folder, SORTING_FOLDER, *names): data for names, data in sorting.items()}
    if analyzer.sparsity is not None:
        made[(*folder, SPARSITY_FILE)] = encode_npy(np.asarray(analyzer.sparsity.mask, dtype=bool))
    if analyzer.format == "memory":
        settings = {name: getattr(description.settings, name) for name in ("return_in_uV", "peak_sign", "peak_mode")}
        made |= make_stock_files(settings, description.attributes, description.probegroup)
    return made


def load_analyzer(link: str, *, load_extensions: bool = True) -> SortingAnalyzer:
    """Return the analyzer behind a link, fetched from peers or read from this machine's own share.

    Nothing in the share can run code: pickles are refused, arrays and values are checked, and stock loaders never see
    the folder. Nothing is written to disk but the store's verified blocks.

    Parameters
    ----------
    link : str
        What ``share_analyzer`` returned, ``sha1dir://H.LABEL``.
    load_extensions : bool, default: True
        Fetch all extensions now. Without it each is fetched when it is first asked for (``get_extension``).

    Returns
    -------
    spikeinterface.core.SortingAnalyzer
        Of format ``memory``: extensions are as large there as on disk (waveforms: spikes × samples × channels), and
        what is computed stays in memory until ``save_as``. Its recording is loaded when something first needs it, its
        traces (frames × channels) are fetched as they are read; where that can't be had, the analyzer works without.

    Raises
    ------
    KacheryError
        ``LinkError`` for what is no link; ``InputError`` for a link to something else; ``NotFoundError``,
        ``UnreachableError`` or ``TimedOutError`` where no peer has it; ``ProofError`` for a pickle, objects, or a
        share that is not an analyzer in its right form.

    Examples
    --------
    >>> import spikeinterface as si, kacheryfs as kfs
    >>> recording, sorting = si.generate_ground_truth_recording(durations=[2.0], num_channels=4, num_units=2, seed=0)
    >>> analyzer = si.create_sorting_analyzer(sorting, recording, sparse=False)
    >>> extension = analyzer.compute("random_spikes")
    >>> link = kfs.share_analyzer(analyzer, with_recording=False)
    >>> kfs.load_analyzer(link, load_extensions=False).has_extension("random_spikes")
    True
    """
    fetcher = get_fetcher()
    files = TreeFiles.open(fetcher, link, "analyzer")
    description = decode_analyzer(files.read_description(FORMAT, "analyzer"))
    shared = AnalyzerFiles(fetcher, files, description)
    shared.check()
    analyzer = SharedAnalyzer(shared)
    if load_extensions:
        analyzer.load_all_saved_extension()
    return analyzer
