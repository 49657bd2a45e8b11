"""The flights that somebody waits for and nobody can be asked for, by file."""

from __future__ import annotations

import trio

from .flights import Flight, FlightState
from .openfile import OpenFile


class Stalled:
    """Keeps them until somebody can be asked again; thousands of files may wait at once."""

    def __init__(self) -> None:
        self._flights: dict[OpenFile, list[Flight]] = {}
        self._any = trio.Event()

    async def wait_for_any(self) -> None:
        await self._any.wait()

    def add(self, file: OpenFile, flight: Flight) -> None:
        flight.state = FlightState.STALLED
        self._flights.setdefault(file, []).append(flight)
        self._any.set()

    def take(self, file: OpenFile) -> list[Flight]:
        """Return the stalled flights of ``file``, who is to do something about them."""
        return [flight for flight in self._flights.pop(file, []) if flight.state is FlightState.STALLED]

    def files(self) -> list[OpenFile]:
        """Return the files that anybody waits for, and forget flights whose waiters have gone."""
        for file in list(self._flights):
            waited_for = []
            for flight in self.take(file):
                if flight.waiters:
                    waited_for.append(flight)
                else:
                    file.flights.pop(flight.block, None)
            if waited_for:
                self._flights[file] = waited_for
        if not self._flights and self._any.is_set():
            self._any = trio.Event()
        return list(self._flights)
