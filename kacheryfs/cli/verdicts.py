"""What ``verify`` found of one file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from ..errors import ChangedError, ProofError

State = Literal["ok", "wrong", "changed", "missing", "unreadable", "unproven"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``unproven``: it could be neither confirmed nor refuted with what is here."""

    where: Literal["store", "share"]
    name: str
    state: State
    words: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def worst_exit_code(verdicts: Iterable[Verdict]) -> int:
    """Wrong bytes weigh more than a changed, missing or unreadable original; what is unproven is no error."""
    states = {verdict.state for verdict in verdicts}
    if "wrong" in states:
        return ProofError.exit_code
    return ChangedError.exit_code if states & {"changed", "missing", "unreadable"} else 0
