"""Bytes on disk: what this machine offers in place, and the verified blocks that it fetched.

Two halves, which know nothing of each other:

The *catalog* (``catalog``, ``sharing``, ``composing``, ``hashing``, ``hashing_blocks``, ``originals``) is what we
offer: a user's own files, hashed once, read in place and never copied or changed.

The *store* (``blocks`` tells how it works) is what we fetched. On disk:

    VERSION                     "kacheryfs-store 2"; 1 is migrated, another refused
    sha1/ab/cd/ef/H             a whole file whose SHA-1 was found right; any web server can offer it
    manifest/ab/cd/ef/D         roots and groups of manifests, under their own BLAKE3
    partial/ab/H-M/data         a file under manifest M that isn't proven yet: sparse, costs what is present
    partial/ab/H-M/present      one byte a block, 0 or 1, and when each 16 MiB was used last: 5 millionths of the file
    index.sqlite                what is here, by the question that a peer asks; made again if it is lost
    usage                       what the store takes on disk, as its processes agree
    pins/                       what is never evicted: a file for each pinned link
    lock, tmp/                  one byte of ``lock`` stands for each file, and for a bound; ``tmp`` is being written

    blocks      Store: opens files, answers what there is
    files       StoredFile: is_present, check, read, put, prove, drop
    backer      which data file a StoredFile has open, and every change of it
    backing     an open data file, with what is present and checked of it
    presence    the shared map of present blocks        flags     such bytes in memory
    partial, promotion                                  the steps on disk, safe to be killed between
    sending, holding                                    keeping blocks, and whole files, from being evicted
    evictor, victims, punching                          what goes, in which order, and how
    growth, space, ledger, counting                     the bound: who may write how much, and what really lies there
    bounds                                              whose bound holds: the smallest of live mounts
    cache, pins                                         what the owner of the cache sees and wants
    folder, places, locks, trouble                      the folder: made, named, locked
    parts, index, survey                                parts of manifests; the database; making it again

Everything here blocks and is safe to use from threads and from several processes; no trio.
"""
