"""The words and the decisions: what everything else talks in, and nothing that touches the world.

No I/O, no clock, no trio, no randomness; a function of this room gives the same answer for ever, so Hypothesis tests it
in seconds. It imports itself, ``errors`` and blake3.

Words
-----
``model``
    Digests as types (a ``Sha1`` names a file, a ``Blake3`` proves a block), half-open ranges, a file's ``Layout`` in
    blocks, and the ``Binding``: a SHA-1 together with the manifest that its blocks are proven by. Until a file is
    proven, its place in the store belongs to its binding and not to its SHA-1, so that a stranger's claim spoils
    nobody else's file.
``manifest``
    Version 1 (root and groups, canonical, BLAKE3) and the three kinds of ``Proof``: by a manifest, by a legacy
    manifest, by the SHA-1 of a file of one block. Only a proof makes a ``VerifiedBlock``, and only these enter the
    store.
``link``, ``request``
    What somebody can be sent, in every spelling of the lineage, and what it asks of the engine. A link whose manifest
    is damaged is an error: as a bare name it would be read with less trust than its sender meant.
``tree``, ``legacy``
    Directories addressed by digest, and the manifests of kachery 0.6 and kachery-p2p 0.8.
``lineage_*``
    What labbox-ephys, sortingview and SpikeForest wrote: recordings, sortings, collections, feeds (replayed), MDA's
    header. What isn't known there is an error or, where the rest stands without it, a warning that is handed on.
``collection``, ``collection_json``, ``collection_lineage``, ``recipe``
    A set of recordings and sortings behind one link, its canonical JSON, how an old one becomes one of ours, and what a
    dataset is built from.
``wire``
    The protocol between peers: its docstring is the specification.
``quantities``
    What people write in settings: ``64 MiB``, ``2 min``, ``5 %``, ``127.0.0.1:27180``.

Decisions
---------
``plan`` (which blocks go into one run), ``readahead`` (how far a reader is run ahead of), ``choice`` (which provider is
asked). Each is given what it needs to know as values, the time included.

What strangers send
-------------------
All parsing of foreign bytes happens here, once, into values that are right by construction. ``strict_json`` bounds
size, count and depth and refuses what JSON leaves loose (names given twice, NaN, fractions, integers of 5,000 digits);
``names`` says what one file's name can be. Names are text that stands for bytes (UTF-8 with surrogateescape), and each
sequence of bytes has exactly one spelling: two spellings would be one name twice. Every failure is a ``ProofError``
(content that isn't what its digest or its format says), a ``PeerLiedError`` (an answer that isn't the protocol's) or a
``LinkError`` (what a user typed), with one line for people.

Limits, and where they come from: a tree's JSON 64 MiB, 2.5 million values and 64 directories deep; a name 255 bytes
(Linux's NAME_MAX); a legacy manifest 16 MiB, its chunks 64 MiB (one is held in memory); a file 1 PiB; a link 64 KiB.
"""
