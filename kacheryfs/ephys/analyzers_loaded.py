"""A loaded analyzer: SpikeInterface's own, in memory, whose extensions and recording come when they are asked for."""

from __future__ import annotations

import logging
from typing import Any

from spikeinterface.core import ChannelSparsity, SortingAnalyzer
from spikeinterface.core.recording_tools import do_recording_attributes_match
from spikeinterface.core.sortinganalyzer import _builtin_extensions, _possible_extensions, get_extension_class

from ..errors import KacheryError, NotFoundError, ProofError
from .analyzers_reading import AnalyzerFiles
from .safety_probes import make_probegroup
from .sortings import LoadedSorting

log = logging.getLogger(__name__)


class SharedAnalyzer(SortingAnalyzer):  # type: ignore[misc]
    """An analyzer behind a link; what is computed stays in memory, ``save_as`` writes all of it down.

    ``recording_link`` is the link of the analyzer's recording, None where it was shared without; ``left_out`` tells
    what of the original is not in the share. The recording is loaded when something first needs it; where that fails
    the analyzer works without, as one of SpikeInterface's that lost its recording does.
    """

    def __init__(self, shared: AnalyzerFiles) -> None:
        description = shared.description
        self._shared = shared
        self._saved = {name for name in description.extensions if _is_known(name)}
        self._own_recording: Any = None
        self._trouble: KacheryError | None = None
        self.recording_link: str | None = None
        self.left_out = description.left_out
        settings, mask = description.settings, shared.read_sparsity()
        sorting = LoadedSorting(shared.read_sorting())
        attributes = {**description.attributes, "probegroup": _probegroup_of(shared)}
        SortingAnalyzer.__init__(
            self,
            sorting,
            None,
            "memory",
            attributes,
            None if mask is None else ChannelSparsity(mask, sorting.unit_ids, attributes["channel_ids"]),
            settings.return_in_uV,
            settings.peak_sign,
            settings.peak_mode,
        )
        self.recording_link = description.recording

    @property
    def _recording(self) -> Any:
        """The recording, loaded the first time; None where there is none, or it can't be had now."""
        if self._own_recording is None and self.recording_link is not None and self._trouble is None:
            try:
                self._own_recording = self._load_recording(self.recording_link)
            except KacheryError as exc:
                self._trouble = exc
                log.warning("the analyzer's recording can't be had, so it works without: %s", exc)
        return self._own_recording

    @_recording.setter
    def _recording(self, recording: Any) -> None:
        self._own_recording = recording

    @property
    def recording(self) -> Any:
        """The recording that the analyzer was made of; KacheryError where it can't be had."""
        if self.has_temporary_recording() or self._recording is not None:
            return super().recording
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None  # the next access tries again
            raise trouble
        raise NotFoundError("the analyzer was shared without its recording; set_temporary_recording gives it one")

    def _load_recording(self, link: str) -> Any:
        from .loading import load_recording

        recording = load_recording(link)
        is_match, reason = do_recording_attributes_match(recording, self.rec_attributes)
        if not is_match:
            raise ProofError(f"the analyzer's recording is another one: {' '.join(str(reason).split())[:200]}")
        return recording

    def get_saved_extension_names(self) -> list[str]:
        """Return the extensions of the share, whether they were fetched or not."""
        return sorted(self._saved)

    def has_extension(self, extension_name: str) -> bool:
        """Whether an extension is there, or can be fetched."""
        return extension_name in self.extensions or extension_name in self._saved

    def get_extension(self, extension_name: str) -> Any:
        """Return an extension, fetched when it isn't here yet; None where there is none."""
        if extension_name not in self.extensions and extension_name in self._saved:
            self.load_extension(extension_name)
        return self.extensions.get(extension_name)

    def load_extension(self, extension_name: str) -> Any:
        """Fetch an extension of the share; None where the share has none of the name."""
        if extension_name not in self._saved:
            return None
        content = self._shared.read_extension(extension_name)
        if not content.data or not (content.run_info or {"run_completed": True}).get("run_completed"):
            self._saved.discard(extension_name)  # its computation was broken off: stock takes it for missing, too
            return None
        extension = get_extension_class(extension_name)(self)
        extension.params, extension.run_info = content.params, content.run_info
        for name, data in content.data.items():
            extension.set_data(name, data)
        if extension.need_backward_compatibility_on_load:
            _mend(extension, extension_name)
        self.extensions[extension_name] = extension
        return extension

    def load_all_saved_extension(self) -> None:
        """Fetch every extension of the share."""
        for name in sorted(self._saved - self.extensions.keys()):
            self.load_extension(name)

    def delete_extension(self, extension_name: str) -> None:
        """Forget an extension; the share keeps its own."""
        self._saved.discard(extension_name)
        super().delete_extension(extension_name)

    def _save_or_select_or_merge_or_split(self, *arguments: Any, **options: Any) -> Any:
        """Fetch what isn't here yet, so that no copy lacks it."""
        self.load_all_saved_extension()
        return super()._save_or_select_or_merge_or_split(*arguments, **options)


def _is_known(name: str) -> bool:
    """Whether SpikeInterface, or who runs it, has the class of an extension; the share names it and brings none."""
    if name in _builtin_extensions or any(known.extension_name == name for known in _possible_extensions):
        return True
    log.warning("the analyzer's extension %r is not known to this SpikeInterface: it is left out", name[:80])
    return False


def _mend(extension: Any, name: str) -> None:
    """Bring an extension that an older SpikeInterface wrote up to date, as stock does."""
    try:
        extension._handle_backward_compatibility_on_load()
    except Exception as exc:  # stock's mending trusts what it reads
        reason = " ".join(str(exc).split())[:200]
        raise ProofError(f"the extension {name!r} is damaged: {type(exc).__name__}: {reason}") from exc


def _probegroup_of(shared: AnalyzerFiles) -> Any:
    value = shared.description.probegroup
    if value is None:
        return None
    try:
        return make_probegroup(value, shared.description.n_channels)
    except ValueError as exc:
        raise ProofError(f"the analyzer is refused: {exc}") from exc
