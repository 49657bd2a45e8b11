"""What a collection says of a recording or a sorting: read from what was shared with it, else from the thing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.link import FileLink, TreeLink
from ..core.tree import Tree
from .describing import FORMAT as RECORDING_FORMAT
from .describing import MAX_DESCRIPTION_BYTES, decode_description
from .layouts import DESCRIPTION_FILE

if TYPE_CHECKING:
    from ..app.embedded import Fetcher
    from .treefiles import TreeFiles


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """Hz, channels, seconds, and the probe's name; None for what isn't known."""

    sampling_frequency: float | None = None
    n_channels: int | None = None
    duration_s: float | None = None
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class SortingSummary:
    """Hz and units; None for what isn't known."""

    sampling_frequency: float | None = None
    n_units: int | None = None


def summarize_recording(fetcher: Fetcher, link: FileLink | TreeLink) -> RecordingSummary:
    """Return the summary of a recording behind a link; InputError where it is none."""
    files = _find_described(fetcher, link)
    if files is None:
        from .loading import load_recording

        return summary_of(load_recording(str(link)))
    from .treefiles import check_format

    check_format(files.read_json((DESCRIPTION_FILE,), MAX_DESCRIPTION_BYTES), RECORDING_FORMAT, "recording")
    summary = decode_description(files.read((DESCRIPTION_FILE,), MAX_DESCRIPTION_BYTES)).summary
    return RecordingSummary(
        summary.sampling_frequency_hz, summary.n_channels, summary.duration_s, summary.probe or None
    )


def summary_of(recording: Any) -> RecordingSummary:
    """Return the summary of a recording of SpikeInterface's."""
    rate_hz = float(recording.get_sampling_frequency())
    n_frames = sum(recording.get_num_samples(segment) for segment in range(recording.get_num_segments()))
    return RecordingSummary(rate_hz, int(recording.get_num_channels()), n_frames / rate_hz)


def summarize_sorting(fetcher: Fetcher, link: FileLink | TreeLink) -> SortingSummary:
    """Return the summary of a sorting behind a link; InputError where it is none."""
    files = _find_described(fetcher, link)
    if files is None:
        from .sortings import load_sorting

        sorting = load_sorting(str(link))
        return SortingSummary(float(sorting.get_sampling_frequency()), int(sorting.get_num_units()))
    from .sortings_describing import FORMAT, decode_sorting
    from .treefiles import check_format

    description = decode_sorting(check_format(files.read_json((DESCRIPTION_FILE,)), FORMAT, "sorting"))
    return SortingSummary(description.sampling_frequency_hz, description.n_units)


def _find_described(fetcher: Fetcher, link: FileLink | TreeLink) -> TreeFiles | None:
    """Return a shared folder that has a ``kacheryfs.json``, None for a file and for any other folder."""
    from .treefiles import TreeFiles

    tree = fetcher.get_tree(link.sha1).find(link.path) if isinstance(link, TreeLink) else None
    files = TreeFiles(fetcher, tree) if isinstance(tree, Tree) else None
    return files if files is not None and files.has((DESCRIPTION_FILE,)) else None
