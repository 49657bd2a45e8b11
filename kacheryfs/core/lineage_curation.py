"""What people decided about a sorting's units in the lineage: labels, and groups of units that are one neuron.

A curation grows by as many actions as a feed has, so each costs no more than the units that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import ProofError
from .lineage_fields import Fields, UnitId, Warn, as_whole, take_text

_KEYS = {"labelsByUnit", "mergeGroups", "isClosed", "labelChoices"}


@dataclass(frozen=True, slots=True)
class OldCuration:
    """Each unit's labels, sorted, and the groups of two or more units that are one, sorted; numbers before names."""

    labels: tuple[tuple[UnitId, tuple[str, ...]], ...] = ()
    merge_groups: tuple[tuple[UnitId, ...], ...] = ()


@dataclass(slots=True)
class Curation:
    """A curation that is being replayed."""

    _labels: dict[UnitId, set[str]] = field(default_factory=dict)
    _groups: dict[UnitId, set[UnitId]] = field(default_factory=dict)  # Invariant: a group's units share one set.

    @classmethod
    def of(cls, fields: Fields, warn: Warn) -> Curation:
        """Take ``{labelsByUnit: {unit: [label]}, mergeGroups: [[unit]]}``."""
        fields.warn_of_unknown(_KEYS, fields.what, warn)
        curation = cls()
        if fields.has("labelsByUnit"):
            by_unit = fields.inner("labelsByUnit")
            for unit in by_unit.values:
                for label in by_unit.items(unit):
                    curation.add_label([_unit_of_key(unit)], take_text(label, by_unit.what))
        for group in fields.items("mergeGroups") if fields.has("mergeGroups") else []:
            curation.merge(take_units(group, f"'mergeGroups' of {fields.what}"))
        return curation

    @classmethod
    def thawed(cls, frozen: OldCuration) -> Curation:
        """Go on from a curation that is finished."""
        curation = cls({unit: set(labels) for unit, labels in frozen.labels})
        for group in frozen.merge_groups:
            curation.merge(group)
        return curation

    def add_label(self, units: Sequence[UnitId], label: str) -> None:
        for unit in units:
            self._labels.setdefault(unit, set()).add(label)

    def remove_label(self, units: Sequence[UnitId], label: str) -> None:
        for unit in units:
            self._labels.get(unit, set()).discard(label)

    def merge(self, units: Sequence[UnitId]) -> None:
        """Make one group of ``units`` and of all groups that one of them is in."""
        group: set[UnitId] = set()
        for unit in units:
            other = self._groups.get(unit, {unit})
            if other is group:
                continue
            small, group = sorted((group, other), key=len)
            group |= small
            self._groups.update(dict.fromkeys(small, group))
            self._groups[unit] = group

    def unmerge(self, units: Sequence[UnitId]) -> None:
        """Take ``units`` out of their groups."""
        for unit in units:
            self._groups.pop(unit, set()).discard(unit)

    def frozen(self) -> OldCuration:
        labels = {unit: tuple(sorted(labels)) for unit, labels in self._labels.items() if labels}
        groups = {id(group): group for group in self._groups.values() if len(group) > 1}.values()
        merged = [tuple(sorted(group, key=_order)) for group in groups]
        return OldCuration(
            tuple((unit, labels[unit]) for unit in sorted(labels, key=_order)),
            tuple(sorted(merged, key=lambda group: _order(group[0]))),
        )


def take_units(value: object, what: str) -> tuple[UnitId, ...]:
    """Take one unit or a list of units, each once, in order."""
    values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(_unit(one, what) for one in values))


def _unit(value: object, what: str) -> UnitId:
    if isinstance(value, str):
        return _unit_of_key(value)
    whole = as_whole(value)
    if whole is None:
        raise ProofError(f"{what} names a unit by what is neither a whole number nor text")
    return whole


def _unit_of_key(text: str) -> UnitId:
    """Return the unit that text stands for: the lineage's units are numbers, the keys of JSON text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and str(int(text)) == text else text


def _order(unit: UnitId) -> tuple[bool, int, str]:
    return (True, 0, unit) if isinstance(unit, str) else (False, unit, "")
