"""The machine: readers read all the time while mounts, servers and caches are disturbed at random.

What must hold, whatever it does: no wrong byte; no error but of a mount that is away; no reading longer than
``MAX_READING_S``; no store over its bound; what is pinned and was whole is read without any peer, whatever was
evicted; at the end every file is read whole from every mount, every process ends
well, no log tells of a fault, and what the stores call present is what the originals have.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stateful_ending import compare_whole, end_all, find_faults, find_lost, find_wrong_blocks, identity
from stateful_readers import RandomReader, Told
from stateful_world import CACHE_BYTES, Origin, Taker, World, disk_bytes
from system_labs import Running

MAX_READING_S = 50.0
"""One origin is always there, and a peer that fell silent is asked again after 5 s."""
STEP_S = 0.4
FREEZE_S = 2.0
N_TOLD = 40
"""So many of the last moves are told when something is wrong."""


class MachineError(AssertionError):
    """Something that must hold doesn't; tells the seed and what was done before."""


@dataclass(eq=False)
class Machine:
    """Disturbs a world for some time; ``lasting`` of its processes are left alone, to see what they gather."""

    folder: Path
    seed: int
    running: Running
    are_some_lasting: bool = False
    moves: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.world = World(self.folder, self.seed, self.running)
        self._began = time.monotonic()
        self._until_back: list[tuple[float, Callable[[], None]]] = []
        self.readers = [self._reader(taker, i) for i, taker in enumerate(self.world.takers * 2)]
        self.mortal_origins = self.world.origins[1:] if self.are_some_lasting else self.world.origins
        self.mortal_takers = self.world.takers[1:] if self.are_some_lasting else self.world.takers
        self._dos: list[tuple[int, Callable[[], None]]] = [
            (2, self._kill_mount),
            (2, self._restart_mount),
            (3, self._kill_origin),
            (3, self._freeze_origin),
            (2, self._ask_status),
            (1, self._verify),
            (3, self._pin_or_unpin),
            (4, self._evict),
            (3, self._evict_pinned),
            (3, self._prefetch),
        ]

    def _reader(self, taker: Taker, number: int) -> RandomReader:
        log = self.folder / f"reader{number}.jsonl"
        is_mapped = number == len(self.world.takers)
        return RandomReader(self.running, taker.path, self.world.files, log, is_mapped, self.seed * 100 + number)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, duration_s: float) -> None:
        """Disturb and watch for so long."""
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            weights, dos = zip(*self._dos, strict=True)
            self.chance.choices(dos, weights)[0]()
            self._watch_until(time.monotonic() + self.chance.uniform(0, 2 * STEP_S))

    def _watch_until(self, until: float) -> None:
        while True:
            self._bring_back()
            self.watch()
            if time.monotonic() >= until:
                return
            time.sleep(0.05)

    def _bring_back(self, *, is_all: bool = False) -> None:
        now = time.monotonic()
        due = [back for at, back in self._until_back if is_all or at <= now]
        self._until_back = [(at, back) for at, back in self._until_back if not is_all and at > now]
        for back in due:
            back()

    def note(self, move: str) -> None:
        self.moves.append(f"{time.monotonic() - self._began:7.2f} s  {move}")

    # -- what must hold ----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        for reader, taker in zip(self.readers, self.world.takers * 2, strict=True):
            for told in reader.news():
                self._check_told(told, taker)
            if reader.waited_s() > MAX_READING_S:
                self.fail(f"reading {reader.under_way} of {taker.path} hangs for {reader.waited_s():.0f} s")
            self._check_alive(reader, taker)
        for lab in self.world.stores:
            if (taken := disk_bytes(lab.store)) > CACHE_BYTES:
                self.fail(f"the store of {lab.folder.name} takes {taken} bytes; its bound is {CACHE_BYTES}")

    def _check_told(self, told: Told, taker: Taker) -> None:
        if told.wrong:
            self.fail(f"WRONG BYTES of {told.what} through {taker.path}: {told.wrong}")
        if told.error and not taker.was_away(told.began, told.ended):
            took_s = told.ended - told.began
            self.fail(f"{told.error} of {told.what} through {taker.path}, which is there, after {took_s:.2f} s")

    def _check_alive(self, reader: RandomReader, taker: Taker) -> None:
        death = reader.death()
        if death is None:
            return
        if not (death == "SIGBUS" and reader.is_mapped and taker.was_away(*self._last_moments(reader))):
            self.fail(f"the reader of {taker.path} died: {death}: {reader.words.read_text()[-2000:]}")
        reader.start()

    def _last_moments(self, reader: RandomReader) -> tuple[float, float]:
        assert reader.under_way
        return reader.under_way[0], time.monotonic()

    def fail(self, what: str) -> None:
        last = "\n".join(self.moves[-N_TOLD:])
        at_s = time.monotonic() - self._began
        raise MachineError(f"{what}\nseed {self.seed}, after {at_s:.2f} s; the last moves were\n{last}")

    # -- moves -------------------------------------------------------------------------------------------------------

    def _kill_mount(self) -> None:
        self._replace_mount(is_killed=True)

    def _restart_mount(self) -> None:
        self._replace_mount(is_killed=False)

    def _replace_mount(self, *, is_killed: bool) -> None:
        taker = self.chance.choice(self.mortal_takers)
        assert taker.mount
        self.note(f"{'kill' if is_killed else 'umount'} {taker.path}")
        down = time.monotonic()
        taker.downs.append((down, float("inf")))
        (taker.mount.kill if is_killed else taker.mount.umount)()
        time.sleep(self.chance.choice((0, 0, 0.5)))
        taker.start()
        taker.downs[-1] = (down, time.monotonic())
        self.note(f"{taker.path} is back")

    def _free_origin(self) -> Origin | None:
        """Return one that may be disturbed: none while another is."""
        return None if self._until_back else self.chance.choice(self.mortal_origins)

    def _kill_origin(self) -> None:
        if origin := self._free_origin():
            self.note(f"kill {origin.url}")
            origin.kill()
            self._until_back.append((time.monotonic() + self.chance.uniform(0, 4), origin.start))

    def _freeze_origin(self) -> None:
        if origin := self._free_origin():
            self.note(f"freeze {origin.url}")
            origin.freeze()
            self._until_back.append((time.monotonic() + self.chance.uniform(0, 2 * FREEZE_S), origin.thaw))

    def _ask_status(self) -> None:
        taker = self.chance.choice(self.world.takers)
        assert taker.mount
        assert taker.mount.status()["peers"]

    def _run(self, taker: Taker, *arguments: str) -> None:
        self.note(f"{taker.lab.folder.name}: {' '.join(arguments)}")
        done = taker.lab.try_run(*arguments)
        words = done.stderr.decode(errors="replace")
        if done.returncode or "Traceback" in words:
            self.fail(f"kacheryfs {' '.join(arguments)}: exit {done.returncode}: {words}")

    def _verify(self) -> None:
        self._run(self.chance.choice(self.world.takers), "verify")

    def _pin_or_unpin(self) -> None:
        taker, link = self.chance.choice(self.world.takers), self._small_link()
        if link in taker.lab_pins:
            self._run(taker, "unpin", link)
            taker.lab_pins.pop(link)
        else:
            self._pin(taker, link)

    def _pin(self, taker: Taker, link: str) -> None:
        self._run(taker, "pin", link)
        taker.lab_pins[link] = None
        self._fetch(taker, link)

    def _small_link(self) -> str:
        """Return the link of a file that leaves room in the cache when it is pinned."""
        return self.chance.choice(self.world.links[2:5])

    def _evict(self) -> None:
        taker = self.chance.choice(self.world.takers)
        how = self.chance.choice((["clear"], ["evict", self.chance.choice(self.world.links)]))
        self._run(taker, "cache", *how)
        self._check_kept(taker)

    def _evict_pinned(self) -> None:
        taker = self.chance.choice(self.world.takers)
        if taker.lab_pins:
            self._run(taker, "cache", "evict", *taker.lab_pins)
            self._check_kept(taker)

    def _check_kept(self, taker: Taker) -> None:
        if lost := find_lost(taker, self.world):
            self.fail("\n".join(lost))

    def _prefetch(self) -> None:
        self._fetch(self.chance.choice(self.world.takers), self._small_link())

    def _fetch(self, taker: Taker, link: str) -> None:
        self._run(taker, "prefetch", link, *(word for url in taker.urls for word in ("--peer", url)))
        if link in taker.lab_pins and not taker.lab_pins[link]:
            taker.lab_pins[link] = identity(taker.lab, self.world.original_of(link))

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Bring everything back, and hold all that is left against the originals."""
        self._bring_back(is_all=True)
        self.watch()
        for reader, taker in zip(self.readers, self.world.takers * 2, strict=True):
            reader.stop()
            for told in reader.news():
                self._check_told(told, taker)
        for taker in self.world.takers:
            compare_whole(taker, self.world.files)
            if not any(taker.lab_pins.values()):
                self._pin(taker, self._small_link())
        end_all(self.world)
        left = find_faults(self.folder)
        for taker in self.world.takers:  # nobody has anything open now
            self._run(taker, "cache", "evict", *taker.lab_pins)
        for taker in self.world.takers:
            left += find_wrong_blocks(taker.lab, self.world.originals) + find_lost(taker, self.world)
            for link, held in taker.lab_pins.items():
                if held and identity(taker.lab, self.world.original_of(link)) != held:
                    left.append(f"{taker.lab.store}: {link} was pinned, and evicted all the same")
        if left:
            self.fail("\n".join(left))
