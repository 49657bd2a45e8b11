"""The engine: names in, verified bytes out, and the only place where things happen at the same time.

A name is located (``locate``, asked once however many ask: ``onceasked``): who has it (``finder``), where its manifest
comes from (``roots``) and so how far it is trusted. What is open is one ``OpenFile`` a binding (``files``), shared by
all readers: its proof, its place in the store, its providers (``providers``) and its flights. A ``reader`` asks the
``scheduler`` for what is missing; the scheduler turns flights into runs, ``transfer`` carries one run from one
provider, verified before it is stored, and ``recent`` keeps the latest of it in memory, for readers that follow close
behind. ``metadata`` brings roots and groups, ``revival`` looks after what waits,
``prover`` holds complete files against their SHA-1, ``peerset`` remembers who rests and who is banned, ``waits`` bounds
every read and lets it be cancelled. ``engine`` wires them up.

Invariants
----------
1. Only verified blocks enter the store, and only a ``Proof`` makes a ``VerifiedBlock``.
2. The scheduler owns downloads, in the engine's nursery. A cancelled reader stops waiting; its flight goes on.
3. Demand before readahead. Hints are dropped under load, demand waits for a run to end: of its own provider, so that a
   thin line holds nobody else up.
4. Every wait has a deadline: reads in ``waits``, requests in the peer's limits, runs in ``runs``, lookups in
   ``finder``. A provider that is a second later than was expected of it is overdue, and another is asked too.
5. Code between two awaits is atomic: state changes in sync methods, and is looked at again after every await.
6. Every waiter gets a fresh exception.
7. A provider that failed at a block is not asked for it again before everybody else was, or something changed.
8. How far a file is trusted is a matter of the name that it was opened by, so the reader knows it, not the file.
9. A file is closed when nothing refers to it any more: a closed descriptor's number is another file's at once.

Round trips from a name to its first byte: have; root and claim; group and block.
"""
