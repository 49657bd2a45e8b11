"""Answers other peers: bytes of shared originals and of the store, by HTTP/1.1, never more than they hold.

A request's way, and where each step is decided::

    server.py       listeners; a task for every connection
    access.py       whom we answer at all: everybody, our own networks (networks.py), who says a secret
    doorman.py      how many are let in, and which idle connection leaves when all places are taken
    connection.py   one connection: a deadline for every wait, one reply after another
    framing.py      requests' heads by h11, replies' heads, keep-alive
    routes.py       pure: method, target and headers -> what is asked, or why it is refused
    replies.py      what is asked + a Source -> a Reply (blocking, in a thread, which begins to send it)
    conditions.py   pure: Range, If-Range, If-Match, If-None-Match -> 200, 206, 304, 412, 416
    waiting.py      a Reply that waits for blocks which another process here is fetching
    sending.py      a Reply's bytes -> the socket (sendfile in a thread, patience in trio)
    source.py       Source and Readable: what can be served at all
    local.py        LocalSource: out of this machine's catalog and store
    uploads.py      who may send how much, when, under an upload limit
    limits.py       every number that bounds a stranger
    common.py       what all connections share: places, threads, bytes, words, and counters.py
    metrics.py      the counters and the cache, for Prometheus, on a listener of its own

What holds:

- Nothing outside the Source can be reached: a path is matched whole against a short table, digests are parsed as
  digests, no path is percent-decoded and none is joined to a folder here.
- Nothing is listed, and no answer holds a path of the machine, a traceback or a version other than kacheryfs's own.
- An original is served from the very descriptor whose identity was compared. It is compared again after the last bytes
  were read and before they are sent; a change cuts the body short of its Content-Length, so that no asker takes it
  for whole. A page that changes between sendfile and the wire still travels: the asker's proof is what protects it.
- A stored block is verified once by this process before it is sent, so that a damaged disk's bytes stay here. From that
  check to the end of ``sendfile`` a lock keeps it from being evicted, so that no hole is sent.
- A request waits only for what is on its way, where it asked to (``Prefer: wait``), at most 5 s a block, without a
  thread, and 64 of one address at once.
- A slow client holds no thread and is cut when it takes less than the minimum rate; one that sends its head byte by
  byte has 10 s. Everything is bounded: connections, threads, heads, times. There are no request bodies.
- Under an upload limit bytes are granted in steps of 20 ms, round robin between addresses however many connections each
  has. Answers up to 16 KiB don't wait, but are charged. The limit holds over any second within a tenth.
- Whoever may not ask learns one line, before anything is looked up; secrets are compared in constant time.
- A cancelled server finishes nothing and closes everything.

What doesn't hold, on purpose:

- Whether a digest exists can be told by asking for it, and perhaps by the time that an answer takes. A digest is the
  right to read, so who can ask already may read; who guesses has 2^160 to guess from.
- No CORS headers are sent, and ``Cross-Origin-Resource-Policy: same-origin`` is, so that a web page from elsewhere
  can't read what its visitor can reach. The Host header is checked for form only: a page that rebinds its own name to
  this address (DNS rebinding) can ask like anybody else, and like anybody else needs a digest.
- Behind a proxy or a tunnel that ends on this machine everybody has its address: ``access = "local"`` lets all of them
  in, and fairness and limits by address see one.
- No TLS: put nginx or a tunnel in front where the line is watched.
"""

from .limits import ServeLimits
from .local import LocalSource
from .server import open_listeners, serve, url_of
from .source import Readable, Source

__all__ = ["LocalSource", "Readable", "ServeLimits", "Source", "open_listeners", "serve", "url_of"]
