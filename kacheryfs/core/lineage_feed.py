"""``feed.json``, the snapshot of an append-only log: its actions are replayed, in order, into an old collection.

Recordings and sortings stood in two subfeeds (or in one, "main"); the curation of one sorting sometimes in its own,
whose messages are bare actions. As there, deleting a recording leaves its sortings (a second action deleted them), and
adding an id again replaces it. An action that isn't known is a warning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..errors import ProofError
from .lineage_collection import OldCollection, OldRecording, OldSorting, parse_old_recording, parse_old_sorting
from .lineage_curation import Curation, take_units
from .lineage_fields import Fields, UnitId, canonical_text, parse_lineage_json

_MEANINGLESS_HERE = {"SET_USER_PERMISSIONS", "SET_SNIPPET_LEN", "CLOSE_CURATION", "REOPEN_CURATION"}
"""They steered the lineage's web page and say nothing of data."""
_CURATING = {"ADD_UNIT_LABEL", "REMOVE_UNIT_LABEL", "MERGE_UNITS", "UNMERGE_UNITS", "SET_CURATION"}


def is_feed(value: object) -> bool:
    """Tell whether parsed JSON is the snapshot of a feed, by its keys."""
    return isinstance(value, dict) and isinstance(value.get("subfeeds"), dict)


def decode_feed(data: bytes) -> OldCollection:
    """Parse and replay the file of a feed's snapshot; ProofError or LinkError in one line."""
    return replay_feed(parse_lineage_json(data, what="a feed"))


def replay_feed(value: object) -> OldCollection:
    """Replay the parsed JSON of a snapshot: every subfeed's name must have the digest that it stands under."""
    fields = Fields.of(value, "a feed")
    fields.refuse_unknown({"subfeeds", "feedId"})
    subfeeds = [_Subfeed.of(digest, subfeed) for digest, subfeed in fields.inner("subfeeds").values.items()]
    replay = _Replay()
    for subfeed in sorted(subfeeds, key=lambda subfeed: (subfeed.rank, subfeed.digest)):
        replay.run(subfeed)
    return replay.result()


@dataclass(frozen=True, slots=True)
class _Subfeed:
    """One log of a feed; its name is None where the writer noted the digest alone."""

    digest: str
    name: object
    actions: tuple[Fields, ...]
    is_bare: bool
    """Whether its messages are actions, instead of holding one: the curation of a single sorting."""

    @classmethod
    def of(cls, digest: str, value: object) -> _Subfeed:
        fields = Fields.of(value, f"subfeed {digest[:8]} of a feed")
        fields.refuse_unknown({"subfeedName", "subfeedHash", "messages"})
        name = fields.get("subfeedName") if fields.has("subfeedName") else None
        noted = fields.text("subfeedHash", digest) if name is not None else fields.text("subfeedHash")
        if noted != digest or (name is not None and digest not in _digests_of(name)):
            raise ProofError(f"{fields.what} stands under a digest that isn't the one of its name")
        messages = fields.inners("messages")
        actions = tuple(Fields.of(one.get("action"), one.what) if one.has("action") else one for one in messages)
        return cls(digest, name, actions, any(not one.has("action") for one in messages))

    @property
    def rank(self) -> int:
        """Recordings first, then sortings and what is said of them, curations of single sortings last."""
        key = self.name.get("key") if isinstance(self.name, dict) else None
        return 2 if self.is_bare else 0 if key == "recordings" else 1


def _digests_of(name: object) -> set[str]:
    """Python escaped what isn't ASCII, JavaScript didn't; a name that is text was also hashed without quotes."""
    texts = {canonical_text(name), json.dumps(name, sort_keys=True, separators=(",", ":"), ensure_ascii=False)}
    if isinstance(name, str):
        texts.add(name)
    return {hashlib.sha1(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts}


@dataclass(slots=True)
class _Replay:
    recordings: dict[str, OldRecording] = field(default_factory=dict)
    sortings: dict[str, OldSorting] = field(default_factory=dict)
    curations: dict[str, Curation] = field(default_factory=dict)
    sortings_of: dict[str, set[str]] = field(default_factory=dict)  # Invariant: the sortings by their recording.
    owners: dict[str, str] | None = None
    """Sortings by the digest that the subfeed of their curation would have; made when one is needed."""
    warnings: list[str] = field(default_factory=list)

    def result(self) -> OldCollection:
        sortings = (replace(one, curation=self.curations[name].frozen()) for name, one in self.sortings.items())
        return OldCollection(tuple(self.recordings.values()), tuple(sortings), tuple(self.warnings))

    def run(self, subfeed: _Subfeed) -> None:
        owner = self._owner_of(subfeed) if subfeed.is_bare else None
        for action in subfeed.actions:
            self._apply(action, owner)

    def _owner_of(self, subfeed: _Subfeed) -> str | None:
        """Return the sorting that a subfeed is of; its name may have to be guessed from its digest."""
        if isinstance(subfeed.name, dict):
            owner = subfeed.name.get("sortingId")
            return owner if isinstance(owner, str) else None
        if self.owners is None:
            names = [{"name": "sortingCuration", "sortingId": one} for one in self.sortings]
            self.owners = {digest: name["sortingId"] for name in names for digest in _digests_of(name)}
        return self.owners.get(subfeed.digest)

    def _apply(self, action: Fields, owner: str | None) -> None:
        """Apply one action; ``owner`` is the sorting that the subfeed is of, where it is one sorting's."""
        kind = action.text("type")
        simple: dict[str, Callable[[Fields], None]] = {
            "ADD_RECORDING": self._add_recording,
            "ADD_SORTING": self._add_sorting,
            "DELETE_RECORDINGS": self._delete_recordings,
            "DELETE_SORTINGS": self._delete_sortings,
            "DELETE_SORTINGS_FOR_RECORDINGS": self._delete_sortings_of_recordings,
            "DELETE_ALL_SORTINGS_FOR_RECORDINGS": self._delete_sortings_of_recordings,
            "SET_UNIT_METRICS_FOR_SORTING": self._set_metrics,
        }
        if kind in simple:
            simple[kind](action)
        elif kind in _CURATING:
            self._curate(kind, action, action.text("sortingId", owner))
        elif kind not in _MEANINGLESS_HERE:
            self.warnings.append(f"{action.what}: {kind[:60]!r} is not known and is left out")

    def _add_recording(self, action: Fields) -> None:
        recording = parse_old_recording(action.inner("recording"), self.warnings.append)
        self.recordings.pop(recording.recording_id, None)
        self.recordings[recording.recording_id] = recording

    def _add_sorting(self, action: Fields) -> None:
        sorting = parse_old_sorting(action.inner("sorting"), self.warnings.append)
        name = sorting.sorting_id
        self._delete_sorting(name)
        self.sortings[name] = sorting
        self.curations[name] = Curation.thawed(sorting.curation)
        self.sortings_of.setdefault(sorting.recording_id, set()).add(name)

    def _delete_sorting(self, name: str) -> None:
        if name in self.sortings:
            self.sortings_of[self.sortings.pop(name).recording_id].remove(name)
            del self.curations[name]

    def _delete_recordings(self, action: Fields) -> None:
        for name in action.ids("recordingIds"):
            self.recordings.pop(str(name), None)

    def _delete_sortings(self, action: Fields) -> None:
        for name in action.ids("sortingIds"):
            self._delete_sorting(str(name))

    def _delete_sortings_of_recordings(self, action: Fields) -> None:
        for recording in action.ids("recordingIds"):
            for name in list(self.sortings_of.get(str(recording), ())):
                self._delete_sorting(name)

    def _set_metrics(self, action: Fields) -> None:
        """Two writers: the sorting and the link stood in the action, or in an object of it."""
        given = action.inner("unitMetricsForSorting") if action.has("unitMetricsForSorting") else action
        name, link = given.text("sortingId"), given.link("metricsUri")
        if self._is_known(action, name):
            self.sortings[name] = replace(self.sortings[name], metrics_link=link)

    def _curate(self, kind: str, action: Fields, name: str) -> None:
        if not self._is_known(action, name):
            return
        curation = self.curations[name]
        if kind == "SET_CURATION":
            self.curations[name] = Curation.of(action.inner("curation"), self.warnings.append)
        elif kind == "ADD_UNIT_LABEL":
            curation.add_label(_units(action, "unitId"), action.text("label"))
        elif kind == "REMOVE_UNIT_LABEL":
            curation.remove_label(_units(action, "unitId"), action.text("label"))
        elif kind == "MERGE_UNITS":
            curation.merge(_units(action, "unitIds"))
        else:
            curation.unmerge(_units(action, "unitIds"))

    def _is_known(self, action: Fields, name: str) -> bool:
        """Tell whether the sorting is there; one that was deleted, or never added, is a warning."""
        if name not in self.sortings:
            self.warnings.append(f"{action.what}: there is no sorting {name[:80]}, so it is left out")
        return name in self.sortings


def _units(action: Fields, key: str) -> tuple[UnitId, ...]:
    return take_units(action.get(key), f"'{key}' of {action.what}")
