"""Peers, as the engine asks them: what they are asked, HTTP to one of them, and how they are found.

    peer        Protocols: Peer, RangeStream
    client      HttpPeer: the questions of ``core/wire.py``, and the static layout of any web server
    exchanges   asking again on a fresh connection, refusals, whole answers
    pool        connections lent and kept            connection  one question and its answer
    transport   bytes, plain or through TLS          heads, pace  decisions: what a head means, what is too slow
    seam        where foreign errors become PeerErrors, and nowhere else
    address     a peer's URL                         names       its host's addresses
    discovery   how peers are found; the list that the user keeps
    identity    who we are to them

A peer isn't trusted. Whatever it sends costs at most the bytes and the seconds of ``ClientLimits``, and ends as bytes
of exactly the length that was asked for, or as one PeerError that names the URL and the reason. No redirect is
followed, no encoding unpacked, no proxy variable or ``.netrc`` read. Nothing here verifies content: that is the
engine's work.

Connections: HTTP/1.1 with keep-alive, one exchange at a time on each, no pipelining. One goes back to the pool only
when its answer was read to its last byte and nothing came after it, and it is looked at once more before its next use.
A body that wasn't read to its end costs its connection: cancelling closes it. A kept connection that turns out dead
before the first byte of an answer is replaced once, unseen.

Measured, and decided against DESIGN.md, which describes ``requests`` in threads (1 GB/s through ``raw.readinto``): this
is trio and h11. Cancelling and deadlines for whole exchanges come for free, no thread can hang and none needs a hop
(0.17 ms). h11 costs 0.1 ms a request, a ranged request 0.4 ms of CPU in all, and bodies don't pass through h11. From
nginx on loopback, one stream into a reused 1 MiB buffer runs at 2.0 to 2.5 GB/s (curl in the same minute: 2.2; up to
4.8 on a quiet machine). ``SO_RCVBUF`` is left to the kernel: 256 KiB, 1 and 4 MiB gave the same on loopback, and a
fixed size caps long lines. TLS is ``ssl.SSLSocket``, not ``trio.SSLStream``: the same loop receives into the caller's
buffer, and nothing that was read ahead can hide in it when a connection is kept.
"""
