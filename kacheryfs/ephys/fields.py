"""Take an object of strict JSON apart field by field; a ValueError says which field is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Fields:
    """The fields of ``what`` that were not taken yet; ``finish`` refuses what nobody took."""

    what: str
    rest: dict[str, object]

    @classmethod
    def of(cls, value: object, what: str) -> Fields:
        """Begin with a parsed JSON object, else ValueError."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{what} is not an object")
        return cls(what, dict(value))

    def take(self, name: str, kind: Callable[..., T]) -> T:
        """Return a field that must be there; ``kind`` is list, dict or one of this module's functions."""
        if name not in self.rest:
            raise ValueError(f"{self.what} lacks {name!r}")
        value: Any = self.rest.pop(name)
        if isinstance(kind, type) and not isinstance(value, kind):
            raise ValueError(f"{name!r} of {self.what} is not {'a list' if kind is list else 'an object'}")
        try:
            return kind(value)
        except ValueError as exc:
            raise ValueError(f"{name!r} of {self.what}: {exc}") from exc

    def find(self, name: str, kind: Callable[..., T]) -> T | None:
        """Return a field, None where it is missing or null."""
        if self.rest.get(name) is None:
            self.rest.pop(name, None)
            return None
        return self.take(name, kind)

    def finish(self) -> None:
        """Refuse a field that is not known: a later version's, or a misspelled one."""
        if self.rest:
            raise ValueError(f"{self.what} has the unknown key {min(self.rest)[:40]!r}")


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError("not an integer")
    return value


def number(value: object) -> float:
    """Return a number as a float; the integers of JSON are numbers, too."""
    if type(value) is not int and type(value) is not float:
        raise ValueError("not a number")
    return float(value)
