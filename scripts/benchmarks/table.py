"""The table: what was measured beside what must be reached, ratios first, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One number that is held against a limit; ``at_least`` False: it must not be over it."""

    what: str
    value: float
    limit: float
    at_least: bool
    unit: str = "×"

    @property
    def is_reached(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        mark = "yes" if self.is_reached else "**no**"
        sign = "≥" if self.at_least else "≤"
        return f"| {self.what} | {number(self.value)} {self.unit} | {sign} {number(self.limit)} {self.unit} | {mark} |"


def at_least(what: str, value: float, limit: float, unit: str = "×") -> Verdict:
    return Verdict(what, value, limit, True, unit)


def at_most(what: str, value: float, limit: float, unit: str = "×") -> Verdict:
    return Verdict(what, value, limit, False, unit)


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one contender."""

    label: str
    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = number(min(self.values)), number(max(self.values))
        return f"| {self.label} | {number(self.median)} {self.unit} | {low} to {high} | {len(self.values)} |"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of the issue's table."""

    name: str
    title: str
    verdicts: tuple[Verdict, ...]
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def interleave(n_runs: int, contenders: Mapping[str, Callable[[int], float]]) -> dict[str, list[float]]:
    """Measure every contender in each of the runs, so that a slow minute of the machine hits them all."""
    values: dict[str, list[float]] = {label: [] for label in contenders}
    for run in range(n_runs):
        for label, measure in contenders.items():
            values[label].append(measure(run))
    return values


def to_series(values: Mapping[str, Sequence[float]], unit: str) -> tuple[Series, ...]:
    return tuple(Series(label, tuple(numbers), unit) for label, numbers in values.items())


def render(rows: Sequence[Row], head: Sequence[str]) -> str:
    """Return the whole file: the verdicts of all rows first, then each row's runs."""
    lines = ["# kacheryfs: speed and memory", "", *head, "", "| measure | ratio or value | must be | reached |"]
    lines += ["|---|---|---|---|", *(str(verdict) for row in rows for verdict in row.verdicts)]
    for row in rows:
        lines += ["", f"## {row.title}", "", *row.notes, *([""] if row.notes else [])]
        lines += ["| | median | lowest to highest | runs |", "|---|---|---|---|", *map(str, row.series)]
    return "\n".join(lines) + "\n"
