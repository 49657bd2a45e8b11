"""The engine: names in, verified bytes out, and the only place where things happen at the same time.

A name is located (``locate``, asked once however many ask: ``onceasked``): who has it (``finder``), where its manifest
comes from (``roots``) and so how far it is trusted. What is open is one ``OpenFile`` a binding (``files``), shared by
all readers: its proof, its place in the store, its providers (``providers``) and its flights (``flights``). A
``reader`` asks the ``scheduler`` for what is missing, ``prefetch`` for what somebody wants in advance; flights wait in
``queues``, the ``fleet`` has the runs that are under way (``runs``), ``transfer`` carries one run from one provider,
verified before it is stored and within the download limit (``throttle``), several batches of it by one thread where
they come quickly (``convoy``), and ``recent`` keeps the latest of it in memory, for readers that follow close behind.
``metadata`` brings roots and groups, ``revival`` looks after what waits, ``prover`` holds complete files against their
SHA-1, ``peerset`` remembers who rests and who is banned, ``waits`` bounds every read and lets it be cancelled.
``describing`` and ``counters`` say what is going on. ``engine`` wires them up.

Many providers
--------------
A peer's rate is what it delivers while it has something to deliver (``core/rate``), over all connections, since they
share its line. ``choosing`` asks who should deliver first (``core/choice``). What a reader's window moves on by is
divided among all who have the file, by their rates, and for whom nobody waits yet a provider has two runs under way and
no more than its line takes in 50 ms (``loads``): what is left is for whoever is free next. On a clock that jumps
(tests/fetch/test_swarming.py) lines add up to 95 % and more; with everything handed out at once they gave 60 %.

``overdue``: after four times what was expected of its peer, 0.25 s at least, all that a run has not landed goes to
others too, also what nobody waits for yet; the loser is ended when nothing is left for it to land. Its peer is thought
as slow from then on as it was just now, and tried again with something short after it has rested, each time for longer.

``core/ownership``, ``coreaders``: mounts that read one file at once rank themselves for each MiB. The first fetches it
from the origin, the others ask that one for all of it at once (by its share of the line, that of one among many, it was
asked block by block), and its server holds the answer back until the block has come. Each tells its
server what it has under way (a note in the store), and asks the others every second what they have. Whoever doesn't
answer in time is passed over, so that this saves the origin's line and costs nobody a block.

Invariants
----------
1. Only verified blocks enter the store, and only a ``Proof`` makes a ``VerifiedBlock``.
2. The scheduler owns downloads, in the engine's nursery. A cancelled reader stops waiting; its flight goes on.
3. Demand before readahead before prefetch. Hints are dropped under load, demand waits for a run to end: of its own
   provider, so that a thin line holds nobody else up.
4. Every wait has a deadline: reads in ``waits``, requests in the peer's limits, runs in ``runs``, lookups in
   ``finder``.
5. Code between two awaits is atomic: state changes in sync methods, and is looked at again after every await.
6. Every waiter gets a fresh exception.
7. A provider that failed at a block is not asked for it again before everybody else was, or something changed.
8. How far a file is trusted is a matter of the name that it was opened by, so the reader knows it, not the file.
9. A file is closed when nothing refers to it any more: a closed descriptor's number is another file's at once.

Round trips from a name to its first byte: have; root and claim; group and block. A waveform snippet is three reads of
the kernel's, the later ones asked for when the first has come: their blocks ride behind the first one's, where a block
costs less time than a round trip.
"""
